// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/maintainer_signature.h"

#include <algorithm>

#include "engine/format/maintenance.h"

namespace bkfs {

Status CheckMaintainerSignature(KeyDirectory& keys, const RepoHeader& header, ByteView object,
                                const KeyId& signer_id) {
  auto signer = keys.Find(signer_id);
  if (signer.code() == Code::kNotFound) {
    return {Code::kCorrupt, "signed by unknown key " + signer_id.hex() + ": forged"};
  }
  if (!signer.ok()) return signer.status();
  BKFS_TRY(VerifyMaintenance(object, header.repo, signer->public_key));
  if (!MayMaintain(signer->type)) {
    return {Code::kCorrupt, "signed by " + std::string(KeyTypeName(signer->type)) + " key " +
                                signer_id.hex() + ", which has no right to it: forged"};
  }
  if (!signer->revoked()) return {};
  const auto& accepted = signer->revocation->accepted;
  if (std::binary_search(accepted.begin(), accepted.end(), AcceptanceIdOf(object))) return {};
  return {Code::kDenied, "signed by key " + signer_id.hex() + " after that key was revoked"};
}

bool IsVerdict(const Status& status) {
  return status.Is(Code::kCorrupt) || status.Is(Code::kUnsupported) || status.Is(Code::kDenied);
}

}  // namespace bkfs
