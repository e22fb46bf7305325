// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/scripted_http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <optional>

namespace bkfs {

namespace {
// False when the client has gone.
bool ReadMore(int fd, std::string& buffer) {
  char piece[64 << 10];
  const ssize_t n = ::recv(fd, piece, sizeof piece, 0);
  if (n <= 0) return false;
  buffer.append(piece, static_cast<size_t>(n));
  return true;
}

void SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

ScriptedRequest ParseHead(const std::string& head) {
  ScriptedRequest request;
  const size_t line_end = head.find("\r\n");
  const size_t first = head.find(' ');
  const size_t second = head.find(' ', first + 1);
  request.method = head.substr(0, first);
  const std::string target = head.substr(first + 1, second - first - 1);
  request.path = target.substr(0, target.find('?'));
  if (request.path.size() < target.size()) request.query = target.substr(request.path.size() + 1);
  for (size_t at = line_end + 2; at < head.size();) {
    const size_t end = std::min(head.find("\r\n", at), head.size());
    const std::string line = head.substr(at, end - at);
    const size_t colon = line.find(':');
    if (colon != std::string::npos) {
      std::string name = line.substr(0, colon);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      request.headers[name] = line.substr(std::min(colon + 2, line.size()));
    }
    at = end + 2;
  }
  return request;
}
}  // namespace

ScriptedAnswer Answer(int status, const std::string& body, const std::string& headers) {
  return {.bytes = "HTTP/1.1 " + std::to_string(status) + " Scripted\r\nContent-Length: " +
                   std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body};
}

ScriptedHttpServer::ScriptedHttpServer(Script script, Manners manners)
    : script_(std::move(script)),
      manners_(std::move(manners)),
      listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  BKFS_CHECK(::bind(listener_.get(), raw, size) == 0 && ::listen(listener_.get(), 64) == 0);
  BKFS_CHECK(::getsockname(listener_.get(), raw, &size) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

ScriptedHttpServer::~ScriptedHttpServer() {
  std::vector<std::thread> threads;
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    for (int fd : open_) ::shutdown(fd, SHUT_RDWR);
    threads.swap(threads_);
    gone_.NotifyAll();
  }
  for (auto& thread : threads) thread.join();
}

void ScriptedHttpServer::Accept() {
  for (;;) {
    const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    MutexLock lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] { Serve(fd); });
  }
}

void ScriptedHttpServer::Serve(int fd) {
  std::string buffer;
  while (ServeOne(fd, buffer)) {
  }
  MutexLock lock(mutex_);
  std::erase(open_, fd);
  ::close(fd);
}

ScriptedAnswer ScriptedHttpServer::Ask(const Script& script, const ScriptedRequest& request) {
  MutexLock lock(script_mutex_);
  return script(request);
}

bool ScriptedHttpServer::ServeOne(int fd, std::string& buffer) {
  size_t end = 0;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (!ReadMore(fd, buffer)) return false;
  }
  ScriptedRequest request = ParseHead(buffer.substr(0, end));
  buffer.erase(0, end + 4);
  if (manners_.early) {
    const ScriptedAnswer refused = Ask(manners_.early, request);
    SendAll(fd, refused.bytes);
    if (!refused.bytes.empty()) return false;
  }
  if (request.headers.contains("expect") && manners_.continues) {
    SendAll(fd, "HTTP/1.1 100 Continue\r\n\r\n");
  }
  const auto length = request.headers.find("content-length");
  const size_t size = length == request.headers.end() ? 0 : std::stoul(length->second);
  while (buffer.size() < size) {
    if (!ReadMore(fd, buffer)) return false;
  }
  request.body = buffer.substr(0, size);
  buffer.erase(0, size);
  const ScriptedAnswer answer = Ask(script_, request);
  if (answer.hang) {
    MutexLock lock(mutex_);
    while (!stopping_) gone_.Wait(mutex_);
    return false;
  }
  SendAll(fd, request.method == "HEAD" ? answer.bytes.substr(0, answer.bytes.find("\r\n\r\n") + 4)
                                       : answer.bytes);
  return !answer.close;
}

}  // namespace bkfs
