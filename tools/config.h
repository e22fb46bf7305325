// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/log.h"
#include "engine/maintain/retention.h"
#include "engine/repo/blob_writer.h"

namespace bkfs {

// How a store on another machine is reached. Secrets stand in here as they stand in the file.
struct StoreConfig {
  // [SFTP]; environment: BKFS_SFTP_KEYFILE, BKFS_SFTP_FINGERPRINT
  struct Sftp {
    std::string password;     // Password=
    std::string key_file;     // KeyFile=
    std::string fingerprint;  // Fingerprint=: of the host's key, "SHA256:..."
    std::string known_hosts;  // KnownHosts=: instead of the user's and the system's file
  } sftp;
  // [S3]; environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION
  struct S3 {
    std::string access_key_id;          // AccessKeyID=
    std::string secret_key;             // SecretKey=
    std::string session_token;          // SessionToken=
    std::string region;                 // Region=
    std::string lock_mode;              // LockMode=COMPLIANCE|GOVERNANCE
    std::optional<uint32_t> lock_days;  // RetainDays=
    std::string storage_class;          // StorageClass=
    std::string ca_file;                // CAFile=
    std::optional<bool> allow_http;     // AllowHTTP=
    std::optional<bool> virtual_host;   // VirtualHost=
  } s3;
  // [Network]
  struct Network {
    std::optional<int64_t> stall_seconds;  // Timeout=: of a request in which nothing moves
    std::optional<int64_t> retry_seconds;  // RetryFor=: how long what failed is tried again
    std::optional<uint64_t> upload;        // UploadLimit=: bytes a second
    std::optional<uint64_t> download;      // DownloadLimit=
    std::optional<uint32_t> connections;   // Connections=
  } network;
};

// What a configuration file, the environment and a command line say together. Strings are empty and
// optionals absent where nobody said anything.
struct Config {
  // [Repository]
  std::string url;              // URL=: a path, file:///path, user@host:/path, https://...
  std::string mirror;           // Mirror=: another such place, which gets every object too
  std::string key_file;         // KeyFile=
  std::string passphrase_file;  // PassphraseFile=
  // [Cache]
  std::string cache_directory;           // Directory=
  std::optional<uint64_t> cache_memory;  // Memory=: for caches, e.g. 256M
  std::optional<uint64_t> cache_size;    // Size=: disk for what was read from afar; 0: none
  StoreConfig store;
  StoreConfig mirror_store;  // [MirrorSFTP], [MirrorS3]: where the mirror needs other things
  // [Mount]
  struct Mount {
    std::optional<int64_t> commit_idle_seconds;  // CommitIdle=
    std::optional<int64_t> lease_seconds;        // Lease=: 1s to 7d
    std::optional<int64_t> timeout_seconds;      // Timeout=: how long a read waits for the store
    std::optional<uint64_t> spool_size;          // SpoolSize=: what waits for the store, at most
    std::optional<unsigned> threads;             // Threads=
    std::optional<bool> allow_other;             // AllowOther=
    std::optional<bool> read_only;               // ReadOnly=
    std::optional<bool> fsync_to_store;          // Fsync=store|spool
    std::optional<LogLevel> log_level;           // LogLevel=
    std::string log_file;                        // LogFile=
    std::optional<DedupPolicy> dedup;            // Dedup=own|trusted|all
    std::optional<uint32_t> uid;                 // Uid=
    std::optional<uint32_t> gid;                 // Gid=
    std::optional<uint32_t> umask;               // Umask= (octal)
  } mount;
  // [Backup]
  struct Backup {
    std::string name;                  // Name=
    std::vector<std::string> paths;    // Paths=, may be repeated
    std::vector<std::string> exclude;  // Exclude=, may be repeated
    std::optional<bool> one_file_system;
  } backup;
  // [Retention] Last=, Hourly=, Daily=, Weekly=, Monthly=, Yearly=, Within=, Tag= (may be
  // repeated), GroupBy=. Nothing of it allows that a whole group is removed.
  RetentionPolicy retention;
};

// What -C, -R, -K and their like gave; empty where they were not.
struct ConfigArgs {
  std::string config_file;
  std::string url;
  std::string key_file;
  std::string passphrase_file;
  std::string cache_directory;
};
// getenv(3), handed in so that tests hold it.
using Environment = std::function<const char*(const char* name)>;

// The configuration in INI text. An unknown section or key, a key given twice, and a bad value are
// kInvalid with "<file>:<line>: ". Relative paths count from the file's folder; "~/" is $HOME.
Result<Config> ParseConfig(std::string_view text, const std::string& file, const Environment& env);
// The same from a file. kInvalid when it cannot be read or is empty.
Result<Config> LoadConfig(const std::string& file, const Environment& env);
// The configuration of the mirror alone, as a repository: its URL, and how that is reached.
Config MirrorConfig(const Config& config);
// Command line before environment (BKFS_CONFIG_FILE, BKFS_REPOSITORY, BKFS_KEY_FILE,
// BKFS_PASSPHRASE_FILE, BKFS_CACHE_DIR, and those above) before configuration file. A repository
// that is not the file's has not the file's mirror either; the file's mirror itself may be named.
Result<Config> MakeConfig(const ConfigArgs& args, const Environment& env);

// Values as options and configuration share them; errors are kInvalid and name the value.
Result<uint64_t> ParseSize(std::string_view text);    // 4096, 512K, 64M, 2G, 1T (powers of 1024)
Result<uint64_t> ParseRate(std::string_view text);    // the same a second; at least 16K
Result<int64_t> ParseTimeout(std::string_view text);  // a time from 1s to 1d
Result<int64_t> ParseSeconds(std::string_view text);  // 10, 10s, 5m, 1h, 2d
Result<int64_t> ParseLease(std::string_view text);    // a time from 1s to 7d
Result<uint64_t> ParseNumber(std::string_view text, uint64_t most, int base = 10);
Result<bool> ParseBool(std::string_view text);         // yes|no|true|false|on|off|1|0
Result<bool> ParseFsyncTarget(std::string_view text);  // store (true) | spool (false)

}  // namespace bkfs
