// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/folders.h"

#include <string_view>
#include <utility>

namespace bkfs {

namespace {
// Asked for of each folder at once: most have no more than one answer's worth, and then the end.
constexpr int kAnswersAhead = 2;

struct Reading {
  SftpHandle handle;
  std::vector<uint32_t> asked;
  bool ended = false;
};

// One round for one folder: takes the answers and asks for more.
Status TakeAnswers(SftpClient& client, Reading& reading, FolderContents& into,
                   const std::string& what) {
  for (uint32_t id : reading.asked) {
    if (reading.ended) {
      client.Forget(id);
      continue;
    }
    auto entries = client.AwaitEntries(id, what);
    if (client.broken()) return entries.status();
    reading.ended = !entries.ok() || !*entries;
    if (!entries.ok()) {
      into.status = entries.status();
    } else if (*entries) {
      std::move((*entries)->begin(), (*entries)->end(), std::back_inserter(into.entries));
    }
  }
  reading.asked.clear();
  return {};
}

// A server may say "failure" to a folder that is a file, or whose parent is one.
Status CheckMissing(SftpClient& client, const std::string& path, FolderContents& folder,
                    const std::string& what) {
  if (folder.status.Is(Code::kNotFound)) return {};
  auto attributes = client.AwaitAttributes(client.Stat(path), what);
  if (client.broken()) return attributes.status();
  if (attributes.code() == Code::kNotFound || (attributes.ok() && !attributes->IsFolder())) {
    folder.status = Status(Code::kNotFound, what + ": no folder");
  }
  return {};
}
}  // namespace

Result<std::vector<FolderContents>> ReadFolders(SftpClient& client,
                                                std::span<const std::string> paths,
                                                const std::string& what) {
  std::vector<FolderContents> folders(paths.size());
  std::vector<Reading> readings(paths.size());
  std::vector<uint32_t> opens;
  for (const std::string& path : paths) opens.push_back(client.OpenFolder(path));
  for (size_t i = 0; i < paths.size(); ++i) {
    auto handle = client.AwaitHandle(opens[i], what);
    if (client.broken()) return handle.status();
    folders[i].status = handle.status();
    readings[i].ended = !handle.ok();
    if (handle.ok()) readings[i].handle = std::move(*handle);
  }
  for (bool more = true; more;) {
    more = false;
    for (Reading& reading : readings) {
      for (int n = 0; n < kAnswersAhead && !reading.ended; ++n) {
        reading.asked.push_back(client.ReadFolder(reading.handle));
      }
    }
    for (size_t i = 0; i < paths.size(); ++i) {
      BKFS_TRY(TakeAnswers(client, readings[i], folders[i], what));
      more = more || !readings[i].ended;
    }
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    if (!readings[i].handle.empty()) client.Forget(client.Close(readings[i].handle));
    if (!folders[i].status.ok()) BKFS_TRY(CheckMissing(client, paths[i], folders[i], what));
  }
  return folders;
}

Result<std::vector<std::string>> MakeFolders(SftpClient& client, const std::string& root,
                                             const std::string& relative, const std::string& what) {
  std::vector<std::string> parents;
  std::string at = root;
  std::string_view rest = relative;
  while (!rest.empty()) {
    const std::string_view word = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    if (word.empty()) continue;
    std::string next =
        at.empty() || at.ends_with('/') ? at + std::string(word) : at + "/" + std::string(word);
    const Status made = client.AwaitStatus(client.Mkdir(next), what);
    if (client.broken()) return made;
    if (!made.ok()) {
      // There already, made by somebody else a moment ago, or a true failure.
      auto attributes = client.AwaitAttributes(client.Stat(next), what);
      if (client.broken()) return attributes.status();
      if (!attributes.ok()) return made.Is(Code::kNotFound) ? attributes.status() : made;
      if (!attributes->IsFolder())
        return Status(Code::kNotDirectory, what + ": a file is in the way");
    }
    // Also when it was there: whoever made it may not have synced it yet.
    parents.push_back(at.empty() ? "." : at);
    at = std::move(next);
  }
  return parents;
}

}  // namespace bkfs
