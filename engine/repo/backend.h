// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/status.h"

namespace bkfs {

// Capacity of the place behind a store, in bytes; zeros where the store cannot tell.
struct StoreSpace {
  uint64_t total = 0;
  uint64_t available = 0;
};

// What is known of the way to a store from what was tried lately.
struct StoreHealth {
  int64_t silent_ns = 0;  // for how long what is tried has met no sign of life; 0: nothing is
  Status failure;         // of the last try since then; OK: none has failed yet
};

// A part of a new object: a range of a pack that is there, or bytes.
struct RepackPiece {
  std::string source;  // a pack's name; empty: `bytes`
  uint64_t offset = 0;
  uint64_t length = 0;
  ByteView bytes;  // valid until the call returns
};
struct RepackedObject {
  std::string name;
  uint64_t size = 0;
};

// An object store: named, immutable byte strings. This is all bkfs asks of any place it stores to.
//
// Names are '/'-separated words of [a-z0-9.-], at most 200 bytes, no empty word, no "." or "..";
// anything else is kInvalid. An object is there whole or not at all: a Put that did not return OK
// may have happened or not, but never in part. All functions are thread-safe and may block on I/O;
// a store that is reached over a network tells the calling thread's watches what it moves, and
// obeys them (engine/base/transfer.h). Errors: kNotFound for an absent object,
// kNoSpace/kQuota/kDenied from the store, kUnavailable where trying again may help, kIo otherwise.
// Every error names the object.
class Backend {
 public:
  virtual ~Backend() = default;

  // The whole object.
  virtual Result<Bytes> Get(const std::string& name) = 0;
  // Exactly out.size() bytes from `offset`; kCorrupt when the object is shorter.
  virtual Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) = 0;
  // Whether that range comes without a journey: a store on this machine, or a part that is kept
  // here. Elsewhere it is worth asking for more at once. Does not tell whether the object is there.
  virtual bool IsNear(const std::string& /*name*/, uint64_t /*offset*/, uint64_t /*length*/) {
    return true;
  }
  // Stores the concatenation of `parts` if there is no such object yet; kExists otherwise, whatever
  // that object holds. Durable when it returns OK.
  virtual Status Put(const std::string& name, std::span<const ByteView> parts) = 0;
  // Size in bytes.
  virtual Result<uint64_t> Size(const std::string& name) = 0;
  // When the object was put, in ns since 1970 by the store's own clock; whole seconds where the
  // store knows no better. Only differences of such times mean anything here.
  virtual Result<int64_t> ModifiedAt(const std::string& name) = 0;
  // Calls `visit` for each object whose name begins with `prefix` (whole words: "packs/" or "" for
  // all), in no particular order; stops with the first error `visit` returns. Objects put or
  // removed meanwhile may or may not be seen. No memory proportional to the number of objects
  // beyond one directory or page.
  virtual Status List(
      const std::string& prefix,
      const std::function<Status(const std::string& name, uint64_t size)>& visit) = 0;
  // kNotFound if it is not there. Durable when it returns. kDenied, saying until when, while a lock
  // keeps it there (see LockedUntil).
  virtual Status Remove(const std::string& name) = 0;
  // The same for many, in as few requests as the store knows how. Those that are not there count as
  // removed. Returns the first failure after trying them all.
  virtual Status RemoveAll(const std::vector<std::string>& names);
  virtual Result<StoreSpace> Space() = 0;

  // A store that computes may offer this, so that what maintenance moves from one pack to another
  // does not travel to the client and back (doc/adr/0005-stores-that-repack.md). Makes one new pack
  // of the pieces, in their order: its name is "packs/", two hexadecimal digits, "/", and all 64 of
  // the BLAKE3-256 of its bytes, of which the two are the first. As durable as a Put when it
  // returns; OK as well when that object is there already. Before it copies from a source, the
  // store makes sure that the source's bytes hash to its name: kCorrupt, naming the source, when
  // they do not or are too few for a piece; kNotFound, naming it, when it is not there. kInvalid
  // for no pieces, or a source that is no pack's name. Nothing is stored unless it returns OK or
  // the answer was lost. kUnsupported: this store does not; asked again it says the same.
  //
  // The local store does not: the caller is the machine that would have to read the sources for
  // their hashes, and nothing is saved by copying what has been read in the kernel once more.
  virtual Result<RepackedObject> Repack(std::span<const RepackPiece> pieces);
  // Some stores can keep an object from being removed by anybody before a time (S3: Object Lock,
  // compliance mode); such a store locks what is to outlive a thief when it is put. Until when this
  // object is locked, in ns since 1970; 0: it is not, or the store has no locks.
  virtual Result<int64_t> LockedUntil(const std::string& name);
  // Locks the object until then if it is not locked for longer. kUnsupported without locks.
  virtual Status Lock(const std::string& name, int64_t until_ns);
  // For how long from now the store locks what is put, in ns; 0 for a store without locks.
  virtual int64_t LockSpan() const { return 0; }
  // Answers at once, without asking the store.
  virtual StoreHealth Health() { return {}; }
  // For messages: "/srv/backup".
  virtual std::string Describe() const = 0;

  Status PutOne(const std::string& name, ByteView data) { return Put(name, std::span(&data, 1)); }
};

// The checks of names and of List's prefixes stated above, for implementations.
Status CheckObjectName(std::string_view name);
Status CheckObjectPrefix(std::string_view prefix);

}  // namespace bkfs
