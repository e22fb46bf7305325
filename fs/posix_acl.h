// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace bkfs {

// The arithmetic of POSIX ACLs as a real filesystem does it: which mode an ACL means, what chmod
// does to an ACL, what a new file inherits. Pure functions.

constexpr std::string_view kAccessAclXattr = "system.posix_acl_access";
constexpr std::string_view kDefaultAclXattr = "system.posix_acl_default";

struct AclEntry {
  enum Tag : uint16_t {
    kOwner = 0x01,
    kUser = 0x02,
    kOwningGroup = 0x04,
    kGroup = 0x08,
    kMask = 0x10,
    kOther = 0x20,
  };
  uint16_t tag = kOwner;
  uint16_t permissions = 0;  // 4 read, 2 write, 1 execute
  uint32_t id = 0;           // of kUser and kGroup
  bool operator==(const AclEntry&) const = default;
};
using Acl = std::vector<AclEntry>;

// The xattr's bytes (version 2). kInvalid unless tags, order, ids and the mask are as POSIX.1e
// wants them. An empty value is an ACL without entries.
Result<Acl> ParseAcl(std::string_view xattr);
std::string EncodeAcl(const Acl& acl);

// The low nine mode bits that an access ACL means: group is the mask if there is one.
uint16_t ModeOfAcl(const Acl& acl);
// Whether the mode says everything that the ACL says (three entries).
bool IsTrivial(const Acl& acl);
// The ACL after chmod: owner, mask (or owning group) and other become those of `mode`.
void ChmodAcl(Acl& acl, uint16_t mode);

// What a node created with `mode` (before any umask) inherits from its directory's default ACL.
struct InheritedAcl {
  uint16_t mode = 0;          // all 12 bits
  std::optional<Acl> access;  // absent: the mode says everything
};
InheritedAcl InheritAcl(const Acl& default_acl, uint16_t mode);

}  // namespace bkfs
