// SPDX-License-Identifier: Apache-2.0
// restore, fetch.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/base/fd.h"
#include "engine/repo/file_reader.h"
#include "engine/transfer/restore.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"
#include "tools/bkfs/own_places.h"
#include "tools/bkfs/progress.h"
#include "tools/bkfs/snapshot_entry.h"

namespace bkfs {

namespace {

using nlohmann::json;

class RestorePrinter final : public RestoreObserver {
 public:
  RestorePrinter(const Context& context, uint64_t total, bool list)
      : line_(*context.clock, context.quiet || context.json), total_(total), list_(list) {}
  void Failed(const std::string& path, const Status& why) override {
    line_.Say("bkfs: " + Printable(path) + ": " + why.message());
  }
  void Changed(const std::string& path, std::string_view what) override {
    if (list_) line_.Say(std::string(what) + " " + Printable(path));
  }
  void Progress(const RestoreCounts& counts) override {
    line_.Update(Counted(counts.files, "file") + ", " + HumanSize(counts.done_bytes),
                 counts.done_bytes, total_);
  }
  bool Cancelled() override { return Interrupted(); }

 private:
  ProgressLine line_;
  const uint64_t total_;
  const bool list_;
};

int ExitCodeOfCounts(const RestoreCounts& counts) {
  if (counts.damaged > 0) return kExitDamaged;
  return counts.failures > 0 ? kExitFailed : kExitDone;
}

Result<int> Restore(Context& context) {
  const std::string& destination = context.args.positional()[1];
  struct stat st {};
  if (::stat(destination.c_str(), &st) == 0 && !S_ISDIR(st.st_mode)) {
    return Status(Code::kInvalid, destination + " is not a directory: name one to restore into");
  }
  auto [name, path] = SplitSnapshotPath(context.args.positional()[0]);
  if (context.args.Has("path")) path = context.args.Get("path");
  BKFS_ASSIGN(auto repo, context.Open());
  if (!MayReadContents(repo->key().type)) {
    return Status(Code::kDenied, "a " + std::string(KeyTypeName(repo->key().type)) +
                                     " key cannot read contents; restore takes ReadOnly, "
                                     "ReadWrite or the master key");
  }
  ReaderLease lease(*repo);
  BKFS_TRY(BeginReading(lease, "bkfs restore"));
  BKFS_ASSIGN(const SnapshotEntry found, FindSnapshotEntry(*repo, &lease, name, path));
  const Entry& source = found.entry;
  RestoreOptions options;
  options.remove_others = context.args.Has("delete");
  options.dry_run = context.args.Has("dry-run");
  options.verify = context.args.Has("verify");
  BKFS_ASSIGN(options.never, OwnPlaces(context));
  Result<RestoreCounts> counts = [&] {
    RestorePrinter printer(context, source.is_directory() ? source.totals.bytes : source.size,
                           options.dry_run || context.verbose);
    return RunRestore(*repo, source, destination, options, printer);
  }();
  if (!counts.ok()) return counts.status();
  if (context.json) {
    std::cout << json{{"files", counts->files},     {"written", counts->written},
                      {"kept", counts->kept},       {"removed", counts->removed},
                      {"bytes", counts->bytes},     {"failures", counts->failures},
                      {"damaged", counts->damaged}, {"dry_run", options.dry_run}}
                     .dump()
              << "\n";
  } else if (!context.quiet) {
    std::cerr << (options.dry_run ? "would write " : "wrote ") << Counted(counts->written, "file")
              << ", " << HumanSize(counts->bytes) << "; " << counts->kept << " kept, "
              << counts->removed << " removed" << (counts->failures > 0 ? ", " : "")
              << (counts->failures > 0 ? std::to_string(counts->failures) + " failed" : "") << "\n";
  }
  return ExitCodeOfCounts(*counts);
}

Status CopyOut(FileReader& reader, int fd, const std::string& what) {
  Bytes buffer(1 << 20);
  for (uint64_t at = 0; at < reader.map().size();) {
    if (Interrupted()) return {Code::kInterrupted, "interrupted"};
    BKFS_ASSIGN(size_t n, reader.Read(at, buffer));
    if (n == 0) return {Code::kCorrupt, "contents end too early"};
    BKFS_TRY(WriteAll(fd, ByteView(buffer).first(n), what));
    at += n;
  }
  return {};
}

Result<int> FetchTo(FileReader& reader, const Entry& entry, std::string target) {
  struct stat st {};
  const bool there = ::stat(target.c_str(), &st) == 0;
  if (there && S_ISDIR(st.st_mode)) {
    target += "/" + entry.name;
  } else if (there && !S_ISREG(st.st_mode)) {
    // A device or a pipe is written to; it must not be replaced.
    BKFS_ASSIGN(UniqueFd fd, OpenFile(target, O_WRONLY | O_NOCTTY));
    BKFS_TRY(CopyOut(reader, fd.get(), target));
    return int{kExitDone};
  }
  // Beside its place first, so that a damaged or interrupted fetch leaves no half file.
  const std::string temporary = target + ".bkfs-fetch-" + std::to_string(::getpid());
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return Status::FromErrno(errno, target);
  Status status = CopyOut(reader, fd.get(), target);
  const timespec times[2] = {{entry.mtime.seconds, entry.mtime.nanos},
                             {entry.mtime.seconds, entry.mtime.nanos}};
  if (status.ok()) {
    (void)!::fchmod(fd.get(), entry.mode & 0777);
    (void)!::futimens(fd.get(), times);
    if (::rename(temporary.c_str(), target.c_str()) != 0) status = Status::FromErrno(errno, target);
  }
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  return int{kExitDone};
}

Result<int> Fetch(Context& context) {
  const auto& args = context.args.positional();
  BKFS_ASSIGN(auto repo, context.Open());
  ReaderLease lease(*repo);
  BKFS_TRY(BeginReading(lease, "bkfs fetch"));
  BKFS_ASSIGN(const SnapshotEntry found, FindSnapshotEntry(*repo, &lease, args[0], args[1]));
  const Entry& entry = found.entry;
  if (entry.kind != EntryKind::kFile) {
    return Status(Code::kInvalid, args[1] + " is a " + KindWord(entry.kind) +
                                      "; fetch gets one regular file, restore the rest");
  }
  BKFS_ASSIGN(auto map, FileMap::Open(repo->trees(), entry));
  FileReader reader(repo->blobs(), std::move(map));
  if (args[2] == "-") {
    BKFS_TRY(CopyOut(reader, STDOUT_FILENO, "standard output"));
    return int{kExitDone};
  }
  return FetchTo(reader, entry, args[2]);
}

}  // namespace

std::vector<Command> RestoreCommands() {
  return {
      {"restore",
       "SNAP[:PATH] DEST",
       "restores a snapshot, or a part of it, into a directory",
       {{"path,p", "PATH", "this part of the snapshot"},
        {"delete", "", "remove what is in DEST and not in the snapshot"},
        {"dry-run", "", "only say what would be done"},
        {"verify", "", "compare contents, also of files that look the same"}},
       2,
       2,
       Restore},
      {"fetch", "SNAP PATH DEST|-", "gets one file", {}, 3, 3, Fetch},
  };
}

}  // namespace bkfs
