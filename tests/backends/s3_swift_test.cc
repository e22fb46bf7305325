// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/s3_server.h"

namespace bkfs {
namespace {

const auto* const kServer = testing::AddGlobalTestEnvironment(new S3Server("swift.py"));

INSTANTIATE_TEST_SUITE_P(Swift, BackendConformance,
                         testing::Values(S3Factory("Plain", "bucket"),
                                         S3Factory("SmallParts", "bucket", uint64_t{5} << 20)),
                         StoreName);

}  // namespace
}  // namespace bkfs
