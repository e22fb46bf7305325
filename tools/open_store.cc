// SPDX-License-Identifier: Apache-2.0
#include "tools/open_store.h"

#include <filesystem>

#include "backends/decorators/bandwidth_backend.h"
#include "backends/decorators/read_cache_backend.h"
#include "backends/decorators/retry_backend.h"
#include "backends/decorators/stall_backend.h"
#include "backends/local/local_backend.h"
#include "backends/s3/s3_backend.h"
#include "backends/sftp/sftp_backend.h"
#include "engine/base/transfer.h"
#include "engine/crypto/hash.h"
#include "tools/open_repository.h"
#include "tools/prompt.h"

namespace bkfs {

namespace {
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStallSeconds = 60;
constexpr int64_t kRetrySeconds = 600;
constexpr uint64_t kReadCache = 1ULL << 30;

using StorePtr = std::unique_ptr<Backend>;

Result<StorePtr> OpenLocal(const std::string& url, bool create) {
  const std::string path = *LocalPathOf(url);
  if (path.empty()) return Status(Code::kInvalid, "repository URL '" + url + "' has no path");
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  if (error) return Status::FromErrno(error.value(), path);
  auto store = OpenLocalBackend(absolute.lexically_normal().string(), create);
  if (!create && (store.code() == Code::kNotDirectory || store.code() == Code::kNotFound)) {
    return Status(Code::kNoRepository, "no repository there: " + store.status().message());
  }
  return store;
}

Result<StorePtr> OpenSftp(const Config& config, bool create, bool may_ask, Logger& log) {
  const StoreConfig::Sftp& sftp = config.store.sftp;
  BKFS_ASSIGN(SftpOptions options, ParseSftpUrl(config.url));
  options.key_file = sftp.key_file;
  options.fingerprint = sftp.fingerprint;
  options.known_hosts_file = sftp.known_hosts;
  options.password = Secret::CopyOf(AsBytes(sftp.password));
  if (may_ask) {
    options.ask = [](const std::string& prompt) { return PromptSecret(prompt + ": "); };
  }
  if (config.store.network.connections) options.connections = *config.store.network.connections;
  return OpenSftpBackend(std::move(options), log, create);
}

Result<StorePtr> OpenS3(const Config& config, bool create, bool may_ask, Logger& log) {
  const StoreConfig::S3& s3 = config.store.s3;
  S3Options options;
  BKFS_ASSIGN(options.location,
              ParseS3Url(config.url, {.region = s3.region,
                                      .allow_http = s3.allow_http.value_or(false),
                                      .virtual_host = s3.virtual_host.value_or(false)}));
  if (s3.access_key_id.empty()) {
    return Status(Code::kInvalid,
                  "no access key for " + options.location.Describe() +
                      " ([S3] AccessKeyID= and SecretKey=, or AWS_ACCESS_KEY_ID and "
                      "AWS_SECRET_ACCESS_KEY)");
  }
  if (s3.secret_key.empty() && !may_ask) {
    return Status(Code::kDenied, "no secret key for " + options.location.Describe());
  }
  if (s3.secret_key.empty()) {
    BKFS_ASSIGN(options.secret_key, PromptSecret("Secret key of " + s3.access_key_id + ": "));
  } else {
    options.secret_key = Secret::CopyOf(AsBytes(s3.secret_key));
  }
  if (s3.lock_mode.empty() != !s3.lock_days.has_value()) {
    return Status(Code::kInvalid, "[S3] LockMode= and RetainDays= go together");
  }
  options.access_key_id = s3.access_key_id;
  options.session_token = Secret::CopyOf(AsBytes(s3.session_token));
  options.lock_mode = s3.lock_mode;
  options.retain_days = s3.lock_days.value_or(0);
  options.storage_class = s3.storage_class;
  options.ca_file = s3.ca_file;
  if (config.store.network.connections) options.connections = *config.store.network.connections;
  // What gives up a store that stalls is not around this one yet.
  WaitLimit patience(config.store.network.stall_seconds.value_or(kStallSeconds) * kSecond, nullptr);
  const WatchScope scope(patience);
  return OpenS3Backend(std::move(options), log, create);
}

StorePtr Limited(StorePtr store, const StoreConfig::Network& network) {
  const Bandwidth limit{network.upload.value_or(0), network.download.value_or(0)};
  if (limit.up == 0 && limit.down == 0) return store;
  return std::make_unique<BandwidthBackend>(std::move(store), limit);
}

// Inside to outside: the limit of bandwidth, whose sleeping is no stall; a stall is a failure.
StorePtr OverNetwork(StorePtr store, const StoreConfig::Network& network) {
  return std::make_unique<StallBackend>(Limited(std::move(store), network),
                                        network.stall_seconds.value_or(kStallSeconds) * kSecond);
}

// Outside of that: a failure is tried again.
StorePtr Retrying(StorePtr store, const StoreConfig::Network& network, Logger& log) {
  RetryOptions retry;
  retry.total_ns = network.retry_seconds.value_or(kRetrySeconds) * kSecond;
  return std::make_unique<RetryBackend>(std::move(store), retry, log);
}

// One store, without retries.
Result<StorePtr> OpenOne(const Config& config, bool create, bool may_ask, Logger& log) {
  const std::string& url = config.url;
  const StoreConfig::Network& network = config.store.network;
  StorePtr store;
  switch (StoreKindOf(url)) {
    case StoreKind::kLocal: {
      BKFS_ASSIGN(store, OpenLocal(url, create));
      return Limited(std::move(store), network);
    }
    case StoreKind::kSftp: {
      BKFS_ASSIGN(store, OpenSftp(config, create, may_ask, log));
      return OverNetwork(std::move(store), network);
    }
    case StoreKind::kS3: {
      BKFS_ASSIGN(store, OpenS3(config, create, may_ask, log));
      return OverNetwork(std::move(store), network);
    }
    case StoreKind::kUnknown: break;
  }
  return Status(Code::kInvalid,
                "stores of the kind '" + url.substr(0, url.find(':')) +
                    "' are not supported (there are a path, file:///path, user@host:/path, "
                    "sftp://user@host/path, https://host/bucket, s3://bucket)");
}

Status CheckApart(const std::string& url, const std::string& mirror) {
  bool same = url == mirror;
  const auto here = LocalPathOf(url);
  const auto there = LocalPathOf(mirror);
  if (here && there) {
    std::error_code error;
    same = same || std::filesystem::equivalent(*here, *there, error);
  }
  if (!same) return {};
  return {Code::kInvalid, "the mirror is the repository itself: " + url};
}

// Of a pair's own in the cache directory, since a machine may have several pairs.
Result<std::string> MirrorDirectory(const Config& config, const Environment& env,
                                    const Backend& primary) {
  constexpr size_t kDigits = 16;
  BKFS_ASSIGN(const std::string cache, CacheDirectoryOf(config, env));
  const std::string pair = primary.Describe() + "\n" + config.mirror;
  return cache + "/mirror-" + ToHex(HashBytes(AsBytes(pair))).substr(0, kDigits);
}

Status WithMirrorsHelp(const Status& away, const std::string& mirror) {
  if (away.Is(Code::kInvalid) || away.Is(Code::kInterrupted)) return away;
  return {away.code(),
          away.message() + " (its mirror is a whole repository: -R '" + mirror +
              "' reads it, and writes to it; what is written there alone comes to this one with "
              "'bkfs check --repair'. Do not forget, prune or compact there)"};
}

struct MirrorUse {
  bool create = false;
  bool reads_primary = false;
};

Result<std::unique_ptr<MirrorBackend>> OpenPair(const Config& config, const Environment& env,
                                                const MirrorUse& use, Logger& log) {
  BKFS_TRY(CheckApart(config.url, config.mirror));
  auto primary = OpenOne(config, use.create, true, log);
  if (!primary.ok()) return WithMirrorsHelp(primary.status(), config.mirror);
  MirrorOptions options;
  BKFS_ASSIGN(options.directory, MirrorDirectory(config, env, **primary));
  options.url = config.mirror;
  options.must_be_there = use.create;
  options.reads_primary = use.reads_primary;
  options.open = [mirror = MirrorConfig(config), create = use.create, &log](bool may_ask) {
    return OpenOne(mirror, create, may_ask, log);
  };
  return MirrorBackend::Open(*std::move(primary), std::move(options), log);
}

Status CheckUrl(const Config& config) {
  if (!config.url.empty()) return {};
  return {Code::kInvalid, "no repository given (-R, BKFS_REPOSITORY or [Repository] URL=)"};
}
}  // namespace

Result<StorePtr> OpenStore(const Config& config, const Environment& env, bool create, Logger& log) {
  BKFS_TRY(CheckUrl(config));
  StorePtr store;
  if (config.mirror.empty()) {
    BKFS_ASSIGN(store, OpenOne(config, create, true, log));
    if (StoreKindOf(config.url) == StoreKind::kLocal) return store;
  } else {
    BKFS_ASSIGN(store, OpenPair(config, env, {.create = create}, log));
  }
  return Retrying(std::move(store), config.store.network, log);
}

Result<StoreToCheck> OpenStoreToCheck(const Config& config, const Environment& env, Logger& log) {
  StoreToCheck out;
  if (config.mirror.empty()) {
    BKFS_ASSIGN(out.store, OpenStore(config, env, false, log));
    return out;
  }
  BKFS_TRY(CheckUrl(config));
  BKFS_ASSIGN(auto pair, OpenPair(config, env, {.reads_primary = true}, log));
  out.mirrored = pair.get();
  out.store = Retrying(std::move(pair), config.store.network, log);
  return out;
}

StorePtr KeepWhatIsRead(StorePtr store, const Config& config, const std::string& directory,
                        Logger& log) {
  const uint64_t size = config.cache_size.value_or(kReadCache);
  if (size == 0 || store->IsNear("packs", 0, 1)) return store;
  auto cache = ExtentCache::Open(directory, size, log);
  if (!cache.ok()) {
    log.Info("what is read is not kept on disk: " + cache.status().message());
    return store;
  }
  return std::make_unique<ReadCacheBackend>(std::move(store), *std::move(cache));
}

}  // namespace bkfs
