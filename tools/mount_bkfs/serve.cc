// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_bkfs/serve.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>

#include "engine/base/fd.h"
#include "engine/base/printable.h"
#include "engine/base/transfer.h"
#include "fs/fuse/session.h"
#include "tools/ending.h"
#include "tools/exit_codes.h"
#include "tools/host.h"
#include "tools/open_repository.h"
#include "tools/open_store.h"

namespace bkfs {

namespace {
constexpr unsigned kThreads = 4;
constexpr unsigned kThreadsFar = 32;  // they wait more than they work
constexpr size_t kUploadsFar = 4;
constexpr uint64_t kSpoolNear = 192ULL << 20;
constexpr uint64_t kSpoolFar = 1ULL << 30;
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kPatienceNs = 60 * kSecond;
// For a store that is away at the end. systemd gives a unit 90 s.
constexpr int64_t kPatienceSeconds = 60;
// A search through all snapshots pins them with one object, which these make 128 KiB long.
constexpr size_t kPinnedAhead = 4096;

// For the store, which is opened before it is known where the log will be.
class LateLogger final : public Logger {
 public:
  void SendTo(Logger* log) { log_ = log; }
  void Log(LogLevel level, std::string_view message) override {
    if (Logger* log = log_) log->Log(level, message);
  }

 private:
  std::atomic<Logger*> log_ = nullptr;
};

// Everything behind a mount, in the order in which it is made; taken down the other way round.
struct Stack {
  std::unique_ptr<Logger> log;
  LateLogger store_log;
  SystemClock clock;
  std::unique_ptr<Repository> repo;
  std::unique_ptr<ReaderLease> lease;  // of what is open in /snapshots
  std::unique_ptr<Staging> staging;    // null: nothing is written
  std::unique_ptr<FileSystem> fs;
  std::unique_ptr<FuseSession> session;
};

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  return set;
}

// Stops the session at the first signal. A ^C after that ends the process at once: what is not in
// the store yet is in the spool, where the next mount finds it. Others say nothing new: a shutdown
// sends SIGTERM and SIGHUP, and more than once, and must not lose the last snapshot by that.
class SignalWatch {
 public:
  SignalWatch(FuseSession& session, Logger& log)
      : thread_([this, &session, &log] { Watch(session, log); }) {}
  ~SignalWatch() {
    done_ = true;
    ::pthread_kill(thread_.native_handle(), SIGHUP);  // wakes it
    thread_.join();
  }
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  void Watch(FuseSession& session, Logger& log) {
    const sigset_t set = StopSignals();
    bool stopping = false;
    for (;;) {
      const int number = ::sigwaitinfo(&set, nullptr);
      if (done_) break;
      if (number < 0 || (stopping && number != SIGINT)) continue;
      if (stopping) {
        log.Warning("a second interrupt: leaving what is not stored to the next mount");
        ::_exit(kExitInterrupted);
      }
      stopping = true;
      log.Info("asked to stop: unmounting");
      // On a thread of its own, since requests under way may take a while to end.
      stopper_ = std::thread([&session] { session.Stop(); });
    }
    if (stopper_.joinable()) stopper_.join();
  }

  std::atomic<bool> done_{false};
  std::thread stopper_;
  std::thread thread_;
};

Status OpenLog(const MountOptions& options, const std::string& cache, const ParentLine& parent,
               Stack& stack) {
  std::string path;
  if (!options.config.mount.log_file.empty()) {
    path = options.config.mount.log_file;
  } else if (parent.in_background()) {
    BKFS_TRY(MakeDirectories(cache, 0700));
    path = cache + "/mount.log";
  }
  BKFS_ASSIGN(stack.log,
              OpenLogger(path, options.config.mount.log_level.value_or(LogLevel::kInfo)));
  return {};
}

// umount(8) may return before the daemon is gone; who mounts again then shall wait for it, and not
// be told of a mount that he has just ended.
Result<std::unique_ptr<Staging>> OpenStagingPatiently(const Staging::Options& options,
                                                      Stack& stack) {
  const EndingNotes notes(stack.repo->local_directory());
  const int64_t start = stack.clock.MonotonicNanos();
  for (;;) {
    auto staging = Staging::Open(*stack.repo, options);
    // A moment without the note as well: it is not there at once.
    const int64_t patience = notes.IsEnding() ? kPatienceNs : kPatienceNs / 100;
    if (staging.code() != Code::kBusy || stack.clock.MonotonicNanos() > start + patience) {
      if (staging.ok()) notes.Begin();
      return staging;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

// Of a mount without /incoming, where the writer's lease does not do it.
Status BeginReading(const Config& config, Stack& stack) {
  if (!MayReadTrees(stack.repo->key().type)) return {};
  ReaderLease::Options options;
  if (config.mount.lease_seconds) options.ttl_ns = *config.mount.lease_seconds * 1'000'000'000;
  options.host = HostName();
  options.program = "mount.bkfs";
  return stack.lease->Begin(options);
}

Status OpenStaging(const Config& config, Stack& stack) {
  const KeyType type = stack.repo->key().type;
  stack.lease = std::make_unique<ReaderLease>(*stack.repo, kPinnedAhead);
  if (config.mount.read_only.value_or(false)) return BeginReading(config, stack);
  if (!MayWrite(type)) {
    stack.log->Info("a " + std::string(KeyTypeName(type)) +
                    " key cannot write: the mount is read-only");
    return BeginReading(config, stack);
  }
  Staging::Options options;
  options.directory = stack.repo->local_directory() + "/staging";
  options.readers = stack.lease.get();
  if (config.mount.commit_idle_seconds) {
    options.commit_idle_ns = *config.mount.commit_idle_seconds * 1'000'000'000;
  }
  if (config.mount.lease_seconds) {
    options.lease_ttl_ns = *config.mount.lease_seconds * 1'000'000'000;
  }
  options.fsync_to_store = config.mount.fsync_to_store.value_or(false);
  options.host = HostName();
  options.user = UserName();
  options.writer.keep_trying = true;
  const bool is_near = stack.repo->store().IsNear("packs", 0, 1);
  const uint64_t spool = config.mount.spool_size.value_or(is_near ? kSpoolNear : kSpoolFar);
  options.writer.packs_in_flight = std::max<size_t>(2, spool / options.writer.pack_target);
  if (!is_near) options.writer.upload_threads = kUploadsFar;
  if (config.mount.dedup) options.writer.dedup = *config.mount.dedup;
  BKFS_ASSIGN(stack.staging, OpenStagingPatiently(options, stack));
  return {};
}

Status MountStack(const MountOptions& options, const std::string& mountpoint, Stack& stack) {
  const Config::Mount& mount = options.config.mount;
  FileSystem::Options shown;
  shown.owner = {::geteuid(), ::getegid(), 0};
  shown.lease = stack.lease.get();
  shown.uid = mount.uid;
  shown.gid = mount.gid;
  if (mount.umask) shown.umask = static_cast<uint16_t>(*mount.umask);
  stack.fs = std::make_unique<FileSystem>(*stack.repo, stack.staging.get(), shown);
  FuseSession::Options session;
  session.source = options.source;
  session.mountpoint = mountpoint;
  session.allow_other = mount.allow_other.value_or(false);
  session.read_only = stack.staging == nullptr;
  const bool is_near = stack.repo->store().IsNear("packs", 0, 1);
  session.threads = mount.threads.value_or(is_near ? kThreads : kThreadsFar);
  if (mount.timeout_seconds) session.wait_limit_ns = *mount.timeout_seconds * 1'000'000'000;
  session.kernel_options = options.kernel_options;
  BKFS_ASSIGN(stack.session, FuseSession::Mount(*stack.fs, session, *stack.log));
  return {};
}

Status OpenStack(const MountOptions& options, const std::string& mountpoint, const Environment& env,
                 const ParentLine& parent, Stack& stack) {
  const Config& config = options.config;
  BKFS_TRY(InitCrypto());
  BKFS_ASSIGN(std::string cache, CacheDirectoryOf(config, env));
  // Before anything is made anywhere: is there a repository, and does the key open?
  BKFS_ASSIGN(auto store, OpenStore(config, env, false, stack.store_log));
  Repository::Options opening;
  BKFS_ASSIGN(opening.header, ReadHeader(*store));
  BKFS_TRY(OpenLog(options, cache, parent, stack));
  stack.store_log.SendTo(stack.log.get());
  BKFS_ASSIGN(KeyMaterial key, LoadKeyfile(config.key_file, config.passphrase_file, *stack.log));
  // From here on threads start; they all leave these signals to SignalWatch.
  const sigset_t stop = StopSignals();
  ::pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  BKFS_ASSIGN(stack.repo, OpenRepositoryIn(std::move(store), std::move(key), config, env,
                                           std::move(opening), *stack.log, stack.clock));
  BKFS_TRY(OpenStaging(config, stack));
  return MountStack(options, mountpoint, stack);
}

// Tells who waits for the daemon's end what that waits for, and ends it when the store is away for
// too long: a machine that is shut down cannot wait for another.
class EndingWatch final : public TransferWatch {
 public:
  EndingWatch(Stack& stack, const EndingNotes& notes, int64_t patience_ns)
      : stack_(stack), notes_(notes), patience_ns_(patience_ns) {}

  Status Waiting() override {
    const StoreHealth way = stack_.repo->store().Health();
    if (way.silent_ns > patience_ns_) {
      Status away(Code::kUnavailable, "the store has not answered for " + Seconds(way));
      return way.failure.ok() ? away : away.WithContext(way.failure.message());
    }
    const int64_t now = stack_.clock.MonotonicNanos();
    if (now - said_ns_ < kSayNs) return {};
    said_ns_ = now;
    std::string text = HumanSize(stack_.staging->PendingBytes()) + " to be stored in " +
                       stack_.repo->store().Describe();
    if (way.silent_ns > kSayNs) text += ", which has not answered for " + Seconds(way);
    if (!way.failure.ok()) text += ": " + way.failure.message();
    notes_.Say(text);
    return {};
  }

 private:
  static constexpr int64_t kSayNs = 1'000'000'000;
  static std::string Seconds(const StoreHealth& way) {
    return std::to_string(way.silent_ns / 1'000'000'000) + " s";
  }

  Stack& stack_;
  const EndingNotes& notes_;
  const int64_t patience_ns_;
  int64_t said_ns_ = 0;
};

// After the last request: nothing written may be forgotten.
Status StoreEverything(Stack& stack, const EndingNotes& notes, int64_t patience_ns) {
  stack.log->Info("storing what is left");
  notes.Say("storing what is left");
  EndingWatch watch(stack, notes, patience_ns);
  const WatchScope scope(watch);
  stack.staging->StopCommitting();
  Status stored = stack.staging->CommitAll();
  if (stored.ok()) return {};
  const Status said(stored.code(), "not everything is in the store: " + stored.message() +
                                       "; the rest is kept for the next mount");
  stack.log->Error(said.message());
  return said;
}

// Everything that a mount was, in its order.
void TakeDown(Stack& stack, const Status& stored) {
  stack.session.reset();
  stack.fs.reset();
  std::optional<EndingNotes> notes;
  if (stack.staging) notes.emplace(stack.repo->local_directory());
  stack.staging.reset();
  if (notes) notes->End(stored);
  stack.lease.reset();
  stack.repo.reset();
}
}  // namespace

int ServeMount(const MountOptions& options, const std::string& mountpoint, const Environment& env,
               ParentLine parent) {
  ::umask(077);
  RaiseFileLimit();
  Stack stack;
  Status opened = OpenStack(options, mountpoint, env, parent, stack);
  if (!opened.ok()) {
    // Before the parent hears of it: who tries again at once must not find the cache in use.
    stack.session.reset();
    stack.fs.reset();
    stack.staging.reset();
    stack.lease.reset();
    stack.repo.reset();
    if (stack.log && parent.in_background())
      stack.log->Error("mounting failed: " + opened.message());
    parent.Failed(opened);
    return ExitCodeOf(opened);
  }
  stack.log->Info("bkfs " BKFS_VERSION ": " + stack.repo->store().Describe() + " on " + mountpoint +
                  (stack.staging ? "" : " (read-only)") + ", process " +
                  std::to_string(::getpid()));
  Status served;
  Status stored;
  {
    SignalWatch signals(*stack.session, *stack.log);
    served = stack.session->Run([&parent] { parent.Ready(); });
    if (!served.ok()) stack.log->Error(served.message());
    if (stack.staging) {
      const int64_t patience =
          options.config.store.network.stall_seconds.value_or(kPatienceSeconds) * kSecond;
      stored = StoreEverything(stack, EndingNotes(stack.repo->local_directory()), patience);
    }
    if (served.ok()) served = stored;
  }
  TakeDown(stack, stored);
  stack.log->Info("unmounted " + mountpoint);
  if (!served.ok()) parent.Failed(served);
  return served.ok() ? kExitDone : kExitFailed;
}

}  // namespace bkfs
