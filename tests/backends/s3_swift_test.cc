// SPDX-License-Identifier: Apache-2.0
#include "backends/s3/s3_host_traits.h"
#include "engine/base/transfer.h"
#include "tests/backends/decorate.h"
#include "tests/backends/s3_server.h"

namespace bkfs {
namespace {

const auto* const kServer = testing::AddGlobalTestEnvironment(new S3Server("swift.py"));

INSTANTIATE_TEST_SUITE_P(Swift, BackendConformance,
                         testing::Values(S3Factory("Plain", "bucket"),
                                         S3Factory("SmallParts", "bucket", uint64_t{5} << 20)),
                         StoreName);

// All at once: the server is too slow for one at a time.
INSTANTIATE_TEST_SUITE_P(SwiftUnder, BackendConformance,
                         testing::Values(Decorated("AllAndMirrored", S3Factory("Plain", "bucket"),
                                                   [](std::unique_ptr<Backend> inner) {
                                                     return All(MirroredLocally(std::move(inner)));
                                                   })),
                         StoreName);

S3Options Plain(const std::string& prefix) {
  S3Server& server = S3Server::Get();
  return server.Options(server.Fact("bucket"), prefix);
}

// What the claims rest on: no conditional writes, and no requests from long ago.
TEST(S3Swift, IsAHostWithoutConditionalWrites) {
  const RawS3 raw(Plain(FreshPrefix()));
  NullLogger log;
  auto traits = S3HostProbe(raw.objects(), log).Traits();
  ASSERT_TRUE(traits.ok()) << traits.status().ToString();
  EXPECT_FALSE(traits->conditional_put);
  EXPECT_TRUE(traits->refuses_old_requests);
}

TEST(S3Swift, AClaimThatACrashLeftKeepsOthersAway) {
  const std::string prefix = FreshPrefix();
  auto store = MustOpen(Plain(prefix));
  const RawS3 raw(Plain(prefix));
  const std::string claim = std::string(kClaimsPrefix) + "keys_epoch-2/" + RandomWord();
  ASSERT_EQ(raw.objects().Put({.name = claim}).value().status, 200);
  {
    WaitLimit limit(3'000'000'000, nullptr);
    const WatchScope scope(limit);
    EXPECT_EQ(store->PutOne("keys/epoch-2", AsBytes("x")).code(), Code::kUnavailable);
  }
  EXPECT_EQ(store->Get("keys/epoch-2").code(), Code::kNotFound);
  EXPECT_TRUE(store->PutOne("keys/epoch-3", AsBytes("x")).ok());  // no business of others
  ASSERT_TRUE(raw.objects().Remove(claim).ok());
  EXPECT_TRUE(store->PutOne("keys/epoch-2", AsBytes("x")).ok());
}

// It takes the header of a lock, and keeps none.
TEST(S3Swift, LocksThatAreNotKeptAreNoticed) {
  const std::string prefix = FreshPrefix();
  S3Options options = Plain(prefix);
  options.lock_mode = "COMPLIANCE";
  options.retain_days = 1;
  auto store = MustOpen(std::move(options));
  for (int i = 0; i < 2; ++i) {
    const Status status = store->PutOne("packs/aa/1", Bytes(100'000, 'x'));
    EXPECT_EQ(status.code(), Code::kUnsupported);
    EXPECT_NE(status.message().find("accepts locks and does not keep them"), std::string::npos)
        << status.message();
    EXPECT_EQ(store->Get("packs/aa/1").code(), Code::kNotFound);  // nothing unprotected stays
  }
  EXPECT_TRUE(store->PutOne("index/1", AsBytes("x")).ok());  // not a name that is locked
  // Swift takes the request for a lock for a put of the object: it is never made.
  EXPECT_EQ(store->Lock("index/1", SystemClock().WallNanos() + 3600LL * 1'000'000'000).code(),
            Code::kUnsupported);
  EXPECT_EQ(AsText(store->Get("index/1").value()), "x");
}

TEST(S3Swift, AnotherRegionIsNamed) {
  S3Options options = Plain("region");
  options.location.region = "eu-west-9";
  NullLogger log;
  const Status status = OpenS3Backend(std::move(options), log, false).status();
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("set Region=us-east-1"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace bkfs
