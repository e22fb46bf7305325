// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_bkfs/options.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "tools/store_url.h"

namespace bkfs {

namespace {
using Words = std::set<std::string, std::less<>>;

// What mount(8), fstab(5) and systemd mean for themselves.
const Words& PassedOver() {
  static const Words words = {
      "defaults",   "auto",          "noauto",  "user",     "users",      "nouser",
      "owner",      "noowner",       "group",   "nogroup",  "_netdev",    "nofail",
      "relatime",   "norelatime",    "atime",   "lazytime", "nolazytime", "strictatime",
      "async",      "silent",        "loud",    "iversion", "mand",       "nomand",
      "noiversion", "nostrictatime", "diratime"};
  return words;
}

// What FUSE understands and the kernel enforces.
const Words& ForTheKernel() {
  static const Words words = {"nodev", "nosuid",     "noexec",  "exec",       "noatime",
                              "sync",  "nodiratime", "dirsync", "nosymfollow"};
  return words;
}

// Means more than a user may ask for; mount(8) adds them by itself for some calls.
const Words& ForTheKernelAsRoot() {
  static const Words words = {"dev", "suid"};
  return words;
}

using ValueSetter = std::function<Status(Config&, std::string_view)>;

template <typename Place, typename Parser>
ValueSetter Parsed(Place place, Parser parse) {
  return [place, parse](Config& config, std::string_view text) -> Status {
    auto value = parse(text);
    if (!value.ok()) return value.status();
    place(config) = *value;
    return {};
  };
}

Result<std::string> AbsolutePath(std::string_view text) {
  if (text.empty()) return Status(Code::kInvalid, "bad value '' (want a path)");
  std::error_code error;
  auto path = std::filesystem::absolute(std::string(text), error);
  if (error) return Status::FromErrno(error.value(), text);
  return path.lexically_normal().string();
}

auto NumberParser(uint64_t least, uint64_t most, int base) {
  return [=](std::string_view text) -> Result<uint32_t> {
    BKFS_ASSIGN(uint64_t number, ParseNumber(text, most, base));
    if (number < least) {
      return Status(Code::kInvalid, "bad value '" + std::string(text) + "' (want " +
                                        std::to_string(least) + " or more)");
    }
    return static_cast<uint32_t>(number);
  };
}

const std::map<std::string, ValueSetter, std::less<>>& WithValue() {
  constexpr uint64_t kMaxId = 0xFFFFFFFE;
  static const std::map<std::string, ValueSetter, std::less<>> options = {
      {"key", Parsed(
                  [](Config & c) -> auto& { return c.key_file; }, AbsolutePath)},
      {"passphrase_file", Parsed(
                              [](Config & c) -> auto& { return c.passphrase_file; }, AbsolutePath)},
      {"cache_dir", Parsed(
                        [](Config & c) -> auto& { return c.cache_directory; }, AbsolutePath)},
      {"cache_memory", Parsed(
                           [](Config & c) -> auto& { return c.cache_memory; }, ParseSize)},
      {"cache_size", Parsed(
                         [](Config & c) -> auto& { return c.cache_size; }, ParseSize)},
      {"commit_idle",
       Parsed(
           [](Config & c) -> auto& { return c.mount.commit_idle_seconds; }, ParseSeconds)},
      {"lease", Parsed(
                    [](Config & c) -> auto& { return c.mount.lease_seconds; }, ParseLease)},
      {"timeout", Parsed(
                      [](Config & c) -> auto& { return c.mount.timeout_seconds; }, ParseTimeout)},
      {"spool_size", Parsed(
                         [](Config & c) -> auto& { return c.mount.spool_size; }, ParseSize)},
      {"limit_upload", Parsed(
                           [](Config & c) -> auto& { return c.store.network.upload; }, ParseRate)},
      {"limit_download",
       Parsed(
           [](Config & c) -> auto& { return c.store.network.download; }, ParseRate)},
      {"threads",
       Parsed(
           [](Config & c) -> auto& { return c.mount.threads; }, NumberParser(1, 64, 10))},
      {"loglevel", Parsed(
                       [](Config & c) -> auto& { return c.mount.log_level; }, ParseLogLevel)},
      {"logfile", Parsed(
                      [](Config & c) -> auto& { return c.mount.log_file; }, AbsolutePath)},
      {"fsync", Parsed(
                    [](Config & c) -> auto& { return c.mount.fsync_to_store; }, ParseFsyncTarget)},
      {"dedup", Parsed(
                    [](Config & c) -> auto& { return c.mount.dedup; }, ParseDedupPolicy)},
      {"uid", Parsed(
                  [](Config & c) -> auto& { return c.mount.uid; }, NumberParser(0, kMaxId, 10))},
      {"gid", Parsed(
                  [](Config & c) -> auto& { return c.mount.gid; }, NumberParser(0, kMaxId, 10))},
      {"umask", Parsed(
                    [](Config & c) -> auto& { return c.mount.umask; }, NumberParser(0, 0777, 8))},
  };
  return options;
}

bool IsPassedOver(std::string_view name) {
  return PassedOver().contains(name) || name.starts_with("x-") || name.starts_with("X-") ||
         name == "comment" || name == "uhelper" || name == "helper";
}

// One option of -o.
Status ApplyOption(std::string_view option, bool sloppy, MountOptions& out) {
  const size_t equals = option.find('=');
  const std::string name(option.substr(0, equals));
  if (name.empty() && equals == std::string_view::npos) return {};
  if (IsPassedOver(name)) return {};
  if (auto found = WithValue().find(name); found != WithValue().end()) {
    if (equals == std::string_view::npos) {
      return {Code::kInvalid, "option '" + name + "' wants a value"};
    }
    Status set = found->second(out.config, option.substr(equals + 1));
    return set.ok() ? set : Status(Code::kInvalid, "option " + name + ": " + set.message());
  }
  if (equals == std::string_view::npos) {
    if (name == "ro" || name == "rw") {
      out.config.mount.read_only = name == "ro";
      return {};
    }
    if (name == "allow_other") {
      out.config.mount.allow_other = true;
      return {};
    }
    if (ForTheKernel().contains(name)) {
      out.kernel_options.push_back(name);
      return {};
    }
    if (ForTheKernelAsRoot().contains(name)) {
      if (::geteuid() == 0) out.kernel_options.push_back(name);
      return {};
    }
  }
  if (sloppy) return {};
  return {Code::kInvalid, "unknown option '" + std::string(option) + "'"};
}

// Where a value that begins with a double quote at `at` ends, as in mount(8): at a quote before a
// comma or the end. npos: a quote like any other character.
size_t EndOfQuoted(std::string_view text, size_t at) {
  size_t end = text.find('"', at + 1);
  while (end != std::string_view::npos && end + 1 < text.size() && text[end + 1] != ',') {
    end = text.find('"', end + 1);
  }
  return end;
}

// Commas part options; a backslash takes a comma's meaning away, and so do quotes around a value.
std::vector<std::string> SplitOptions(std::string_view text) {
  std::vector<std::string> out(1);
  for (size_t i = 0; i < text.size(); ++i) {
    const bool quoted = text[i] == '"' && i > 0 && text[i - 1] == '=';
    if (const size_t end = quoted ? EndOfQuoted(text, i) : std::string_view::npos;
        end != std::string_view::npos) {
      out.back() += text.substr(i + 1, end - i - 1);
      i = end;
    } else if (text[i] == '\\' && i + 1 < text.size() &&
               (text[i + 1] == ',' || text[i + 1] == '\\')) {
      out.back() += text[++i];
    } else if (text[i] == ',') {
      out.emplace_back();
    } else {
      out.back() += text[i];
    }
  }
  return out;
}

struct CommandLine {
  std::vector<std::string> operands;
  std::vector<std::string> options;
  bool sloppy = false;
};

Status TakeFlags(const std::string& word, const std::vector<std::string>& arguments, size_t& at,
                 CommandLine& line, MountOptions& out) {
  for (size_t i = 1; i < word.size(); ++i) {
    switch (word[i]) {
      case 'f': out.foreground = true; break;
      case 'v': out.verbose = true; break;
      case 'n':  // no mtab: there is none
        break;
      case 's': line.sloppy = true; break;
      case 'r': line.options.emplace_back("ro"); break;
      case 'w': line.options.emplace_back("rw"); break;
      case 'h': out.help = true; break;
      case 'V': out.version = true; break;
      case 'o':
      case 't': {  // mount(8) may say the type, which is known
        std::string value = word.substr(i + 1);
        if (value.empty() && ++at < arguments.size()) value = arguments[at];
        if (value.empty()) return {Code::kInvalid, std::string("-") + word[i] + " wants a value"};
        if (word[i] == 'o') {
          for (std::string& option : SplitOptions(value)) line.options.push_back(option);
        }
        return {};
      }
      default: return {Code::kInvalid, std::string("unknown option '-") + word[i] + "'"};
    }
  }
  return {};
}

Result<CommandLine> ReadCommandLine(const std::vector<std::string>& arguments, MountOptions& out) {
  CommandLine line;
  bool only_operands = false;
  for (size_t at = 0; at < arguments.size(); ++at) {
    const std::string& word = arguments[at];
    if (only_operands || word.size() < 2 || word[0] != '-') {
      line.operands.push_back(word);
    } else if (word == "--") {
      only_operands = true;
    } else if (word == "--help" || word == "--version") {
      (word == "--help" ? out.help : out.version) = true;
    } else if (word[1] == '-') {
      return Status(Code::kInvalid, "unknown option '" + word + "'");
    } else {
      BKFS_TRY(TakeFlags(word, arguments, at, line, out));
    }
  }
  return line;
}

// The configuration that SOURCE stands for: its own if it is a file, else the environment's with
// SOURCE as the repository.
Result<Config> ConfigOf(const std::string& source, const Environment& env) {
  struct stat st {};
  ConfigArgs from;
  if (source.find("://") == std::string::npos && ::stat(source.c_str(), &st) == 0 &&
      S_ISREG(st.st_mode)) {
    BKFS_ASSIGN(from.config_file, AbsolutePath(source));
    BKFS_ASSIGN(Config config, MakeConfig(from, env));
    if (config.url.empty()) {
      return Status(Code::kInvalid, source + ": no URL= in [Repository]");
    }
    return config;
  }
  from.url = source;
  return MakeConfig(from, env);
}
}  // namespace

Result<MountOptions> ParseMountOptions(const std::vector<std::string>& arguments,
                                       const Environment& env) {
  MountOptions out;
  BKFS_ASSIGN(CommandLine line, ReadCommandLine(arguments, out));
  if (out.help || out.version) return out;
  if (line.operands.size() != 2) {
    return Status(Code::kInvalid, "want SOURCE and MOUNTPOINT (see mount.bkfs --help)");
  }
  out.source = line.operands[0];
  out.mountpoint = line.operands[1];
  BKFS_ASSIGN(out.config, ConfigOf(out.source, env));
  for (const std::string& option : line.options) {
    BKFS_TRY(ApplyOption(option, line.sloppy, out));
  }
  // The daemon leaves the current folder.
  for (std::string* path :
       {&out.config.key_file, &out.config.passphrase_file, &out.config.cache_directory,
        &out.config.mount.log_file, &out.config.store.sftp.key_file,
        &out.config.store.sftp.known_hosts, &out.config.store.s3.ca_file}) {
    if (path->empty()) continue;
    BKFS_ASSIGN(*path, AbsolutePath(*path));
  }
  if (std::optional<std::string> local = LocalPathOf(out.config.url); local && !local->empty()) {
    BKFS_ASSIGN(out.config.url, AbsolutePath(*local));
  }
  return out;
}

std::string MountUsage() {
  return "Usage: mount.bkfs SOURCE MOUNTPOINT [-fnrsvw] [-o OPTION,...]\n"
         "\n"
         "SOURCE is the URL or path of a repository, or a configuration file.\n"
         "  -f  stay in the foreground      -r  read-only (as -o ro)\n"
         "  -s  pass over unknown options   -v  say what was done\n"
         "\n"
         "Options:\n"
         "  key=FILE                the key file\n"
         "  passphrase_file=FILE    its passphrase is the file's first line\n"
         "  ro, rw                  without and with /incoming (which the key must allow)\n"
         "  allow_other             let other users in; permissions are checked then\n"
         "  uid=N, gid=N, umask=N   show these instead of what is stored\n"
         "  cache_dir=DIR           where local state lives\n"
         "  cache_memory=SIZE       memory for caches, e.g. 256M\n"
         "  cache_size=SIZE         disk for what was read from a store far away; 0: none\n"
         "  spool_size=SIZE         what may wait for the store; beyond, writes wait\n"
         "  timeout=TIME            how long a read waits for the store, then EIO (120s)\n"
         "  limit_upload=RATE       bytes a second at most, e.g. 2M\n"
         "  limit_download=RATE     the same for what comes\n"
         "  commit_idle=SECONDS     a snapshot after so long without changes; 0: when asked only\n"
         "  lease=TIME              how long what is in no snapshot yet is kept while this is off\n"
         "  fsync=spool|store       where fsync(2) of a file makes it durable\n"
         "  dedup=own|trusted|all   whose stored data may stand for this machine's\n"
         "  threads=N               requests worked on at the same time\n"
         "  loglevel=LEVEL          debug, info, warning or error\n"
         "  logfile=FILE            default: mount.log in the cache directory\n"
         "and those of mount(8): nodev, noexec, noauto, user, _netdev, x-systemd.automount ...\n";
}

}  // namespace bkfs
