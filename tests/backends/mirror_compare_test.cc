// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/mirror_pair.h"

namespace bkfs {
namespace {

using What = MirrorDifference::What;

class MirrorComparisonTest : public MirrorTest {
 protected:
  MirrorComparison Compare(bool read = false) {
    CompareOptions options;
    if (read) options.reads = [](const std::string&) { return true; };
    auto found = store_->Compare(options);
    EXPECT_TRUE(IsOk(found));
    return *std::move(found);
  }
  std::map<std::string, What> Found(bool read = false) {
    std::map<std::string, What> out;
    for (const auto& one : Compare(read).differences) out[one.name] = one.what;
    return out;
  }

  std::unique_ptr<MirrorBackend> store_ = pair_.MustOpen();
};

TEST_F(MirrorComparisonTest, SaysWhatDiffersAndMendsIt) {
  const std::string same = PutPack(*store_, "same");
  const std::string missing = PutPack(*store_, "missing on the mirror");
  const std::string lost = PutPack(*store_, "lost on the primary");
  const std::string cut = PutPack(*store_, "cut on the mirror");
  const std::string cut_here = PutPack(*store_, "cut on the primary");
  const std::string flipped = PutPack(*store_, "flipped on the mirror");
  const Bytes segment = Data("index");
  EXPECT_TRUE(IsOk(store_->PutOne("keys/a", Data("key"))));
  EXPECT_TRUE(IsOk(store_->PutOne("keys/b", Data("key"))));
  EXPECT_TRUE(IsOk(store_->PutOne("leases/b", Data("lease"))));
  EXPECT_TRUE(Found(true).empty());
  EXPECT_TRUE(IsOk(pair_.mirror_objects.Remove(missing)));
  EXPECT_TRUE(IsOk(pair_.primary_objects.Remove(lost)));
  EXPECT_TRUE(IsOk(pair_.primary_objects.Remove("keys/b")));
  EXPECT_TRUE(IsOk(pair_.mirror_objects.PutOne(IndexNameOf(segment), segment)));
  pair_.mirror_objects.Replace(cut, Data("cut on"));
  pair_.primary_objects.Replace(cut_here, Data("cut on"));
  pair_.mirror_objects.Replace(flipped, Data("flipped on the murror"));
  pair_.mirror_objects.Replace("keys/a", Data("kex"));
  std::map<std::string, What> expected{{missing, What::kNotOnMirror},
                                       {lost, What::kNotOnPrimary},
                                       {IndexNameOf(segment), What::kNotOnPrimary},
                                       {"keys/b", What::kNotOnPrimary},
                                       {cut, What::kOtherSize},
                                       {cut_here, What::kOtherSize},
                                       {"keys/a", What::kOtherBytes}};
  EXPECT_EQ(Found(), expected);
  expected[flipped] = What::kDamagedOnMirror;
  EXPECT_EQ(Found(true), expected);
  auto mended = store_->Mend(Compare(true), {});
  ASSERT_TRUE(IsOk(mended));
  EXPECT_EQ(mended->done.size(), 7U);
  ASSERT_EQ(mended->left.size(), 1U);
  EXPECT_NE(mended->left[0].find("keys/b is on the mirror only"), std::string::npos);
  EXPECT_EQ(Found(true), (std::map<std::string, What>{{"keys/b", What::kNotOnPrimary}}));
  EXPECT_EQ(*pair_.primary_objects.Get(cut_here), Data("cut on the primary"));
  EXPECT_EQ(*pair_.primary_objects.Get(lost), Data("lost on the primary"));
  EXPECT_EQ(*pair_.mirror_objects.Get(flipped), Data("flipped on the mirror"));
}

TEST_F(MirrorComparisonTest, MendsWhatIsDamagedOnThePrimaryOrSaysThatBothAre) {
  const std::string one = PutPack(*store_, "one");
  const std::string two = PutPack(*store_, "two");
  pair_.primary_objects.Replace(one, Data("0ne"));
  pair_.primary_objects.Replace(two, Data("tw0"));
  pair_.mirror_objects.Replace(two, Data("Two"));
  auto mended = store_->Mend({}, {one, two, "keys/a"});
  ASSERT_TRUE(IsOk(mended));
  EXPECT_EQ(*pair_.primary_objects.Get(one), Data("one"));
  EXPECT_EQ(*pair_.primary_objects.Get(two), Data("tw0"));
  EXPECT_EQ(mended->left,
            std::vector<std::string>{two + " is damaged or missing on both the primary and the "
                                           "mirror"});
}

TEST_F(MirrorComparisonTest, ADamagedObjectIsNotCopied) {
  const std::string name = PutPack(*store_, "one");
  pair_.primary_objects.Replace(name, Data("damaged"));
  pair_.mirror.StopAfter(0);
  PutPack(*store_, "two");
  pair_.mirror.Heal();
  MirrorPair::AwaitInStep(*store_);
  EXPECT_EQ(*pair_.mirror_objects.Get(name), Data("one"));
  EXPECT_NE(pair_.log.Take().find("does not hash to its name"), std::string::npos);
}

TEST(NearerStoreTest, TheFasterOneAndNowAndThenTheOther) {
  NearerStore nearer;
  nearer.Served(NearerStore::kPrimary, 100, 50'000'000);
  nearer.Served(NearerStore::kMirror, 100, 5'000'000);
  int mirror = 0;
  for (int i = 0; i < 640; ++i) mirror += nearer.Choose(false, false, 1) == NearerStore::kMirror;
  EXPECT_EQ(mirror, 630);
  EXPECT_EQ(nearer.Choose(true, true, 1), NearerStore::kPrimary);
  EXPECT_EQ(nearer.Choose(false, true, 1), NearerStore::kMirror);
  constexpr int64_t kSecond = 1'000'000'000;
  EXPECT_TRUE(nearer.Failed(NearerStore::kMirror, kSecond));
  EXPECT_FALSE(nearer.Failed(NearerStore::kMirror, 2 * kSecond));
  EXPECT_EQ(nearer.Choose(false, true, 30 * kSecond), NearerStore::kPrimary);
  EXPECT_EQ(nearer.Choose(false, true, 32 * kSecond), NearerStore::kMirror);
  EXPECT_TRUE(nearer.Failed(NearerStore::kMirror, 32 * kSecond));
  EXPECT_EQ(nearer.Choose(false, true, 90 * kSecond), NearerStore::kPrimary);
  nearer.Served(NearerStore::kMirror, 100, 5'000'000);
  EXPECT_EQ(nearer.Choose(false, true, 90 * kSecond), NearerStore::kMirror);
}

}  // namespace
}  // namespace bkfs
