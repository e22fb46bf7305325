// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/frame_opener.h"

#include "engine/crypto/hash.h"

namespace bkfs {

FrameOpener::FrameOpener(Repository& repo)
    : repo_(repo),
      tree_id_key_(repo.key().id_key.empty() ? Secret() : TreeIdKey(repo.key().id_key.view())),
      keys_(repo.epochs()) {}

Result<Bytes> FrameOpener::Unseal(const CachedPack& pack, uint32_t number, const PackFrame& frame,
                                  ByteView sealed) {
  BKFS_ASSIGN(Secret key, keys_.Open(number, pack, frame.slot));
  return OpenFrame(pack.slots[frame.slot].cipher, key.view(), repo_.header().repo,
                   static_cast<uint8_t>(pack.kind), sealed);
}

Result<Bytes> FrameOpener::Decode(const PackFrame& frame, ByteView inner) {
  return codec_.Decode(inner, frame.plain);
}

Status FrameOpener::CheckBlob(PackKind kind, const PackBlob& blob, ByteView plain) const {
  ByteView id_key = kind == PackKind::kContents ? repo_.key().id_key.view() : tree_id_key_.view();
  if (KeyedHash(id_key, plain.subspan(blob.offset, blob.length)) == blob.id.bytes) return {};
  return {Code::kCorrupt, "blob " + blob.id.hex() + " does not hash to its id"};
}

}  // namespace bkfs
