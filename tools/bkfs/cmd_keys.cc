// SPDX-License-Identifier: Apache-2.0
// init, derive, key show|list|revoke.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/base/fd.h"
#include "engine/repo/rotation.h"
#include "tools/bkfs/cli.h"
#include "tools/bkfs/output.h"
#include "tools/open_repository.h"
#include "tools/open_store.h"
#include "tools/prompt.h"

namespace bkfs {

namespace {

using nlohmann::json;

Result<Secret> NewPassphrase(const std::string& file) {
  if (file.empty()) return Secret();
  return ReadPassphraseFile(file);
}

Status SaveKeyfile(const std::string& path, const KeyMaterial& key, const Secret& passphrase) {
  std::string text = EncodeKeyfile(key, passphrase.view());
  Status saved = WriteNewFile(path, AsBytes(text), 0600);
  WipeMemory({reinterpret_cast<uint8_t*>(text.data()), text.size()});
  if (saved.Is(Code::kExists)) {
    return {Code::kInvalid, path + " exists already; a keyfile is never overwritten"};
  }
  return saved.WithContext("keyfile");
}

// A repository among other files is a slip of the finger. A disk's own lost+found is none, nor is
// what an interrupted init left, nor a repository, of which more is said later.
Status CheckFolderIsFree(const std::string& url) {
  const auto folder = LocalPathOf(url);
  if (!folder) return {};
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(*folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name == "bkfs.repo") return {};
    if (name != "lost+found" && name != "_tmp") {
      return {Code::kInvalid, *folder + " is not empty: name a folder of the repository's own"};
    }
  }
  return {};  // what cannot be read is told by who writes there
}

Result<int> Init(Context& context) {
  const std::string key_file = context.config.key_file;
  if (context.config.url.empty()) return Status(Code::kInvalid, "where to? (-R REPOSITORY)");
  if (key_file.empty()) {
    return Status(Code::kInvalid, "which file is the master key to be written to? (-K FILE)");
  }
  if (::access(key_file.c_str(), F_OK) == 0) {
    return Status(Code::kInvalid, key_file + " exists already; a keyfile is never overwritten");
  }
  CreateOptions options;
  options.pad = context.args.Has("pad");
  if (context.args.Has("chunk-size")) {
    BKFS_ASSIGN(uint64_t average, ParseSize(context.args.Get("chunk-size")));
    if (average > (8 << 20)) return Status(Code::kInvalid, "--chunk-size: at most 2M");
    options.chunks = {static_cast<uint32_t>(average / 4), static_cast<uint32_t>(average),
                      static_cast<uint32_t>(average * 4)};
    Status good = CheckChunkSizes(options.chunks);
    if (!good.ok()) return good.WithContext("--chunk-size");
  }
  BKFS_ASSIGN(Secret passphrase, NewPassphrase(context.config.passphrase_file));
  // Looked at before the folder is made, so that a refusal changes nothing.
  BKFS_TRY(CheckFolderIsFree(context.config.url));
  BKFS_TRY(CheckFolderIsFree(context.config.mirror));
  BKFS_ASSIGN(auto store, OpenStore(context.config, context.env, true, *context.log));
  bool saved = false;
  auto master = CreateRepository(*store, options, *context.clock, [&](const KeyMaterial& key) {
    Status status = SaveKeyfile(key_file, key, passphrase);
    saved = status.ok();
    return status;
  });
  if (!master.ok()) {
    if (saved) ::unlink(key_file.c_str());  // the key of a repository that does not exist
    return master.status();
  }
  if (context.json) {
    json made{{"repository", store->Describe()},
              {"id", master->repo.hex()},
              {"key", master->id().hex()},
              {"key_file", key_file}};
    if (!context.config.mirror.empty()) made["mirror"] = context.config.mirror;
    std::cout << made.dump() << "\n";
  } else {
    std::cout << "repository " << master->repo.hex() << " made at " << store->Describe()
              << (context.config.mirror.empty() ? "" : " and " + context.config.mirror) << "\n"
              << "master key written to " << key_file
              << ": keep it safe and elsewhere, nobody can make it again\n";
  }
  return int{kExitDone};
}

Result<KeyMaterial> LoadMaster(const Context& context) {
  BKFS_ASSIGN(KeyMaterial key, LoadKeyfile(context.config.key_file,
                                           context.args.Has("master-passphrase-file")
                                               ? context.args.Get("master-passphrase-file")
                                               : std::string(),
                                           *context.log));
  if (key.type != KeyType::kMaster) {
    return Status(Code::kDenied, context.config.key_file + " is a " +
                                     std::string(KeyTypeName(key.type)) +
                                     " key; this takes the master key");
  }
  return key;
}

// A rotation that looked at the keys before this one's badge was there gave it no grant.
Status CheckNotRotated(Backend& store, const RepoHeader& header, const KeyId& key) {
  const std::string next = EpochName(header.epochs.back().epoch + 1);
  Status there = store.Size(next).status();
  if (there.Is(Code::kNotFound)) return {};
  BKFS_TRY(there);
  (void)store.Remove(KeyDirectory::BadgeName(key));
  return {Code::kUnavailable, "the keys were rotated meanwhile: no key was made, run it again"};
}

Result<int> Derive(Context& context) {
  const std::string out = context.args.Get("output");
  if (out.empty())
    return Status(Code::kInvalid, "which file is the key to be written to? (-O FILE)");
  if (!context.args.Has("type")) return Status(Code::kInvalid, "which type? (-t TYPE)");
  BKFS_ASSIGN(KeyType type, ParseKeyType(context.args.Get("type")));
  if (type == KeyType::kMaster) return Status(Code::kInvalid, "a master key cannot be derived");
  if (::access(out.c_str(), F_OK) == 0) {
    return Status(Code::kInvalid, out + " exists already; a keyfile is never overwritten");
  }
  Status label = CheckLabel(context.args.Get("label"));
  if (!label.ok()) return label.WithContext("--label");
  BKFS_ASSIGN(auto store, OpenStore(context.config, context.env, false, *context.log));
  BKFS_ASSIGN(RepoHeader header, ReadHeader(*store));
  BKFS_TRY(ReadEpochs(*store, header).status());
  BKFS_ASSIGN(KeyMaterial master, LoadMaster(context));
  BKFS_TRY(CheckKeyfileAgainst(master, header));
  BKFS_ASSIGN(Secret passphrase, NewPassphrase(context.config.passphrase_file));
  const uint32_t last_epoch = header.epochs.back().epoch;
  master = MasterMaterial(std::move(master.master), header.repo, last_epoch);
  KeyMaterial key =
      DeriveMaterial(master, type, context.args.Get("label"), context.clock->WallNanos());
  BKFS_TRY(SaveKeyfile(out, key, passphrase));
  Status put = store->PutOne(KeyDirectory::BadgeName(key.id()), key.badge);
  if (put.ok()) put = CheckNotRotated(*store, header, key.id());
  if (!put.ok()) {
    ::unlink(out.c_str());  // without its badge it is worth nothing
    return put;
  }
  if (context.json) {
    std::cout << json{{"key", key.id().hex()}, {"type", KeyTypeName(type)}, {"file", out}}.dump()
              << "\n";
  } else {
    std::cout << KeyTypeName(type) << " key " << key.id().hex() << " written to " << out << "\n";
  }
  return int{kExitDone};
}

Result<int> KeyShow(Context& context) {
  const std::string file =
      context.args.positional().empty() ? context.config.key_file : context.args.positional()[0];
  BKFS_ASSIGN(KeyMaterial key, LoadKeyfile(file, context.config.passphrase_file, *context.log));
  if (context.json) {
    std::cout << json{{"key", key.id().hex()},
                      {"type", KeyTypeName(key.type)},
                      {"label", Utf8(key.label)},
                      {"repository", key.repo.hex()}}
                     .dump()
              << "\n";
    return int{kExitDone};
  }
  std::cout << "key:        " << key.id().hex() << "\ntype:       " << KeyTypeName(key.type)
            << "\nlabel:      " << Printable(key.label) << "\nrepository: " << key.repo.hex()
            << "\n";
  return int{kExitDone};
}

Result<int> KeyList(Context& context) {
  BKFS_ASSIGN(auto repo, context.Open());
  json list = json::array();
  Table table;
  table.Row({"KEY", "TYPE", "MADE", "STATE", "LABEL"});
  for (const auto& signer : repo->keys().All()) {
    const std::string made = FormatRfc3339(signer.created_ns / 1'000'000'000 * 1'000'000'000);
    const std::string state = signer.revoked() ? "revoked" : "good";
    table.Row({signer.id.hex(), std::string(KeyTypeName(signer.type)), made, state,
               Printable(signer.label)});
    json item{{"key", signer.id.hex()},
              {"type", KeyTypeName(signer.type)},
              {"made", made},
              {"state", state},
              {"label", Utf8(signer.label)}};
    if (signer.revoked()) item["revoked"] = FormatRfc3339(signer.revocation->time_ns);
    list.push_back(std::move(item));
  }
  std::cout << (context.json ? list.dump() + "\n" : table.Text({}));
  return int{kExitDone};
}

void SayRotated(const Rotated& rotated) {
  std::cout << "new data is sealed to keys of epoch " << rotated.epoch << ", which "
            << Counted(rotated.grants, "derived key")
            << " can open; mounts take it up when they renew their lease\n";
}

Result<int> KeyRevoke(Context& context) {
  BKFS_ASSIGN(auto repo, context.Open());
  if (repo->key().type != KeyType::kMaster) {
    return Status(Code::kDenied, "only the master key revokes keys (-K)");
  }
  const std::string& wanted = context.args.positional()[0];
  // There is no way back: a slip of the finger must not name a key.
  constexpr size_t kLeastDigits = 8;
  std::vector<Signer> hits;
  for (const auto& signer : repo->keys().All()) {
    if ((wanted.size() >= kLeastDigits && signer.id.hex().starts_with(wanted)) ||
        (!signer.label.empty() && signer.label == wanted)) {
      hits.push_back(signer);
    }
  }
  if (hits.empty()) {
    return Status(Code::kNotFound, "no key '" + wanted +
                                       "' (want its label, or 8 digits of its id or more; "
                                       "'bkfs key list')");
  }
  if (hits.size() > 1) return Status(Code::kInvalid, "'" + wanted + "' is ambiguous: give its id");
  BKFS_ASSIGN(const Revocation revocation, RevokeKey(*repo, hits[0].id));
  json said{{"key", hits[0].id.hex()}, {"accepted", revocation.accepted.size()}};
  const bool maintains = MayMaintain(hits[0].type);
  if (!context.json) {
    std::cout << "key " << hits[0].id.hex() << " is revoked; its "
              << Counted(revocation.accepted.size(), maintains ? "maintenance object" : "snapshot")
              << " so far " << (maintains ? "count" : "can be read")
              << ", later ones are refused\n";
  }
  if (context.args.Has("rotate")) {
    BKFS_ASSIGN(const Rotated rotated, RotateKeys(*repo));
    said.update({{"epoch", rotated.epoch}, {"grants", rotated.grants}});
    if (!context.json) SayRotated(rotated);
  } else if (MayReadLog(hits[0].type) && !context.json) {
    std::cout << "whoever has it can still open what is written from now on: 'bkfs rotate' gives "
                 "new data new keys\n";
  }
  if (context.json) std::cout << said.dump() << "\n";
  return int{kExitDone};
}

Result<int> RepairRotation(Context& context) {
  BKFS_ASSIGN(auto store, OpenStore(context.config, context.env, false, *context.log));
  BKFS_TRY(ReadHeader(*store).status());
  BKFS_ASSIGN(const KeyMaterial master,
              LoadKeyfile(context.config.key_file, context.config.passphrase_file, *context.log));
  BKFS_ASSIGN(const auto made, RepairEpochs(*store, master, *context.log, *context.clock));
  if (context.json) {
    std::cout << json{{"made", made}}.dump() << "\n";
    return int{kExitDone};
  }
  for (uint32_t number : made) std::cout << EpochName(number) << " is made again\n";
  if (made.empty()) std::cout << "nothing was missing\n";
  return int{kExitDone};
}

Result<int> Rotate(Context& context) {
  if (context.args.Has("repair")) return RepairRotation(context);
  BKFS_ASSIGN(auto repo, context.Open());
  BKFS_ASSIGN(const Rotated rotated, RotateKeys(*repo));
  if (context.json) {
    std::cout << json{{"epoch", rotated.epoch}, {"grants", rotated.grants}}.dump() << "\n";
  } else {
    SayRotated(rotated);
  }
  return int{kExitDone};
}

}  // namespace

std::vector<Command> KeyCommands() {
  return {
      {"init",
       "",
       "makes a repository and its master key",
       {{"pad", "", "pad frames, so that their lengths tell less"},
        {"chunk-size", "SIZE", "average piece of a file (64K)"}},
       0,
       0,
       Init},
      {"derive",
       "",
       "makes a keyfile with fewer rights from the master key",
       {{"type,t", "TYPE", "ReadWrite, ReadOnly, WriteOnly, LogOnly or Maintain"},
        {"output,O", "FILE", "the new keyfile"},
        {"label,l", "TEXT", "what the key is for"},
        {"master-passphrase-file", "FILE", "passphrase of the master key (else asked for)"}},
       0,
       0,
       Derive},
      {"key list", "", "lists the repository's keys", {}, 0, 0, KeyList, true},
      {"key show", "[FILE]", "tells what a keyfile is", {}, 0, 1, KeyShow},
      {"key revoke",
       "KEY",
       "ends a key's rights (by id or label; master key)",
       {{"rotate", "", "and gives new data new keys, as 'bkfs rotate' does"}},
       1,
       1,
       KeyRevoke},
      {"rotate",
       "",
       "gives new data new keys, which no revoked key has (master key)",
       {{"repair", "", "make lost objects of earlier rotations again, and rotate nothing"}},
       0,
       0,
       Rotate},
  };
}

}  // namespace bkfs
