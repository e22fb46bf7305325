// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/crypto/secret.h"

namespace bkfs {

// AWS Signature Version 4, with the Authorization header, as Amazon S3 documents it
// ("Authenticating Requests: Using the Authorization Header").

struct SigV4Key {
  std::string access_key_id;
  Secret secret_key;
  std::string region;
};

// Name and value, both unencoded; an empty value is written "name=".
struct QueryWord {
  std::string name;
  std::string value;
};

struct SigV4Header {
  std::string name;  // in lower case
  std::string value;
};

struct SigV4Request {
  std::string method;
  std::string path;                  // encoded, with its leading '/'
  std::string query;                 // as CanonicalQuery made it
  std::vector<SigV4Header> headers;  // all are signed; among them "host" and "x-amz-date"
  std::string payload_hash;          // the body's SHA-256 in hexadecimal
};

// Percent-encodes all but the unreserved characters; with `keep_slash` '/' stays too.
std::string UriEncode(std::string_view text, bool keep_slash);
// The query in the form that is signed, and may be sent: sorted, encoded, joined by '&'.
std::string CanonicalQuery(const std::vector<QueryWord>& words);
// "20130524T000000Z", the form of x-amz-date.
std::string AmzDate(int64_t wall_ns);
// The value of the Authorization header.
std::string SignV4(const SigV4Key& key, const SigV4Request& request);

}  // namespace bkfs
