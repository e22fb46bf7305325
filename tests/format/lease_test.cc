// SPDX-License-Identifier: Apache-2.0
#include "engine/format/lease.h"

#include <gtest/gtest.h>

#include "tests/format/forge.h"
#include "tests/format/tamper.h"

namespace bkfs {
namespace {

constexpr size_t kHolderAt = 12;
constexpr size_t kSealedAt = kHolderAt + KeyId::kSize + 4;
constexpr std::string_view kContext = "bkfs lease v1";

class LeaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCrypto().ok());
    RandomBytes(repo_.bytes);
    key_ = SigningKey(RandomSecret(32));
    lease_.id.bytes.fill(1);
    lease_.kind = LeaseKind::kReader;
    lease_.host = "Zoë's laptop";
    lease_.machine.fill(2);
    lease_.pid = 1234;
    lease_.started = 5678;
    lease_.ttl_ns = kLongestLease;
    lease_.program = "bkfs 1";
    lease_.time_ns = 99;
    state_.id = lease_.id;
    state_.number = 0x1112131415161718;
    state_.moved_past = 41;
    state_.packs.resize(2);
    state_.packs[0].bytes.fill(0xa1);
    state_.packs[1].bytes.fill(0xa2);
    state_.roots.resize(1);
    state_.roots[0].bytes.fill(0xb1);
  }
  Bytes Encode(const Lease& lease) const {
    return EncodeLease(lease, repo_, Cipher::kAes256Gcm, index_key_, key_);
  }
  Bytes Encode(const LeaseState& state) const {
    return EncodeLeaseState(state, repo_, Cipher::kChaCha20Poly1305, index_key_, key_);
  }
  Result<Lease> Decode(ByteView object) const {
    return DecodeLease(object, repo_, index_key_, key_.public_key());
  }
  Result<LeaseState> DecodeState(ByteView object) const {
    return DecodeLeaseState(object, repo_, index_key_, key_.public_key());
  }
  // The object with what is sealed in it changed, sealed and signed again.
  template <typename Change>
  Bytes Forged(ByteView object, Change change) const {
    ByteView sealed = object.subspan(kSealedAt, object.size() - kSealedAt - sizeof(Signature));
    Bytes body = OpenSalted(index_key_, repo_, 'L', sealed).value();
    change(body);
    Bytes out(object.begin(), object.begin() + kSealedAt);  // the length stays what it was
    Append(out, SealSalted(Cipher::kAes256Gcm, index_key_, repo_, 'L', body));
    out.resize(out.size() + sizeof(Signature));
    SignAgain(out, kContext, repo_, key_);
    return out;
  }
  Bytes Forged(ByteView object, ByteView part, ByteView by) const {
    return Forged(object, [&](Bytes& body) { ReplaceOnce(body, part, by); });
  }

  RepoId repo_;
  SigningKey key_;
  Lease lease_;
  LeaseState state_;
  const Bytes index_key_ = Bytes(32, 0x21);
};

TEST_F(LeaseTest, RoundTrip) {
  Bytes object = Encode(lease_);
  EXPECT_EQ(HolderOfLease(object).value(), key_.id());
  Lease read = Decode(object).value();
  EXPECT_EQ(read.id, lease_.id);
  EXPECT_EQ(read.kind, LeaseKind::kReader);
  EXPECT_EQ(read.holder, key_.id());
  EXPECT_EQ(read.host, "Zoë's laptop");
  EXPECT_EQ(read.machine, lease_.machine);
  EXPECT_EQ(read.pid, 1234U);
  EXPECT_EQ(read.started, 5678U);
  EXPECT_EQ(read.ttl_ns, kLongestLease);
  EXPECT_EQ(read.program, "bkfs 1");
  EXPECT_EQ(read.time_ns, 99);
  Lease bare;
  bare.kind = LeaseKind::kMaintainer;
  read = Decode(Encode(bare)).value();
  EXPECT_EQ(read.kind, LeaseKind::kMaintainer);
  EXPECT_EQ(read.ttl_ns, kShortestLease);
  EXPECT_TRUE(read.host.empty());
  EXPECT_EQ(LeaseKindName(LeaseKind::kWriter), "writer");
  EXPECT_EQ(LeaseKindName(LeaseKind::kReader), "reader");
  EXPECT_EQ(LeaseKindName(LeaseKind::kMaintainer), "maintainer");
}

TEST_F(LeaseTest, StateRoundTrip) {
  Bytes object = Encode(state_);
  EXPECT_EQ(HolderOfLease(object).value(), key_.id());
  LeaseState read = DecodeState(object).value();
  EXPECT_EQ(read.id, state_.id);
  EXPECT_EQ(read.holder, key_.id());
  EXPECT_EQ(read.number, state_.number);
  EXPECT_EQ(read.moved_past, 41U);
  EXPECT_EQ(read.packs, state_.packs);
  EXPECT_EQ(read.roots, state_.roots);
  LeaseState bare;
  read = DecodeState(Encode(bare)).value();
  EXPECT_EQ(read.number, 1U);
  EXPECT_EQ(read.moved_past, 0U);
  EXPECT_TRUE(read.packs.empty() && read.roots.empty());
  // In whatever order it was written, pins are looked up in sorted lists.
  LeaseState unsorted = state_;
  std::swap(unsorted.packs[0], unsorted.packs[1]);
  EXPECT_EQ(DecodeState(Encode(unsorted)).value().packs, state_.packs);
}

TEST_F(LeaseTest, RefusesTampering) {
  ExpectTamperProof(Encode(lease_), [this](ByteView bad) { return Decode(bad).status(); });
  ExpectTamperProof(Encode(state_), [this](ByteView bad) { return DecodeState(bad).status(); });
}

TEST_F(LeaseTest, OthersAreRefused) {
  const SigningKey other(RandomSecret(32));
  for (bool is_state : {false, true}) {
    auto decode = [is_state](ByteView object, const RepoId& repo, ByteView index_key,
                             const PublicKey& holder) {
      return is_state ? DecodeLeaseState(object, repo, index_key, holder).code()
                      : DecodeLease(object, repo, index_key, holder).code();
    };
    Bytes object = is_state ? Encode(state_) : Encode(lease_);
    const PublicKey& holder = key_.public_key();
    EXPECT_EQ(decode(object, repo_, index_key_, holder), Code::kOk);
    EXPECT_EQ(decode(object, RepoId(), index_key_, holder), Code::kCorrupt);
    EXPECT_EQ(decode(object, repo_, Bytes(32, 0), holder), Code::kCorrupt);
    EXPECT_EQ(decode(object, repo_, index_key_, other.public_key()), Code::kCorrupt);
    // One is not taken for the other, whichever of the two ways it is asked for.
    EXPECT_EQ(Decode(object).ok(), !is_state);
    EXPECT_EQ(DecodeState(object).ok(), is_state);
    Bytes renamed = object;
    const std::string_view magic = is_state ? "BKFSLEAS" : "BKFSLSTA";
    std::copy(magic.begin(), magic.end(), renamed.begin());
    EXPECT_FALSE(Decode(renamed).ok() || DecodeState(renamed).ok());
    // Signed by one key in the name of another.
    Bytes stolen = object;
    SignAgain(stolen, kContext, repo_, other);
    EXPECT_EQ(decode(stolen, repo_, index_key_, holder), Code::kCorrupt);
    EXPECT_EQ(decode(stolen, repo_, index_key_, other.public_key()), Code::kCorrupt);

    object[8] = 2;
    EXPECT_EQ(decode(object, repo_, index_key_, holder), Code::kUnsupported);
    EXPECT_EQ(HolderOfLease(object).code(), Code::kUnsupported);
    object[0] ^= 1;
    EXPECT_EQ(decode(object, repo_, index_key_, holder), Code::kCorrupt);
    EXPECT_EQ(HolderOfLease(object).code(), Code::kCorrupt);
  }
}

TEST_F(LeaseTest, Bounds) {
  const Bytes object = Encode(lease_);
  for (int64_t ttl : {kShortestLease, kLongestLease}) {
    EXPECT_EQ(Decode(Forged(object, IntBytes(kLongestLease), IntBytes(ttl))).code(), Code::kOk);
  }
  for (int64_t ttl :
       {kShortestLease - 1, kLongestLease + 1, int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX}) {
    EXPECT_EQ(Decode(Forged(object, IntBytes(kLongestLease), IntBytes(ttl))).code(), Code::kCorrupt)
        << ttl;
  }
  for (uint8_t kind : {0, 4, 255}) {
    Lease bad = lease_;
    bad.kind = static_cast<LeaseKind>(kind);
    EXPECT_EQ(Decode(Encode(bad)).code(), Code::kCorrupt) << int{kind};
  }
  LeaseState bad = state_;
  bad.number = 0;
  EXPECT_EQ(DecodeState(Encode(bad)).code(), Code::kCorrupt);
}

TEST_F(LeaseTest, TextsAreClean) {
  const Bytes object = Encode(lease_);
  EXPECT_EQ(Decode(Forged(object, AsBytes("laptop"), AsBytes("lap\nop"))).code(), Code::kCorrupt);
  EXPECT_EQ(Decode(Forged(object, AsBytes("bkfs 1"), AsBytes("bkfs\xff\x31"))).code(),
            Code::kCorrupt);
  // Whatever a machine is called, its lease counts.
  Lease odd = lease_;
  odd.host = "a\nb\xff";
  odd.program = std::string(999, 'x') + "ë";  // would be cut inside of a character
  Lease read = Decode(Encode(odd)).value();
  EXPECT_EQ(read.host, "a?b?");
  EXPECT_EQ(read.program, std::string(999, 'x') + "?");
}

TEST_F(LeaseTest, ListsDoNotShareTheirBytes) {
  for (uint8_t i = 0; i < 40; ++i) state_.packs.emplace_back().bytes.fill(i);
  state_.packs.front().bytes.fill(0xa3);
  Bytes bad = Forged(Encode(state_), [this](Bytes& body) {
    ShareVector(body, state_.roots.front().view(), state_.packs.front().view());
  });
  Status status = DecodeState(bad).status();
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("share"), std::string::npos) << status.ToString();
}

TEST(LeaseNames, RoundTripAndRefuse) {
  LeaseId id;
  id.bytes.fill(0xab);
  const std::string name = "leases/abababababababababababababababab";
  EXPECT_EQ(LeaseName(id), name);
  EXPECT_EQ(LeaseStateName(id, 17), name + ".17");
  EXPECT_EQ(FenceName(id), name + ".fence");
  LeaseObject lease = ParseLeaseName(name).value();
  EXPECT_EQ(lease.id, id);
  EXPECT_EQ(lease.what, LeaseObject::kLease);
  LeaseObject fence = ParseLeaseName(FenceName(id)).value();
  EXPECT_EQ(fence.id, id);
  EXPECT_EQ(fence.what, LeaseObject::kFence);
  for (uint64_t number : {uint64_t{1}, uint64_t{10}, uint64_t{999'999'999'999'999'999}}) {
    LeaseObject state = ParseLeaseName(LeaseStateName(id, number)).value();
    EXPECT_EQ(state.id, id);
    EXPECT_EQ(state.what, LeaseObject::kState);
    EXPECT_EQ(state.number, number);
  }
  for (const std::string& bad : {std::string(),
                                 std::string("leases/"),
                                 std::string("leases"),
                                 name.substr(0, 38),
                                 name + "0",
                                 name + ".",
                                 name + ".0",
                                 name + ".01",
                                 name + ".-1",
                                 name + ".+1",
                                 name + ". 1",
                                 name + ".1x",
                                 name + ".1.2",
                                 name + ".1.fence",
                                 name + ".Fence",
                                 name + ".fence2",
                                 name + ".0x1",
                                 name + ".1000000000000000000",
                                 name + "/1",
                                 "/" + name,
                                 std::string("leases/ABABABABABABABABABABABABABABABAB"),
                                 "keys/" + name.substr(7)}) {
    EXPECT_EQ(ParseLeaseName(bad).code(), Code::kInvalid) << bad;
  }
}

}  // namespace
}  // namespace bkfs
