// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/ioctl.h>

#include <cstdint>
#include <string>

#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace bkfs {

// How programs talk to the daemon behind a mount: ioctl(2) on any directory or file below it.
// Answers are fixed-size structs; an ioctl that reached the daemon always succeeds, and what came
// of it stands in the answer.

// Is this bkfs, and which process serves it? On any inode.
struct IdentityAnswer {
  static constexpr char kMagic[8] = {'B', 'K', 'F', 'S', 'M', 'N', 'T', '1'};
  char magic[8];
  int32_t pid;
  uint8_t writable;  // has /incoming
  uint8_t reserved[3];
  char version[32];
};

// Make a snapshot of the series that this inode below /incoming belongs to; durable when it
// answers.
struct CommitAnswer {
  uint8_t snapshot[16];
  uint32_t code;      // of bkfs::Code; 0: done
  char message[220];  // what went wrong, cut to fit
};

// Where the daemon keeps what is its own, and says what it still has to do once it is unmounted
// (tools/ending.h). Empty: a read-only mount, which has nothing to do then.
struct PlaceAnswer {
  char directory[4096];
};

constexpr unsigned kIdentityIoctl = _IOR('K', 0xB0, IdentityAnswer);
constexpr unsigned kCommitIoctl = _IOR('K', 0xB1, CommitAnswer);
constexpr unsigned kPlaceIoctl = _IOR('K', 0xB2, PlaceAnswer);

struct MountIdentity {
  int32_t pid = 0;
  bool writable = false;
  std::string version;
};

// Asks the mount that `path` lies in. kInvalid when that is no bkfs mount.
Result<MountIdentity> AskMount(const std::string& path);
// The directory of PlaceAnswer; empty as well where the daemon is of a version that does not tell.
std::string AskPlace(const std::string& path);
// `path` is a series' directory, or anything below it that can be opened for reading.
Result<SnapshotId> CommitThroughMount(const std::string& path);

}  // namespace bkfs
