// SPDX-License-Identifier: Apache-2.0
#include "engine/maintain/pack_builder.h"

#include <algorithm>
#include <set>

namespace bkfs {

PackBuilder::PackBuilder(Repository& repo, PackKind kind, Options options)
    : repo_(repo),
      kind_(kind),
      options_(options),
      codec_(options.level),
      header_(EncodePackHeader(kind)),
      size_(header_.size()),
      store_copies_(options.store_copies) {}

uint32_t PackBuilder::SlotNumber(const PackSlot& slot) {
  auto [found, is_new] = slots_.try_emplace(slot.box, footer_.slots.size());
  if (is_new) footer_.slots.push_back(slot);
  return found->second;
}

Status PackBuilder::PutFrame(Part part, PackFrame frame, const std::vector<PackBlob>& blobs) {
  frame.offset = static_cast<uint32_t>(size_);
  size_ += frame.length;
  const auto number = static_cast<uint32_t>(footer_.frames.size());
  footer_.frames.push_back(frame);
  parts_.push_back(std::move(part));
  for (PackBlob blob : blobs) {
    blob.frame = number;
    footer_.blobs.push_back(blob);
  }
  if (size_ + footer_.blobs.size() * kBlobInFooter < options_.pack_target) return {};
  return PutPack();
}

Status PackBuilder::MoveFrame(ByteView sealed, uint32_t plain, const PackSlot& slot,
                              const std::vector<PackBlob>& blobs) {
  Part part;
  part.bytes.assign(sealed.begin(), sealed.end());
  return PutFrame(std::move(part),
                  {0, static_cast<uint32_t>(sealed.size()), plain, SlotNumber(slot)}, blobs);
}

Status PackBuilder::MoveFrameOf(const PackId& source, const PackFrame& frame, const PackSlot& slot,
                                const std::vector<PackBlob>& blobs) {
  if (auto lost = lost_.find(source); lost != lost_.end()) return lost->second;
  Part part;
  part.source = source;
  part.offset = frame.offset;
  return PutFrame(std::move(part), {0, frame.length, frame.plain, SlotNumber(slot)}, blobs);
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
  Part part;
  part.bytes = sealer_->Seal({{inner}});
  const PackFrame frame{0, static_cast<uint32_t>(part.bytes.size()),
                        static_cast<uint32_t>(plain_.size()), own_slot_};
  std::vector<PackBlob> blobs = std::move(plain_blobs_);
  plain_.clear();
  plain_blobs_.clear();
  return PutFrame(std::move(part), frame, blobs);
}

bool PackBuilder::HasReferences() const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [](const Part& part) { return !part.source.is_zero(); });
}

Bytes PackBuilder::MakeEnd(IndexedPack& indexed) {
  footer_.kind = kind_;
  footer_.signer = repo_.key().id();
  indexed.footer = SignFooter(footer_, repo_.header().repo, repo_.key().signing);
  Bytes end = EncodePackEnd(indexed.footer, repo_.header().cipher, repo_.key().index_key.view(),
                            repo_.header().repo);
  indexed.size = size_ + end.size();
  return end;
}

Status PackBuilder::Remember(IndexedPack indexed) {
  BKFS_TRY(repo_.index().AddPack(indexed.id, indexed.size, footer_).status());
  stored_.push_back(std::move(indexed));
  BeginPack();
  return {};
}

void PackBuilder::BeginPack() {
  footer_ = PackFooter();
  parts_.clear();
  size_ = header_.size();
  slots_.clear();
  sealer_ = nullptr;
}

Status PackBuilder::PutPack() {
  if (footer_.frames.empty()) return {};
  if (HasReferences()) {
    bool made = false;
    if (store_copies_) {
      BKFS_ASSIGN(made, LetStoreCopy());
    }
    if (made) return {};
    BKFS_TRY(FetchSources());
    if (footer_.frames.empty()) {
      BeginPack();
      return {};
    }
  }
  return PutOwn();
}

// False: it is for this machine to do.
Result<bool> PackBuilder::LetStoreCopy() {
  footer_.data_hash = {};  // nobody here has seen the data
  IndexedPack indexed;
  const Bytes end = MakeEnd(indexed);
  std::vector<RepackPiece> pieces{{"", 0, 0, header_}};
  uint64_t sent = header_.size() + end.size();
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    const uint64_t length = footer_.frames[i].length;
    RepackPiece& last = pieces.back();
    if (part.source.is_zero()) {
      pieces.push_back({"", 0, 0, part.bytes});
      sent += length;
    } else if (const std::string name = PackName(part.source);
               last.source == name && last.offset + last.length == part.offset) {
      last.length += length;
    } else {
      pieces.push_back({name, part.offset, length, {}});
    }
  }
  pieces.push_back({"", 0, 0, end});
  auto made = repo_.store().Repack(pieces);
  if (made.code() == Code::kUnsupported) {
    store_copies_ = false;
    return false;
  }
  // Which source it is, this machine finds out for itself.
  if (made.code() == Code::kCorrupt || made.code() == Code::kNotFound) return false;
  if (!made.ok()) return made.status();
  Status good = made->size == indexed.size ? CheckCopied(*made, end)
                                           : Status(Code::kCorrupt, "it is of another size");
  if (good.Is(Code::kCorrupt) || good.Is(Code::kNotFound) || good.Is(Code::kInvalid)) {
    repo_.log().Error("the store says that it made " + made->name +
                      ", which is not the pack that was asked for (" + good.message() +
                      "): frames are copied by this machine instead");
    store_copies_ = false;
    return false;
  }
  BKFS_TRY(good);
  BKFS_ASSIGN(indexed.id, ParsePackName(made->name));
  traffic_.sent += sent;
  traffic_.read += end.size();
  traffic_.copied += indexed.size - sent;
  BKFS_TRY(Remember(std::move(indexed)));
  return true;
}

// What stands at the end is what readers go by; a frame that was copied wrongly does not open.
Status PackBuilder::CheckCopied(const RepackedObject& made, ByteView end) {
  BKFS_TRY(ParsePackName(made.name).status());
  BKFS_ASSIGN(uint64_t size, repo_.store().Size(made.name));
  if (size != made.size) return {Code::kCorrupt, "it is of another size"};
  Bytes there(end.size());
  BKFS_TRY(repo_.store().ReadAt(made.name, size - end.size(), there));
  if (!std::equal(there.begin(), there.end(), end.begin())) {
    return {Code::kCorrupt, "it ends otherwise"};
  }
  return {};
}

// Frames that lie in the store come here, each source verified as a whole: copied, its damage would
// get a good name.
Status PackBuilder::FetchSources() {
  std::set<PackId> sources;
  for (const auto& part : parts_) {
    if (!part.source.is_zero()) sources.insert(part.source);
  }
  for (const auto& id : sources) {
    auto object = repo_.store().Get(PackName(id));
    Status good = object.status();
    if (good.ok()) {
      traffic_.read += object->size();
      if (HashBytes(*object) != id.bytes) {
        good = Status(Code::kCorrupt, "its bytes do not hash to its name");
      }
    }
    if (good.Is(Code::kCorrupt) || good.Is(Code::kNotFound)) {
      lost_.emplace(id, good);
      DropFramesOf(id);
      continue;
    }
    BKFS_TRY(good);
    for (size_t i = 0; i < parts_.size(); ++i) {
      if (parts_[i].source != id) continue;
      const ByteView sealed = ByteView(*object).subspan(parts_[i].offset, footer_.frames[i].length);
      parts_[i] = {{}, 0, Bytes(sealed.begin(), sealed.end())};
    }
  }
  return {};
}

void PackBuilder::DropFramesOf(const PackId& source) {
  PackFooter old = std::move(footer_);
  std::vector<Part> parts = std::move(parts_);
  footer_ = PackFooter();
  footer_.slots = std::move(old.slots);
  parts_.clear();
  size_ = header_.size();
  size_t blob = 0;
  for (uint32_t i = 0; i < old.frames.size(); ++i) {
    const size_t first = blob;
    while (blob < old.blobs.size() && old.blobs[blob].frame == i) ++blob;
    if (parts[i].source == source) {
      ++frames_lost_;
      continue;
    }
    PackFrame frame = old.frames[i];
    frame.offset = static_cast<uint32_t>(size_);
    size_ += frame.length;
    for (size_t at = first; at < blob; ++at) {
      old.blobs[at].frame = static_cast<uint32_t>(footer_.frames.size());
      footer_.blobs.push_back(old.blobs[at]);
    }
    footer_.frames.push_back(frame);
    parts_.push_back(std::move(parts[i]));
  }
}

Status PackBuilder::PutOwn() {
  Hasher hasher;
  std::vector<ByteView> views{header_};
  for (const auto& part : parts_) views.push_back(part.bytes);
  for (ByteView view : views) hasher.Update(view);
  footer_.data_hash = hasher.Finish();
  IndexedPack indexed;
  const Bytes end = MakeEnd(indexed);
  views.push_back(end);
  hasher.Update(end);
  indexed.id.bytes = hasher.Finish();
  const std::string name = PackName(indexed.id);
  Status put = repo_.store().Put(name, views);
  // The name is the hash: a try that failed only seemingly. Only a short object could differ.
  if (put.Is(Code::kExists)) {
    BKFS_ASSIGN(uint64_t size, repo_.store().Size(name));
    if (size != indexed.size) return {Code::kCorrupt, name + " is in the store with another size"};
    put = {};
  }
  BKFS_TRY(put);
  traffic_.sent += indexed.size;
  return Remember(std::move(indexed));
}

Status PackBuilder::Finish() {
  BKFS_TRY(SealOpenFrame());
  return PutPack();
}

}  // namespace bkfs
