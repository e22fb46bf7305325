// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "engine/crypto/keys.h"
#include "engine/format/header.h"
#include "engine/format/tree.h"

namespace bkfs {

// What is in the open of a snapshot record.
struct SnapshotEnvelope {
  uint32_t epoch = 1;
  RepoId repo;
  KeyId signer;
  uint64_t seq = 1;
  SnapshotId prev;
};

// What is sealed to the log key (doc/format.md section 9).
struct SnapshotBody {
  std::string name;
  std::string host;
  std::string user;
  int64_t time_ns = 0;
  int64_t end_ns = 0;
  TreeTotals totals;
  uint64_t added = 0;
  std::vector<std::string> tags;
  std::vector<std::string> paths;
  SnapshotId parent;
  LeaseId lease;  // it was made under; zero: none
  std::string program;
  Bytes sealed_root;  // Box(tree key, Root)
};

SnapshotId SnapshotIdOf(ByteView object);
std::string SnapshotName(const SnapshotId& id);  // snapshots/<id>
Result<SnapshotId> ParseSnapshotName(std::string_view name);
// 1 to 200 bytes, UTF-8, no '/', no control characters, not beginning with '.'.
Status CheckSeriesName(std::string_view name);

Bytes SealRoot(const Entry& root, const PublicKey& tree_key);
Result<Entry> OpenRoot(ByteView sealed_root, const BoxKey& tree_key);

Bytes EncodeSnapshot(const SnapshotEnvelope& envelope, const SnapshotBody& body,
                     const PublicKey& log_key, const SigningKey& signer);
// Form, version and repository only.
Result<SnapshotEnvelope> DecodeSnapshotEnvelope(ByteView object, const RepoId& repo);
Status VerifySnapshotSignature(ByteView object, const PublicKey& signer);
// After the signature has been verified.
Result<SnapshotBody> OpenSnapshotBody(ByteView object, const BoxKey& log_key);

}  // namespace bkfs
