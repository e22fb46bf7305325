// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/repo/backend.h"

namespace bkfs {

// Passes everything on to another store. Decorators derive from it and override what they change.
class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  Result<Bytes> Get(const std::string& name) override;
  Status ReadAt(const std::string& name, uint64_t offset, MutableByteView out) override;
  bool IsNear(const std::string& name, uint64_t offset, uint64_t length) override;
  Status Put(const std::string& name, std::span<const ByteView> parts) override;
  Result<uint64_t> Size(const std::string& name) override;
  Result<int64_t> ModifiedAt(const std::string& name) override;
  Status List(const std::string& prefix,
              const std::function<Status(const std::string& name, uint64_t size)>& visit) override;
  Status Remove(const std::string& name) override;
  Status RemoveAll(const std::vector<std::string>& names) override;
  Result<StoreSpace> Space() override;
  Result<RepackedObject> Repack(std::span<const RepackPiece> pieces) override;
  Result<int64_t> LockedUntil(const std::string& name) override;
  Status Lock(const std::string& name, int64_t until_ns) override;
  StoreHealth Health() override { return inner_->Health(); }
  int64_t LockSpan() const override { return inner_->LockSpan(); }
  std::string Describe() const override { return inner_->Describe(); }

 protected:
  Backend& inner() { return *inner_; }

 private:
  const std::unique_ptr<Backend> inner_;
};

}  // namespace bkfs
