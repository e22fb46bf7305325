// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/mirror_state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>

#include "engine/base/clock.h"

namespace bkfs {

namespace {
constexpr std::string_view kBehind = "behind";
constexpr std::string_view kRemoved = "removed ";

// Each whole line; what a crash has cut off at the end is none.
template <typename Visit>
void EachLine(std::string_view text, const Visit& visit) {
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    visit(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
}
}  // namespace

Result<std::unique_ptr<MirrorState>> MirrorState::Open(const std::string& directory) {
  BKFS_TRY(MakeDirectories(directory, 0700));
  std::unique_ptr<MirrorState> state(new MirrorState(directory));
  BKFS_TRY(state->TakeOver());
  return state;
}

Result<std::vector<std::string>> MirrorState::Paths() const {
  std::vector<std::string> paths;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory_, error), end; !error && at != end;
       at.increment(error)) {
    paths.push_back(at->path().string());
  }
  if (error) return Status::FromErrno(error.value(), directory_);
  return paths;
}

Status MirrorState::TakeOver() {
  BKFS_ASSIGN(const auto paths, Paths());
  MutexLock lock(mutex_);
  for (const auto& path : paths) {
    auto fd = OpenFile(path, O_RDONLY);
    if (!fd.ok()) continue;  // its process has just ended well
    if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) continue;
    taken_.push_back({path, *std::move(fd)});
  }
  return {};
}

Status MirrorState::MakeOwn() {
  constexpr int kTries = 10;
  const SystemClock clock;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const std::string path =
        directory_ + "/" + std::to_string(::getpid()) + "-" + std::to_string(clock.WallNanos());
    auto fd = OpenFile(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND);
    if (fd.code() == Code::kExists) continue;
    if (!fd.ok()) return fd.status();
    // Somebody may take it for a dead process's in this moment.
    if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) continue;
    BKFS_TRY(SyncFd(fd->get(), path));
    BKFS_TRY(SyncDirectory(directory_));
    own_ = {path, *std::move(fd)};
    own_is_behind_ = false;
    return {};
  }
  return {Code::kIo, directory_ + ": no file could be made and locked"};
}

Status MirrorState::Begin() {
  MutexLock lock(mutex_);
  ++under_way_;
  return own_.fd.valid() ? OkStatus() : MakeOwn();
}

void MirrorState::End() {
  MutexLock lock(mutex_);
  --under_way_;
}

Status MirrorState::AppendLines(const std::string& lines) {
  if (!own_.fd.valid()) BKFS_TRY(MakeOwn());
  BKFS_TRY(WriteAll(own_.fd.get(), AsBytes(lines), own_.path));
  return SyncFd(own_.fd.get(), own_.path);
}

Status MirrorState::NoteBehind() {
  MutexLock lock(mutex_);
  if (own_is_behind_) return {};
  BKFS_TRY(AppendLines(std::string(kBehind) + "\n"));
  own_is_behind_ = true;
  return {};
}

Status MirrorState::NoteRemovals(const std::vector<std::string>& names) {
  std::string lines;
  for (const auto& name : names) lines.append(kRemoved).append(name).append("\n");
  MutexLock lock(mutex_);
  return lines.empty() ? OkStatus() : AppendLines(lines);
}

Result<bool> MirrorState::IsBehind() const {
  {
    MutexLock lock(mutex_);
    if (!taken_.empty()) return true;
  }
  BKFS_ASSIGN(const auto paths, Paths());
  bool behind = false;
  for (const auto& path : paths) {
    auto text = ReadWholeFile(path);
    if (text.code() == Code::kNotFound) continue;
    if (!text.ok()) return text.status();
    EachLine(AsText(*text), [&](std::string_view line) { behind = behind || line == kBehind; });
  }
  return behind;
}

Result<std::vector<std::string>> MirrorState::Removals() const {
  BKFS_ASSIGN(const auto paths, Paths());
  std::vector<std::string> names;
  for (const auto& path : paths) {
    auto text = ReadWholeFile(path);
    if (text.code() == Code::kNotFound) continue;
    if (!text.ok()) return text.status();
    EachLine(AsText(*text), [&](std::string_view line) {
      if (line.starts_with(kRemoved)) names.emplace_back(line.substr(kRemoved.size()));
    });
  }
  return names;
}

void MirrorState::Finish() {
  MutexLock lock(mutex_);
  for (const auto& held : taken_) ::unlink(held.path.c_str());
  taken_.clear();
  if (under_way_ > 0 || !own_.fd.valid()) return;
  ::unlink(own_.path.c_str());
  own_ = {};
}

}  // namespace bkfs
