// SPDX-License-Identifier: Apache-2.0
#include "engine/format/lease.h"

#include <algorithm>

#include "engine/format/envelope.h"
#include "engine/format/flatbuffer.h"
#include "maintenance_generated.h"

namespace bkfs {

namespace {
constexpr std::string_view kLeaseMagic = "BKFSLEAS";
constexpr std::string_view kStateMagic = "BKFSLSTA";
constexpr std::string_view kWhat = "lease";
constexpr std::string_view kSignedContext = "bkfs lease v1";
constexpr uint8_t kSealKind = 'L';
constexpr uint32_t kMaxSealed = 16 << 20;
constexpr size_t kBytesPerTable = 16;
constexpr size_t kMaxText = 1000;

Status Damaged(std::string_view why) {
  return {Code::kCorrupt, "lease is damaged: " + std::string(why)};
}

struct Parsed {
  KeyId holder;
  ByteView sealed;  // valid as long as the object's bytes
  Signature signature{};
};

Result<Parsed> Parse(ByteView object, std::string_view magic) {
  ByteReader reader(object);
  BKFS_TRY(TakeMagic(reader, magic, kWhat));
  Parsed out;
  ByteView holder = reader.TakeBytes(KeyId::kSize);
  const auto size = reader.Take<uint32_t>();
  if (size <= kMaxSealed) out.sealed = reader.TakeBytes(size);
  ByteView signature = reader.TakeBytes(out.signature.size());
  if (size > kMaxSealed || !reader.ok() || reader.remaining() != 0) {
    return Damaged("it has the wrong length: it was cut or added to");
  }
  std::memcpy(out.holder.bytes.data(), holder.data(), holder.size());
  std::memcpy(out.signature.data(), signature.data(), signature.size());
  return out;
}

Bytes SignAndSeal(std::string_view magic, ByteView body, const RepoId& repo, Cipher cipher,
                  ByteView index_key, const SigningKey& key) {
  const Bytes sealed = SealSalted(cipher, index_key, repo, kSealKind, body);
  BKFS_CHECK(sealed.size() <= kMaxSealed);
  Bytes out;
  Append(out, AsBytes(magic));
  AppendInt(out, kFormatVersion);
  Append(out, key.id().view());
  AppendInt(out, static_cast<uint32_t>(sealed.size()));
  Append(out, sealed);
  Append(out, key.Sign(SignedMessage(kSignedContext, repo, out)));
  return out;
}

Result<Bytes> VerifyAndOpen(ByteView object, std::string_view magic, const RepoId& repo,
                            ByteView index_key, const PublicKey& holder) {
  BKFS_ASSIGN(Parsed parts, Parse(object, magic));
  ByteView covered = object.first(object.size() - parts.signature.size());
  if (parts.holder != KeyIdOf(holder) ||
      !VerifySignature(holder, SignedMessage(kSignedContext, repo, covered), parts.signature)) {
    return Status(Code::kCorrupt, "lease has a bad signature: it was changed or forged");
  }
  auto body = OpenSalted(index_key, repo, kSealKind, parts.sealed);
  if (!body.ok()) return body.status().WithContext(kWhat);
  return body;
}

// What the decoder takes: a lease with any other text would keep nothing from being deleted, and a
// machine may be called anything.
std::string FitText(std::string_view text) {
  std::string out(text.substr(0, kMaxText));
  if (IsCleanText(out)) return out;
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return out;
}

template <typename IdType>
void TakeIds(const flatbuffers::Vector<const fb::Id32*>* from, std::vector<IdType>& out) {
  if (from == nullptr) return;
  out.resize(from->size());
  for (flatbuffers::uoffset_t i = 0; i < from->size(); ++i) {
    FromStruct(from->Get(i), out[i].bytes);
  }
  std::sort(out.begin(), out.end());
}
}  // namespace

std::string_view LeaseKindName(LeaseKind kind) {
  constexpr std::string_view kNames[] = {"", "writer", "reader", "maintainer"};
  return kNames[static_cast<uint8_t>(kind)];
}

Bytes EncodeLease(const Lease& lease, const RepoId& repo, Cipher cipher, ByteView index_key,
                  const SigningKey& key) {
  BKFS_CHECK(lease.ttl_ns >= kShortestLease && lease.ttl_ns <= kLongestLease);
  flatbuffers::FlatBufferBuilder builder;
  auto host = PutText(builder, FitText(lease.host));
  auto program = PutText(builder, FitText(lease.program));
  auto id = ToStruct<fb::Id16>(lease.id.bytes);
  auto machine = ToStruct<fb::Id16>(lease.machine);
  builder.Finish(fb::CreateLease(builder, &id, static_cast<uint8_t>(lease.kind), host, &machine,
                                 lease.pid, lease.started, lease.ttl_ns, program, lease.time_ns,
                                 lease.resumable));
  return SignAndSeal(kLeaseMagic, BuilderBytes(builder), repo, cipher, index_key, key);
}

Bytes EncodeLeaseState(const LeaseState& state, const RepoId& repo, Cipher cipher,
                       ByteView index_key, const SigningKey& key) {
  flatbuffers::FlatBufferBuilder builder;
  auto packs = PutIds<fb::Id32>(builder, state.packs);
  auto roots = PutIds<fb::Id32>(builder, state.roots);
  auto id = ToStruct<fb::Id16>(state.id.bytes);
  builder.Finish(fb::CreateLeaseState(builder, &id, state.number, state.moved_past, packs, roots,
                                      state.dirty_since_ns));
  return SignAndSeal(kStateMagic, BuilderBytes(builder), repo, cipher, index_key, key);
}

Result<KeyId> HolderOfLease(ByteView object) {
  const bool is_state =
      object.size() >= kMagicSize && AsText(object.first(kMagicSize)) == kStateMagic;
  BKFS_ASSIGN(Parsed parts, Parse(object, is_state ? kStateMagic : kLeaseMagic));
  return parts.holder;
}

Result<Lease> DecodeLease(ByteView object, const RepoId& repo, ByteView index_key,
                          const PublicKey& holder) {
  BKFS_ASSIGN(Bytes body, VerifyAndOpen(object, kLeaseMagic, repo, index_key, holder));
  AlignedView aligned(body);
  const auto* root = VerifiedRoot<fb::Lease>(aligned.view(), kBytesPerTable);
  if (root == nullptr || root->lease() == nullptr) return Damaged("its fields do not parse");
  Lease out;
  FromStruct(root->lease(), out.id.bytes);
  out.holder = KeyIdOf(holder);
  if (root->kind() < 1 || root->kind() > 3) return Damaged("it is of no known kind");
  out.kind = static_cast<LeaseKind>(root->kind());
  out.host = TextOf(root->host());
  FromStruct(root->machine(), out.machine);
  out.pid = root->pid();
  out.started = root->started();
  out.ttl_ns = root->ttl_ns();
  out.program = TextOf(root->program());
  out.time_ns = root->time_ns();
  out.resumable = root->resumable();
  if (out.ttl_ns < kShortestLease || out.ttl_ns > kLongestLease) {
    return Damaged("its time to live is out of bounds");
  }
  if (!IsCleanText(out.host) || !IsCleanText(out.program) || out.host.size() > kMaxText ||
      out.program.size() > kMaxText) {
    return Damaged("its texts are not clean");
  }
  return out;
}

Result<LeaseState> DecodeLeaseState(ByteView object, const RepoId& repo, ByteView index_key,
                                    const PublicKey& holder) {
  BKFS_ASSIGN(Bytes body, VerifyAndOpen(object, kStateMagic, repo, index_key, holder));
  AlignedView aligned(body);
  const auto* root = VerifiedRoot<fb::LeaseState>(aligned.view(), kBytesPerTable);
  if (root == nullptr || root->lease() == nullptr) return Damaged("its fields do not parse");
  LeaseState out;
  FromStruct(root->lease(), out.id.bytes);
  out.holder = KeyIdOf(holder);
  out.number = root->number();
  out.moved_past = root->moved_past();
  out.dirty_since_ns = root->dirty_since_ns();
  if (out.number == 0) return Damaged("it has no number");
  // Vectors that overlap ask for more memory than the object justifies.
  const size_t ids = (root->packs() == nullptr ? 0 : root->packs()->size()) +
                     (root->roots() == nullptr ? 0 : root->roots()->size());
  if (ids > body.size() / sizeof(fb::Id32)) return Damaged("its lists share their bytes");
  TakeIds(root->packs(), out.packs);
  TakeIds(root->roots(), out.roots);
  return out;
}

}  // namespace bkfs
