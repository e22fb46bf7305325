// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/repo/repository.h"
#include "tools/config.h"
#include "tools/exit_codes.h"

namespace bkfs {

// The options a command was given, by long name. Flags have an empty value.
class Arguments {
 public:
  bool Has(const std::string& option) const { return values_.contains(option); }
  // The last value given; `fallback` when there is none.
  std::string Get(const std::string& option, const std::string& fallback = "") const;
  std::vector<std::string> All(const std::string& option) const;
  const std::vector<std::string>& positional() const { return positional_; }

  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> positional_;
};

// What a command works with. Lives as long as the command.
struct Context {
  Arguments args;
  Environment env;
  Config config;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  bool only_looks = false;
  Logger* log = nullptr;
  Clock* clock = nullptr;

  Result<std::unique_ptr<Repository>> Open(Repository::Options options = {}) const;
};

struct OptionSpec {
  std::string name;   // "name" or "name,n"
  std::string value;  // placeholder, "" for a flag, "[=PLACEHOLDER]" if it may be left out
  std::string help;
};

struct Command {
  std::string name;       // "key list" has a space
  std::string arguments;  // "SNAP[:PATH] DEST"
  std::string summary;
  std::vector<OptionSpec> options;
  size_t least = 0;  // positional arguments
  size_t most = 0;
  std::function<Result<int>(Context&)> run;
  bool only_looks = false;  // may be interrupted anywhere
};

// All commands, in the order help shows them.
std::vector<Command> AllCommands();
// Parses everything behind the program's name; kInvalid (with what to do) for wrong usage.
Result<int> RunProgram(const std::vector<std::string>& arguments, const Environment& env);

// The groups of commands; each file has one.
std::vector<Command> KeyCommands();
std::vector<Command> SnapshotCommands();
std::vector<Command> LookCommands();
std::vector<Command> BackupCommands();
std::vector<Command> RestoreCommands();
std::vector<Command> CopyCommands();
std::vector<Command> ForgetCommands();
std::vector<Command> CheckCommands();
std::vector<Command> MaintainCommands();
std::vector<Command> MountCommands();

// True once SIGINT or SIGTERM arrived. A second one ends the program wherever it is.
bool Interrupted();
// From now on the first one does: nothing is begun that had to be tidied up.
void EndAtOnceWhenInterrupted();

}  // namespace bkfs
