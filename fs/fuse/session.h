// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/filesystem.h"

struct fuse_session;

namespace bkfs {

struct FuseDaemon;

// One mount: hands the kernel's requests to a FileSystem until it is unmounted or stopped.
class FuseSession {
 public:
  struct Options {
    std::string source;  // shown in the mount table
    std::string mountpoint;
    bool allow_other = false;
    bool read_only = false;
    unsigned threads = 4;                           // at most
    int64_t wait_limit_ns = 120LL * 1'000'000'000;  // for the store, of what does not store
    std::vector<std::string> kernel_options;        // nodev, noexec and the like
  };
  // Mounts. `fs` and `log` must outlive the session. Starts no thread.
  static Result<std::unique_ptr<FuseSession>> Mount(FileSystem& fs, const Options& options,
                                                    Logger& log);
  // Unmounts, unless that has happened.
  ~FuseSession();
  FuseSession(const FuseSession&) = delete;
  FuseSession& operator=(const FuseSession&) = delete;

  // Serves requests; returns when somebody has unmounted or Stop was called. `on_ready` runs on a
  // thread of its own once the mount answers.
  Status Run(const std::function<void()>& on_ready);
  // Makes Run return, and waits for that. From any thread but Run's.
  void Stop();

 private:
  FuseSession(FileSystem& fs, const Options& options, Logger& log);
  Status Open();
  void RaiseReadAhead() const;

  const Options options_;
  Logger& log_;
  std::unique_ptr<FuseDaemon> daemon_;
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
  pthread_t loop_thread_{};
  std::atomic<bool> running_{false};
  std::atomic<bool> stopping_{false};
};

}  // namespace bkfs
