// SPDX-License-Identifier: Apache-2.0
// What needs no server: signatures, URLs, names, XML.
#include <gtest/gtest.h>

#include "backends/s3/s3_names.h"
#include "backends/s3/s3_url.h"
#include "backends/s3/s3_xml.h"
#include "backends/s3/sigv4.h"
#include "engine/base/clock.h"
#include "engine/crypto/hash.h"

namespace bkfs {
namespace {

const bool kReady = InitCrypto().ok();  // secrets need it

// The examples of "Authenticating Requests: Using the Authorization Header (AWS Signature Version
// 4)" in Amazon's S3 API reference.
struct Vector {
  const char* name;
  const char* method;
  const char* path;
  std::vector<QueryWord> query;
  std::vector<SigV4Header> headers;
  const char* body;
  const char* signature;
};

class SigV4 : public testing::TestWithParam<Vector> {};

TEST_P(SigV4, SignsAmazonsExamples) {
  ASSERT_TRUE(kReady);
  const Vector& v = GetParam();
  const SigV4Key key{
      "AKIAIOSFODNN7EXAMPLE",
      Secret::CopyOf(AsBytes("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")),
      "us-east-1",
  };
  SigV4Request request{.method = v.method,
                       .path = UriEncode(v.path, true),
                       .query = CanonicalQuery(v.query),
                       .headers = v.headers,
                       .payload_hash = ToHex(Sha256(AsBytes(v.body)))};
  request.headers.push_back({"host", "examplebucket.s3.amazonaws.com"});
  request.headers.push_back({"x-amz-date", AmzDate(1369353600LL * 1'000'000'000)});
  request.headers.push_back({"x-amz-content-sha256", request.payload_hash});
  const std::string signed_text = SignV4(key, request);
  EXPECT_TRUE(signed_text.starts_with(
      "AWS4-HMAC-SHA256 "
      "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="))
      << signed_text;
  EXPECT_TRUE(signed_text.ends_with(std::string(",Signature=") + v.signature)) << signed_text;
}

INSTANTIATE_TEST_SUITE_P(
    Amazon, SigV4,
    testing::Values(Vector{"GetRange",
                           "GET",
                           "/test.txt",
                           {},
                           {{"range", "bytes=0-9"}},
                           "",
                           "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
                    Vector{"Put",
                           "PUT",
                           "/test$file.text",
                           {},
                           {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                            {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                           "Welcome to Amazon S3.",
                           "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
                    Vector{"Lifecycle",
                           "GET",
                           "/",
                           {{"lifecycle", ""}},
                           {},
                           "",
                           "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
                    Vector{"List",
                           "GET",
                           "/",
                           {{"prefix", "J"}, {"max-keys", "2"}},
                           {},
                           "",
                           "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"}),
    [](const auto& tested) { return std::string(tested.param.name); });

TEST(SigV4Encoding, PathsAndQueries) {
  EXPECT_EQ(UriEncode("a/b c+~_.-é", true), "a/b%20c%2B~_.-%C3%A9");
  EXPECT_EQ(UriEncode("a/b", false), "a%2Fb");
  EXPECT_EQ(CanonicalQuery({{"b", "2"}, {"a", "x&y"}, {"a-b", ""}}), "a=x%26y&a-b=&b=2");
}

struct UrlCase {
  const char* url;
  const char* authority;
  const char* path;  // of the object "packs/x"
  const char* region;
  S3UrlChoices choices;
};

TEST(S3Url, TheFormsOfTheProviders) {
  const std::string account(32, 'a');
  const std::string r2 = "https://" + account + ".eu.r2.cloudflarestorage.com/bkt/p";
  const UrlCase cases[] = {
      {"https://s3.eu-central-1.amazonaws.com/bkt",
       "s3.eu-central-1.amazonaws.com",
       "/bkt/packs/x",
       "eu-central-1",
       {}},
      {"https://bkt.s3.eu-central-1.amazonaws.com/a/b",
       "bkt.s3.eu-central-1.amazonaws.com",
       "/a/b/packs/x",
       "eu-central-1",
       {}},
      {"https://my.bkt.s3.eu-central-1.amazonaws.com/",
       "s3.eu-central-1.amazonaws.com",
       "/my.bkt/packs/x",
       "eu-central-1",
       {}},
      {"https://bkt.s3.amazonaws.com", "bkt.s3.amazonaws.com", "/packs/x", "us-east-1", {}},
      {"https://bkt.s3-us-west-2.amazonaws.com",
       "bkt.s3-us-west-2.amazonaws.com",
       "/packs/x",
       "us-west-2",
       {}},
      {"https://bkt.s3.dualstack.eu-west-1.amazonaws.com",
       "bkt.s3.dualstack.eu-west-1.amazonaws.com",
       "/packs/x",
       "eu-west-1",
       {}},
      {"https://s3.cn-north-1.amazonaws.com.cn/bkt",
       "s3.cn-north-1.amazonaws.com.cn",
       "/bkt/packs/x",
       "cn-north-1",
       {}},
      {"s3://bkt/p", "bkt.s3.us-east-1.amazonaws.com", "/p/packs/x", "us-east-1", {}},
      {"s3://bkt/p",
       "bkt.s3.eu-west-3.amazonaws.com",
       "/p/packs/x",
       "eu-west-3",
       {.region = "eu-west-3"}},
      {"s3://my.bkt", "s3.us-east-1.amazonaws.com", "/my.bkt/packs/x", "us-east-1", {}},
      {"https://s3.us-west-004.backblazeb2.com/bkt",
       "s3.us-west-004.backblazeb2.com",
       "/bkt/packs/x",
       "us-west-004",
       {}},
      {"https://bkt.s3.us-west-004.backblazeb2.com",
       "bkt.s3.us-west-004.backblazeb2.com",
       "/packs/x",
       "us-west-004",
       {}},
      {r2.c_str(), nullptr, "/bkt/p/packs/x", "auto", {}},
      {"https://sos-ch-gva-2.exo.io/bkt", "sos-ch-gva-2.exo.io", "/bkt/packs/x", "ch-gva-2", {}},
      {"https://bkt.sos-ch-gva-2.exo.io/p",
       "bkt.sos-ch-gva-2.exo.io",
       "/p/packs/x",
       "ch-gva-2",
       {}},
      {"https://s3.fr-par.scw.cloud/bkt/", "s3.fr-par.scw.cloud", "/bkt/packs/x", "fr-par", {}},
      {"https://bkt.s3.fr-par.scw.cloud", "bkt.s3.fr-par.scw.cloud", "/packs/x", "fr-par", {}},
      {"https://Minio.Example.org:9000/bkt/A_b/c~d",
       "minio.example.org:9000",
       "/bkt/A_b/c~d/packs/x",
       "us-east-1",
       {}},
      {"https://ceph.example.org:443/bkt",
       "ceph.example.org",
       "/bkt/packs/x",
       "here",
       {.region = "here"}},
      {"https://ceph.example.org/bkt/p",
       "bkt.ceph.example.org",
       "/p/packs/x",
       "us-east-1",
       {.virtual_host = true}},
      {"http://127.0.0.1:9000/bkt", "127.0.0.1:9000", "/bkt/packs/x", "us-east-1", {}},
      {"http://[::1]:9000/bkt", "[::1]:9000", "/bkt/packs/x", "us-east-1", {}},
      {"http://localhost:80/bkt", "localhost", "/bkt/packs/x", "us-east-1", {}},
      {"http://nas.lan/bkt", "nas.lan", "/bkt/packs/x", "us-east-1", {.allow_http = true}},
  };
  for (const UrlCase& c : cases) {
    SCOPED_TRACE(c.url);
    auto parsed = ParseS3Url(c.url, c.choices);
    ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
    if (c.authority != nullptr) {
      EXPECT_EQ(parsed->Authority(), c.authority);
    }
    EXPECT_EQ(parsed->PathOf("packs/x"), c.path);
    EXPECT_EQ(parsed->region, c.region);
  }
}

TEST(S3Url, EverythingElseIsInvalidAndSaysWhy) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "not the URL"},
      {"/srv/backup", "not the URL"},
      {"ftp://host/bkt", "not the URL"},
      {"https://", "no host"},
      {"https:///bkt", "no host"},
      {"https://host", "names no bucket"},
      {"https://host/", "names no bucket"},
      {"s3://", "names no bucket"},
      {"https://host/b", "no bucket's name"},
      {"https://host/Bucket", "no bucket's name"},
      {"https://host/bkt..x", "no bucket's name"},
      {"https://host/" + std::string(64, 'a'), "no bucket's name"},
      {"https://host/bkt/a//b", "word of a prefix"},
      {"https://host/bkt/../b", "word of a prefix"},
      {"https://host/bkt/%61", "word of a prefix"},
      {"https://host/bkt/_claims", "word of a prefix"},
      {"https://host/bkt/\xc3\xa4", "word of a prefix"},
      {"https://host/bkt/" + std::string(501, 'a'), "too long"},
      {"https://host:port/bkt", "no port"},
      {"https://host:99999/bkt", "no port"},
      {"https://ho_st/bkt", "no host"},
      {"https://host/bkt?x=1", "no '?'"},
      {"https://host/b kt", "no '?'"},
      {"https://me:geheim@host/bkt", "no '?'"},
      {"http://host/bkt", "without TLS"},
      {"http://127.0.0.1.example.org/bkt", "without TLS"},
  };
  for (const auto& [url, why] : cases) {
    SCOPED_TRACE(url);
    auto parsed = ParseS3Url(url, {});
    ASSERT_EQ(parsed.code(), Code::kInvalid);
    EXPECT_NE(parsed.status().message().find(why), std::string::npos) << parsed.status().message();
    EXPECT_EQ(parsed.status().message().find("geheim"), std::string::npos);
  }
}

TEST(S3Names, WhichHaveOneWriter) {
  const std::string id(32, 'a');
  for (const std::string& name :
       {std::string("packs/aa/b"), std::string("index/1"), std::string("snapshots/1"),
        "removed/" + id, "keys/" + id, "leases/" + id, "leases/" + id + ".12"}) {
    EXPECT_TRUE(HasOneWriter(name)) << name;
  }
  for (const std::string& name :
       {std::string("bkfs.repo"), std::string("condemned/1"), std::string("keys/epoch-2"),
        "keys/" + id + ".revoked", "leases/" + id + ".fence", "leases/" + id + ".",
        "removed/lease-" + id, "removed/" + id + "a", std::string("packs"), std::string("new/1"),
        "keys/" + std::string(32, 'g')}) {
    EXPECT_FALSE(HasOneWriter(name)) << name;
  }
  EXPECT_TRUE(IsLockedWhenPut("bkfs.repo") && IsLockedWhenPut("keys/epoch-2") &&
              IsLockedWhenPut("packs/aa/b") && IsLockedWhenPut("snapshots/1"));
  EXPECT_FALSE(IsLockedWhenPut("index/1") || IsLockedWhenPut("leases/1"));
}

Status ReadPage(S3ListPage& page, std::string_view text, size_t step = 7) {
  for (size_t at = 0; at < text.size(); at += step) {
    BKFS_TRY(page.Feed(AsBytes(text.substr(at, step))));
  }
  return page.Finish();
}

TEST(S3Xml, AListIsReadInPieces) {
  S3ListPage page;
  ASSERT_TRUE(
      ReadPage(page,
               "<?xml version=\"1.0\"?>\n<s:ListBucketResult xmlns:s=\"urn:x\"><s:Contents><s:Key>"
               "a%2Fb+c&amp;%zz</s:Key><s:Size>5</s:Size><s:LastModified>2026-11-21T14:29:06.079Z"
               "</s:LastModified><s:Owner><s:ID>x</s:ID></s:Owner></s:Contents>"
               "<s:Contents><s:Size>18446744073709551615</s:Size><s:Key>b</s:Key></s:Contents>"
               "<s:IsTruncated>true</s:IsTruncated><s:NextContinuationToken>t&lt;1"
               "</s:NextContinuationToken><s:EncodingType>url</s:EncodingType>"
               "</s:ListBucketResult>")
          .ok());
  ASSERT_EQ(page.objects().size(), 2U);
  EXPECT_EQ(page.objects()[0].key, "a/b c&%zz");
  EXPECT_EQ(page.objects()[0].size, 5U);
  EXPECT_EQ(page.objects()[0].modified_ns, ParseRfc3339("2026-11-21T14:29:06.079Z").value());
  EXPECT_EQ(page.objects()[1].size, ~uint64_t{0});
  EXPECT_EQ(page.next(), "t<1");
}

TEST(S3Xml, WhatIsNoListIsRefused) {
  const std::string open = "<ListBucketResult><Contents>";
  const std::string close = "</Contents></ListBucketResult>";
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "<a>";
  const std::string bad[] = {
      "",
      "garbage",
      "<html><body>welcome</body></html>",
      "<ListBucketResult>",
      "<ListBucketResult></ListBucketResult><more/>",
      open + "<Key>a</Key>" + close,
      open + "<Size>1</Size>" + close,
      open + "<Key>a</Key><Size>-1</Size>" + close,
      open + "<Key>a</Key><Size>1x</Size>" + close,
      open + "<Key>a</Key><Size>99999999999999999999</Size>" + close,
      open + "<Key>" + std::string(1 << 20, 'a') + "</Key><Size>1</Size>" + close,
      "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
      "<ListBucketResult>" + deep,
      "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult>&a;</ListBucketResult>",
      "<Error><Code>InternalError</Code></Error>",
  };
  for (const std::string& text : bad) {
    S3ListPage page;
    EXPECT_EQ(ReadPage(page, text, 4096).code(), Code::kIo) << text.substr(0, 100);
  }
}

TEST(S3Xml, Errors) {
  const S3Error error = DecodeS3Error(
      AsBytes("<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no\x1b[1m</Message>"
              "<Region>eu</Region></Error>"));
  EXPECT_TRUE(error.code.empty());  // a control character is no XML
  const S3Error other = DecodeS3Error(
      AsBytes("<Error><Code>AccessDenied</Code><Message>no</Message><Region>eu</Region></Error>"));
  EXPECT_EQ(other.code + other.message + other.region, "AccessDeniednoeu");
  EXPECT_TRUE(DecodeS3Error(AsBytes("<html>")).code.empty());
  EXPECT_TRUE(DecodeS3Error({}).code.empty());
}

TEST(S3Xml, DeleteResults) {
  auto none = DecodeDeleteResult(
      AsBytes("<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>NoSuchKey"
              "</Code></Error></DeleteResult>"));
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->failed_key.empty() && !none->hidden);
  auto failed = DecodeDeleteResult(
      AsBytes("<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code></Error></DeleteResult>"));
  EXPECT_EQ(failed->failed_key + failed->error.code, "bAccessDenied");
  EXPECT_TRUE(DecodeDeleteResult(AsBytes("<DeleteResult><Deleted><DeleteMarker>true</DeleteMarker>"
                                         "</Deleted></DeleteResult>"))
                  ->hidden);
  EXPECT_EQ(DecodeDeleteResult(AsBytes("<Other/>")).code(), Code::kIo);
  EXPECT_EQ(DecodeDeleteResult({}).code(), Code::kIo);
  EXPECT_EQ(XmlEscape("a<b&c"), "a&lt;b&amp;c");
}

}  // namespace
}  // namespace bkfs
