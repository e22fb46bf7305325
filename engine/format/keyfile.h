// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/crypto/keys.h"
#include "engine/crypto/secret.h"
#include "engine/format/header.h"

namespace bkfs {

struct EpochSecrets {
  uint32_t epoch = 1;
  BoxKey content;  // empty where the type does not have it
  BoxKey tree;
  BoxKey log;
};

// What a keyfile holds, with everything a master key implies worked out. Move-only.
struct KeyMaterial {
  RepoId repo;
  KeyType type = KeyType::kReadOnly;
  std::string label;
  Secret master;  // Master only
  Secret id_key;  // empty where the type does not have it
  Secret chunker_key;
  Secret index_key;
  std::vector<EpochSecrets> epochs;
  SigningKey signing;
  PublicKey master_public{};
  Bytes badge;  // the badge object; empty for Master

  KeyId id() const { return signing.id(); }
  const EpochSecrets* FindEpoch(uint32_t epoch) const;
};

// Of one epoch: everything, as it follows from the master key; and what a key of `type` gets of
// that.
EpochSecrets MasterEpoch(const Secret& master, uint32_t epoch);
EpochSecrets EpochFor(const EpochSecrets& from, KeyType type);
EpochPublicKeys PublicKeysOf(const EpochSecrets& all);
// kCorrupt when one of the secrets does not give its public key.
Status CheckEpochSecrets(const EpochSecrets& secrets, const EpochPublicKeys& want);
// What an epoch's grant seals (section 14): the fields of `secrets` in the keyfile's form.
Secret EncodeEpochSecrets(const EpochSecrets& secrets);
// kCorrupt unless it holds exactly what a key of `type` needs of one epoch.
Result<EpochSecrets> DecodeEpochSecrets(ByteView payload, KeyType type);

// Everything of a master key, for epochs 1..last_epoch.
KeyMaterial MasterMaterial(Secret master, const RepoId& repo, uint32_t last_epoch);
// The public keys that go into the header.
RepoHeader HeaderFor(const KeyMaterial& master, int64_t created_ns, Cipher cipher, bool pad,
                     const ChunkSizes& chunks);
// What a derived key of `type` gets of the master's material, with a new signing key and signed
// badge.
KeyMaterial DeriveMaterial(const KeyMaterial& master, KeyType type, const std::string& label,
                           int64_t now_ns);

// The text of section 3. An empty passphrase leaves it unprotected.
std::string EncodeKeyfile(const KeyMaterial& material, ByteView passphrase);

// Asked for a passphrase when the file wants one; an error ends the decoding.
using PassphraseSource = std::function<Result<Secret>()>;
// kWrongKey for a wrong passphrase, kCorrupt for damage, kUnsupported for a newer version.
Result<KeyMaterial> DecodeKeyfile(std::string_view text, const PassphraseSource& passphrase);

// The checks of section 3 against the repository's header, whose epochs must be all there are:
// kWrongKey when the keyfile is of another repository, kCorrupt when it was tampered with, or knows
// an epoch whose object is missing.
Status CheckKeyfileAgainst(const KeyMaterial& material, const RepoHeader& header);

}  // namespace bkfs
