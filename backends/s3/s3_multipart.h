// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backends/s3/s3_objects.h"

namespace bkfs {

// Puts an object in parts of `part_size` bytes (S3 wants 5 MiB at least). Only for names that have
// one content: not every host that honours "If-None-Match: *" in a PUT does so at a multipart
// upload's end (Ceph 16 does not), so that who put the object meanwhile may be replaced. With
// `conditional` the end asks for it all the same; kExists if the host knows.
//
// What fails is aborted; what a killed process leaves is invisible, and for a rule of the bucket
// (AbortIncompleteMultipartUpload) to remove.
Status PutMultipart(S3Objects& objects, const S3PutRequest& put, uint64_t part_size,
                    bool conditional);

}  // namespace bkfs
