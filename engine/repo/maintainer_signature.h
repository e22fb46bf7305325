// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/repo/key_directory.h"

namespace bkfs {

// Whether a log entry, removal, fence or closure counts: signed by a Master or Maintain key that is
// not revoked, or whose revocation names the object (doc/format.md sections 5 and 13). `signer` is
// whom the object names. kCorrupt or kDenied where it does not count; other codes: the store said
// no.
Status CheckMaintainerSignature(KeyDirectory& keys, const RepoHeader& header, ByteView object,
                                const KeyId& signer);

// Whether a status is a verdict on an object, not trouble with the store.
bool IsVerdict(const Status& status);

}  // namespace bkfs
