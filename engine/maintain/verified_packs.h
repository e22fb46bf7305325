// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/log.h"
#include "engine/crypto/secret.h"

namespace bkfs {

// When each pack was last read whole on this machine and found sound, and which round of reading is
// not finished. One sealed file, replaced when it is saved; a damaged one counts as empty, since it
// costs no more than reading again. 24 bytes a pack. Not thread-safe; of several processes each
// adds what it has verified.
class VerifiedPacks {
 public:
  // `path` need not exist. `key`: 32 bytes.
  static VerifiedPacks Load(const std::string& path, Secret key, Logger& log);

  // In ns since 1970; 0: never.
  int64_t When(const PackId& id) const;
  void Set(const PackId& id, int64_t now_ns);
  // The moment since which packs count as read in this round: the beginning of one of that name
  // that was not finished, or now. An empty name: a round that none goes on with.
  int64_t BeginRound(const std::string& name, int64_t now_ns, bool restart);
  void EndRound();
  // kNoSpace and the like: nothing is remembered. `only`: forgets all but these, which are all that
  // there are; may be null.
  Status Save(const std::vector<PackId>* only = nullptr);

 private:
  using Short = Id<struct ShortPackTag, 16>;  // the first half of a pack's id
  VerifiedPacks(std::string path, Secret key, Logger& log);
  static Short Shorten(const PackId& id);
  Status Read();
  Status Parse(ByteView plain);

  std::string path_;
  Secret key_;
  Logger* log_;
  std::unordered_map<Short, int64_t, IdHash> when_;
  std::string round_;
  int64_t round_began_ns_ = 0;
};

}  // namespace bkfs
