// SPDX-License-Identifier: Apache-2.0
#include "fs/view.h"

namespace bkfs {

namespace {
Status ReadOnlyView() { return {Code::kReadOnly, "this part of the mount is read-only"}; }
}  // namespace

Status StaleInode(Ino ino) {
  return {Code::kStale, "inode " + std::to_string(ino) + " is not known"};
}

bool EmitDots(uint64_t from, Ino self, Ino parent, const DirSink& sink) {
  if (from < 1 && !sink({".", 1, self, EntryKind::kDirectory, nullptr})) return false;
  return from >= 2 || sink({"..", 2, parent, EntryKind::kDirectory, nullptr});
}

void View::Forget(Ino, uint64_t) {}
uint32_t View::KeepAbsence(Ino) { return 0; }
Result<Node> View::SetAttr(const Caller&, Ino, const SetAttrRequest&) { return ReadOnlyView(); }
Result<std::string> View::ReadLink(Ino) { return Status(Code::kInvalid, "not a symbolic link"); }
Status View::CheckWritable(Ino) { return ReadOnlyView(); }
Result<Node> View::Create(const Caller&, Ino, std::string_view, const NewNode&) {
  return ReadOnlyView();
}
Result<Node> View::Link(Ino, Ino, std::string_view) { return ReadOnlyView(); }
Status View::Unlink(Ino, std::string_view) { return ReadOnlyView(); }
Status View::Rmdir(Ino, std::string_view) { return ReadOnlyView(); }
Status View::Rename(Ino, std::string_view, Ino, std::string_view, unsigned) {
  return ReadOnlyView();
}
Result<Opened> View::OpenDir(Ino) { return Opened{}; }
void View::ReleaseDir(Ino, uint64_t) {}
Status View::SyncDir(Ino) { return {}; }
Result<Opened> View::Open(const Caller&, Ino, const OpenRequest&) {
  return Status(Code::kIsDirectory, "not a file");
}
void View::Release(Ino, uint64_t) {}
Result<size_t> View::Read(Ino, uint64_t, uint64_t, MutableByteView) {
  return Status(Code::kIsDirectory, "not a file");
}
Status View::Write(const Caller&, Ino, uint64_t, uint64_t, ByteView) { return ReadOnlyView(); }
Status View::Flush(Ino, uint64_t) { return {}; }
Status View::Fsync(Ino, uint64_t) { return {}; }
Status View::Allocate(const Caller&, Ino, uint64_t, int, uint64_t, uint64_t) {
  return ReadOnlyView();
}
Result<uint64_t> View::SeekData(Ino, uint64_t) { return Status(Code::kInvalid, "not a file"); }
Result<uint64_t> View::SeekHole(Ino, uint64_t) { return Status(Code::kInvalid, "not a file"); }
Result<std::string> View::GetXattr(Ino, std::string_view) {
  return Status(Code::kNoData, "no such attribute");
}
Result<std::vector<std::string>> View::ListXattrs(Ino) { return std::vector<std::string>(); }
Status View::SetXattr(const Caller&, Ino, std::string_view, std::string_view, XattrMode) {
  return ReadOnlyView();
}
Status View::RemoveXattr(Ino, std::string_view) { return ReadOnlyView(); }

}  // namespace bkfs
