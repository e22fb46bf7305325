// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/fd.h"
#include "engine/base/mutex.h"

namespace bkfs {

struct ScriptedRequest {
  std::string method;
  std::string path;                            // without the query
  std::string query;                           // as it was sent
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  bool Has(const std::string& word) const { return query.find(word) != std::string::npos; }
};

struct ScriptedAnswer {
  std::string bytes;   // all of it, the status line included
  bool close = false;  // the connection, after that
  bool hang = false;   // answer nothing until the server goes
};

// An answer with its length, as a well-behaved server gives it.
ScriptedAnswer Answer(int status, const std::string& body = "", const std::string& headers = "");

// What real servers do not do: a small HTTP server on loopback whose answers the test makes up.
class ScriptedHttpServer {
 public:
  // Called for each request, on a thread of its connection, but one at a time.
  using Script = std::function<ScriptedAnswer(const ScriptedRequest&)>;

  // `early`: called when the headers are there, before the body; an answer with bytes is sent at
  // once, and the connection closed. "Expect: 100-continue" is answered if `continues`.
  struct Manners {
    bool continues = true;
    Script early;
  };
  explicit ScriptedHttpServer(Script script) : ScriptedHttpServer(std::move(script), Manners()) {}
  ScriptedHttpServer(Script script, Manners manners);
  ~ScriptedHttpServer();
  ScriptedHttpServer(const ScriptedHttpServer&) = delete;
  ScriptedHttpServer& operator=(const ScriptedHttpServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void Accept();
  void Serve(int fd);
  bool ServeOne(int fd, std::string& buffer);
  ScriptedAnswer Ask(const Script& script, const ScriptedRequest& request);

  const Script script_;
  const Manners manners_;
  UniqueFd listener_;
  int port_ = 0;
  Mutex script_mutex_;
  Mutex mutex_;
  CondVar gone_;
  bool stopping_ BKFS_GUARDED_BY(mutex_) = false;
  std::vector<int> open_ BKFS_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ BKFS_GUARDED_BY(mutex_);
  std::thread acceptor_;
};

}  // namespace bkfs
