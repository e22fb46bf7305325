// SPDX-License-Identifier: Apache-2.0
#include "backends/decorators/forwarding_backend.h"

namespace bkfs {

Result<Bytes> ForwardingBackend::Get(const std::string& name) { return inner_->Get(name); }

Status ForwardingBackend::ReadAt(const std::string& name, uint64_t offset, MutableByteView out) {
  return inner_->ReadAt(name, offset, out);
}

bool ForwardingBackend::IsNear(const std::string& name, uint64_t offset, uint64_t length) {
  return inner_->IsNear(name, offset, length);
}

Status ForwardingBackend::Put(const std::string& name, std::span<const ByteView> parts) {
  return inner_->Put(name, parts);
}

Result<uint64_t> ForwardingBackend::Size(const std::string& name) { return inner_->Size(name); }

Result<int64_t> ForwardingBackend::ModifiedAt(const std::string& name) {
  return inner_->ModifiedAt(name);
}

Status ForwardingBackend::List(
    const std::string& prefix,
    const std::function<Status(const std::string& name, uint64_t size)>& visit) {
  return inner_->List(prefix, visit);
}

Status ForwardingBackend::Remove(const std::string& name) { return inner_->Remove(name); }

Status ForwardingBackend::RemoveAll(const std::vector<std::string>& names) {
  return inner_->RemoveAll(names);
}

Result<StoreSpace> ForwardingBackend::Space() { return inner_->Space(); }

Result<RepackedObject> ForwardingBackend::Repack(std::span<const RepackPiece> pieces) {
  return inner_->Repack(pieces);
}

Result<int64_t> ForwardingBackend::LockedUntil(const std::string& name) {
  return inner_->LockedUntil(name);
}

Status ForwardingBackend::Lock(const std::string& name, int64_t until_ns) {
  return inner_->Lock(name, until_ns);
}

}  // namespace bkfs
