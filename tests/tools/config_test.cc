// SPDX-License-Identifier: Apache-2.0
#include "tools/config.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/base/fd.h"
#include "tools/store_url.h"

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
      "[Cache]\nDirectory=cache\nMemory=64M\nSize=2G\n"
      "[Mount]\nCommitIdle=5m\nThreads=3\nAllowOther=yes\nReadOnly=off\nFsync=store\n"
      "LogLevel=debug\nLogFile=/l\nDedup=all\nUid=7\nGid=8\nUmask=027\n"
      "[Backup]\nName=home\nPaths=/a\nPaths=b\nExclude=*.o\nExclude=/tmp\nOneFileSystem=true\n");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->url, "/srv/b");
  EXPECT_EQ(config->key_file, "/home/u/k");
  EXPECT_EQ(config->passphrase_file, "/etc/p");
  EXPECT_EQ(config->cache_directory, "/etc/cache");
  EXPECT_EQ(config->cache_memory, 64ULL << 20);
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
            "/etc/b.ini:2: unknown section [Nope] (there are Backup, Cache, MirrorS3, "
            "MirrorSFTP, Mount, Network, Repository, Retention, S3, SFTP)");
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

TEST_F(ConfigTest, Stores) {
  auto config = Parse(
      "[Repository]\nURL=bob@host:b\n[Mount]\nTimeout=5m\nSpoolSize=3G\n"
      "[SFTP]\nPassword=p w\nKeyFile=~/id\nFingerprint=SHA256:x\nKnownHosts=hosts\n"
      "[S3]\nAccessKeyID=a\nSecretKey=s\nSessionToken=t\nRegion=r\nLockMode=COMPLIANCE\n"
      "RetainDays=30\nStorageClass=STANDARD_IA\nCAFile=/ca\nAllowHTTP=yes\nVirtualHost=no\n"
      "[Network]\nTimeout=30s\nRetryFor=1h\nUploadLimit=1M\nDownloadLimit=16K\n"
      "Connections=3\n");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->url, "bob@host:b");
  EXPECT_EQ(config->mount.timeout_seconds, 300);
  EXPECT_EQ(config->mount.spool_size, 3ULL << 30);
  const auto& [sftp, s3, network] = config->store;
  EXPECT_EQ(sftp.password, "p w");
  EXPECT_EQ(sftp.key_file, "/home/u/id");
  EXPECT_EQ(sftp.fingerprint, "SHA256:x");
  EXPECT_EQ(sftp.known_hosts, "/etc/hosts");
  EXPECT_EQ(s3.access_key_id, "a");
  EXPECT_EQ(s3.secret_key, "s");
  EXPECT_EQ(s3.session_token, "t");
  EXPECT_EQ(s3.region, "r");
  EXPECT_EQ(s3.lock_mode, "COMPLIANCE");
  EXPECT_EQ(s3.lock_days, 30U);
  EXPECT_EQ(s3.storage_class, "STANDARD_IA");
  EXPECT_EQ(s3.ca_file, "/ca");
  EXPECT_EQ(s3.allow_http, true);
  EXPECT_EQ(s3.virtual_host, false);
  EXPECT_EQ(network.stall_seconds, 30);
  EXPECT_EQ(network.retry_seconds, 3600);
  EXPECT_EQ(network.upload, 1ULL << 20);
  EXPECT_EQ(network.download, 16ULL << 10);
  EXPECT_EQ(network.connections, 3U);
  EXPECT_EQ(ErrorOf("[Network]\nUploadLimit=1K\n"),
            "/etc/b.ini:2: UploadLimit: bad value '1K' (want bytes a second such as 512K or 2M, at "
            "least 16K)");
  EXPECT_EQ(ErrorOf("[Network]\nTimeout=0\n"),
            "/etc/b.ini:2: Timeout: bad value '0' (want a time from 1s to 1d)");
  EXPECT_EQ(ErrorOf("[Network]\nConnections=65\n"),
            "/etc/b.ini:2: Connections: bad value '65' (want a number from 1 to 64)");
  EXPECT_EQ(ErrorOf("[S3]\nLockMode=compliance\n"),
            "/etc/b.ini:2: LockMode: bad value 'compliance' (want COMPLIANCE or GOVERNANCE)");
}

TEST_F(ConfigTest, AMirrorAndWhatItNeedsOfItsOwn) {
  const std::string text =
      "[Repository]\nURL=/srv/b\nMirror=bob@host:b\n[SFTP]\nPassword=p\nKeyFile=/k\n"
      "[MirrorSFTP]\nKeyFile=mk\n[S3]\nAccessKeyID=a\nSecretKey=s\nRegion=r\n"
      "[MirrorS3]\nAccessKeyID=ma\nSessionToken=mt\nRetainDays=3\n";
  auto config = Parse(text);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->mirror, "bob@host:b");
  EXPECT_EQ(config->store.sftp.key_file, "/k");
  const Config mirror = MirrorConfig(*config);
  EXPECT_EQ(mirror.url, "bob@host:b");
  EXPECT_EQ(mirror.mirror, "");
  EXPECT_EQ(mirror.store.sftp.password, "p");
  EXPECT_EQ(mirror.store.sftp.key_file, "/etc/mk");
  EXPECT_EQ(mirror.store.s3.access_key_id, "ma");
  EXPECT_EQ(mirror.store.s3.secret_key, "");  // the other account's is not taken
  EXPECT_EQ(mirror.store.s3.session_token, "mt");
  EXPECT_EQ(mirror.store.s3.region, "r");
  EXPECT_EQ(mirror.store.s3.lock_days, 3U);
  EXPECT_EQ(Parse("[Repository]\nMirror=m\n")->mirror, "/etc/m");

  const std::string file = testing::TempDir() + "/config_test_mirror.ini";
  ASSERT_TRUE(RemoveTree(file).ok());
  ASSERT_TRUE(WriteNewFile(file, AsBytes(text), 0600).ok());
  ConfigArgs args;
  args.config_file = file;
  EXPECT_EQ(MakeConfig(args, Env())->mirror, "bob@host:b");
  args.url = "/srv/b";
  EXPECT_EQ(MakeConfig(args, Env())->mirror, "bob@host:b");
  args.url = "/srv/other";  // has nothing to do with that mirror
  EXPECT_EQ(MakeConfig(args, Env())->mirror, "");
  EXPECT_EQ(MakeConfig(args, Env())->store.sftp.key_file, "/k");
  args.url = "bob@host:b";  // the mirror alone
  EXPECT_EQ(MakeConfig(args, Env())->mirror, "");
  EXPECT_EQ(MakeConfig(args, Env())->store.s3.access_key_id, "ma");
}

TEST_F(ConfigTest, UrlsAreNotPaths) {
  for (const std::string url : {"https://h/b", "s3://b/p", "sftp://u@h/x", "u@h:/x", "h:x",
                                "file:///x", "/x", "nonsense://x"}) {
    EXPECT_EQ(Parse("[Repository]\nURL=" + url + "\n")->url, url);
  }
  EXPECT_EQ(Parse("[Repository]\nURL=x/h:y\n")->url, "/etc/x/h:y");
  EXPECT_EQ(Parse("[Repository]\nURL=./h:y\n")->url, "/etc/./h:y");
}

TEST_F(ConfigTest, SecretsFromTheEnvironment) {
  env_ = {{"BKFS_SFTP_KEYFILE", "/k"},    {"BKFS_SFTP_FINGERPRINT", "SHA256:y"},
          {"AWS_ACCESS_KEY_ID", "id"},    {"AWS_SECRET_ACCESS_KEY", "secret"},
          {"AWS_SESSION_TOKEN", "token"}, {"AWS_REGION", "there"}};
  auto config = MakeConfig({}, Env());
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->store.sftp.key_file, "/k");
  EXPECT_EQ(config->store.sftp.fingerprint, "SHA256:y");
  EXPECT_EQ(config->store.s3.access_key_id, "id");
  EXPECT_EQ(config->store.s3.secret_key, "secret");
  EXPECT_EQ(config->store.s3.session_token, "token");
  EXPECT_EQ(config->store.s3.region, "there");
  // A configuration's own key is not mixed with another's secret.
  const std::string file = testing::TempDir() + "/config_test_s3.ini";
  ASSERT_TRUE(RemoveTree(file).ok());
  ASSERT_TRUE(WriteNewFile(file, AsBytes("[S3]\nAccessKeyID=mine\n"), 0600).ok());
  ConfigArgs args;
  args.config_file = file;
  config = MakeConfig(args, Env());
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->store.s3.access_key_id, "mine");
  EXPECT_EQ(config->store.s3.secret_key, "");
  EXPECT_EQ(config->store.s3.session_token, "");
  EXPECT_EQ(config->store.s3.region, "there");
}

TEST(StoreUrlTest, Kinds) {
  for (const char* local : {"/a", "a", "./a:b", "a/b:c", "file:///a", ":a", ""}) {
    EXPECT_EQ(StoreKindOf(local), StoreKind::kLocal) << local;
  }
  for (const char* sftp : {"h:a", "u@h:", "u@h:/a", "[::1]:/a", "sftp://h/a", "ssh://h/a"}) {
    EXPECT_EQ(StoreKindOf(sftp), StoreKind::kSftp) << sftp;
  }
  for (const char* s3 : {"https://h/b", "http://localhost/b", "s3://b"}) {
    EXPECT_EQ(StoreKindOf(s3), StoreKind::kS3) << s3;
  }
  EXPECT_EQ(StoreKindOf("ftp://h/a"), StoreKind::kUnknown);
  EXPECT_EQ(LocalPathOf("file:///a"), "/a");
  EXPECT_EQ(LocalPathOf("h:/a"), std::nullopt);
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
