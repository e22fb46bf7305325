// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/lock_keeper.h"

#include <map>

#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr size_t kMark = 16;  // bytes of the hash of a name
constexpr size_t kRecord = kMark + sizeof(int64_t);

using Marks = std::map<std::string, int64_t>;  // the beginning of a name's hash -> locked until

std::string MarkOf(const std::string& name) {
  const auto hash = HashBytes(AsBytes(name));
  return std::string(AsText(ByteView(hash).first(kMark)));
}

// One of 256 notes, so that none grows large.
std::string NoteOf(const std::string& mark) {
  return "locks " + std::to_string(static_cast<uint8_t>(mark[0]));
}

Marks Decode(const std::optional<Bytes>& note) {
  Marks marks;
  if (!note || note->size() % kRecord != 0) return marks;
  for (size_t at = 0; at < note->size(); at += kRecord) {
    const ByteView record = ByteView(*note).subspan(at, kRecord);
    marks[std::string(AsText(record.first(kMark)))] = Load<int64_t>(record.data() + kMark);
  }
  return marks;
}

Bytes Encode(const Marks& marks) {
  Bytes out;
  for (const auto& [mark, until] : marks) {
    Append(out, AsBytes(mark));
    AppendInt(out, until);
  }
  return out;
}
}  // namespace

Result<LockKeeper::Report> LockKeeper::Extend(const std::vector<std::string>& names,
                                              int64_t now_ns) {
  Report report;
  const int64_t span = repo_.store().LockSpan();
  if (span == 0) return report;
  std::map<std::string, std::vector<std::string>> by_note;
  for (const std::string& name : names) by_note[NoteOf(MarkOf(name))].push_back(name);
  for (const auto& [note, some] : by_note) {
    BKFS_ASSIGN(auto stored, repo_.index().GetNote(note));
    const Marks known = Decode(stored);
    Marks next;  // what is not asked for any more is forgotten
    for (const std::string& name : some) {
      const std::string mark = MarkOf(name);
      auto found = known.find(mark);
      int64_t until = found == known.end() ? 0 : found->second;
      if (until < now_ns + span / 2) {
        auto locked = repo_.store().LockedUntil(name);
        if (locked.code() == Code::kNotFound) continue;
        BKFS_TRY(locked.status());
        until = *locked;
      }
      if (until < now_ns + span / 2) {
        Status extended = repo_.store().Lock(name, now_ns + span);
        if (extended.Is(Code::kNotFound)) continue;
        BKFS_TRY(extended);
        until = now_ns + span;
        ++report.extended;
      }
      ++report.locked;
      next[mark] = until;
    }
    if (next != known) BKFS_TRY(repo_.index().PutNote(note, Encode(next)));
  }
  return report;
}

}  // namespace bkfs
