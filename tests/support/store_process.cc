// SPDX-License-Identifier: Apache-2.0
#include "tests/support/store_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

extern char** environ;

namespace bkfs {

StoreProcess::StoreProcess(const std::string& script, const std::vector<std::string>& arguments) {
  int in[2];
  int out[2];
  BKFS_CHECK(::pipe2(in, O_CLOEXEC) == 0 && ::pipe2(out, O_CLOEXEC) == 0);
  to_ = UniqueFd(in[1]);
  from_ = UniqueFd(out[0]);
  const UniqueFd child_in(in[0]);
  const UniqueFd child_out(out[1]);
  posix_spawn_file_actions_t actions;
  BKFS_CHECK(::posix_spawn_file_actions_init(&actions) == 0);
  ::posix_spawn_file_actions_adddup2(&actions, child_in.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, child_out.get(), STDOUT_FILENO);
  std::vector<std::string> words{"/usr/bin/python3", std::string(BKFS_STORES) + "/" + script};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int failed = ::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  BKFS_CHECK(failed == 0);
  const std::string line = ReadLine();
  if (line.empty()) Panic(script + " did not start its server", __FILE__, __LINE__);
  const auto facts = nlohmann::json::parse(line);
  for (const auto& [name, value] : facts.items()) {
    facts_[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
}

StoreProcess::~StoreProcess() {
  to_.Reset();
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

const std::string& StoreProcess::Fact(const std::string& name) const {
  auto found = facts_.find(name);
  if (found == facts_.end()) Panic("the server's script does not say " + name, __FILE__, __LINE__);
  return found->second;
}

int StoreProcess::NumberFact(const std::string& name) const { return std::stoi(Fact(name)); }

std::string StoreProcess::Tell(const std::string& line) {
  BKFS_CHECK(WriteAll(to_.get(), AsBytes(line + "\n"), "a store's script").ok());
  return ReadLine();
}

std::string StoreProcess::ReadLine() {
  std::string line;
  char c = 0;
  ssize_t n = 0;
  while ((n = ::read(from_.get(), &c, 1)) != 0) {
    if (n < 0 && errno == EINTR) continue;
    BKFS_CHECK(n > 0);
    if (c == '\n') return line;
    line += c;
  }
  return line;
}

}  // namespace bkfs
