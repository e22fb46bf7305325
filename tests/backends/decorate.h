// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/repo/backend.h"
#include "tests/backends/conformance.h"

namespace bkfs {

// A store with a decorator around it, set such that it never interferes.
using Wrap = std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)>;
std::unique_ptr<Backend> Retrying(std::unique_ptr<Backend> inner);
std::unique_ptr<Backend> Stalling(std::unique_ptr<Backend> inner);
std::unique_ptr<Backend> Limited(std::unique_ptr<Backend> inner);
std::unique_ptr<Backend> Cached(std::unique_ptr<Backend> inner);
// With an empty mirror in memory.
std::unique_ptr<Backend> Mirrored(std::unique_ptr<Backend> inner);
// With a mirror in a folder that all clients of a store share, tried again as the programs do it.
std::unique_ptr<Backend> MirroredLocally(std::unique_ptr<Backend> inner);
// All but the mirror, as the programs put them together.
std::unique_ptr<Backend> All(std::unique_ptr<Backend> inner);

// A factory of such stores around another's, which must be able to have a second client.
StoreFactory Decorated(const char* name, const StoreFactory& plain, const Wrap& wrap);
// One for each decorator, and for all together.
std::vector<StoreFactory> UnderEveryDecorator(const StoreFactory& plain);

}  // namespace bkfs
