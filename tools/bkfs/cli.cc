// SPDX-License-Identifier: Apache-2.0
#include "tools/bkfs/cli.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <iostream>

#include "engine/base/transfer.h"
#include "tools/bkfs/output.h"
#include "tools/open_repository.h"

namespace bkfs {

namespace po = boost::program_options;

namespace {

// Lines as the program's own: who sits before a terminal has a clock.
class TerminalLogger final : public Logger {
 public:
  explicit TerminalLogger(bool verbose) : least_(verbose ? LogLevel::kInfo : LogLevel::kWarning) {}
  void Log(LogLevel level, std::string_view message) override {
    if (level < least_) return;
    std::string line = "bkfs: ";
    if (level == LogLevel::kWarning) line += "warning: ";
    line += message;
    line += "\n";
    std::cerr << line;  // at once, since threads write here
  }

 private:
  const LogLevel least_;
};

const std::vector<OptionSpec>& GlobalOptions() {
  static const std::vector<OptionSpec> kOptions{
      {"config,C", "FILE", "configuration file (BKFS_CONFIG_FILE)"},
      {"repository,R", "URL", "a folder, user@host:folder, https://host/bucket (BKFS_REPOSITORY)"},
      {"key-file,K", "FILE", "keyfile (BKFS_KEY_FILE)"},
      {"passphrase-file", "FILE", "passphrase of the keyfile (BKFS_PASSPHRASE_FILE)"},
      {"cache-dir", "DIR", "where caches are kept (BKFS_CACHE_DIR)"},
      {"limit-upload", "RATE", "bytes a second at most to the store, e.g. 512K or 2M"},
      {"limit-download", "RATE", "the same from the store"},
      {"json", "", "results as JSON"},
      {"quiet,q", "", "no progress"},
      {"verbose,v", "", "say more"},
      {"help,h", "", "this help"},
  };
  return kOptions;
}

void AddOptions(const std::vector<OptionSpec>& specs, po::options_description& to) {
  for (const auto& spec : specs) {
    if (spec.value.empty()) {
      to.add_options()(spec.name.c_str(), po::bool_switch(), spec.help.c_str());
      continue;
    }
    auto* value = po::value<std::vector<std::string>>()->composing()->value_name(spec.value);
    if (spec.value.starts_with("[=")) {
      value->value_name(spec.value.substr(2, spec.value.size() - 3));
      value->implicit_value({""}, "");
    }
    to.add_options()(spec.name.c_str(), value, spec.help.c_str());
  }
}

void PrintCommandHelp(const Command& command) {
  std::cout << "bkfs " << command.name << (command.options.empty() ? "" : " [OPTION...]")
            << (command.arguments.empty() ? "" : " ") << command.arguments << "\n"
            << command.summary << "\n";
  po::options_description own("Options");
  AddOptions(command.options, own);
  po::options_description global("General options");
  AddOptions(GlobalOptions(), global);
  if (!command.options.empty()) std::cout << "\n" << own;
  std::cout << "\n" << global;
}

void PrintHelp(const std::vector<Command>& commands) {
  std::cout << "bkfs: an encrypted, deduplicating backup repository that is a folder\n\n"
               "  mount.bkfs REPOSITORY DIR -o key=FILE   mounts it: copy into DIR/incoming/NAME/\n"
               "  bkfs COMMAND [OPTION...]                does what a mount cannot\n\n"
               "Commands:\n";
  for (const auto& command : commands) {
    std::string call = command.name + " " + command.arguments;
    call.resize(std::max<size_t>(call.size(), 34), ' ');
    std::cout << "  " << call << " " << command.summary << "\n";
  }
  std::cout
      << "\n'bkfs COMMAND --help' shows a command's options. SNAP is an id, the beginning of one,\n"
         "a series' name (its latest snapshot) or name@time.\n"
         "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 done but some source files\n"
         "could not be read, 10 no repository there, 12 key does not fit, 13 damage found,\n"
         "130 interrupted.\n";
}

Result<Arguments> ParseArguments(const Command& command, const std::vector<std::string>& words) {
  po::options_description all;
  AddOptions(GlobalOptions(), all);
  AddOptions(command.options, all);
  all.add_options()("positional", po::value<std::vector<std::string>>());
  po::positional_options_description rest;
  rest.add("positional", -1);
  Arguments out;
  try {
    const auto parsed =
        po::command_line_parser(words)
            .options(all)
            .positional(rest)
            .style(po::command_line_style::unix_style & ~po::command_line_style::allow_guessing)
            .run();
    po::variables_map values;
    po::store(parsed, values);
    for (const auto& [name, value] : values) {
      if (const auto* flag = boost::any_cast<bool>(&value.value())) {
        if (*flag) out.values_[name] = {};
        continue;
      }
      const auto& list = value.as<std::vector<std::string>>();
      if (name == "positional") {
        out.positional_ = list;
      } else {
        out.values_[name] = list;
      }
    }
  } catch (const po::error& error) {
    return Status(Code::kInvalid, std::string(error.what()) + " ('bkfs " + command.name +
                                      " --help' shows what there is)");
  }
  return out;
}

Status CheckCount(const Command& command, size_t count) {
  if (count >= command.least && count <= command.most) return {};
  const std::string takes = command.arguments.empty() ? ": no arguments" : " " + command.arguments;
  return {Code::kInvalid,
          "usage: bkfs " + command.name + (command.options.empty() ? "" : " [OPTION...]") + takes};
}

// Of the options that may stand before the command.
bool TakesValue(const std::string& word) {
  return word == "-R" || word == "-K" || word == "-C" || word == "--repository" ||
         word == "--key-file" || word == "--config" || word == "--cache-dir" ||
         word == "--passphrase-file" || word == "--limit-upload" || word == "--limit-download";
}

// Why TakeCommand found nothing: names the word that it stopped at.
Status NoCommand(const std::vector<Command>& commands, const std::vector<std::string>& words) {
  constexpr const char* kHelp = " ('bkfs help' lists them)";
  size_t at = 0;
  while (at < words.size() && words[at].starts_with('-')) at += TakesValue(words[at]) ? 2 : 1;
  if (at >= words.size()) return {Code::kInvalid, std::string("which command?") + kHelp};
  std::string longer;
  for (const auto& command : commands) {
    if (command.name.starts_with(words[at] + " ")) {
      longer += (longer.empty() ? "" : ", ") + command.name;
    }
  }
  if (!longer.empty()) return {Code::kInvalid, "want one of: " + longer};
  return {Code::kInvalid, "there is no command '" + words[at] + "'" + kHelp};
}

// The command that `words` begin with ("key list" takes two); removes its name from them.
const Command* TakeCommand(const std::vector<Command>& commands, std::vector<std::string>& words) {
  // Global options may stand before the command; the first words that name one decide.
  for (size_t at = 0; at < words.size(); ++at) {
    for (const auto& command : commands) {
      const size_t space = command.name.find(' ');
      if (space == std::string::npos) {
        if (words[at] != command.name) continue;
        words.erase(words.begin() + static_cast<ptrdiff_t>(at));
        return &command;
      }
      if (words[at] != command.name.substr(0, space) || at + 1 >= words.size() ||
          words[at + 1] != command.name.substr(space + 1)) {
        continue;
      }
      words.erase(words.begin() + static_cast<ptrdiff_t>(at),
                  words.begin() + static_cast<ptrdiff_t>(at) + 2);
      return &command;
    }
    if (TakesValue(words[at])) {
      ++at;
    } else if (!words[at].starts_with('-')) {
      return nullptr;
    }
  }
  return nullptr;
}

Status TakeLimits(const Arguments& args, StoreConfig::Network& network) {
  for (const auto& [option, limit] : {std::pair{"limit-upload", &network.upload},
                                      std::pair{"limit-download", &network.download}}) {
    if (!args.Has(option)) continue;
    auto rate = ParseRate(args.Get(option));
    if (!rate.ok()) return rate.status().WithContext("--" + std::string(option));
    *limit = *rate;
  }
  return {};
}

}  // namespace

std::string Arguments::Get(const std::string& option, const std::string& fallback) const {
  auto found = values_.find(option);
  return found == values_.end() || found->second.empty() ? fallback : found->second.back();
}

std::vector<std::string> Arguments::All(const std::string& option) const {
  auto found = values_.find(option);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

Result<std::unique_ptr<Repository>> Context::Open(Repository::Options options) const {
  // Once it is open, each command knows by itself what an interruption has to leave in order.
  WaitLimit until_interrupted(WaitLimit::kForever, Interrupted);
  const WatchScope scope(until_interrupted);
  auto repo = OpenRepository(config, env, std::move(options), *log, *clock);
  if (only_looks) EndAtOnceWhenInterrupted();
  if (Interrupted() && (repo.ok() || repo.code() == Code::kInterrupted)) {
    return Status(Code::kInterrupted, "interrupted");
  }
  return repo;
}

std::vector<Command> AllCommands() {
  std::vector<Command> all;
  for (auto group :
       {KeyCommands(), BackupCommands(), SnapshotCommands(), LookCommands(), RestoreCommands(),
        CopyCommands(), MountCommands(), ForgetCommands(), MaintainCommands(), CheckCommands()}) {
    for (auto& command : group) all.push_back(std::move(command));
  }
  return all;
}

Result<int> RunProgram(const std::vector<std::string>& arguments, const Environment& env) {
  const std::vector<Command> commands = AllCommands();
  std::vector<std::string> words = arguments;
  if (words.empty() || words[0] == "help" || words[0] == "--help" || words[0] == "-h") {
    if (words.size() > 1) {
      words.erase(words.begin());
      if (const Command* command = TakeCommand(commands, words)) {
        PrintCommandHelp(*command);
        return int{kExitDone};
      }
      return NoCommand(commands, words);
    }
    PrintHelp(commands);
    return words.empty() ? int{kExitUsage} : int{kExitDone};
  }
  if (words[0] == "--version" || words[0] == "-V") words[0] = "version";
  const Command* command = TakeCommand(commands, words);
  if (!command) return NoCommand(commands, words);
  Context context;
  BKFS_ASSIGN(context.args, ParseArguments(*command, words));
  if (context.args.Has("help")) {
    PrintCommandHelp(*command);
    return int{kExitDone};
  }
  BKFS_TRY(CheckCount(*command, context.args.positional().size()));
  context.env = env;
  context.json = context.args.Has("json");
  context.quiet = context.args.Has("quiet");
  context.verbose = context.args.Has("verbose");
  ConfigArgs config;
  config.config_file = context.args.Get("config");
  config.url = context.args.Get("repository");
  config.key_file = context.args.Get("key-file");
  config.passphrase_file = context.args.Get("passphrase-file");
  config.cache_directory = context.args.Get("cache-dir");
  BKFS_ASSIGN(context.config, MakeConfig(config, env));
  BKFS_TRY(TakeLimits(context.args, context.config.store.network));
  TerminalLogger log(context.verbose);
  SystemClock clock;
  context.log = &log;
  context.clock = &clock;
  // Not before the key is asked for: the prompt has something to tidy up.
  context.only_looks = command->only_looks;
  return command->run(context);
}

}  // namespace bkfs
