// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace bkfs {

// Where a repository is in an object store.
struct S3Location {
  bool tls = true;
  std::string host;  // in lower case, without the bucket; "[::1]" for a numeric IPv6 address
  std::string port;  // empty: the scheme's own
  std::string bucket;
  std::string prefix;  // "", or words joined by '/', without one at its ends
  std::string region;
  bool virtual_host = false;  // the bucket is in the host name, not in the path

  // "host:port" as requests name it, the bucket included in the virtual-host style.
  std::string Authority() const;
  // "/bucket/prefix/name" encoded, without the bucket in the virtual-host style. An empty name is
  // the bucket itself.
  std::string PathOf(std::string_view name) const;
  // The key of an object, or the beginning of keys: the prefix, '/', the name.
  std::string KeyOf(std::string_view name) const;
  // For messages: "https://host/bucket/prefix".
  std::string Describe() const;
};

struct S3UrlChoices {
  std::string region;         // instead of the one in the host name
  bool allow_http = false;    // for hosts other than loopback
  bool virtual_host = false;  // also where the bucket is written in the path
};

// Understands
//   https://<host>[:port]/<bucket>[/prefix]       any host: AWS, Backblaze B2, Cloudflare R2,
//                                                 Exoscale, Scaleway, Ceph, MinIO
//   https://<bucket>.<host>/[prefix]              for the hosts of AWS, B2, R2, Exoscale, Scaleway
//   s3://<bucket>[/prefix]                        AWS, in the region chosen, else us-east-1
// and http:// in place of https:// where that is allowed. The region is the chosen one, else the
// one in the host name of a provider known to write it there, "auto" for R2, "us-east-1" else.
// A prefix's words are of letters, digits and "._~-", so that they are keys without encoding, and
// none begins with '_', where bkfs keeps what is no object. Anything else is kInvalid.
Result<S3Location> ParseS3Url(std::string_view url, const S3UrlChoices& choices);

}  // namespace bkfs
