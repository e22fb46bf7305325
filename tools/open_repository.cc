// SPDX-License-Identifier: Apache-2.0
#include "tools/open_repository.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "backends/local/local_backend.h"
#include "engine/base/fd.h"

namespace bkfs {

namespace {
constexpr uint64_t kMaxKeyfile = 1 << 20;
constexpr size_t kMaxPassphrase = 4096;

Result<std::string> Absolute(const std::string& path) {
  std::error_code error;
  auto absolute = std::filesystem::absolute(path, error);
  if (error) return Status::FromErrno(error.value(), path);
  return absolute.lexically_normal().string();
}

constexpr uint8_t kControlC = 3;

// Switches the terminal's echo off for as long as it lives. ^C ends the line there instead of the
// process, which would leave the terminal mute.
class EchoOff {
 public:
  explicit EchoOff(int fd) : fd_(fd) {
    known_ = ::tcgetattr(fd, &before_) == 0;
    if (!known_) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    silent.c_cc[VEOL] = kControlC;
    ::tcsetattr(fd, TCSAFLUSH, &silent);
  }
  ~EchoOff() {
    if (known_) ::tcsetattr(fd_, TCSAFLUSH, &before_);
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;

 private:
  const int fd_;
  bool known_ = false;
  termios before_{};
};

// Bytes up to a line feed or the end, straight into locked memory. On a terminal a signal or ^C is
// kInterrupted.
Result<Secret> ReadLine(int fd, const std::string& what, bool terminal = false) {
  Secret buffer(kMaxPassphrase);
  size_t length = 0;
  while (length < kMaxPassphrase) {
    ssize_t n = ::read(fd, buffer.mutable_view().data() + length, 1);
    if (terminal && (n < 0 ? errno == EINTR : n > 0 && buffer.view()[length] == kControlC)) {
      return Status(Code::kInterrupted, "interrupted");
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status(Code::kInvalid, Status::FromErrno(errno, what).message());
    if (n == 0 || buffer.view()[length] == '\n') break;
    ++length;
  }
  if (length == kMaxPassphrase)
    return Status(Code::kInvalid, what + ": the passphrase is too long");
  if (length == 0) return Status(Code::kInvalid, what + ": no passphrase there");
  return Secret::CopyOf(buffer.view().first(length));
}

void WarnIfReadable(const std::string& path, Logger& log) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0 || (st.st_mode & 077) == 0) return;
  log.Warning("key file " + path + " can be read by others than its owner: chmod 600 it");
}
}  // namespace

std::optional<std::string> LocalPathOf(std::string_view url) {
  constexpr std::string_view kFile = "file://";
  if (url.starts_with(kFile)) return std::string(url.substr(kFile.size()));
  // A scheme is letters before "://"; everything else is a path.
  if (size_t colon = url.find("://"); colon != std::string_view::npos && colon > 0 &&
                                      url.substr(0, colon).find('/') == std::string_view::npos) {
    return std::nullopt;
  }
  return std::string(url);
}

Result<std::unique_ptr<Backend>> OpenStore(const std::string& url, bool create) {
  if (url.empty()) {
    return Status(Code::kInvalid, "no repository given (-R, BKFS_REPOSITORY or [Repository] URL=)");
  }
  std::optional<std::string> path = LocalPathOf(url);
  if (!path) {
    return Status(Code::kInvalid,
                  "stores of the kind '" + url.substr(0, url.find("://")) +
                      "' are not supported in this version (want a path or file:///path)");
  }
  if (path->empty()) return Status(Code::kInvalid, "repository URL '" + url + "' has no path");
  BKFS_ASSIGN(std::string absolute, Absolute(*path));
  auto store = OpenLocalBackend(absolute, create);
  if (!create && (store.code() == Code::kNotDirectory || store.code() == Code::kNotFound)) {
    return Status(Code::kNoRepository, "no repository there: " + store.status().message());
  }
  return store;
}

Result<Secret> PromptPassphrase(const std::string& prompt) {
  UniqueFd tty(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!tty.valid()) {
    return Status(Code::kInvalid,
                  "a passphrase is needed and there is no terminal to ask on (give it in a file)");
  }
  BKFS_TRY(WriteAll(tty.get(), AsBytes(prompt), "terminal"));
  Result<Secret> line = [&] {
    EchoOff quiet(tty.get());
    return ReadLine(tty.get(), "terminal", true);
  }();
  BKFS_TRY(WriteAll(tty.get(), AsBytes("\n"), "terminal"));
  return line;
}

Result<Secret> ReadPassphraseFile(const std::string& path) {
  auto fd = OpenFile(path, O_RDONLY);
  if (!fd.ok()) {
    return Status(Code::kInvalid, "cannot read the passphrase: " + fd.status().message());
  }
  return ReadLine(fd->get(), path);
}

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
    return passphrase_file.empty() ? PromptPassphrase("Passphrase of " + key_file + ": ")
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
  BKFS_ASSIGN(auto store, OpenStore(config.url, false));
  auto header = ReadHeader(*store);
  if (!header.ok()) return header.status();
  BKFS_ASSIGN(KeyMaterial key, LoadKeyfile(config.key_file, config.passphrase_file, log));
  return OpenRepositoryWith(std::move(key), config, env, std::move(options), log, clock);
}

Result<std::unique_ptr<Repository>> OpenRepositoryWith(KeyMaterial key, const Config& config,
                                                       const Environment& env,
                                                       Repository::Options options, Logger& log,
                                                       Clock& clock) {
  BKFS_ASSIGN(auto store, OpenStore(config.url, false));
  BKFS_ASSIGN(RepoHeader header, ReadHeader(*store));
  BKFS_TRY(ReadEpochs(*store, header).status());
  BKFS_TRY(CheckEpochsReach(header, key));
  // Told apart from damage to the repository: a key file that was tampered with does not fit.
  Status fits = CheckKeyfileAgainst(key, header);
  if (fits.Is(Code::kCorrupt)) return Status(Code::kWrongKey, fits.message());
  BKFS_TRY(fits.WithContext("key file " + config.key_file));
  BKFS_ASSIGN(options.cache_directory, CacheDirectoryOf(config, env));
  if (config.cache_size) ShareCacheMemory(*config.cache_size, options);
  return Repository::Open(std::move(store), std::move(key), options, log, clock);
}

}  // namespace bkfs
