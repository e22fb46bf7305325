// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/repo/backend.h"

namespace bkfs {

// A store that passes everything on to another one, until told to misbehave. For tests of
// everything above a store: what the engine does when an operation fails, is slow, loses its reply,
// or lies; and what a repository looks like after a process lost its store at any point.
//
//   FaultBackend faulty(memory);
//   faulty.Add({.op = Op::kPut, .prefix = "packs/", .first = 3, .error = {Code::kNoSpace,
//   "full"}});
//
// Thread-safe; no lock is held while the other store works.
class FaultBackend final : public Backend {
 public:
  enum class Op : uint8_t {
    kAny,
    kGet,
    kReadAt,
    kPut,
    kSize,
    kList,
    kRemove,
    kSpace,
    kModifiedAt,
    kRepack
  };

  enum class Action : uint8_t {
    kFail,  // not done; returns `error`
    kLose,  // done, but the reply is lost: returns `error`. A Put "may have happened".
    // Waits `delay_nanos`, then goes on with the rules after this one; ends when the thread's
    // watches say so.
    kDelay,
    // A connection or object that ends too early. Get: the last `amount` bytes are missing, and OK.
    // ReadAt: the last `amount` bytes stay as they were, kCorrupt. Size: smaller by `amount`. List:
    // `error` after `amount` objects. Put, Remove, Space, ModifiedAt, Repack: as kFail.
    kCut,
    // A store that returns or keeps wrong bytes: bit number `amount` (modulo the bits there are) of
    // what Get and ReadAt return, or of what Put and Repack store, is the other way round. Others:
    // no change.
    kFlip,
  };

  static constexpr uint64_t kForever = std::numeric_limits<uint64_t>::max();

  // Rules are tried in the order they were added; the first that applies and is no delay decides.
  struct Rule {
    Op op = Op::kAny;
    std::string prefix = {};  // of the object's name, or of the prefix that List was given
    uint64_t first = 1;       // which of the matching operations from now on it begins with
    uint64_t count = kForever;
    Action action = Action::kFail;
    Status error = Status(Code::kUnavailable, "the store was made to fail");
    int64_t delay_nanos = 0;
    uint64_t amount = 1;
  };

  explicit FaultBackend(Backend& inner) : inner_(inner) {}  // `inner` outlives this
  explicit FaultBackend(std::unique_ptr<Backend> inner)
      : owned_(std::move(inner)), inner_(*owned_) {}

  void Add(Rule rule) BKFS_EXCLUDES(mutex_);
  // Drops all rules, so that a stopped store works again too.
  void Heal() BKFS_EXCLUDES(mutex_);
  // A crash: `operations` more are passed on as the rules say, every one after them fails with
  // kUnavailable, as if the process had lost the store (or its life). If `last_is_lost`, the first
  // of those that fail is done all the same.
  void StopAfter(uint64_t operations, bool last_is_lost = false) BKFS_EXCLUDES(mutex_);
  // As a store on another machine: nothing of it is near.
  void MakeFar() { far_ = true; }
  // Operations asked for since the beginning, failed ones too.
  uint64_t Count(Op op = Op::kAny) const BKFS_EXCLUDES(mutex_);

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  bool IsNear(const std::string& name, uint64_t offset, uint64_t length) override {
    return !far_ && inner_.IsNear(name, offset, length);
  }
  Status Put(const std::string& name, std::span<const ByteView> parts) override;
  Result<uint64_t> Size(const std::string& name) override;
  Result<int64_t> ModifiedAt(const std::string& name) override;
  Status List(const std::string& prefix,
              const std::function<Status(const std::string& name, uint64_t size)>& visit) override;
  Status Remove(const std::string& name) override;
  Result<StoreSpace> Space() override;
  // Rules see it with the name of its first source.
  Result<RepackedObject> Repack(std::span<const RepackPiece> pieces) override;
  std::string Describe() const override { return inner_.Describe(); }

 private:
  struct Armed {
    Rule rule;
    uint64_t seen = 0;
  };
  struct Verdict {
    int64_t delay_nanos = 0;
    std::optional<Rule> rule;
  };

  // Counts the operation, waits if a rule says so, and returns the rule that decides it.
  std::optional<Rule> Decide(Op op, const std::string& name) BKFS_EXCLUDES(mutex_);
  static Status Wait(int64_t nanos);
  Verdict Judge(Op op, const std::string& name) BKFS_EXCLUDES(mutex_);
  Status PutFlipped(const std::string& name, std::span<const ByteView> parts, uint64_t bit);

  const std::unique_ptr<Backend> owned_;
  Backend& inner_;
  std::atomic<bool> far_ = false;
  mutable Mutex mutex_;  // a leaf
  std::vector<Armed> rules_ BKFS_GUARDED_BY(mutex_);
  std::array<uint64_t, 10> counts_ BKFS_GUARDED_BY(mutex_){};  // by Op
};

}  // namespace bkfs
