// SPDX-License-Identifier: Apache-2.0
#include "tools/config.h"

#include <charconv>
#include <map>

#include "engine/base/fd.h"
#include "tools/ini.h"
#include "tools/store_url.h"

namespace bkfs {

namespace {
constexpr uint64_t kMaxConfig = 1 << 20;

Status BadValue(std::string_view text, std::string_view want) {
  return {Code::kInvalid, "bad value '" + std::string(text) + "' (want " + std::string(want) + ")"};
}

// One value of the configuration on its way into a Config.
struct Setting {
  const std::string& value;
  const std::string& folder;  // of the configuration file
  const Environment& env;
};
using Setter = std::function<Status(Config&, const Setting&)>;

Result<std::string> ExpandPath(const Setting& s) {
  if (s.value.empty()) return BadValue(s.value, "a path");
  if (s.value.starts_with("~/")) {
    const char* home = s.env("HOME");
    if (home == nullptr) return Status(Code::kInvalid, "'~' without HOME in the environment");
    return home + s.value.substr(1);
  }
  if (s.value[0] == '/') return s.value;
  return s.folder + "/" + s.value;
}

Setter Url(std::string Config::*field) {
  return [field](Config& config, const Setting& s) -> Status {
    if (!LocalPathOf(s.value) || s.value.starts_with("file://")) {
      config.*field = s.value;
      return {};
    }
    BKFS_ASSIGN(config.*field, ExpandPath(s));
    return {};
  };
}

Setter Path(std::string Config::*field) {
  return [field](Config& config, const Setting& s) -> Status {
    BKFS_ASSIGN(config.*field, ExpandPath(s));
    return {};
  };
}

// A Setter from a place in Config and a parser of its values.
template <typename Place, typename Parser>
Setter Parsed(Place place, Parser parse) {
  return [place, parse](Config& config, const Setting& s) -> Status {
    auto parsed = parse(s.value);
    if (!parsed.ok()) return parsed.status();
    place(config) = *parsed;
    return {};
  };
}

auto NumberUpTo(uint64_t most, int base = 10) {
  return [most, base](std::string_view text) -> Result<uint32_t> {
    BKFS_ASSIGN(uint64_t number, ParseNumber(text, most, base));
    return static_cast<uint32_t>(number);
  };
}

Result<std::string> ParseLockMode(std::string_view text) {
  if (text == "COMPLIANCE" || text == "GOVERNANCE") return std::string(text);
  return BadValue(text, "COMPLIANCE or GOVERNANCE");
}

Result<uint32_t> ParseConnections(std::string_view text) {
  constexpr uint64_t kMost = 64;
  auto number = ParseNumber(text, kMost);
  if (!number.ok() || *number == 0) return BadValue(text, "a number from 1 to 64");
  return static_cast<uint32_t>(*number);
}

Result<std::string> NotEmpty(std::string_view text) {
  if (text.empty()) return BadValue(text, "something");
  return std::string(text);
}

Setter AddTo(std::vector<std::string> Config::Backup::*list, bool is_path) {
  return [list, is_path](Config& config, const Setting& s) -> Status {
    std::string value = s.value;
    if (value.empty()) return BadValue(value, "something");
    if (is_path) {
      BKFS_ASSIGN(value, ExpandPath(s));
    }
    (config.backup.*list).push_back(std::move(value));
    return {};
  };
}

using KeyTable = std::map<std::string, Setter, std::less<>>;

KeyTable MountKeys() {
  return {
      {"CommitIdle",
       Parsed(
           [](Config & c) -> auto& { return c.mount.commit_idle_seconds; }, ParseSeconds)},
      {"Lease", Parsed(
                    [](Config & c) -> auto& { return c.mount.lease_seconds; }, ParseLease)},
      {"Timeout", Parsed(
                      [](Config & c) -> auto& { return c.mount.timeout_seconds; }, ParseTimeout)},
      {"SpoolSize", Parsed(
                        [](Config & c) -> auto& { return c.mount.spool_size; }, ParseSize)},
      {"Threads", Parsed(
                      [](Config & c) -> auto& { return c.mount.threads; }, NumberUpTo(64))},
      {"AllowOther", Parsed(
                         [](Config & c) -> auto& { return c.mount.allow_other; }, ParseBool)},
      {"ReadOnly", Parsed(
                       [](Config & c) -> auto& { return c.mount.read_only; }, ParseBool)},
      {"Fsync", Parsed(
                    [](Config & c) -> auto& { return c.mount.fsync_to_store; }, ParseFsyncTarget)},
      {"LogLevel", Parsed(
                       [](Config & c) -> auto& { return c.mount.log_level; }, ParseLogLevel)},
      {"LogFile",
       [](Config& c, const Setting& s) -> Status {
         BKFS_ASSIGN(c.mount.log_file, ExpandPath(s));
         return {};
       }},
      {"Dedup", Parsed(
                    [](Config & c) -> auto& { return c.mount.dedup; }, ParseDedupPolicy)},
      {"Uid", Parsed(
                  [](Config & c) -> auto& { return c.mount.uid; }, NumberUpTo(0xFFFFFFFE))},
      {"Gid", Parsed(
                  [](Config & c) -> auto& { return c.mount.gid; }, NumberUpTo(0xFFFFFFFE))},
      {"Umask", Parsed(
                    [](Config & c) -> auto& { return c.mount.umask; }, NumberUpTo(0777, 8))},
  };
}

// A text of a part of Config.
template <typename Part>
Setter Text(Part part) {
  return [part](Config& config, const Setting& s) -> Status {
    BKFS_ASSIGN(part(config), NotEmpty(s.value));
    return {};
  };
}
template <typename Part>
Setter File(Part part) {
  return [part](Config& config, const Setting& s) -> Status {
    BKFS_ASSIGN(part(config), ExpandPath(s));
    return {};
  };
}

// `of` gives the StoreConfig meant: the repository's or its mirror's.
template <typename Of>
KeyTable SftpKeys(Of of) {
  return {
      {"Password", Text([of](Config & c) -> auto& { return of(c).sftp.password; })},
      {"KeyFile", File([of](Config & c) -> auto& { return of(c).sftp.key_file; })},
      {"Fingerprint", Text([of](Config & c) -> auto& { return of(c).sftp.fingerprint; })},
      {"KnownHosts", File([of](Config & c) -> auto& { return of(c).sftp.known_hosts; })},
  };
}

template <typename Of>
KeyTable S3Keys(Of of) {
  constexpr uint64_t kLongestLock = 36500;
  return {
      {"AccessKeyID", Text([of](Config & c) -> auto& { return of(c).s3.access_key_id; })},
      {"SecretKey", Text([of](Config & c) -> auto& { return of(c).s3.secret_key; })},
      {"SessionToken", Text([of](Config & c) -> auto& { return of(c).s3.session_token; })},
      {"Region", Text([of](Config & c) -> auto& { return of(c).s3.region; })},
      {"LockMode", Parsed(
                       [of](Config & c) -> auto& { return of(c).s3.lock_mode; }, ParseLockMode)},
      {"RetainDays",
       Parsed(
           [of](Config & c) -> auto& { return of(c).s3.lock_days; }, NumberUpTo(kLongestLock))},
      {"StorageClass", Text([of](Config & c) -> auto& { return of(c).s3.storage_class; })},
      {"CAFile", File([of](Config & c) -> auto& { return of(c).s3.ca_file; })},
      {"AllowHTTP", Parsed(
                        [of](Config & c) -> auto& { return of(c).s3.allow_http; }, ParseBool)},
      {"VirtualHost", Parsed(
                          [of](Config & c) -> auto& { return of(c).s3.virtual_host; }, ParseBool)},
  };
}

KeyTable NetworkKeys() {
  return {
      {"Timeout",
       Parsed(
           [](Config & c) -> auto& { return c.store.network.stall_seconds; }, ParseTimeout)},
      {"RetryFor",
       Parsed(
           [](Config & c) -> auto& { return c.store.network.retry_seconds; }, ParseTimeout)},
      {"UploadLimit", Parsed(
                          [](Config & c) -> auto& { return c.store.network.upload; }, ParseRate)},
      {"DownloadLimit",
       Parsed(
           [](Config & c) -> auto& { return c.store.network.download; }, ParseRate)},
      {"Connections",
       Parsed(
           [](Config & c) -> auto& { return c.store.network.connections; }, ParseConnections)},
  };
}

KeyTable RetentionKeys() {
  auto count = [](int64_t RetentionPolicy::*field) {
    return Parsed(
        [field](Config & c) -> auto& { return c.retention.*field; }, ParseKeepCount);
  };
  return {
      {"Last", count(&RetentionPolicy::last)},
      {"Hourly", count(&RetentionPolicy::hourly)},
      {"Daily", count(&RetentionPolicy::daily)},
      {"Weekly", count(&RetentionPolicy::weekly)},
      {"Monthly", count(&RetentionPolicy::monthly)},
      {"Yearly", count(&RetentionPolicy::yearly)},
      {"Within", Parsed(
                     [](Config & c) -> auto& { return c.retention.within; }, ParseRetentionSpan)},
      {"Tag",
       [](Config& c, const Setting& s) -> Status {
         BKFS_ASSIGN(std::string tag, NotEmpty(s.value));
         c.retention.tags.push_back(std::move(tag));
         return {};
       }},
      {"GroupBy", Parsed(
                      [](Config & c) -> auto& { return c.retention.grouping; }, ParseGrouping)},
  };
}

const std::map<std::string, KeyTable, std::less<>>& Sections() {
  constexpr auto kStore = [](Config& c) -> StoreConfig& { return c.store; };
  constexpr auto kMirror = [](Config& c) -> StoreConfig& { return c.mirror_store; };
  static const std::map<std::string, KeyTable, std::less<>> sections = {
      {"Repository",
       {{"URL", Url(&Config::url)},
        {"Mirror", Url(&Config::mirror)},
        {"KeyFile", Path(&Config::key_file)},
        {"PassphraseFile", Path(&Config::passphrase_file)}}},
      {"Cache",
       {{"Directory", Path(&Config::cache_directory)},
        {"Memory", Parsed(
                       [](Config & c) -> auto& { return c.cache_memory; }, ParseSize)},
        {"Size", Parsed(
                     [](Config & c) -> auto& { return c.cache_size; }, ParseSize)}}},
      {"Mount", MountKeys()},
      {"Network", NetworkKeys()},
      {"SFTP", SftpKeys(kStore)},
      {"S3", S3Keys(kStore)},
      {"MirrorSFTP", SftpKeys(kMirror)},
      {"MirrorS3", S3Keys(kMirror)},
      {"Backup",
       {{"Name", Parsed(
                     [](Config & c) -> auto& { return c.backup.name; }, NotEmpty)},
        {"Paths", AddTo(&Config::Backup::paths, true)},
        {"Exclude", AddTo(&Config::Backup::exclude, false)},
        {"OneFileSystem",
         Parsed(
             [](Config & c) -> auto& { return c.backup.one_file_system; }, ParseBool)}}},
      {"Retention", RetentionKeys()},
  };
  return sections;
}

std::string Names(const auto& map) {
  std::string out;
  for (const auto& [name, unused] : map) out += (out.empty() ? "" : ", ") + name;
  return out;
}

Status ApplyEntry(const IniEntry& entry, const std::string& file, const std::string& folder,
                  const Environment& env, Config& config) {
  auto section = Sections().find(entry.section);
  if (section == Sections().end()) {
    return IniError(
        file, entry.line,
        "unknown section [" + entry.section + "] (there are " + Names(Sections()) + ")");
  }
  auto key = section->second.find(entry.key);
  if (key == section->second.end()) {
    return IniError(file, entry.line,
                    "unknown key '" + entry.key + "' in [" + entry.section + "] (there are " +
                        Names(section->second) + ")");
  }
  Status set = key->second(config, {entry.value, folder, env});
  if (!set.ok()) return IniError(file, entry.line, entry.key + ": " + set.message());
  return {};
}

bool MayRepeat(const IniEntry& entry) {
  return (entry.section == "Backup" && (entry.key == "Paths" || entry.key == "Exclude")) ||
         (entry.section == "Retention" && entry.key == "Tag");
}

template <typename T>
void TakeIfSet(T& value, const T& other) {
  if (other != T()) value = other;
}

void TakeMirrors(StoreConfig::Sftp& sftp, const StoreConfig::Sftp& mirror) {
  TakeIfSet(sftp.password, mirror.password);
  TakeIfSet(sftp.key_file, mirror.key_file);
  TakeIfSet(sftp.fingerprint, mirror.fingerprint);
  TakeIfSet(sftp.known_hosts, mirror.known_hosts);
}

void TakeMirrors(StoreConfig::S3& s3, const StoreConfig::S3& mirror) {
  if (!mirror.access_key_id.empty()) {
    // One account's key is not mixed with another's secret.
    s3.access_key_id = mirror.access_key_id;
    s3.secret_key.clear();
    s3.session_token.clear();
  }
  TakeIfSet(s3.secret_key, mirror.secret_key);
  TakeIfSet(s3.session_token, mirror.session_token);
  TakeIfSet(s3.region, mirror.region);
  TakeIfSet(s3.lock_mode, mirror.lock_mode);
  TakeIfSet(s3.lock_days, mirror.lock_days);
  TakeIfSet(s3.storage_class, mirror.storage_class);
  TakeIfSet(s3.ca_file, mirror.ca_file);
  TakeIfSet(s3.allow_http, mirror.allow_http);
  TakeIfSet(s3.virtual_host, mirror.virtual_host);
}

void Override(std::string& value, const std::string& arg, const char* from_env) {
  if (from_env != nullptr && *from_env != '\0') value = from_env;
  if (!arg.empty()) value = arg;
}
}  // namespace

Result<uint64_t> ParseNumber(std::string_view text, uint64_t most, int base) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || number > most) {
    return BadValue(text, base == 8 ? "an octal number" : "a number up to " + std::to_string(most));
  }
  return number;
}

Result<uint64_t> ParseSize(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  std::string_view digits = text;
  unsigned shift = 0;
  if (size_t unit = digits.empty() ? std::string_view::npos : kUnits.find(digits.back());
      unit != std::string_view::npos) {
    shift = 10 * (static_cast<unsigned>(unit) + 1);
    digits.remove_suffix(1);
  }
  auto number = ParseNumber(digits, UINT64_MAX >> shift);
  if (!number.ok()) return BadValue(text, "a size such as 512M or 2G");
  return *number << shift;
}

Result<int64_t> ParseSeconds(std::string_view text) {
  std::string_view digits = text;
  int64_t unit = 1;
  constexpr std::pair<char, int64_t> kUnits[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
  for (const auto& [letter, seconds] : kUnits) {
    if (digits.empty() || digits.back() != letter) continue;
    unit = seconds;
    digits.remove_suffix(1);
    break;
  }
  auto number = ParseNumber(digits, 1'000'000);
  if (!number.ok()) return BadValue(text, "seconds, or a time such as 30s or 5m");
  return static_cast<int64_t>(*number) * unit;
}

Result<int64_t> ParseLease(std::string_view text) {
  constexpr int64_t kLongest = 7 * 86400;
  auto seconds = ParseSeconds(text);
  if (seconds.ok() && *seconds >= 1 && *seconds <= kLongest) return seconds;
  return BadValue(text, "a time from 1s to 7d");
}

Result<uint64_t> ParseRate(std::string_view text) {
  constexpr uint64_t kLeast = 16 << 10;  // less than that would look like a line that is dead
  auto rate = ParseSize(text);
  if (rate.ok() && *rate >= kLeast) return rate;
  return BadValue(text, "bytes a second such as 512K or 2M, at least 16K");
}

Result<int64_t> ParseTimeout(std::string_view text) {
  constexpr int64_t kLongest = 86400;
  auto seconds = ParseSeconds(text);
  if (seconds.ok() && *seconds >= 1 && *seconds <= kLongest) return seconds;
  return BadValue(text, "a time from 1s to 1d");
}

Result<bool> ParseBool(std::string_view text) {
  for (std::string_view yes : {"yes", "true", "on", "1"}) {
    if (text == yes) return true;
  }
  for (std::string_view no : {"no", "false", "off", "0"}) {
    if (text == no) return false;
  }
  return BadValue(text, "yes or no");
}

Result<bool> ParseFsyncTarget(std::string_view text) {
  if (text == "store") return true;
  if (text == "spool") return false;
  return BadValue(text, "store or spool");
}

Result<Config> ParseConfig(std::string_view text, const std::string& file, const Environment& env) {
  BKFS_ASSIGN(std::vector<IniEntry> entries, ParseIni(text, file));
  if (entries.empty()) return IniError(file, 1, "the configuration is empty");
  size_t slash = file.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : file.substr(0, slash);
  Config config;
  std::map<std::string, int> seen;
  for (const IniEntry& entry : entries) {
    auto [first, is_new] = seen.try_emplace(entry.section + "/" + entry.key, entry.line);
    if (!is_new && !MayRepeat(entry)) {
      return IniError(
          file, entry.line,
          entry.key + " is given twice (first in line " + std::to_string(first->second) + ")");
    }
    BKFS_TRY(ApplyEntry(entry, file, folder, env, config));
  }
  return config;
}

Result<Config> LoadConfig(const std::string& file, const Environment& env) {
  auto bytes = ReadWholeFile(file, kMaxConfig);
  if (!bytes.ok()) {
    return Status(Code::kInvalid, "cannot read the configuration: " + bytes.status().message());
  }
  return ParseConfig(AsText(*bytes), file, env);
}

Config MirrorConfig(const Config& config) {
  Config mirror = config;
  mirror.url = config.mirror;
  mirror.mirror.clear();
  TakeMirrors(mirror.store.sftp, config.mirror_store.sftp);
  TakeMirrors(mirror.store.s3, config.mirror_store.s3);
  mirror.mirror_store = {};
  return mirror;
}

Result<Config> MakeConfig(const ConfigArgs& args, const Environment& env) {
  std::string file;
  Override(file, args.config_file, env("BKFS_CONFIG_FILE"));
  Config config;
  if (!file.empty()) {
    BKFS_ASSIGN(config, LoadConfig(file, env));
  }
  const std::string of_file = config.url;
  Override(config.url, args.url, env("BKFS_REPOSITORY"));
  const bool is_mirror = !config.mirror.empty() && config.url == config.mirror;
  if (config.url != of_file && !is_mirror) config.mirror.clear();
  Override(config.key_file, args.key_file, env("BKFS_KEY_FILE"));
  Override(config.passphrase_file, args.passphrase_file, env("BKFS_PASSPHRASE_FILE"));
  Override(config.cache_directory, args.cache_directory, env("BKFS_CACHE_DIR"));
  Override(config.store.sftp.key_file, "", env("BKFS_SFTP_KEYFILE"));
  Override(config.store.sftp.fingerprint, "", env("BKFS_SFTP_FINGERPRINT"));
  // These are everybody's, not ours: they fill in what the configuration leaves out.
  StoreConfig::S3& s3 = config.store.s3;
  if (s3.access_key_id.empty()) {
    Override(s3.access_key_id, "", env("AWS_ACCESS_KEY_ID"));
    if (s3.secret_key.empty()) Override(s3.secret_key, "", env("AWS_SECRET_ACCESS_KEY"));
    if (s3.session_token.empty()) Override(s3.session_token, "", env("AWS_SESSION_TOKEN"));
  }
  if (s3.region.empty()) Override(s3.region, "", env("AWS_REGION"));
  if (is_mirror && config.url != of_file) return MirrorConfig(config);
  return config;
}

}  // namespace bkfs
