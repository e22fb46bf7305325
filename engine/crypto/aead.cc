// SPDX-License-Identifier: Apache-2.0
#include "engine/crypto/aead.h"

#include <openssl/evp.h>
#include <sodium.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "engine/crypto/aead_context.h"
#include "engine/crypto/hash.h"

namespace bkfs {

namespace {
constexpr size_t kSaltSize = 32;
constexpr size_t kKeySize = 32;
constexpr uint8_t kZeroNonce[kAeadNonce] = {};

Status NotAuthentic(std::string_view what) {
  return {Code::kCorrupt, std::string(what) +
                              " does not open: it was changed, or belongs to another key, place or "
                              "repository"};
}

// repo ‖ kind and what else a use binds.
struct SmallAad {
  explicit SmallAad(const RepoId& repo) { Add(repo.view()); }
  void Add(ByteView more) {
    std::memcpy(bytes + size, more.data(), more.size());
    size += more.size();
  }
  void Add(uint8_t byte) { bytes[size++] = byte; }
  ByteView view() const { return {bytes, size}; }
  uint8_t bytes[RepoId::kSize + 2];
  size_t size = 0;
};

SmallAad FrameAad(const RepoId& repo, uint8_t pack_kind) {
  SmallAad aad(repo);
  aad.Add('P');
  aad.Add(pack_kind);
  return aad;
}
}  // namespace

Cipher PreferredCipher() {
#if defined(__x86_64__)
  bool fast_aes = __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
  constexpr unsigned long kHwcapAes = 1 << 3;    // NOLINT: getauxval's type
  constexpr unsigned long kHwcapPmull = 1 << 4;  // NOLINT
  unsigned long have = ::getauxval(AT_HWCAP);    // NOLINT
  bool fast_aes = (have & kHwcapAes) != 0 && (have & kHwcapPmull) != 0;
#else
  bool fast_aes = false;
#endif
  return fast_aes ? Cipher::kAes256Gcm : Cipher::kChaCha20Poly1305;
}

Result<Cipher> ParseCipher(uint8_t raw) {
  if (raw == static_cast<uint8_t>(Cipher::kAes256Gcm)) return Cipher::kAes256Gcm;
  if (raw == static_cast<uint8_t>(Cipher::kChaCha20Poly1305)) return Cipher::kChaCha20Poly1305;
  return Status(Code::kCorrupt, "unknown cipher " + std::to_string(raw));
}

AeadContexts& AeadContexts::ForThread() {
  thread_local AeadContexts contexts;
  return contexts;
}

AeadContexts::~AeadContexts() {
  for (auto& use : slots_) {
    for (auto& cipher : use) {
      for (Slot& slot : cipher) EVP_CIPHER_CTX_free(slot.context);  // wipes its key schedule
    }
  }
  for (EVP_CIPHER* cipher : ciphers_) EVP_CIPHER_free(cipher);
}

EVP_CIPHER_CTX* AeadContexts::Prepare(Use use, Cipher cipher, bool seal, ByteView key,
                                      const uint8_t* nonce) {
  BKFS_CHECK(key.size() == kKeySize);
  size_t which = cipher == Cipher::kAes256Gcm ? 0 : 1;
  Slot& slot = slots_[static_cast<size_t>(use)][which][seal ? 1 : 0];
  if (slot.context == nullptr) {
    if (ciphers_[which] == nullptr) {
      ciphers_[which] =
          EVP_CIPHER_fetch(nullptr, which == 0 ? "AES-256-GCM" : "ChaCha20-Poly1305", nullptr);
    }
    slot.context = EVP_CIPHER_CTX_new();
    BKFS_CHECK(ciphers_[which] != nullptr && slot.context != nullptr);
    BKFS_CHECK(EVP_CipherInit_ex2(slot.context, ciphers_[which], nullptr, nullptr, seal, nullptr));
  }
  const uint8_t* new_key = key.data();
  if (use == Use::kLocal) {
    if (slot.key.empty()) {
      slot.key = Secret::CopyOf(key);
    } else if (sodium_memcmp(slot.key.view().data(), key.data(), kKeySize) == 0) {
      new_key = nullptr;  // the context has it: saves the key schedule
    } else {
      std::memcpy(slot.key.mutable_view().data(), key.data(), kKeySize);
    }
  }
  BKFS_CHECK(EVP_CipherInit_ex2(slot.context, nullptr, new_key, nonce, seal, nullptr));
  return slot.context;
}

void AeadContexts::Seal(Use use, Cipher cipher, ByteView key, const uint8_t* nonce, ByteView aad,
                        std::span<const ByteView> parts, uint8_t* out) {
  EVP_CIPHER_CTX* context = Prepare(use, cipher, true, key, nonce);
  int n = 0;
  if (!aad.empty()) {
    BKFS_CHECK(EVP_EncryptUpdate(context, nullptr, &n, aad.data(), static_cast<int>(aad.size())));
  }
  for (ByteView part : parts) {
    BKFS_CHECK(part.size() <= INT32_MAX);
    if (part.empty()) continue;
    BKFS_CHECK(EVP_EncryptUpdate(context, out, &n, part.data(), static_cast<int>(part.size())));
    out += n;
  }
  BKFS_CHECK(EVP_EncryptFinal_ex(context, out, &n));
  BKFS_CHECK(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kAeadTag, out));
}

bool AeadContexts::Open(Use use, Cipher cipher, ByteView key, const uint8_t* nonce, ByteView aad,
                        ByteView sealed, uint8_t* out) {
  BKFS_CHECK(sealed.size() >= kAeadTag && sealed.size() <= INT32_MAX);
  EVP_CIPHER_CTX* context = Prepare(use, cipher, false, key, nonce);
  ByteView body = sealed.first(sealed.size() - kAeadTag);
  uint8_t tag[kAeadTag];
  std::memcpy(tag, sealed.data() + body.size(), kAeadTag);
  int n = 0;
  if (!aad.empty()) {
    BKFS_CHECK(EVP_DecryptUpdate(context, nullptr, &n, aad.data(), static_cast<int>(aad.size())));
  }
  if (!body.empty() &&
      EVP_DecryptUpdate(context, out, &n, body.data(), static_cast<int>(body.size())) != 1) {
    return false;
  }
  BKFS_CHECK(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kAeadTag, tag));
  uint8_t none[kAeadTag];
  return EVP_DecryptFinal_ex(context, none, &n) == 1;
}

Bytes SealSalted(Cipher cipher, ByteView key, const RepoId& repo, uint8_t kind,
                 ByteView plaintext) {
  Bytes out(kSealOverhead + plaintext.size());
  out[0] = static_cast<uint8_t>(cipher);
  MutableByteView salt(out.data() + 1, kSaltSize);
  RandomBytes(salt);
  Hash256 derived = KeyedHash(key, salt);
  SmallAad aad(repo);
  aad.Add(kind);
  AeadContexts::ForThread().Seal(AeadContexts::Use::kOnce, cipher, derived, kZeroNonce, aad.view(),
                                 std::span(&plaintext, 1), out.data() + 1 + kSaltSize);
  WipeMemory(derived);
  return out;
}

Result<Bytes> OpenSalted(ByteView key, const RepoId& repo, uint8_t kind, ByteView sealed) {
  if (sealed.size() < kSealOverhead || sealed.size() > INT32_MAX) {
    return Status(Code::kCorrupt, "sealed value has an impossible length: it has been cut");
  }
  BKFS_ASSIGN(Cipher cipher, ParseCipher(sealed[0]));
  Hash256 derived = KeyedHash(key, sealed.subspan(1, kSaltSize));
  SmallAad aad(repo);
  aad.Add(kind);
  Bytes out(sealed.size() - kSealOverhead);
  bool good = AeadContexts::ForThread().Open(AeadContexts::Use::kOnce, cipher, derived, kZeroNonce,
                                             aad.view(), sealed.subspan(1 + kSaltSize), out.data());
  WipeMemory(derived);
  if (!good) return NotAuthentic("sealed value");
  return out;
}

FrameSealer::FrameSealer(Cipher cipher, Secret key, const RepoId& repo, uint8_t pack_kind)
    : cipher_(cipher), key_(std::move(key)) {
  BKFS_CHECK(key_.size() == kKeySize);
  SmallAad aad = FrameAad(repo, pack_kind);
  aad_.assign(aad.view().begin(), aad.view().end());
}

FrameSealer::~FrameSealer() = default;

Bytes FrameSealer::Seal(std::span<const ByteView> parts) {
  size_t total = 0;
  for (ByteView part : parts) total += part.size();
  Bytes out(kAeadNonce + total + kAeadTag);
  Store(out.data(), next_.fetch_add(1, std::memory_order_relaxed));  // then four zeros
  AeadContexts::ForThread().Seal(AeadContexts::Use::kOnce, cipher_, key_.view(), out.data(), aad_,
                                 parts, out.data() + kAeadNonce);
  return out;
}

Result<Bytes> OpenFrame(Cipher cipher, ByteView key, const RepoId& repo, uint8_t pack_kind,
                        ByteView sealed) {
  if (key.size() != kKeySize) return Status(Code::kCorrupt, "data key has the wrong length");
  if (sealed.size() < kAeadNonce + kAeadTag || sealed.size() > INT32_MAX) {
    return Status(Code::kCorrupt, "frame has an impossible length: it has been cut");
  }
  Bytes out(sealed.size() - kAeadNonce - kAeadTag);
  if (!AeadContexts::ForThread().Open(AeadContexts::Use::kOnce, cipher, key, sealed.data(),
                                      FrameAad(repo, pack_kind).view(), sealed.subspan(kAeadNonce),
                                      out.data())) {
    return NotAuthentic("frame");
  }
  return out;
}

Bytes SealKeyfile(ByteView key, ByteView aad, ByteView plaintext) {
  constexpr size_t kNonce = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
  BKFS_CHECK(key.size() == kKeySize);
  Bytes out(kNonce + plaintext.size() + crypto_aead_xchacha20poly1305_ietf_ABYTES);
  RandomBytes({out.data(), kNonce});
  crypto_aead_xchacha20poly1305_ietf_encrypt(out.data() + kNonce, nullptr, plaintext.data(),
                                             plaintext.size(), aad.data(), aad.size(), nullptr,
                                             out.data(), key.data());
  return out;
}

Result<Secret> OpenKeyfile(ByteView key, ByteView aad, ByteView sealed) {
  constexpr size_t kNonce = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
  constexpr size_t kTag = crypto_aead_xchacha20poly1305_ietf_ABYTES;
  BKFS_CHECK(key.size() == kKeySize);
  if (sealed.size() < kNonce + kTag) {
    return Status(Code::kCorrupt, "keyfile is too short: it has been cut");
  }
  Secret out(sealed.size() - kNonce - kTag);
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(
          out.mutable_view().data(), nullptr, nullptr, sealed.data() + kNonce,
          sealed.size() - kNonce, aad.data(), aad.size(), sealed.data(), key.data()) != 0) {
    return NotAuthentic("keyfile");
  }
  return out;
}

}  // namespace bkfs
