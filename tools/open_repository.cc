// SPDX-License-Identifier: Apache-2.0
#include "tools/open_repository.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "engine/base/fd.h"
#include "tools/open_store.h"
#include "tools/prompt.h"

namespace bkfs {

namespace {
constexpr uint64_t kMaxKeyfile = 1 << 20;

Result<std::string> Absolute(const std::string& path) {
  std::error_code error;
  auto absolute = std::filesystem::absolute(path, error);
  if (error) return Status::FromErrno(error.value(), path);
  return absolute.lexically_normal().string();
}

void WarnIfReadable(const std::string& path, Logger& log) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0 || (st.st_mode & 077) == 0) return;
  log.Warning("key file " + path + " can be read by others than its owner: chmod 600 it");
}
}  // namespace

Result<KeyMaterial> LoadKeyfile(const std::string& key_file, const std::string& passphrase_file,
                                Logger& log) {
  if (key_file.empty()) {
    return Status(Code::kInvalid, "no key file given (-K, BKFS_KEY_FILE or [Repository] KeyFile=)");
  }
  auto bytes = ReadWholeFile(key_file, kMaxKeyfile);
  if (!bytes.ok()) {
    return Status(Code::kInvalid, "cannot read the key file: " + bytes.status().message());
  }
  WarnIfReadable(key_file, log);
  auto key = DecodeKeyfile(AsText(*bytes), [&] {
    return passphrase_file.empty() ? PromptSecret("Passphrase of " + key_file + ": ")
                                   : ReadPassphraseFile(passphrase_file);
  });
  WipeMemory(*bytes);
  if (key.code() == Code::kCorrupt) {
    return Status(Code::kWrongKey, "key file " + key_file + ": " + key.status().message());
  }
  if (!key.ok()) return key.status().WithContext("key file " + key_file);
  return key;
}

Result<std::string> DefaultCacheDirectory(const Environment& env) {
  if (::geteuid() == 0) return std::string("/var/cache/bkfs");
  if (const char* xdg = env("XDG_CACHE_HOME"); xdg != nullptr && *xdg == '/') {
    return std::string(xdg) + "/bkfs";
  }
  if (const char* home = env("HOME"); home != nullptr && *home == '/') {
    return std::string(home) + "/.cache/bkfs";
  }
  return Status(Code::kInvalid, "no HOME in the environment: say where the cache shall be");
}

Result<std::string> CacheDirectoryOf(const Config& config, const Environment& env) {
  if (!config.cache_directory.empty()) return Absolute(config.cache_directory);
  return DefaultCacheDirectory(env);
}

void ShareCacheMemory(uint64_t total, Repository::Options& options) {
  options.index_memory = total / 5 * 2;
  options.frame_cache = total / 5 * 2;
  options.tree_cache = total / 5;
}

Result<std::unique_ptr<Repository>> OpenRepository(const Config& config, const Environment& env,
                                                   Repository::Options options, Logger& log,
                                                   Clock& clock) {
  BKFS_TRY(InitCrypto());
  // Before the key: a wrong place is told without asking for a passphrase.
  BKFS_ASSIGN(auto store, OpenStore(config, env, false, log));
  BKFS_ASSIGN(options.header, ReadHeader(*store));
  BKFS_ASSIGN(KeyMaterial key, LoadKeyfile(config.key_file, config.passphrase_file, log));
  return OpenRepositoryIn(std::move(store), std::move(key), config, env, std::move(options), log,
                          clock);
}

Result<std::unique_ptr<Repository>> OpenRepositoryIn(std::unique_ptr<Backend> store,
                                                     KeyMaterial key, const Config& config,
                                                     const Environment& env,
                                                     Repository::Options options, Logger& log,
                                                     Clock& clock) {
  if (!options.header) {
    BKFS_ASSIGN(options.header, ReadHeader(*store));
  }
  BKFS_ASSIGN(options.cache_directory, CacheDirectoryOf(config, env));
  if (config.cache_memory) ShareCacheMemory(*config.cache_memory, options);
  const std::string local =
      Repository::LocalDirectory(options.cache_directory, *options.header, key);
  store = KeepWhatIsRead(std::move(store), config, local + "/read", log);
  auto repo = Repository::Open(std::move(store), std::move(key), options, log, clock);
  if (repo.code() == Code::kWrongKey) {
    return repo.status().WithContext("key file " + config.key_file);
  }
  return repo;
}

}  // namespace bkfs
