// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace bkfs {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

Result<LogLevel> ParseLogLevel(std::string_view word);  // debug|info|warning|error

// Where the program tells its operator what happened. Thread-safe. Messages never hold keys,
// passphrases, file contents; file names only at debug level or where an error must name one.
class Logger {
 public:
  virtual ~Logger() = default;
  virtual void Log(LogLevel level, std::string_view message) = 0;

  void Debug(std::string_view m) { Log(LogLevel::kDebug, m); }
  void Info(std::string_view m) { Log(LogLevel::kInfo, m); }
  void Warning(std::string_view m) { Log(LogLevel::kWarning, m); }
  void Error(std::string_view m) { Log(LogLevel::kError, m); }
};

// Drops everything.
class NullLogger final : public Logger {
 public:
  void Log(LogLevel, std::string_view) override {}
};

// Lines "<time> <level> <message>" to a file (appended), or to stderr when `path` is empty.
Result<std::unique_ptr<Logger>> OpenLogger(const std::string& path, LogLevel least);

}  // namespace bkfs
