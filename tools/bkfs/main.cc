// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>

#include "engine/crypto/secret.h"
#include "tools/bkfs/cli.h"
#include "tools/host.h"

namespace bkfs {
namespace {
volatile std::sig_atomic_t interrupted = 0;
volatile std::sig_atomic_t at_once = 0;

extern "C" void OnSignal(int) {
  if (interrupted == 0 && at_once == 0) {
    interrupted = 1;
    return;
  }
  constexpr char kText[] = "\nbkfs: interrupted\n";
  (void)!::write(STDERR_FILENO, kText, sizeof kText - 1);
  ::_exit(kExitInterrupted);
}
}  // namespace

bool Interrupted() { return interrupted != 0; }
void EndAtOnceWhenInterrupted() { at_once = 1; }
}  // namespace bkfs

int main(int argc, char** argv) try {
  struct sigaction action {};
  action.sa_handler = bkfs::OnSignal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  bkfs::RaiseFileLimit();
  bkfs::Status crypto = bkfs::InitCrypto();
  if (!crypto.ok()) {
    std::cerr << "bkfs: " << crypto.message() << "\n";
    return bkfs::kExitFailed;
  }
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  auto exit_code = bkfs::RunProgram(arguments, [](const char* name) { return std::getenv(name); });
  std::cout.flush();
  if (!exit_code.ok()) {
    std::cerr << "bkfs: " << exit_code.status().message() << "\n";
    return bkfs::ExitCodeOf(exit_code.status());
  }
  if (!std::cout.good()) {
    // Who reads no further, as head(1) does, knows it himself.
    pollfd out{STDOUT_FILENO, POLLOUT, 0};
    if (::poll(&out, 1, 0) <= 0 || (out.revents & POLLERR) == 0) {
      std::cerr << "bkfs: standard output cannot be written\n";
    }
    return bkfs::kExitFailed;
  }
  return *exit_code;
} catch (const std::exception& error) {
  std::cerr << "bkfs: " << error.what() << "\n";
  return bkfs::kExitFailed;
}
