// SPDX-License-Identifier: Apache-2.0
#include "engine/transfer/source_paths.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

namespace bkfs {

namespace {

Result<std::string> Canonical(const std::string& path, const std::string& given) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  if (!real) return Status::FromErrno(errno, given);
  return std::string(real.get());
}

std::string Join(const std::string& parent, const std::string& name) {
  return parent == "/" ? "/" + name : parent + "/" + name;
}

struct Split {
  std::string parent;  // canonical
  std::string name;    // empty: the path is "/"
};

// The canonical parent and the last name of a path, which is not followed if it is a symlink.
Result<Split> SplitPath(const std::string& given) {
  std::string path = given;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const size_t slash = path.rfind('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == ".." || path.size() != given.size()) {
    // No name of its own, or a '/' behind it: the directory that it leads to.
    BKFS_ASSIGN(path, Canonical(path, given));
    if (path == "/") return Split{"/", ""};
    const size_t at = path.rfind('/');
    return Split{at == 0 ? "/" : path.substr(0, at), path.substr(at + 1)};
  }
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  Split split;
  BKFS_ASSIGN(split.parent, Canonical(parent, given));
  split.name = std::move(name);
  return split;
}

void Insert(SourceNode& root, std::string_view path) {
  SourceNode* at = &root;
  while (true) {
    while (path.starts_with('/')) path.remove_prefix(1);
    if (at->is_source) return;  // lies in another source
    if (path.empty()) break;
    const std::string_view name = path.substr(0, path.find('/'));
    at = &at->children[std::string(name)];
    path.remove_prefix(name.size());
  }
  at->is_source = true;
  at->children.clear();
}

}  // namespace

Result<SourcePlan> PlanSources(const std::vector<std::string>& paths) {
  SourcePlan plan;
  plan.root_path = "/";
  for (const auto& given : paths) {
    if (given.empty()) return Status(Code::kInvalid, "a path to back up is empty");
    BKFS_ASSIGN(Split split, SplitPath(given));
    const std::string path = Join(split.parent, split.name);
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) return Status::FromErrno(errno, given);
    plan.paths.push_back(path);
    if (paths.size() > 1) {
      Insert(plan.root, path);
      continue;
    }
    struct stat followed {};
    if (::stat(path.c_str(), &followed) == 0 && S_ISDIR(followed.st_mode)) {
      BKFS_ASSIGN(plan.root_path, Canonical(path, given));
      plan.root.is_source = true;
    } else {
      plan.root_path = split.parent;
      plan.root.children[split.name].is_source = true;
    }
  }
  return plan;
}

}  // namespace bkfs
