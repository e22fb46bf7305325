// SPDX-License-Identifier: Apache-2.0
#include "tools/config.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/base/fd.h"

namespace bkfs {
namespace {

class ConfigTest : public testing::Test {
 protected:
  Environment Env() {
    return [this](const char* name) -> const char* {
      auto found = env_.find(name);
      return found == env_.end() ? nullptr : found->second.c_str();
    };
  }
  Result<Config> Parse(std::string_view text) { return ParseConfig(text, "/etc/b.ini", Env()); }
  std::string ErrorOf(std::string_view text) { return Parse(text).status().message(); }

  std::map<std::string, std::string> env_{{"HOME", "/home/u"}};
};

TEST_F(ConfigTest, EveryKey) {
  auto config = Parse(
      "[Repository]\nURL = /srv/b\nKeyFile=~/k\nPassphraseFile=p\n"
      "[Cache]\nDirectory=cache\nSize=2G\n"
      "[Mount]\nCommitIdle=5m\nThreads=3\nAllowOther=yes\nReadOnly=off\nFsync=store\n"
      "LogLevel=debug\nLogFile=/l\nDedup=all\nUid=7\nGid=8\nUmask=027\n"
      "[Backup]\nName=home\nPaths=/a\nPaths=b\nExclude=*.o\nExclude=/tmp\nOneFileSystem=true\n");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->url, "/srv/b");
  EXPECT_EQ(config->key_file, "/home/u/k");
  EXPECT_EQ(config->passphrase_file, "/etc/p");
  EXPECT_EQ(config->cache_directory, "/etc/cache");
  EXPECT_EQ(config->cache_size, 2ULL << 30);
  EXPECT_EQ(config->mount.commit_idle_seconds, 300);
  EXPECT_EQ(config->mount.threads, 3u);
  EXPECT_EQ(config->mount.allow_other, true);
  EXPECT_EQ(config->mount.read_only, false);
  EXPECT_EQ(config->mount.fsync_to_store, true);
  EXPECT_EQ(config->mount.log_level, LogLevel::kDebug);
  EXPECT_EQ(config->mount.log_file, "/l");
  EXPECT_EQ(config->mount.dedup, DedupPolicy::kAll);
  EXPECT_EQ(config->mount.uid, 7u);
  EXPECT_EQ(config->mount.gid, 8u);
  EXPECT_EQ(config->mount.umask, 027u);
  EXPECT_EQ(config->backup.name, "home");
  EXPECT_EQ(config->backup.paths, (std::vector<std::string>{"/a", "/etc/b"}));
  EXPECT_EQ(config->backup.exclude, (std::vector<std::string>{"*.o", "/tmp"}));
  EXPECT_EQ(config->backup.one_file_system, true);
}

TEST_F(ConfigTest, ErrorsNameFileAndLine) {
  EXPECT_EQ(ErrorOf(""), "/etc/b.ini:1: the configuration is empty");
  EXPECT_EQ(ErrorOf("[Nope]\nx=1\n"),
            "/etc/b.ini:2: unknown section [Nope] (there are Backup, Cache, Mount, Repository, "
            "Retention)");
  EXPECT_EQ(ErrorOf("[Cache]\nsize=1\n"),
            "/etc/b.ini:2: unknown key 'size' in [Cache] (there are Directory, Memory, Size)");
  EXPECT_EQ(ErrorOf("[Cache]\nSize=12Q\n"),
            "/etc/b.ini:2: Size: bad value '12Q' (want a size such as 512M or 2G)");
  EXPECT_EQ(ErrorOf("[Cache]\nSize=1\nSize=2\n"),
            "/etc/b.ini:3: Size is given twice (first in line 2)");
  EXPECT_EQ(ErrorOf("[Mount]\nAllowOther=maybe\n"),
            "/etc/b.ini:2: AllowOther: bad value 'maybe' (want yes or no)");
  EXPECT_EQ(ErrorOf("[Repository]\nURL=\n"), "/etc/b.ini:2: URL: bad value '' (want a path)");
  EXPECT_EQ(Parse("[Cache]\nSize=x\n").code(), Code::kInvalid);
}

TEST_F(ConfigTest, Retention) {
  auto config = Parse(
      "[Retention]\nLast=3\nHourly=24\nDaily=7\nWeekly=5\nMonthly=12\nYearly=unlimited\n"
      "Within=1y6m\nTag=important\nTag=for ever\nGroupBy=host\n");
  ASSERT_TRUE(config.ok()) << config.status().message();
  const RetentionPolicy& policy = config->retention;
  EXPECT_EQ(policy.last, 3);
  EXPECT_EQ(policy.hourly, 24);
  EXPECT_EQ(policy.daily, 7);
  EXPECT_EQ(policy.weekly, 5);
  EXPECT_EQ(policy.monthly, 12);
  EXPECT_EQ(policy.yearly, kKeepAll);
  ASSERT_TRUE(policy.within);
  EXPECT_EQ(policy.within->Text(), "1y6m");
  EXPECT_EQ(policy.tags, (std::vector<std::string>{"important", "for ever"}));
  EXPECT_FALSE(policy.grouping.by_name);
  EXPECT_TRUE(policy.grouping.by_host);
  EXPECT_FALSE(policy.allow_remove_all);
  config = Parse("[Retention]\nGroupBy=\n");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_FALSE(config->retention.grouping.by_host);
  EXPECT_FALSE(config->retention.HasRule());
  EXPECT_TRUE(Parse("[Cache]\nSize=1\n")->retention.grouping.by_name);
  EXPECT_EQ(ErrorOf("[Retention]\nDaily=-3\n"),
            "/etc/b.ini:2: Daily: bad value '-3' (want a number, or unlimited)");
  EXPECT_EQ(ErrorOf("[Retention]\nDaily=3\nDaily=4\n"),
            "/etc/b.ini:3: Daily is given twice (first in line 2)");
  EXPECT_EQ(ErrorOf("[Retention]\nWithin=7\n"),
            "/etc/b.ini:2: Within: bad value '7' (want a time such as 7d or 2y5m7d3h; m: months)");
  EXPECT_EQ(ErrorOf("[Retention]\nTag=\n"), "/etc/b.ini:2: Tag: bad value '' (want something)");
  EXPECT_EQ(ErrorOf("[Retention]\nGroupBy=tags\n"),
            "/etc/b.ini:2: GroupBy: bad value 'tags' (want name, host, name,host, or nothing for "
            "one group)");
  EXPECT_EQ(ErrorOf("[Retention]\nKeepLast=1\n"),
            "/etc/b.ini:2: unknown key 'KeepLast' in [Retention] (there are Daily, GroupBy, "
            "Hourly, Last, Monthly, Tag, Weekly, Within, Yearly)");
}

TEST_F(ConfigTest, CommandLineBeforeEnvironmentBeforeFile) {
  const std::string file = testing::TempDir() + "/config_test.ini";
  ASSERT_TRUE(RemoveTree(file).ok());
  ASSERT_TRUE(
      WriteNewFile(file, AsBytes("[Repository]\nURL=/file\nKeyFile=/file.key\n"), 0600).ok());
  env_["BKFS_CONFIG_FILE"] = file;
  auto config = MakeConfig({}, Env());
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->url, "/file");
  env_["BKFS_REPOSITORY"] = "/env";
  config = MakeConfig({.key_file = "/arg.key"}, Env());
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->url, "/env");
  EXPECT_EQ(config->key_file, "/arg.key");
  config = MakeConfig({.url = "/arg"}, Env());
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->url, "/arg");
  EXPECT_EQ(config->key_file, "/file.key");
}

TEST_F(ConfigTest, MissingFile) {
  auto config = MakeConfig({.config_file = "/nonexistent/x.ini"}, Env());
  EXPECT_EQ(config.code(), Code::kInvalid);
  EXPECT_NE(config.status().message().find("/nonexistent/x.ini"), std::string::npos);
}

TEST(ConfigValueTest, Sizes) {
  EXPECT_EQ(*ParseSize("0"), 0u);
  EXPECT_EQ(*ParseSize("512K"), 512u << 10);
  EXPECT_EQ(*ParseSize("3T"), 3ULL << 40);
  for (const char* bad : {"", "K", "-1", "1.5G", "1 G", "99999999999T", "0x10"}) {
    EXPECT_EQ(ParseSize(bad).code(), Code::kInvalid) << bad;
  }
}

TEST(ConfigValueTest, Seconds) {
  EXPECT_EQ(*ParseSeconds("0"), 0);
  EXPECT_EQ(*ParseSeconds("90s"), 90);
  EXPECT_EQ(*ParseSeconds("2h"), 7200);
  EXPECT_EQ(*ParseSeconds("2d"), 172800);
  for (const char* bad : {"", "s", "-1", "1w", "99999999999"}) {
    EXPECT_EQ(ParseSeconds(bad).code(), Code::kInvalid) << bad;
  }
}

}  // namespace
}  // namespace bkfs
