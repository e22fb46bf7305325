// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/pack_builder.h"

namespace bkfs {

PackBuilder::PackBuilder(Repository& repo, PackKind kind, Options options)
    : repo_(repo), kind_(kind), options_(options), codec_(options.level) {
  // Growing would hold it twice.
  object_.reserve(options_.pack_target + options_.pack_target / 8);
}

uint32_t PackBuilder::SlotNumber(const PackSlot& slot) {
  auto [found, is_new] = slots_.try_emplace(slot.box, footer_.slots.size());
  if (is_new) footer_.slots.push_back(slot);
  return found->second;
}

Status PackBuilder::PutFrame(ByteView sealed, uint32_t plain, uint32_t slot,
                             const std::vector<PackBlob>& blobs) {
  PackFrame frame;
  frame.offset = static_cast<uint32_t>(object_.size());
  frame.length = static_cast<uint32_t>(sealed.size());
  frame.plain = plain;
  frame.slot = slot;
  const auto number = static_cast<uint32_t>(footer_.frames.size());
  Append(object_, sealed);
  footer_.frames.push_back(frame);
  for (PackBlob blob : blobs) {
    blob.frame = number;
    footer_.blobs.push_back(blob);
  }
  if (object_.size() + footer_.blobs.size() * kBlobInFooter < options_.pack_target) return {};
  return PutPack();
}

Status PackBuilder::MoveFrame(ByteView sealed, uint32_t plain, const PackSlot& slot,
                              const std::vector<PackBlob>& blobs) {
  if (object_.empty()) Append(object_, EncodePackHeader(kind_));
  return PutFrame(sealed, plain, SlotNumber(slot), blobs);
}

Status PackBuilder::AddBlob(const BlobId& id, ByteView data) {
  if (!plain_.empty() && plain_.size() + data.size() > kMaxFramePlain) {
    BKFS_TRY(SealOpenFrame());
  }
  plain_blobs_.push_back(
      {id, 0, static_cast<uint32_t>(plain_.size()), static_cast<uint32_t>(data.size())});
  Append(plain_, data);
  if (plain_.size() + plain_blobs_.size() * kBlobInFooter < options_.frame_plain) return {};
  return SealOpenFrame();
}

Status PackBuilder::SealOpenFrame() {
  if (plain_blobs_.empty()) return {};
  if (object_.empty()) Append(object_, EncodePackHeader(kind_));
  if (!sealer_) {
    const EpochPublicKeys epoch = repo_.epochs().Newest();
    Secret key = RandomSecret(32);
    PackSlot slot;
    slot.epoch = epoch.epoch;
    slot.cipher = repo_.header().cipher;
    slot.writer = repo_.key().id();
    slot.box = SealBox(kind_ == PackKind::kContents ? epoch.content : epoch.tree, key.view());
    own_slot_ = SlotNumber(slot);
    sealer_ = std::make_unique<FrameSealer>(slot.cipher, std::move(key), repo_.header().repo,
                                            static_cast<uint8_t>(kind_));
  }
  const Bytes inner = codec_.Encode(plain_, repo_.header().pad);
  const Bytes sealed = sealer_->Seal({{inner}});
  const auto plain = static_cast<uint32_t>(plain_.size());
  std::vector<PackBlob> blobs = std::move(plain_blobs_);
  plain_.clear();
  plain_blobs_.clear();
  return PutFrame(sealed, plain, own_slot_, blobs);
}

Status PackBuilder::PutPack() {
  if (footer_.frames.empty()) return {};
  footer_.kind = kind_;
  footer_.signer = repo_.key().id();
  footer_.data_hash = HashBytes(object_);
  IndexedPack indexed;
  indexed.footer = SignFooter(footer_, repo_.header().repo, repo_.key().signing);
  Append(object_, EncodePackEnd(indexed.footer, repo_.header().cipher, repo_.key().index_key.view(),
                                repo_.header().repo));
  indexed.id.bytes = HashBytes(object_);
  indexed.size = object_.size();
  BKFS_TRY(repo_.store().PutOne(PackName(indexed.id), object_));
  BKFS_TRY(repo_.index().AddPack(indexed.id, indexed.size, footer_).status());
  stored_.push_back(std::move(indexed));
  object_.clear();
  footer_ = PackFooter();
  slots_.clear();
  sealer_ = nullptr;
  return {};
}

Status PackBuilder::Finish() {
  BKFS_TRY(SealOpenFrame());
  return PutPack();
}

}  // namespace bkfs
