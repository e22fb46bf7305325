// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/base/bytes.h"
#include "engine/base/log.h"
#include "engine/crypto/secret.h"
#include "engine/repo/tree_source.h"

namespace bkfs {

// The staging trees on disk: a small ordered key-value store (RocksDB) whose values are sealed.
// Keys stand in the open and must tell nothing (numbers, keyed hashes). Thread-safe.
//
// After Write returned, the change survives kill -9; after Sync, a power cut. A full disk is
// kNoSpace and nothing of the batch has happened; the next Write tries again.
class Journal {
 public:
  // kCorrupt when it cannot be read: the message says what to do. The caller holds the directory's
  // lock.
  static Result<std::unique_ptr<Journal>> Open(const std::string& directory, Secret key,
                                               uint64_t memory_bytes, Logger& log);
  ~Journal();

  // Changes that happen together or not at all.
  class Batch {
   public:
    Batch();
    ~Batch();
    Batch(Batch&&) noexcept;
    void Put(ByteView key, ByteView value);  // value is sealed by Write
    void Delete(ByteView key);
    void DeleteRange(ByteView begin, ByteView end);
    bool empty() const;
    size_t bytes() const;

   private:
    friend class Journal;
    struct Rep;
    std::unique_ptr<Rep> rep_;
  };

  Status Write(Batch& batch);
  Result<std::optional<Bytes>> Get(ByteView key) const;
  // Visits keys with `prefix`, in order, from `from` on (empty: the first) until it returns false.
  using Visitor = std::function<Result<bool>(ByteView key, ByteView value)>;
  Status Scan(ByteView prefix, ByteView from, const Visitor& visit) const;
  Status Sync();

  // Tree blobs, in a part of their own. Lives as long as the journal.
  LocalTrees& trees();
  // Forgets the tree blobs for which `keep` is false.
  Status SweepTrees(const std::function<bool(const BlobId&)>& keep);
  Result<uint64_t> CountTrees() const;

 private:
  struct Rep;
  explicit Journal(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace bkfs
