// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_host_traits.h"
#include "tests/backends/decorate.h"
#include "tests/backends/s3_server.h"

namespace bkfs {
namespace {

constexpr int64_t kHour = 3600LL * 1'000'000'000;
constexpr int64_t kDay = 24 * kHour;

const auto* const kServer = testing::AddGlobalTestEnvironment(new S3Server("ceph_rgw.py"));

// Ceph 16 ignores If-None-Match where a bucket keeps versions: there it is a host without.
INSTANTIATE_TEST_SUITE_P(Ceph, BackendConformance,
                         testing::Values(S3Factory("Plain", "bucket"),
                                         S3Factory("SmallParts", "bucket", uint64_t{5} << 20),
                                         S3Factory("Versions", "versioned_bucket")),
                         StoreName);

INSTANTIATE_TEST_SUITE_P(CephUnder, BackendConformance,
                         testing::ValuesIn(UnderEveryDecorator(S3Factory("Plain", "bucket"))),
                         StoreName);

NullLogger no_log;

S3Options In(const std::string& bucket_fact, const std::string& prefix) {
  S3Server& server = S3Server::Get();
  return server.Options(server.Fact(bucket_fact), prefix);
}

std::unique_ptr<Backend> OpenLocking(const std::string& prefix, const std::string& mode) {
  S3Options options = In("lock_bucket", prefix);
  options.lock_mode = mode;
  options.retain_days = 1;
  options.multipart_size = 5 << 20;
  return MustOpen(std::move(options));
}

void ExpectSays(const Status& status, Code code, const std::string& words) {
  EXPECT_EQ(status.code(), code) << status.ToString();
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

TEST(S3Ceph, ConditionalWritesAreSeenBucketByBucket) {
  const RawS3 plain(In("bucket", FreshPrefix()));
  EXPECT_TRUE(S3HostProbe(plain.objects(), no_log).Traits()->conditional_put);
  const RawS3 versions(In("versioned_bucket", FreshPrefix()));
  const S3HostTraits traits = S3HostProbe(versions.objects(), no_log).Traits().value();
  EXPECT_FALSE(traits.conditional_put);
  EXPECT_TRUE(traits.refuses_old_requests);
}

TEST(S3Ceph, CertificatesAreVerified) {
  const std::string upstream = S3Server::Get().Fact("port");
  const auto open = [&](const StoreProcess& proxy, const std::string& ca_file) {
    S3Options options =
        S3Server::Get().OptionsFor(proxy.Fact("url"), S3Server::Get().Fact("bucket"), "tls");
    options.ca_file = ca_file;
    return OpenS3Backend(std::move(options), no_log, false).status();
  };
  const StoreProcess good("tls_proxy.py", {"--upstream", upstream});
  EXPECT_TRUE(open(good, good.Fact("ca_file")).ok());
  ExpectSays(open(good, ""), Code::kDenied, "does not verify");
  ExpectSays(open(good, ""), Code::kDenied, "CAFile= names another authority");
  ExpectSays(open(good, "/no/such/file"), Code::kInvalid, "CAFile=");
  const StoreProcess wrong("tls_proxy.py", {"--upstream", upstream, "--wrong-name"});
  ExpectSays(open(wrong, wrong.Fact("ca_file")), Code::kDenied, "does not verify");
  const StoreProcess expired("tls_proxy.py", {"--upstream", upstream, "--expired"});
  ExpectSays(open(expired, expired.Fact("ca_file")), Code::kDenied, "expired");
  // Another authority than the one that signed.
  ExpectSays(open(good, wrong.Fact("ca_file")), Code::kDenied, "does not verify");
}

TEST(S3Ceph, TheContractHoldsThroughTls) {
  const StoreProcess proxy("tls_proxy.py", {"--upstream", S3Server::Get().Fact("port")});
  S3Options options =
      S3Server::Get().OptionsFor(proxy.Fact("url"), S3Server::Get().Fact("bucket"), FreshPrefix());
  options.ca_file = proxy.Fact("ca_file");
  auto store = MustOpen(std::move(options));
  const Bytes data(64 << 20, 'x');
  ASSERT_TRUE(store->PutOne("bkfs.repo", data).ok());
  EXPECT_EQ(store->PutOne("bkfs.repo", data).code(), Code::kExists);
  EXPECT_TRUE(store->Get("bkfs.repo").value() == data);
}

TEST(S3Ceph, AFullBucketIsAQuotaAndKeepsNothing) {
  const std::string prefix = FreshPrefix();
  S3Options options = In("small_bucket", prefix);
  options.multipart_size = 5 << 20;
  auto store = MustOpen(std::move(options));
  Status status;
  int put = 0;
  while (status.ok() && put < 20) {
    status = store->PutOne("packs/aa/" + std::to_string(put), Bytes(200'000, 'x'));
    if (status.ok()) ++put;
  }
  ExpectSays(status, Code::kQuota, "QuotaExceeded");
  EXPECT_GT(put, 0);
  EXPECT_EQ(store->Get("packs/aa/" + std::to_string(put)).code(), Code::kNotFound);
  EXPECT_EQ(store->PutOne("packs/aa/large", Bytes(11 << 20, 'x')).code(), Code::kQuota);
  EXPECT_EQ(store->Get("packs/aa/large").code(), Code::kNotFound);
  EXPECT_EQ(store->Get("packs/aa/0").value(), Bytes(200'000, 'x'));
}

TEST(S3Ceph, WhatIsLockedStays) {
  const std::string prefix = FreshPrefix();
  auto store = OpenLocking(prefix, "COMPLIANCE");
  auto thief = MustOpen(In("lock_bucket", prefix));
  EXPECT_EQ(store->LockSpan(), kDay);
  const Bytes large(6 << 20, 'y');
  const std::vector<std::string> locked = {"packs/aa/1", "packs/aa/large", "bkfs.repo",
                                           "keys/epoch-2", "snapshots/1"};
  const int64_t now = SystemClock().WallNanos();
  for (const std::string& name : locked) {
    SCOPED_TRACE(name);
    const ByteView data = name == "packs/aa/large" ? ByteView(large) : AsBytes("x");
    const Status put = store->PutOne(name, data);
    ASSERT_TRUE(put.ok()) << put.ToString();
    EXPECT_EQ(store->PutOne(name, AsBytes("y")).code(), Code::kExists);
    const int64_t until = store->LockedUntil(name).value();
    EXPECT_GT(until, now + kDay - kHour);
    EXPECT_LT(until, now + kDay + kHour);
    EXPECT_EQ(thief->LockedUntil(name).value(), until);
    for (Backend* who : {store.get(), thief.get()}) {
      ExpectSays(who->Remove(name), Code::kDenied, "is locked until 20");
      EXPECT_EQ(who->RemoveAll({name}).code(), Code::kDenied);
      EXPECT_EQ(who->Get(name).value(), Bytes(data.begin(), data.end()));
    }
  }
}

TEST(S3Ceph, LocksAreOnlyExtended) {
  auto store = OpenLocking(FreshPrefix(), "COMPLIANCE");
  ASSERT_TRUE(store->PutOne("packs/aa/1", AsBytes("x")).ok());
  const int64_t now = SystemClock().WallNanos();
  ASSERT_TRUE(store->Lock("packs/aa/1", now + 3 * kDay).ok());
  const int64_t longer = store->LockedUntil("packs/aa/1").value();
  EXPECT_GE(longer, now + 3 * kDay);
  EXPECT_LT(longer, now + 3 * kDay + kHour);
  EXPECT_TRUE(store->Lock("packs/aa/1", now + kDay).ok());
  EXPECT_EQ(store->LockedUntil("packs/aa/1").value(), longer);
  EXPECT_EQ(store->Lock("packs/aa/absent", now + kDay).code(), Code::kNotFound);
  // What was put without one can be given one, and what has none is removed as ever.
  ASSERT_TRUE(store->PutOne("index/1", AsBytes("x")).ok());
  ASSERT_TRUE(store->PutOne("index/2", AsBytes("x")).ok());
  EXPECT_EQ(store->LockedUntil("index/1").value(), 0);
  ASSERT_TRUE(store->Lock("index/1", now + kDay).ok());
  EXPECT_EQ(store->Remove("index/1").code(), Code::kDenied);
  EXPECT_TRUE(store->Remove("index/2").ok());
}

TEST(S3Ceph, ABucketWithoutLocksIsRefused) {
  S3Options options = In("bucket", FreshPrefix());
  options.lock_mode = "GOVERNANCE";
  options.retain_days = 1;
  auto store = MustOpen(std::move(options));
  ExpectSays(store->PutOne("packs/aa/1", AsBytes("x")), Code::kUnsupported,
             "does not take Object Locks");
  EXPECT_EQ(store->Get("packs/aa/1").code(), Code::kNotFound);
}

// A removal that only hides would free nothing.
TEST(S3Ceph, NoVersionIsLeftOfWhatWasRemoved) {
  const std::string prefix = FreshPrefix();
  auto store = MustOpen(In("versioned_bucket", prefix));
  ASSERT_TRUE(store->PutOne("packs/aa/1", AsBytes("x")).ok());
  ASSERT_TRUE(store->PutOne("packs/aa/2", AsBytes("x")).ok());
  ASSERT_TRUE(store->PutOne("condemned/1", AsBytes("x")).ok());
  const RawS3 raw(In("versioned_bucket", prefix));
  ASSERT_EQ(raw.objects().Put({.name = "packs/aa/2"}).value().status, 200);  // a second version
  EXPECT_TRUE(store->RemoveAll({"packs/aa/1", "packs/aa/2", "packs/aa/3"}).ok());
  EXPECT_TRUE(store->Remove("condemned/1").ok());
  const HttpResponse versions =
      raw.objects()
          .session()
          .Do({.method = "GET", .query = {{"versions", ""}, {"prefix", prefix}}})
          .value();
  EXPECT_EQ(versions.status, 200);
  EXPECT_EQ(AsText(versions.body).find("<Key>"), std::string::npos) << AsText(versions.body);
}

std::unique_ptr<Backend> OpenAs(const std::string& user) {
  S3Server& server = S3Server::Get();
  S3Options options = In("rights_bucket", "repo");
  options.access_key_id = server.Fact(user + "_access_key");
  options.secret_key = Secret::CopyOf(AsBytes(server.Fact(user + "_secret_key")));
  return MustOpen(std::move(options));
}

// The policies of ceph_rgw.py are those of doc/operations.md.
TEST(S3Ceph, EachKindOfKeyHasTheRightsItNeedsAndNoOthers) {
  const std::string lease = "leases/" + std::string(32, 'a');
  auto reader = OpenAs("reader");
  auto writer = OpenAs("writer");
  auto maintainer = OpenAs("maintainer");
  ASSERT_TRUE(writer->PutOne("packs/aa/1", AsBytes("x")).ok());
  ASSERT_TRUE(writer->PutOne("packs/aa/2", AsBytes("x")).ok());
  EXPECT_EQ(writer->PutOne("packs/aa/1", AsBytes("y")).code(), Code::kExists);
  for (Backend* who : {reader.get(), writer.get(), maintainer.get()}) {
    EXPECT_EQ(AsText(who->Get("packs/aa/1").value()), "x");
    EXPECT_EQ(who->Get("packs/aa/absent").code(), Code::kNotFound);
    EXPECT_TRUE(who->PutOne(lease, AsBytes("x")).ok());
    EXPECT_TRUE(who->Remove(lease).ok());
  }
  ExpectSays(reader->PutOne("packs/aa/3", AsBytes("x")), Code::kDenied,
             "repo/packs/aa/3: PUT is not allowed");
  for (Backend* who : {reader.get(), writer.get()}) {
    ExpectSays(who->Remove("packs/aa/1"), Code::kDenied, "repo/packs/aa/1: DELETE is not allowed");
    EXPECT_EQ(who->RemoveAll({"packs/aa/1", "packs/aa/2"}).code(), Code::kDenied);
  }
  EXPECT_TRUE(maintainer->Remove("packs/aa/1").ok());
  EXPECT_TRUE(maintainer->RemoveAll({"packs/aa/1", "packs/aa/2"}).ok());
}

}  // namespace
}  // namespace bkfs
