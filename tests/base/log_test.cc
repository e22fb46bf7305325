// SPDX-License-Identifier: Apache-2.0
#include "engine/base/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "engine/base/fd.h"

namespace bkfs {
namespace {

TEST(Log, LevelsAndLines) {
  std::string folder = ::testing::TempDir() + "bkfs_log_XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::string path = folder + "/log";
  {
    auto log = OpenLogger(path, LogLevel::kInfo).value();
    log->Debug("not this");
    log->Info("first {}");  // no format string
    log->Error("second");
  }
  std::string text(AsText(ReadWholeFile(path).value()));
  EXPECT_EQ(text.find("not this"), std::string::npos);
  EXPECT_NE(text.find("info first {}\n"), std::string::npos);
  EXPECT_NE(text.find("error second\n"), std::string::npos);
  EXPECT_FALSE(OpenLogger(folder, LogLevel::kInfo).ok());
  EXPECT_TRUE(RemoveTree(folder).ok());
  EXPECT_EQ(ParseLogLevel("warning").value(), LogLevel::kWarning);
  EXPECT_EQ(ParseLogLevel("loud").code(), Code::kInvalid);
}

}  // namespace
}  // namespace bkfs
