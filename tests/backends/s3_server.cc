// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/s3_server.h"

#include <atomic>

namespace bkfs {

namespace {
S3Server* running = nullptr;

class S3Store final : public TestStore {
 public:
  S3Store(const std::string& bucket_fact, uint64_t multipart_size)
      : bucket_(S3Server::Get().Fact(bucket_fact)), multipart_size_(multipart_size) {
    backend_ = OpenAgain();
  }
  Backend& backend() override { return *backend_; }
  std::unique_ptr<Backend> OpenAgain() override {
    S3Options options = S3Server::Get().Options(bucket_, prefix_);
    options.multipart_size = multipart_size_;
    return MustOpen(std::move(options));
  }

 private:
  const std::string bucket_;
  const std::string prefix_ = FreshPrefix();
  const uint64_t multipart_size_;
  std::unique_ptr<Backend> backend_;
};
}  // namespace

void S3Server::SetUp() {
  BKFS_CHECK(InitCrypto().ok());
  process_ = std::make_unique<StoreProcess>(script_);
  running = this;
}

S3Server& S3Server::Get() {
  BKFS_CHECK(running != nullptr);
  return *running;
}

S3Options S3Server::OptionsFor(const std::string& url, const std::string& bucket,
                               const std::string& prefix) const {
  S3Options options;
  options.location = ParseS3Url(url + "/" + bucket + "/" + prefix, {}).value();
  options.access_key_id = Fact("access_key");
  options.secret_key = Secret::CopyOf(AsBytes(Fact("secret_key")));
  return options;
}

std::string FreshPrefix() {
  static std::atomic<int> count{0};
  return "case-" + std::to_string(count.fetch_add(1)) + "/repo";
}

std::unique_ptr<Backend> MustOpen(S3Options options) {
  static NullLogger log;
  auto backend = OpenS3Backend(std::move(options), log, true);
  if (!backend.ok()) Panic(backend.status().ToString(), __FILE__, __LINE__);
  return std::move(*backend);
}

RawS3::RawS3(S3Options options) {
  const std::string region = options.location.region;
  session_ = std::make_unique<S3Session>(
      std::move(options.location),
      S3Credentials{.key = {options.access_key_id, std::move(options.secret_key), region},
                    .session_token = {}},
      HttpClient::Open({}).value(), clock_);
  objects_ = std::make_unique<S3Objects>(*session_);
}

StoreFactory S3Factory(const char* name, const char* bucket_fact, uint64_t multipart_size) {
  return {name, [bucket_fact = std::string(bucket_fact), multipart_size] {
            return std::make_unique<S3Store>(bucket_fact, multipart_size);
          }};
}

}  // namespace bkfs
