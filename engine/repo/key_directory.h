// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/log.h"
#include "engine/base/mutex.h"
#include "engine/format/header.h"
#include "engine/repo/backend.h"

namespace bkfs {

// A key that may have signed something in this repository.
struct Signer {
  KeyId id;
  KeyType type = KeyType::kMaster;
  std::string label;
  PublicKey public_key{};
  int64_t created_ns = 0;
  uint32_t epoch = 1;  // the newest when it was made
  std::optional<Revocation> revocation;

  bool revoked() const { return revocation.has_value(); }
};

class ObjectReader;

// An object that is passed over, and why.
struct RefusedObject {
  std::string object;
  Status why;
};

// The badges and revocations in keys/, each verified against the master's signature. Badges never
// change, so one that was read is kept; Refresh looks for new ones. Thread-safe.
class KeyDirectory {
 public:
  // All references must outlive it.
  KeyDirectory(Backend& store, const RepoHeader& header, Logger& log);

  // Reads badges and revocations that are new. An object that fails verification is passed over
  // with a warning in the log (its key is then unknown), and is among `refused`.
  Status Refresh() BKFS_EXCLUDES(mutex_);
  // The signer, looking again in the store once if it is not known. kNotFound: no such key has a
  // valid badge.
  Result<Signer> Find(const KeyId& id) BKFS_EXCLUDES(mutex_);
  std::vector<Signer> All() BKFS_EXCLUDES(mutex_);
  std::vector<RefusedObject> refused() BKFS_EXCLUDES(mutex_);

  // Object names.
  static std::string BadgeName(const KeyId& id);
  static std::string RevocationName(const KeyId& id);

 private:
  // Nothing new is to be had of it.
  bool IsKnown(const std::string& name) BKFS_REQUIRES(mutex_);
  Status LoadOne(ObjectReader& objects, const std::string& name) BKFS_EXCLUDES(mutex_);

  Backend& store_;
  const RepoHeader& header_;
  Logger& log_;
  Mutex mutex_;
  std::vector<Signer> signers_ BKFS_GUARDED_BY(mutex_);
  std::vector<RefusedObject> refused_ BKFS_GUARDED_BY(mutex_);
};

}  // namespace bkfs
