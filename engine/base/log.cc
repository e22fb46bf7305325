// SPDX-License-Identifier: Apache-2.0
#include "engine/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace bkfs {

namespace {
spdlog::level::level_enum SpdLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  return spdlog::level::err;
}

class SpdLogger final : public Logger {
 public:
  explicit SpdLogger(std::shared_ptr<spdlog::logger> logger) : logger_(std::move(logger)) {}
  void Log(LogLevel level, std::string_view message) override {
    logger_->log(SpdLevel(level), spdlog::string_view_t(message.data(), message.size()));
  }

 private:
  std::shared_ptr<spdlog::logger> logger_;  // spdlog's sinks are shared by its design
};
}  // namespace

Result<LogLevel> ParseLogLevel(std::string_view word) {
  if (word == "debug") return LogLevel::kDebug;
  if (word == "info") return LogLevel::kInfo;
  if (word == "warning") return LogLevel::kWarning;
  if (word == "error") return LogLevel::kError;
  return Status(Code::kInvalid, "unknown log level '" + std::string(word) +
                                    "' (want debug, info, warning or error)");
}

Result<std::unique_ptr<Logger>> OpenLogger(const std::string& path, LogLevel least) try {
  spdlog::sink_ptr sink;
  if (path.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
  }
  auto logger = std::make_shared<spdlog::logger>("bkfs", sink);
  logger->set_level(SpdLevel(least));
  logger->flush_on(spdlog::level::info);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
  return std::unique_ptr<Logger>(new SpdLogger(std::move(logger)));
} catch (const spdlog::spdlog_ex& error) {
  return Status(Code::kIo, "cannot open log " + path + ": " + error.what());
}

}  // namespace bkfs
