// SPDX-License-Identifier: Apache-2.0
#include "backends/fault/fault_backend.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "engine/base/transfer.h"

namespace bkfs {

namespace {
using Action = FaultBackend::Action;

void FlipBit(MutableByteView data, uint64_t bit) {
  if (data.empty()) return;
  bit %= uint64_t{data.size()} * 8;
  data[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
}

// True for the actions that keep an operation without data from being done.
bool Prevents(const FaultBackend::Rule& rule) {
  return rule.action == Action::kFail || rule.action == Action::kCut;
}
}  // namespace

void FaultBackend::Add(Rule rule) {
  MutexLock lock(mutex_);
  rules_.push_back({.rule = std::move(rule)});
}

void FaultBackend::Heal() {
  MutexLock lock(mutex_);
  rules_.clear();
}

void FaultBackend::StopAfter(uint64_t operations, bool last_is_lost) {
  const Status error(Code::kUnavailable, "the store is gone");
  Rule stop{.first = operations + 1, .error = error};
  Rule lost{.first = operations + 1, .count = 1, .action = Action::kLose, .error = error};
  MutexLock lock(mutex_);
  // In front, because a stopped store answers nothing whatever the other rules say.
  rules_.insert(rules_.begin(), {.rule = std::move(stop)});
  if (last_is_lost) rules_.insert(rules_.begin(), {.rule = std::move(lost)});
}

uint64_t FaultBackend::Count(Op op) const {
  MutexLock lock(mutex_);
  return counts_[static_cast<size_t>(op)];
}

FaultBackend::Verdict FaultBackend::Judge(Op op, const std::string& name) {
  MutexLock lock(mutex_);
  ++counts_[static_cast<size_t>(Op::kAny)];
  ++counts_[static_cast<size_t>(op)];
  Verdict verdict;
  for (Armed& armed : rules_) {
    const Rule& rule = armed.rule;
    if ((rule.op != Op::kAny && rule.op != op) || !name.starts_with(rule.prefix)) continue;
    // Every rule counts every operation it matches, also those that another rule decides.
    ++armed.seen;
    if (armed.seen < rule.first || armed.seen - rule.first >= rule.count) continue;
    if (verdict.rule) continue;
    if (rule.action == Action::kDelay) {
      verdict.delay_nanos += rule.delay_nanos;
    } else {
      verdict.rule = rule;
    }
  }
  return verdict;
}

// As a connection on which nothing comes: whoever watches may end it.
Status FaultBackend::Wait(int64_t nanos) {
  constexpr int64_t kLook = 20'000'000;
  for (; nanos > 0; nanos -= kLook) {
    BKFS_TRY(TellWaiting());
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(nanos, kLook)));
  }
  return {};
}

std::optional<FaultBackend::Rule> FaultBackend::Decide(Op op, const std::string& name) {
  Verdict verdict = Judge(op, name);
  Status ended = Wait(verdict.delay_nanos);
  if (!ended.ok()) return Rule{.op = op, .action = Action::kFail, .error = std::move(ended)};
  if (verdict.rule) {
    verdict.rule->error = verdict.rule->error.WithContext(name.empty() ? Describe() : name);
  }
  return std::move(verdict.rule);
}

Result<Bytes> FaultBackend::Get(const std::string& name) {
  auto rule = Decide(Op::kGet, name);
  if (rule && rule->action == Action::kFail) return rule->error;
  BKFS_ASSIGN(Bytes data, inner_.Get(name));
  if (!rule) return data;
  if (rule->action == Action::kLose) return rule->error;
  if (rule->action == Action::kFlip) FlipBit(data, rule->amount);
  if (rule->action == Action::kCut) data.resize(data.size() - std::min(data.size(), rule->amount));
  return data;
}

Status FaultBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  auto rule = Decide(Op::kReadAt, name);
  if (!rule) return inner_.ReadAt(name, offset, out);
  switch (rule->action) {
    case Action::kFail: return rule->error;
    case Action::kLose: BKFS_TRY(inner_.ReadAt(name, offset, out)); return rule->error;
    case Action::kCut:
      BKFS_TRY(inner_.ReadAt(name, offset,
                             out.first(out.size() - std::min<uint64_t>(out.size(), rule->amount))));
      return {Code::kCorrupt, name + " ends too early: it has been cut"};
    case Action::kFlip:
      BKFS_TRY(inner_.ReadAt(name, offset, out));
      FlipBit(out, rule->amount);
      return {};
    case Action::kDelay: break;
  }
  return inner_.ReadAt(name, offset, out);
}

Status FaultBackend::PutFlipped(const std::string& name, std::span<const ByteView> parts,
                                uint64_t bit) {
  Bytes data;
  for (ByteView part : parts) Append(data, part);
  FlipBit(data, bit);
  return inner_.PutOne(name, data);
}

Status FaultBackend::Put(const std::string& name, std::span<const ByteView> parts) {
  auto rule = Decide(Op::kPut, name);
  if (rule && Prevents(*rule)) return rule->error;
  if (rule && rule->action == Action::kFlip) return PutFlipped(name, parts, rule->amount);
  BKFS_TRY(inner_.Put(name, parts));
  return rule ? rule->error : OkStatus();
}

Result<uint64_t> FaultBackend::Size(const std::string& name) {
  auto rule = Decide(Op::kSize, name);
  if (rule && rule->action == Action::kFail) return rule->error;
  BKFS_ASSIGN(uint64_t size, inner_.Size(name));
  if (rule && rule->action == Action::kLose) return rule->error;
  if (rule && rule->action == Action::kCut) size -= std::min(size, rule->amount);
  return size;
}

Result<int64_t> FaultBackend::ModifiedAt(const std::string& name) {
  auto rule = Decide(Op::kModifiedAt, name);
  if (rule && Prevents(*rule)) return rule->error;
  BKFS_ASSIGN(int64_t time, inner_.ModifiedAt(name));
  if (rule && rule->action == Action::kLose) return rule->error;
  return time;
}

Status FaultBackend::List(
    const std::string& prefix,
    const std::function<Status(const std::string& name, uint64_t size)>& visit) {
  auto rule = Decide(Op::kList, prefix);
  if (!rule || rule->action == Action::kFlip) return inner_.List(prefix, visit);
  if (rule->action == Action::kFail) return rule->error;
  uint64_t left = rule->action == Action::kCut ? rule->amount : kForever;
  BKFS_TRY(inner_.List(prefix, [&](const std::string& name, uint64_t size) -> Status {
    if (left-- == 0) return rule->error;
    return visit(name, size);
  }));
  return rule->error;
}

Status FaultBackend::Remove(const std::string& name) {
  auto rule = Decide(Op::kRemove, name);
  if (rule && Prevents(*rule)) return rule->error;
  BKFS_TRY(inner_.Remove(name));
  return rule && rule->action == Action::kLose ? rule->error : OkStatus();
}

Result<StoreSpace> FaultBackend::Space() {
  auto rule = Decide(Op::kSpace, "");
  if (rule && Prevents(*rule)) return rule->error;
  BKFS_ASSIGN(StoreSpace space, inner_.Space());
  if (rule && rule->action == Action::kLose) return rule->error;
  return space;
}

Result<RepackedObject> FaultBackend::Repack(std::span<const RepackPiece> pieces) {
  const auto source = std::find_if(pieces.begin(), pieces.end(),
                                   [](const RepackPiece& piece) { return !piece.source.empty(); });
  auto rule = Decide(Op::kRepack, source == pieces.end() ? std::string() : source->source);
  if (rule && Prevents(*rule)) return rule->error;
  BKFS_ASSIGN(RepackedObject made, inner_.Repack(pieces));
  if (!rule) return made;
  if (rule->action == Action::kLose) return rule->error;
  BKFS_ASSIGN(Bytes data, inner_.Get(made.name));
  BKFS_TRY(inner_.Remove(made.name));
  const ByteView whole(data);
  BKFS_TRY(PutFlipped(made.name, std::span(&whole, 1), rule->amount));
  return made;
}

}  // namespace bkfs
