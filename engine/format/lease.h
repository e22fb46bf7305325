// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/ids.h"
#include "engine/crypto/aead.h"
#include "engine/crypto/keys.h"

// leases/<LeaseId> and leases/<LeaseId>.<n> (doc/format.md section 11).
namespace bkfs {

enum class LeaseKind : uint8_t { kWriter = 1, kReader = 2, kMaintainer = 3 };
std::string_view LeaseKindName(LeaseKind kind);  // "writer"

constexpr int64_t kShortestLease = 1'000'000'000;                   // ns
constexpr int64_t kLongestLease = 7 * 24 * 3600 * 1'000'000'000LL;  // ns

struct Lease {
  LeaseId id;
  LeaseKind kind = LeaseKind::kWriter;
  KeyId holder;  // the key that signed it
  std::string host;
  std::array<uint8_t, 16> machine{};  // see ProcessIdentity::boot; zeros: unknown
  uint64_t pid = 0;
  uint64_t started = 0;  // the process, in ticks since boot
  int64_t ttl_ns = kShortestLease;
  std::string program;
  int64_t time_ns = 0;
  // What it protects outlives the process: another one takes the lease up.
  bool resumable = false;
};

struct LeaseState {
  LeaseId id;
  KeyId holder;
  uint64_t number = 1;
  uint64_t moved_past = 0;     // entry of the maintenance log
  std::vector<PackId> packs;   // pinned, sorted
  std::vector<BlobId> roots;   // pinned directories, sorted
  int64_t dirty_since_ns = 0;  // by the store's clock; 0: everything is in snapshots
};

Bytes EncodeLease(const Lease& lease, const RepoId& repo, Cipher cipher, ByteView index_key,
                  const SigningKey& key);
Bytes EncodeLeaseState(const LeaseState& state, const RepoId& repo, Cipher cipher,
                       ByteView index_key, const SigningKey& key);

// The holder's KeyId, which stands in the open. Form and version only.
Result<KeyId> HolderOfLease(ByteView object);
// Checks the signature and opens. kCorrupt, kUnsupported.
Result<Lease> DecodeLease(ByteView object, const RepoId& repo, ByteView index_key,
                          const PublicKey& holder);
Result<LeaseState> DecodeLeaseState(ByteView object, const RepoId& repo, ByteView index_key,
                                    const PublicKey& holder);

// Object names. ParseLeaseName: kInvalid for what is none of them.
std::string LeaseName(const LeaseId& id);
std::string LeaseStateName(const LeaseId& id, uint64_t number);
std::string FenceName(const LeaseId& id);
struct LeaseObject {
  LeaseId id;
  enum { kLease, kState, kFence } what = kLease;
  uint64_t number = 0;  // of a state
};
Result<LeaseObject> ParseLeaseName(std::string_view name);

}  // namespace bkfs
