// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "backends/s3/s3_backend.h"
#include "backends/s3/s3_objects.h"
#include "tests/backends/conformance.h"
#include "tests/support/store_process.h"

namespace bkfs {

// The one S3 server of a test program: started before its first case, stopped after its last.
class S3Server final : public testing::Environment {
 public:
  explicit S3Server(std::string script) : script_(std::move(script)) {}
  void SetUp() override;
  void TearDown() override { process_.reset(); }

  // The running one; aborts without.
  static S3Server& Get();
  const std::string& Fact(const std::string& name) const { return process_->Fact(name); }
  // "https://..." in place of the server's own URL: a proxy before it.
  S3Options OptionsFor(const std::string& url, const std::string& bucket,
                       const std::string& prefix) const;
  S3Options Options(const std::string& bucket, const std::string& prefix) const {
    return OptionsFor(Fact("url"), bucket, prefix);
  }

 private:
  const std::string script_;
  std::unique_ptr<StoreProcess> process_;
};

// A prefix that no case has had.
std::string FreshPrefix();
std::unique_ptr<Backend> MustOpen(S3Options options);

// The store's keys as they are, for what a Backend does not show.
class RawS3 {
 public:
  explicit RawS3(S3Options options);
  S3Objects& objects() const { return *objects_; }

 private:
  SystemClock clock_;
  std::unique_ptr<S3Session> session_;
  std::unique_ptr<S3Objects> objects_;
};

// A conformance store below a fresh prefix of the bucket that the server's fact names.
StoreFactory S3Factory(const char* name, const char* bucket_fact,
                       uint64_t multipart_size = uint64_t{64} << 20);

}  // namespace bkfs
