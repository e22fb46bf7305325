// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/repo/repository.h"

// What only the master key does to keys: ending one's rights, and giving new data new key pairs
// (doc/format.md sections 5 and 14).
namespace bkfs {

struct Rotated {
  uint32_t epoch = 0;
  size_t grants = 0;  // keys that can open it, besides the master
};
// Begins the next epoch, for all keys that are not revoked. kDenied without the master key;
// kUnavailable when another rotation was quicker; kInvalid when there are as many epochs as there
// may be. Who has the repository open takes it up at the next lease renewal or commit.
Result<Rotated> RotateKeys(Repository& repo);

// Makes epoch objects that are missing or damaged anew, which the master key can: up to the highest
// number that a good epoch, a badge or a record tells of, and one that is damaged behind that. What
// else is in the way of them is removed. Keys that are revoked by now get no grant any more. For a
// store that does not open for want of them. Returns the numbers.
Result<std::vector<uint32_t>> RepairEpochs(Backend& store, const KeyMaterial& master, Logger& log,
                                           Clock& clock);

// Revokes a key: of what it signed, only what is in the store now stays valid (snapshot records; of
// a Maintain key, log entries, removals and closures). Returns what was put. kDenied without the
// master key; kInvalid for the master itself or a key that is revoked already.
Result<Revocation> RevokeKey(Repository& repo, const KeyId& key);

}  // namespace bkfs
