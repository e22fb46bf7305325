// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "engine/format/tree.h"
#include "tests/format/tamper.h"

namespace bkfs {
namespace {

BlobId Blob(uint8_t fill) {
  BlobId id;
  id.bytes.fill(fill);
  return id;
}

Entry File(std::string name, uint64_t size = 0) {
  Entry out;
  out.name = std::move(name);
  out.size = size;
  out.user = "user";
  out.group = "group";
  if (size > 0) out.extents = {{size, 0, Blob(1)}};
  return out;
}

Entry FullEntry() {
  Entry out = File("full", 300);
  out.mode = 04755;
  out.uid = 1000;
  out.gid = 70000;
  out.mtime = {-5, 999'999'999};
  out.ctime = {1LL << 40, 1};
  out.btime = {3, 4};
  out.nlink = 2;
  out.link_group = 0xdeadbeefcafe;
  out.xattrs = {{"security.x", std::string("\0\1", 2)}, {"user.a", ""}};
  out.extents = {{100, 5, Blob(1)}, {200, 0, {}}};
  return out;
}

Bytes Encode(const std::vector<Entry>& entries) {
  DirectoryEncoder encoder;
  for (const Entry& entry : entries) encoder.Add(entry);
  return encoder.Finish();
}

Code Parse(const std::vector<Entry>& entries) {
  return DirectoryView::Parse(Encode(entries)).code();
}

void ExpectSame(const Entry& a, const Entry& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.mode, b.mode);
  EXPECT_EQ(a.uid, b.uid);
  EXPECT_EQ(a.gid, b.gid);
  EXPECT_EQ(a.user, b.user);
  EXPECT_EQ(a.group, b.group);
  EXPECT_EQ(a.mtime, b.mtime);
  EXPECT_EQ(a.ctime, b.ctime);
  EXPECT_EQ(a.btime, b.btime);
  EXPECT_EQ(a.size, b.size);
  EXPECT_EQ(a.rdev, b.rdev);
  EXPECT_EQ(a.nlink, b.nlink);
  EXPECT_EQ(a.link_group, b.link_group);
  EXPECT_EQ(a.target, b.target);
  EXPECT_EQ(a.xattrs, b.xattrs);
  EXPECT_EQ(a.extents, b.extents);
  EXPECT_EQ(a.lists, b.lists);
  EXPECT_EQ(a.directory, b.directory);
  EXPECT_EQ(a.totals, b.totals);
}

std::vector<Entry> OneOfEach() {
  std::vector<Entry> entries;
  entries.push_back(File("\x01", 10));
  entries.push_back(File("a-dir"));
  entries.back().kind = EntryKind::kDirectory;
  entries.back().directory = Blob(9);
  entries.back().totals = {3, 2, 500, 1};
  entries.push_back(File("b-link"));
  entries.back().kind = EntryKind::kSymlink;
  entries.back().target = "../x";
  entries.back().size = 4;
  entries.push_back(File("c-fifo"));
  entries.back().kind = EntryKind::kFifo;
  entries.push_back(File("d-device"));
  entries.back().kind = EntryKind::kBlockDevice;
  entries.back().rdev = 0x801;
  entries.push_back(FullEntry());
  entries.push_back(File("lists", 3000));
  entries.back().extents.clear();
  entries.back().lists = {{1000, Blob(3)}, {2000, Blob(4)}};
  entries.push_back(File("\xff"));
  return entries;
}

TEST(Directory, RoundTrip) {
  std::vector<Entry> entries = OneOfEach();
  auto view = DirectoryView::Parse(Encode(entries)).value();
  EXPECT_EQ(view->level(), 0);
  ASSERT_EQ(view->entries(), entries.size());
  EXPECT_EQ(view->count(), entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(view->name(i), entries[i].name);
    EXPECT_EQ(view->kind(i), entries[i].kind);
    ExpectSame(view->entry(i), entries[i]);
    EXPECT_EQ(view->Find(entries[i].name), i);
    EXPECT_EQ(view->LowerBound(entries[i].name), i);
  }
  EXPECT_EQ(view->totals(), (TreeTotals{7 + 3, 1 + 2, 10 + 300 + 3000 + 500, 1 + 1}));
  EXPECT_FALSE(view->Find("nothing").has_value());
  EXPECT_FALSE(view->Find("").has_value());
  EXPECT_EQ(view->LowerBound(""), 0U);
  EXPECT_EQ(view->LowerBound("a-dirx"), 2U);
  EXPECT_EQ(view->LowerBound("\xff\xff"), entries.size());
  EXPECT_EQ(view->children(), 0U);
  EXPECT_GE(view->bytes(), Encode(entries).size());
}

TEST(Directory, EmptyAndReused) {
  DirectoryEncoder encoder;
  Bytes empty = encoder.Finish();
  EXPECT_EQ(DirectoryView::Parse(empty).value()->entries(), 0U);
  encoder.Add(File("a"));
  EXPECT_EQ(encoder.entries(), 1U);
  EXPECT_GT(encoder.size(), 10U);
  Bytes first = encoder.Finish();
  EXPECT_EQ(encoder.entries(), 0U);
  encoder.Add(File("a"));
  EXPECT_EQ(encoder.Finish(), first);  // the same directory is the same blob
  EXPECT_EQ(encoder.Finish(), empty);
}

TEST(Directory, NamesAreShared) {
  DirectoryEncoder encoder;
  Entry entry = File("0000");
  entry.user = std::string(1000, 'u');
  for (int i = 0; i < 100; ++i) {
    entry.name = std::to_string(1000 + i);
    encoder.Add(entry);
  }
  EXPECT_LT(encoder.Finish().size(), 15'000U);
}

TEST(Directory, EntryRules) {
  auto refuses = [](auto change) {
    Entry bad = FullEntry();
    change(bad);
    return Parse({bad}) == Code::kCorrupt;
  };
  EXPECT_EQ(Parse({FullEntry()}), Code::kOk);
  EXPECT_TRUE(refuses([](Entry& e) { e.kind = static_cast<EntryKind>(0); }));
  EXPECT_TRUE(refuses([](Entry& e) { e.kind = static_cast<EntryKind>(8); }));
  EXPECT_TRUE(refuses([](Entry& e) { e.mtime.nanos = 1'000'000'000; }));
  EXPECT_TRUE(refuses([](Entry& e) { e.ctime.nanos = 1'000'000'000; }));
  EXPECT_TRUE(refuses([](Entry& e) { e.btime.nanos = UINT32_MAX; }));
  EXPECT_TRUE(refuses([](Entry& e) { e.size = 301; }));
  EXPECT_TRUE(refuses([](Entry& e) { e.size = 299; }));
  EXPECT_TRUE(refuses([](Entry& e) { e.extents.clear(); }));
  EXPECT_TRUE(refuses([](Entry& e) { e.lists = {{300, Blob(1)}}; }));
  EXPECT_TRUE(refuses([](Entry& e) { e.extents[0].length = UINT64_MAX; }));
  EXPECT_TRUE(refuses([](Entry& e) {
    e.extents = {{UINT64_MAX, 0, {}}, {301, 0, {}}};  // wraps around to the size
  }));
  EXPECT_TRUE(refuses([](Entry& e) { e.target = "x"; }));
  EXPECT_TRUE(refuses([](Entry& e) { e.kind = EntryKind::kFifo; }));
  EXPECT_TRUE(refuses([](Entry& e) { std::swap(e.xattrs[0], e.xattrs[1]); }));
  EXPECT_TRUE(refuses([](Entry& e) { e.xattrs[1] = e.xattrs[0]; }));
  EXPECT_TRUE(refuses([](Entry& e) { e.xattrs[0].name = ""; }));
  EXPECT_TRUE(refuses([](Entry& e) { e.xattrs[0].name = std::string(256, 'a'); }));
  Entry link = File("l");
  link.kind = EntryKind::kSymlink;
  EXPECT_EQ(Parse({link}), Code::kCorrupt);
  link.target = std::string("a\0b", 3);
  EXPECT_EQ(Parse({link}), Code::kCorrupt);
}

// Names are checked on the bytes: what the encoder would not write is patched in.
TEST(Directory, NameRules) {
  auto parse_with = [](std::string_view from, std::string_view to) {
    Bytes blob = Encode({File("name-a"), File("name-b"), File("name-c")});
    std::string text(AsText(blob));
    size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos);
    text.replace(at, to.size(), to);
    return DirectoryView::Parse(Bytes(text.begin(), text.end())).code();
  };
  EXPECT_EQ(parse_with("name-b", "name-b"), Code::kOk);
  EXPECT_EQ(parse_with("name-b", "name-a"), Code::kCorrupt);
  EXPECT_EQ(parse_with("name-b", "name-d"), Code::kCorrupt);
  EXPECT_EQ(parse_with("name-b", "nam/-b"), Code::kCorrupt);
  EXPECT_EQ(parse_with("name-b", std::string_view("name\0b", 6)), Code::kCorrupt);
}

TEST(Directory, TotalsAndCountAreChecked) {
  Bytes blob = Encode({File("a", 0x1234567)});
  std::string text(AsText(blob));
  // The size stands in the entry, the extent and the totals: any one of them changed is noticed.
  std::string needle("\x67\x45\x23\x01\0\0\0\0", 8);
  size_t found = 0;
  for (size_t at = text.find(needle); at != std::string::npos; at = text.find(needle, at + 1)) {
    std::string bad = text;
    bad[at] ^= 1;
    EXPECT_EQ(DirectoryView::Parse(Bytes(bad.begin(), bad.end())).code(), Code::kCorrupt);
    ++found;
  }
  EXPECT_EQ(found, 3U);
}

TEST(Directory, Nodes) {
  std::vector<Child> children = {{"b", Blob(1), 10}, {"m", Blob(2), 5}, {"x", Blob(3), 7}};
  auto view = DirectoryView::Parse(EncodeDirectoryNode(1, children, {22, 0, 5, 0})).value();
  EXPECT_EQ(view->level(), 1);
  EXPECT_EQ(view->count(), 22U);
  EXPECT_EQ(view->totals().files, 22U);
  EXPECT_EQ(view->entries(), 0U);
  ASSERT_EQ(view->children(), 3U);
  EXPECT_EQ(view->child(1).first_name, "m");
  EXPECT_EQ(view->child(1).blob, Blob(2));
  EXPECT_EQ(view->child(1).entries, 5U);
  EXPECT_EQ(view->ChildFor("a"), 0U);
  EXPECT_EQ(view->ChildFor("b"), 0U);
  EXPECT_EQ(view->ChildFor("lzz"), 0U);
  EXPECT_EQ(view->ChildFor("m"), 1U);
  EXPECT_EQ(view->ChildFor("w"), 1U);
  EXPECT_EQ(view->ChildFor("zz"), 2U);
  EXPECT_FALSE(view->Find("b").has_value());
  auto refuses = [&](auto change) {
    std::vector<Child> bad = children;
    change(bad);
    return !DirectoryView::Parse(EncodeDirectoryNode(1, bad, {})).ok();
  };
  EXPECT_TRUE(refuses([](auto& c) { c.clear(); }));
  EXPECT_TRUE(refuses([](auto& c) { std::swap(c[0], c[1]); }));
  EXPECT_TRUE(refuses([](auto& c) { c[1].first_name = "b"; }));
  EXPECT_TRUE(refuses([](auto& c) { c[1].first_name = ""; }));
  EXPECT_TRUE(refuses([](auto& c) { c[1].blob = {}; }));
  EXPECT_TRUE(refuses([](auto& c) { c[1].entries = 0; }));
  EXPECT_TRUE(refuses([](auto& c) { c[1].entries = UINT64_MAX; }));
}

void Walk(Bytes blob) {
  auto view = DirectoryView::Parse(std::move(blob));
  if (!view.ok()) return;
  for (size_t i = 0; i < (*view)->entries(); ++i) {
    EXPECT_EQ((*view)->Find((*view)->entry(i).name), i);
  }
  for (size_t i = 0; i < (*view)->children(); ++i) {
    EXPECT_EQ((*view)->ChildFor((*view)->child(i).first_name), i);
  }
}

TEST(Directory, ChangesNeverCrash) {
  ExpectNoCrash(Encode(OneOfEach()), Walk);
  ExpectNoCrash(EncodeDirectoryNode(1, {{"b", Blob(1), 10}, {"m", Blob(2), 5}}, {}), Walk);
  EXPECT_FALSE(DirectoryView::Parse({}).ok());
  EXPECT_FALSE(DirectoryView::Parse(Bytes(kMaxTreeBlob + 1)).ok());
  EXPECT_FALSE(DirectoryView::Parse(Bytes(kMaxTreeBlob)).ok());
}

TEST(SingleEntry, RoundTripAnywhere) {
  Entry entry = FullEntry();
  entry.name = "";
  Bytes bytes = EncodeEntry(entry);
  ExpectSame(DecodeEntry(bytes).value(), entry);
  Bytes shifted = {0};
  Append(shifted, bytes);
  ExpectSame(DecodeEntry(ByteView(shifted).subspan(1)).value(), entry);
  entry.extents.clear();  // a journal may keep the contents elsewhere
  ExpectSame(DecodeEntry(EncodeEntry(entry)).value(), entry);
  ExpectNoCrash(bytes, [](Bytes bad) { (void)DecodeEntry(bad).ok(); });
}

}  // namespace
}  // namespace bkfs
