// SPDX-License-Identifier: Apache-2.0
// Random operations on the cache and on a model of maps, compared after each.
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/cache/cache_fixture.h"

namespace bkfs {
namespace {

constexpr uint64_t kBlobUniverse = 400;
constexpr uint64_t kPackUniverse = 60;

struct ModelPack {
  uint64_t order = 0;  // of being added: the last one wins
  PackFooter footer;
  uint64_t size = 0;
};

class Model : public CacheTest, public testing::WithParamInterface<uint64_t> {
 protected:
  uint64_t Random(uint64_t below) { return random_() % below; }

  PackFooter RandomFooter() {
    PackFooter footer;
    footer.kind = Random(2) == 0 ? PackKind::kContents : PackKind::kTrees;
    footer.slots.resize(1 + Random(3));
    for (PackSlot& slot : footer.slots) slot.box = Bytes(80, static_cast<uint8_t>(Random(256)));
    footer.frames.resize(1 + Random(8));
    for (PackFrame& frame : footer.frames) {
      frame = {static_cast<uint32_t>(random_()), static_cast<uint32_t>(Random(1 << 24)),
               static_cast<uint32_t>(Random(1 << 24)), static_cast<uint32_t>(Random(3))};
    }
    std::set<uint64_t> blobs;
    // Now and then a pack that fills several write buffers.
    const bool large = Random(40) == 0;
    for (uint64_t i = large ? 8000 : Random(30); i > 0; --i) {
      blobs.insert(large ? kBlobUniverse + Random(1 << 20) : Random(kBlobUniverse));
    }
    for (uint64_t blob : blobs) {
      footer.blobs.push_back({.id = IdFrom<BlobId>(blob),
                              .frame = static_cast<uint32_t>(Random(footer.frames.size())),
                              .offset = static_cast<uint32_t>(random_()),
                              .length = static_cast<uint32_t>(Random(1 << 20))});
    }
    return footer;
  }

  void Remember(const PackId& id, uint64_t size, const PackFooter& footer) {
    if (packs_.contains(id)) return;
    packs_[id] = {++order_, footer, size};
  }

  void AddOne() {
    const auto id = IdFrom<PackId>(Random(kPackUniverse));
    const PackFooter footer = RandomFooter();
    auto before = cache_->FindPack(id);
    auto number = cache_->AddPack(id, 1000, footer);
    ASSERT_TRUE(number.ok()) << number.status().ToString();
    EXPECT_TRUE(!packs_.contains(id) || **before == *number);
    Remember(id, 1000, footer);
  }

  void AddSeveral() {
    std::vector<IndexCache::NewPack> packs;
    for (uint64_t i = Random(6); i > 0; --i) {
      packs.push_back({IdFrom<PackId>(Random(kPackUniverse)), Random(5000), RandomFooter()});
      Remember(packs.back().id, packs.back().size, packs.back().footer);
    }
    ASSERT_TRUE(cache_->AddPacks(packs).ok());
  }

  void RemoveOne() {
    const auto id = IdFrom<PackId>(Random(kPackUniverse));
    ASSERT_TRUE(cache_->RemovePack(id).ok());
    packs_.erase(id);
  }

  void Segment() {
    const auto id = IdFrom<IndexId>(Random(5));
    if (Random(3) == 0) {
      ASSERT_TRUE(cache_->UnmarkSegment(id).ok());
      segments_.erase(id);
    } else {
      std::vector<PackId> packs(Random(20), IdFrom<PackId>(Random(kPackUniverse)));
      ASSERT_TRUE(cache_->MarkSegment(id, packs).ok());
      segments_[id] = packs;
    }
  }

  void Note() {
    const std::string name = "note " + std::to_string(Random(5));
    Bytes value(Random(50), static_cast<uint8_t>(Random(256)));
    ASSERT_TRUE(cache_->PutNote(name, value).ok());
    notes_[name] = value;
  }

  void Forget() {
    ASSERT_TRUE(cache_->Clear().ok());
    packs_.clear();
    segments_.clear();
    notes_.clear();
  }

  void Step() {
    const uint64_t dice = Random(100);
    if (dice < 40) {
      AddOne();
    } else if (dice < 55) {
      AddSeveral();
    } else if (dice < 80) {
      RemoveOne();
    } else if (dice < 88) {
      Segment();
    } else if (dice < 95) {
      Note();
    } else if (dice < 99) {
      Open();
    } else {
      Forget();
    }
  }

  // All places of a blob by the model, the newest first.
  std::vector<std::pair<PackId, PackBlob>> Places(const BlobId& id) const {
    std::map<uint64_t, std::pair<PackId, PackBlob>, std::greater<>> places;
    for (const auto& [pack_id, pack] : packs_) {
      for (const PackBlob& blob : pack.footer.blobs) {
        if (blob.id == id) places[pack.order] = {pack_id, blob};
      }
    }
    std::vector<std::pair<PackId, PackBlob>> out;
    for (const auto& [order, place] : places) out.push_back(place);
    return out;
  }

  void CheckPlace(const BlobLocation& place, const std::pair<PackId, PackBlob>& expected) {
    const auto& [pack_id, blob] = expected;
    const ModelPack& model = packs_.at(pack_id);
    const PackFrame& frame = model.footer.frames[blob.frame];
    auto pack = cache_->Pack(place.pack);
    ASSERT_TRUE(pack.ok()) << pack.status().ToString();
    EXPECT_EQ(pack->id, pack_id);
    EXPECT_EQ(pack->size, model.size);
    EXPECT_EQ(pack->kind, model.footer.kind);
    ASSERT_EQ(pack->slots.size(), model.footer.slots.size());
    EXPECT_EQ(pack->slots[0].box, model.footer.slots[0].box);
    EXPECT_EQ(place.offset, blob.offset);
    EXPECT_EQ(place.length, blob.length);
    EXPECT_EQ(place.frame.offset, frame.offset);
    EXPECT_EQ(place.frame.length, frame.length);
    EXPECT_EQ(place.frame.plain, frame.plain);
    EXPECT_EQ(place.frame.slot, frame.slot);
  }

  void CheckBlob(uint64_t blob) {
    const auto id = IdFrom<BlobId>(blob);
    const auto expected = Places(id);
    auto found = cache_->Find(id);
    auto all = cache_->FindAll(id);
    ASSERT_TRUE(found.ok() && all.ok());
    ASSERT_EQ(all->size(), expected.size());
    ASSERT_EQ(found->has_value(), !expected.empty());
    if (found->has_value()) CheckPlace(**found, expected[0]);
    for (size_t i = 0; i < expected.size(); ++i) CheckPlace((*all)[i], expected[i]);
  }

  void CheckPacks() {
    std::set<PackId> seen;
    ASSERT_TRUE(cache_
                    ->ForEachPack([&](uint32_t, const CachedPack& pack) {
                      EXPECT_TRUE(seen.insert(pack.id).second);
                      return OkStatus();
                    })
                    .ok());
    EXPECT_EQ(seen.size(), packs_.size());
    EXPECT_EQ(cache_->GetStats()->packs, packs_.size());
    for (uint64_t i = 0; i < kPackUniverse; ++i) {
      const auto id = IdFrom<PackId>(i);
      EXPECT_EQ(seen.contains(id), packs_.contains(id));
      EXPECT_EQ((*cache_->FindPack(id)).has_value(), packs_.contains(id));
    }
    auto segments = *cache_->Segments();
    ASSERT_EQ(segments.size(), segments_.size());
    for (const IndexId& id : segments) EXPECT_EQ(*cache_->SegmentPacks(id), segments_.at(id));
    for (const auto& [name, value] : notes_) EXPECT_EQ(**cache_->GetNote(name), value);
  }

  std::mt19937_64 random_{GetParam()};
  std::map<PackId, ModelPack> packs_;
  std::map<IndexId, std::vector<PackId>> segments_;
  std::map<std::string, Bytes> notes_;
  uint64_t order_ = 0;
};

TEST_P(Model, RandomOperations) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  memory_ = 4 << 20;
  Open();
  for (int step = 0; step < 600; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    Step();
    for (int i = 0; i < 5; ++i) CheckBlob(Random(kBlobUniverse));
    if (step % 50 == 49) CheckPacks();
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  for (uint64_t blob = 0; blob < kBlobUniverse; ++blob) CheckBlob(blob);
  EXPECT_EQ(log_.Take(), "");
}

INSTANTIATE_TEST_SUITE_P(Seeds, Model,
                         testing::Values(1, 2, 3, 4, uint64_t{std::random_device{}()}),
                         [](const auto& seed) { return "Nr" + std::to_string(seed.index); });

}  // namespace
}  // namespace bkfs
