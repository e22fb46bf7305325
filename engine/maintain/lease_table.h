// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "engine/format/lease.h"
#include "engine/repo/repository.h"

namespace bkfs {

// Somebody else's lease as the store shows it: perhaps out of date, never too new.
struct HeldLease {
  Lease lease;
  LeaseState state;        // number 0: none yet, moved past nothing
  int64_t renewed_ns = 0;  // by the store's clock
  bool lapsed = false;     // not renewed for its time to live, or its process is known to be dead
};

struct LeaseTable {
  std::vector<HeldLease> leases;
  std::vector<RefusedObject> refused;
};

// All leases but `self`. `now_ns` is the present by the store's clock.
Result<LeaseTable> ReadLeases(Repository& repo, const LeaseId& self, int64_t now_ns);

// Ends a lapsed lease as doc/maintenance.md (M2) says. Whoever holds it all the same finds out.
Status EndLease(Repository& repo, const HeldLease& held);

// "mount.bkfs on host alpha (pid 17)", for messages.
std::string DescribeHolder(const Lease& lease);

}  // namespace bkfs
