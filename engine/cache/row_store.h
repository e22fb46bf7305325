// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/base/bytes.h"

namespace bkfs {

// The few things the index cache asks of RocksDB: ordered keys and values on disk, written in
// batches, in bounded memory. The only file that knows RocksDB is row_store.cc, and nothing it
// throws leaves there. Thread-safe.
class RowStore {
 public:
  // Writes that happen together or not at all.
  class Batch {
   public:
    Batch();
    ~Batch();
    void Put(ByteView key, ByteView value);
    void Delete(ByteView key);
    size_t bytes() const;
    void Clear();

   private:
    friend class RowStore;
    struct Rep;
    std::unique_ptr<Rep> rep_;
  };

  // Keys begin with one byte for their kind and are at least this long. So many bytes of a key are
  // what a lookup knows and what Bloom filters are made of. (Shorter keys would be allowed by
  // RocksDB's documentation and are not by its code.)
  static constexpr size_t kPrefix = 33;

  // Whether a row is of no use any more. Called from RocksDB's threads while it rewrites files; the
  // rows it says yes to are left out.
  using Useless = std::function<bool(ByteView key)>;

  // kCorrupt: what is in `path` cannot be used. Other codes: the system said no.
  static Result<std::unique_ptr<RowStore>> Open(const std::string& path, uint64_t memory_bytes,
                                                Useless useless);
  // The same where nothing can be written: every Write fails with `why`.
  static Result<std::unique_ptr<RowStore>> OpenForReading(const std::string& path,
                                                          uint64_t memory_bytes, Status why);
  ~RowStore();

  Result<std::optional<Bytes>> Get(ByteView key);
  // In the log that survives kill -9 when it returns; `sync`: and a power cut. After a write that
  // failed, every other one fails with the same error, until the store is closed and opened again.
  Status Write(Batch& batch, bool sync = false);
  bool Failed() const;

  // Called with rows in ascending order of keys; false stops. The views hold during the call.
  using Visit = std::function<Result<bool>(ByteView key, ByteView value)>;
  // All rows whose keys begin with `prefix`, which is kPrefix bytes.
  Status ScanPrefix(ByteView prefix, const Visit& visit);
  // All rows from the key `from` on that have the same first byte.
  Status ScanKind(ByteView from, const Visit& visit);

  Result<bool> Empty();
  uint64_t EstimateKeys();

 private:
  struct Rep;
  explicit RowStore(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace bkfs
