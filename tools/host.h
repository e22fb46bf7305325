// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace bkfs {

// What snapshots say about where they come from.
std::string HostName();
std::string UserName();  // the number where there is no name

// As many open files as the system allows: a directory on the way down takes one each.
void RaiseFileLimit();

}  // namespace bkfs
