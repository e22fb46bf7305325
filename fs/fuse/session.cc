// SPDX-License-Identifier: Apache-2.0
#include "fs/fuse/session.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <thread>

#include "engine/base/fd.h"
#include "fs/fuse/init_patch.h"
#include "fs/fuse/operations.h"

namespace bkfs {

namespace {
// libfuse has one log function for the process and hands it nothing of ours.
Mutex fuse_log_mutex;
Logger* fuse_log_to BKFS_GUARDED_BY(fuse_log_mutex) = nullptr;
std::string fuse_last_words BKFS_GUARDED_BY(fuse_log_mutex);

void LogFromFuse(fuse_log_level level, const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof text, format, arguments);
  std::string line(text);
  while (!line.empty() && line.back() == '\n') line.pop_back();
  MutexLock lock(fuse_log_mutex);
  if (level <= FUSE_LOG_ERR) fuse_last_words = line;
  if (fuse_log_to == nullptr) return;
  fuse_log_to->Log(level <= FUSE_LOG_ERR ? LogLevel::kWarning : LogLevel::kDebug, line);
}

void SendFuseLogTo(Logger* log) {
  MutexLock lock(fuse_log_mutex);
  fuse_log_to = log;
  fuse_last_words.clear();
  if (log != nullptr) fuse_set_log_func(LogFromFuse);
}

std::string LastWords() {
  MutexLock lock(fuse_log_mutex);
  return fuse_last_words;
}

std::string EscapeOption(const std::string& value) {
  std::string out;
  for (char c : value) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

class SessionNotifier final : public KernelNotifier {
 public:
  explicit SessionNotifier(fuse_session* session) : session_(session) {}
  // A failure does not matter: the kernel did not keep it, or the mount is gone.
  void DirectoryChanged(Ino dir) override {
    (void)fuse_lowlevel_notify_inval_inode(session_, dir, 0, 0);
  }
  void NameGone(Ino dir, const std::string& name) override {
    (void)fuse_lowlevel_notify_inval_entry(session_, dir, name.data(), name.size());
  }

 private:
  fuse_session* const session_;
};

constexpr int kWakeSignal = SIGUSR1;
}  // namespace

FuseSession::FuseSession(FileSystem& fs, const Options& options, Logger& log)
    : options_(options),
      log_(log),
      daemon_(std::make_unique<FuseDaemon>(fs, options.allow_other, options.wait_limit_ns)) {}

Result<std::unique_ptr<FuseSession>> FuseSession::Mount(FileSystem& fs, const Options& options,
                                                        Logger& log) {
  std::unique_ptr<FuseSession> session(new FuseSession(fs, options, log));
  BKFS_TRY(session->Open());
  return session;
}

Status FuseSession::Open() {
  std::string mount_options = "fsname=" + EscapeOption(options_.source) + ",subtype=bkfs";
  if (options_.allow_other) mount_options += ",allow_other,default_permissions";
  if (options_.read_only) mount_options += ",ro";
  for (const std::string& option : options_.kernel_options) mount_options += "," + option;
  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&arguments, "mount.bkfs");
  fuse_opt_add_arg(&arguments, "-o");
  fuse_opt_add_arg(&arguments, mount_options.c_str());
  SendFuseLogTo(&log_);
  const fuse_lowlevel_ops operations = AllOperations();
  session_ = fuse_session_new(&arguments, &operations, sizeof operations, daemon_.get());
  fuse_opt_free_args(&arguments);
  if (session_ == nullptr) return {Code::kInvalid, "FUSE refuses the options: " + LastWords()};
  if (fuse_session_mount(session_, options_.mountpoint.c_str()) != 0) {
    std::string why = LastWords();
    if (why.empty()) why = "fusermount3 refused";
    return {Code::kDenied, "cannot mount on " + options_.mountpoint + ": " + why};
  }
  mounted_ = true;
  InitPatch::Install(session_);
  return {};
}

FuseSession::~FuseSession() {
  daemon_->fs.Stop();  // its thread talks to the session
  daemon_->slow.Drain();
  if (mounted_) fuse_session_unmount(session_);
  if (session_ != nullptr) fuse_session_destroy(session_);
  SendFuseLogTo(nullptr);
}

void FuseSession::RaiseReadAhead() const {
  // 128 KiB unless root says otherwise; only root can, and reading works without.
  struct stat st {};
  if (::geteuid() != 0 || ::stat(options_.mountpoint.c_str(), &st) != 0) return;
  const std::string path = "/sys/class/bdi/" + std::to_string(major(st.st_dev)) + ":" +
                           std::to_string(minor(st.st_dev)) + "/read_ahead_kb";
  auto fd = OpenFile(path, O_WRONLY);
  if (fd.ok()) (void)WriteAll(fd->get(), AsBytes("1024\n"), path).ok();
}

Status FuseSession::Run(const std::function<void()>& on_ready) {
  struct sigaction wake {};
  wake.sa_handler = [](int) {};  // interrupts the loop's waiting, no more
  ::sigaction(kWakeSignal, &wake, nullptr);
  loop_thread_ = ::pthread_self();
  running_ = true;
  SessionNotifier notifier(session_);
  daemon_->fs.Start(&notifier);
  std::thread ready([&] {
    struct stat st {};
    const bool answers = ::stat(options_.mountpoint.c_str(), &st) == 0;
    RaiseReadAhead();
    if (answers && on_ready) on_ready();
  });
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_max_threads(config, options_.threads);
  fuse_loop_cfg_set_idle_threads(config, options_.threads);
  fuse_loop_cfg_set_clone_fd(config, 0);
  const int outcome = stopping_ ? 0 : fuse_session_loop_mt(session_, config);
  fuse_loop_cfg_destroy(config);
  daemon_->fs.Stop();
  daemon_->slow.Drain();
  if (mounted_) fuse_session_unmount(session_);  // so that nobody waits for an answer any more
  mounted_ = false;
  running_ = false;
  ready.join();
  if (outcome < 0) return Status::FromErrno(-outcome, "serving " + options_.mountpoint);
  return {};
}

void FuseSession::Stop() {
  stopping_ = true;
  daemon_->ending = true;
  fuse_session_exit(session_);
  // The loop may be just about to wait when the signal comes; so it comes until it has worked.
  while (running_) {
    ::pthread_kill(loop_thread_, kWakeSignal);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace bkfs
