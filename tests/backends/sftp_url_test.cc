// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "backends/sftp/sftp_backend.h"

namespace bkfs {
namespace {

struct Place {
  const char* url;
  const char* user;
  const char* host;
  int port;
  const char* path;
};

TEST(SftpUrl, GoodOnes) {
  const Place places[] = {
      {"bob@host:/srv/b", "bob", "host", 22, "/srv/b"},
      {"host:backup", "", "host", 22, "backup"},
      {"host:~/backup", "", "host", 22, "~/backup"},
      {"bob@host:a:b", "bob", "host", 22, "a:b"},
      {"bob@[fe80::1]:/x", "bob", "fe80::1", 22, "/x"},
      {"[::1]:x", "", "::1", 22, "x"},
      {"a@b@host:/x", "a@b", "host", 22, "/x"},
      {"bob@host:/with%20percent and space", "bob", "host", 22, "/with%20percent and space"},
      {"ssh://bob@host/srv/b", "bob", "host", 22, "/srv/b"},
      {"sftp://bob@host:2222/srv/b", "bob", "host", 2222, "/srv/b"},
      {"sftp://host/~/b", "", "host", 22, "~/b"},
      {"sftp://host/~", "", "host", 22, "~"},
      {"sftp://host/a%20b%2fc", "", "host", 22, "/a b/c"},
      {"sftp://b%40x@host/a", "b@x", "host", 22, "/a"},
      {"ssh://bob@[2001:db8::7]:22022/x", "bob", "2001:db8::7", 22022, "/x"},
      {"ssh://[::1]/x", "", "::1", 22, "/x"},
  };
  for (const Place& place : places) {
    auto parsed = ParseSftpUrl(place.url);
    ASSERT_TRUE(parsed.ok()) << place.url << ": " << parsed.status().ToString();
    EXPECT_EQ(parsed->user, place.user) << place.url;
    EXPECT_EQ(parsed->host, place.host) << place.url;
    EXPECT_EQ(parsed->port, place.port) << place.url;
    EXPECT_EQ(parsed->path, place.path) << place.url;
  }
}

TEST(SftpUrl, BadOnes) {
  const char* const urls[] = {"",
                              "host",
                              "/srv/b",
                              "./a:b",
                              ":/x",
                              "@host:/x",
                              "host:",
                              "ssh://host",
                              "ssh:///x",
                              "ssh://host:0/x",
                              "ssh://host:65536/x",
                              "ssh://host:/x",
                              "ssh://host:22x/x",
                              "ssh://[::1/x",
                              "ssh://[::1]x/x",
                              "sftp://host/a%2",
                              "sftp://host/a%zz",
                              "sftp://host/%00",
                              "http://host/x",
                              "host:~bob/x",
                              "sftp://host/~bob",
                              "-oProxyCommand=x:/y",
                              "ssh://-oProxyCommand=x/y",
                              "ssh://-x@host/y",
                              "a b:/x"};
  for (const char* url : urls) {
    auto parsed = ParseSftpUrl(url);
    if (std::string_view(url) == "sftp://host/~bob") {
      // A folder of that name, because the path is absolute.
      ASSERT_TRUE(parsed.ok());
      EXPECT_EQ(parsed->path, "/~bob");
      continue;
    }
    EXPECT_EQ(parsed.code(), Code::kInvalid) << url;
  }
}

TEST(SftpUrl, APasswordIsRefusedAndNotShown) {
  for (const char* url : {"sftp://bob:geheim@host/x", "ssh://bob:geheim@host:22/%zz"}) {
    Status status = ParseSftpUrl(url).status();
    EXPECT_EQ(status.code(), Code::kInvalid);
    EXPECT_EQ(status.message().find("geheim"), std::string::npos) << status.message();
  }
}

TEST(SftpUrl, WhatIsRemote) {
  for (const char* text : {"host:/x", "bob@host:x", "host:", "[::1]:/x", "c:/x"}) {
    EXPECT_TRUE(IsScpForm(text)) << text;
  }
  for (const char* text : {"/srv/a:b", "./a:b", "a/b:c", "x", "", ":x", "https://host/x",
                           "sftp://host/x", "[::1]/x"}) {
    EXPECT_FALSE(IsScpForm(text)) << text;
  }
}

}  // namespace
}  // namespace bkfs
