// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/ids.h"
#include "engine/crypto/keys.h"

// The objects by which maintenance runs beside mounts and backups (doc/format.md sections 12 and
// 13; what they are for: doc/maintenance.md).
namespace bkfs {

// condemned/<n>.
struct LogEntry {
  KeyId signer;
  uint64_t number = 1;
  uint64_t base = 1;  // entries below it are no longer in force; at most `number`
  std::array<uint8_t, 16> nonce{};
  int64_t time_ns = 0;
  std::vector<PackId> condemned;  // sorted
  std::vector<PackId> doomed;     // sorted
};

// removed/<RemovalId>.
struct Removal {
  KeyId signer;
  int64_t time_ns = 0;
  std::vector<SnapshotId> snapshots;  // sorted
};

// leases/<LeaseId>.fence.
struct Fence {
  KeyId signer;
  LeaseId lease;
  int64_t time_ns = 0;
};

// removed/lease-<LeaseId>: which snapshots made under that lease count.
struct Closure {
  KeyId signer;
  LeaseId lease;
  int64_t time_ns = 0;
  std::vector<SnapshotId> accepted;  // sorted
};

// More ids in one entry, removal or closure than this would pass the limit of a signed object.
constexpr size_t kMostPacksInEntry = 400'000;
constexpr size_t kMostSnapshotsInRemoval = 800'000;

// `key` must be the signer named in the value.
Bytes EncodeLogEntry(const LogEntry& entry, const RepoId& repo, const SigningKey& key);
Bytes EncodeRemoval(const Removal& removal, const RepoId& repo, const SigningKey& key);
Bytes EncodeFence(const Fence& fence, const RepoId& repo, const SigningKey& key);
Bytes EncodeClosure(const Closure& closure, const RepoId& repo, const SigningKey& key);

// Form and version only; kCorrupt, kUnsupported. Nothing in them is to be believed before
// VerifyMaintenance said OK, with the public key of the signer they name.
Result<LogEntry> DecodeLogEntry(ByteView object);
Result<Removal> DecodeRemoval(ByteView object);
Result<Fence> DecodeFence(ByteView object);
Result<Closure> DecodeClosure(ByteView object);
// kCorrupt: another key made it, or it was changed.
Status VerifyMaintenance(ByteView object, const RepoId& repo, const PublicKey& signer);

// What a revocation lists an object of this kind by.
SnapshotId AcceptanceIdOf(ByteView object);
RemovalId RemovalIdOf(ByteView object);

// Object names, and what is in one; kInvalid for anything else.
std::string LogEntryName(uint64_t number);  // condemned/000000000000002a
Result<uint64_t> ParseLogEntryName(std::string_view name);
std::string RemovalName(const RemovalId& id);
Result<RemovalId> ParseRemovalName(std::string_view name);
std::string ClosureName(const LeaseId& lease);
Result<LeaseId> ParseClosureName(std::string_view name);

}  // namespace bkfs
