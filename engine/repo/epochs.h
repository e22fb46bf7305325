// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/base/mutex.h"
#include "engine/format/epoch.h"
#include "engine/repo/backend.h"

namespace bkfs {

// Reads keys/epoch-*, verified against the header's master key, and adds their public keys to the
// header's. kCorrupt or kUnsupported when one does not verify or a number is missing; the message
// names it.
Result<std::vector<Epoch>> ReadEpochs(Backend& store, RepoHeader& header);
// kCorrupt, with the object's name, when the keyfile is of this repository and knows of an epoch
// that the header (with all epochs read) does not have.
Status CheckEpochsReach(const RepoHeader& header, const KeyMaterial& key);

// The epochs of an open repository: what new data is sealed to, and what this key opens. Rotation
// adds to them while a mount runs. Thread-safe.
class Epochs {
 public:
  // References must outlive it. `header` has the epochs that ReadEpochs read.
  Epochs(Backend& store, const RepoHeader& header, const KeyMaterial& key, Logger& log);

  // Opens this key's grants of the epochs that ReadEpochs returned. kCorrupt names a bad one.
  Status Adopt(const std::vector<Epoch>& epochs) BKFS_EXCLUDES(mutex_);
  // Looks whether there is a next epoch: one question to the store if not. What does not verify is
  // not used, with a word in the log; other errors are the store's.
  Status Refresh() BKFS_EXCLUDES(mutex_);
  // What new data is sealed to.
  EpochPublicKeys Newest() const BKFS_EXCLUDES(mutex_);
  // What this key holds of an epoch; looks in the store for one that is not known yet. Never null;
  // lives as long as this object. kDenied: this key got no grant of it; kCorrupt: the epoch's
  // object is missing.
  Result<const EpochSecrets*> Secrets(uint32_t epoch) BKFS_EXCLUDES(mutex_);

 private:
  const EpochSecrets* Find(uint32_t epoch) const BKFS_EXCLUDES(mutex_);
  Status Take(const Epoch& epoch) BKFS_EXCLUDES(mutex_);

  Backend& store_;
  const RepoHeader& header_;
  const KeyMaterial& key_;
  Logger& log_;
  mutable Mutex mutex_;  // a leaf
  EpochPublicKeys newest_ BKFS_GUARDED_BY(mutex_);
  std::deque<EpochSecrets> more_ BKFS_GUARDED_BY(mutex_);  // beyond the keyfile's; never moved
  uint32_t refused_ BKFS_GUARDED_BY(mutex_) = 0;           // an epoch that was complained about
};

}  // namespace bkfs
