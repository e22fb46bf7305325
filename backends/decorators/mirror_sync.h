// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/repo/backend.h"

namespace bkfs {

// How a store and its mirror differ. Leases are no difference: they are not mirrored.
struct MirrorDifference {
  enum class What : uint8_t {
    kNotOnMirror,
    kNotOnPrimary,
    kOtherSize,
    kOtherBytes,       // of an object that is not named by its content
    kDamagedOnMirror,  // its bytes do not hash to its name
  };
  std::string name;
  What what = What::kNotOnMirror;
};
std::string DescribeDifference(const MirrorDifference& difference);

struct MirrorComparison {
  static constexpr size_t kMostNamed = 50'000;
  std::vector<MirrorDifference> differences;  // at most so many
  uint64_t unnamed = 0;                       // and so many more
  uint64_t objects = 0;                       // on the primary
  uint64_t read_objects = 0;                  // on the mirror, whole
  bool agree() const { return differences.empty() && unnamed == 0; }
};

struct CompareOptions {
  // Objects named by their content that are to be read on the mirror; empty: none.
  std::function<bool(const std::string& name)> reads;
  // What differs is looked at again after so long: an upload may be under way.
  int64_t settle_ns = 0;
  std::function<Status()> go_on;  // asked often; may be empty
};

// Names and sizes of all objects, and the bytes of those that are not named by their content (there
// are few, and they are small). 24 bytes of memory for each object, and the names of those that
// differ or are to be read.
Result<MirrorComparison> CompareStores(Backend& primary, Backend& mirror,
                                       const CompareOptions& options);

struct MirrorMended {
  std::vector<std::string> done;  // a line each
  std::vector<std::string> left;
};
// Puts right what a comparison found. What the mirror lacks comes from the primary, which decides
// wherever the two say different things; packs and snapshots that the primary lacks, or has with
// another size and other bytes than their name says, come from the mirror, where they hash to their
// names. Index segments and entries of the maintenance log that only the mirror has are removed
// there: the first are made from packs, and entries say nothing but what may go. Keys and removals
// that only the mirror has are left to a person.
Result<MirrorMended> MendDifferences(Backend& primary, Backend& mirror,
                                     const MirrorComparison& found);
// Objects of the primary that were found damaged or missing, from the mirror, if they are named by
// their content and the mirror's hash to their names. Adds to `out`.
Status MendPrimary(Backend& primary, Backend& mirror, const std::vector<std::string>& damaged,
                   MirrorMended& out);

struct CatchUpResult {
  uint64_t copied = 0;
  uint64_t removed = 0;
  uint64_t kept = 0;              // of `removals`: the mirror does not allow it yet
  std::vector<std::string> left;  // damaged on the primary, and so not copied
};
// Copies what the mirror lacks (or has with another size) from the primary: packs, then the index,
// all else, snapshots, and last the header, without which the mirror is no repository. Removes from
// the mirror those of `removals` that the primary does not have. Beside changes of others: each
// object is asked for again. `mirror`'s objects that are not on the primary stay otherwise.
Result<CatchUpResult> CatchUp(Backend& primary, Backend& mirror,
                              const std::vector<std::string>& removals,
                              const std::function<Status()>& go_on);

}  // namespace bkfs
