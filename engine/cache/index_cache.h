// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/log.h"
#include "engine/crypto/secret.h"
#include "engine/format/pack.h"

namespace bkfs {

// A pack as the cache knows it. Everything needed to open frames without fetching the footer.
struct CachedPack {
  PackId id;
  PackKind kind = PackKind::kContents;
  uint64_t size = 0;
  KeyId signer;
  std::vector<PackSlot> slots;
  uint32_t blobs = 0;         // how many
  uint64_t plain = 0;         // bytes in them, before compression
  uint64_t frames_plain = 0;  // bytes in its frames: more, if they hold what is no blob any more
};

// Where a blob's bytes are.
struct BlobLocation {
  uint32_t pack = 0;    // number of a pack in this cache
  PackFrame frame;      // offset and length in the pack, plain length, slot
  uint32_t offset = 0;  // of the blob in the frame's plaintext
  uint32_t length = 0;
  uint32_t ordinal = 0;  // of the blob in its pack's footer
};

// The blob index on local disk, in RocksDB: blob id -> place, pack number <-> pack, and which index
// segments have been loaded. A cache and nothing more: it may be deleted at any time and is rebuilt
// from the store. Values are sealed under a key made from the keyfile; blob ids stand in the open
// (they are keyed hashes). Memory is bounded by `memory_bytes` (block cache and write buffers),
// whatever the number of blobs. Thread-safe. One process per directory: others find it busy.
class IndexCache {
 public:
  struct Options {
    std::string directory;  // made if missing
    uint64_t memory_bytes = 64ULL << 20;
    RepoId repo;       // a cache of another repository or another key is emptied
    Secret local_key;  // 32 bytes
  };
  // A damaged cache is emptied with a word in the log, not an error. kBusy: another process holds
  // it.
  static Result<std::unique_ptr<IndexCache>> Open(Options options, Logger& log);
  virtual ~IndexCache() = default;

  // Adds a pack with all its blobs (one atomic write) and returns its number; the same pack twice
  // is the same number. A blob may be in several packs: the last added wins for Find, and all are
  // known to FindAll.
  virtual Result<uint32_t> AddPack(const PackId& id, uint64_t size, const PackFooter& footer) = 0;
  // Many at once, as when a segment is loaded.
  struct NewPack {
    PackId id;
    uint64_t size = 0;
    PackFooter footer;
  };
  virtual Status AddPacks(const std::vector<NewPack>& packs) = 0;
  // Forgets a pack; its blobs are found no more unless another pack has them. OK if unknown.
  virtual Status RemovePack(const PackId& id) = 0;

  // nullopt: not known here. Bloom filters make a miss cheap.
  virtual Result<std::optional<BlobLocation>> Find(const BlobId& id) = 0;
  virtual Result<std::vector<BlobLocation>> FindAll(const BlobId& id) = 0;
  virtual Result<CachedPack> Pack(uint32_t number) = 0;
  virtual Result<std::optional<uint32_t>> FindPack(const PackId& id) = 0;
  virtual Status ForEachPack(
      const std::function<Status(uint32_t number, const CachedPack&)>& visit) = 0;

  // Which index segments this cache reflects, and the packs each brought (for its removal).
  virtual Result<std::vector<IndexId>> Segments() = 0;
  virtual Status MarkSegment(const IndexId& id, const std::vector<PackId>& packs) = 0;
  virtual Result<std::vector<PackId>> SegmentPacks(const IndexId& id) = 0;
  virtual Status UnmarkSegment(const IndexId& id) = 0;

  // Small facts the engine wants to remember about the repository (last snapshot numbers seen).
  virtual Result<std::optional<Bytes>> GetNote(std::string_view name) = 0;
  virtual Status PutNote(std::string_view name, ByteView value) = 0;

  struct Stats {
    uint64_t blobs = 0;  // estimate
    uint64_t packs = 0;
    uint64_t disk_bytes = 0;
  };
  virtual Result<Stats> GetStats() = 0;
  virtual Status Clear() = 0;
};

}  // namespace bkfs
