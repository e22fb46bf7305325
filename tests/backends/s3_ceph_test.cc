// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/s3_server.h"

namespace bkfs {
namespace {

const auto* const kServer = testing::AddGlobalTestEnvironment(new S3Server("ceph_rgw.py"));

// Ceph 16 ignores If-None-Match where a bucket keeps versions: there it is a host without.
INSTANTIATE_TEST_SUITE_P(Ceph, BackendConformance,
                         testing::Values(S3Factory("Plain", "bucket"),
                                         S3Factory("SmallParts", "bucket", uint64_t{5} << 20),
                                         S3Factory("Versions", "versioned_bucket")),
                         StoreName);

}  // namespace
}  // namespace bkfs
