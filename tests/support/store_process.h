// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "engine/base/fd.h"

namespace bkfs {

// A real server for the time of a test: a script of tests/stores, which starts it, says where it
// is, and takes it down when this object goes or the test program dies.
class StoreProcess {
 public:
  // `script`: a name in tests/stores, "sshd.py". Aborts the program, with what the script says,
  // when the server does not come up.
  explicit StoreProcess(const std::string& script, const std::vector<std::string>& arguments = {});
  ~StoreProcess();
  StoreProcess(const StoreProcess&) = delete;
  StoreProcess& operator=(const StoreProcess&) = delete;

  // What the script printed: its JSON object's strings and numbers as text. Aborts if not there.
  const std::string& Fact(const std::string& name) const;
  int NumberFact(const std::string& name) const;
  // Sends the script a line, as fault_proxy.py takes them, and waits for its answer of one line.
  std::string Tell(const std::string& line);

 private:
  std::string ReadLine();

  pid_t pid_ = -1;
  UniqueFd to_;
  UniqueFd from_;
  std::map<std::string, std::string> facts_;
};

}  // namespace bkfs
