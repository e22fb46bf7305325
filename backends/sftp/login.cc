// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/login.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "backends/sftp/agent.h"
#include "backends/sftp/host_keys.h"
#include "backends/sftp/key_file.h"
#include "backends/sftp/wait.h"
#include "engine/base/printable.h"

namespace bkfs {

namespace {
// Servers end the connection after some wrong keys (OpenSSH: 6), before a right password is tried.
constexpr size_t kAgentKeysBeforeOthers = 3;
constexpr size_t kAgentKeys = 6;
constexpr int kAnswers = 3;  // that a person may give before it is over

// libssh2 frees it with free().
char* CopyForLibrary(ByteView text) {
  auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy == nullptr) return nullptr;
  if (!text.empty()) std::memcpy(copy, text.data(), text.size());
  copy[text.size()] = '\0';
  return copy;
}

class Login {
 public:
  Login(SshSession& session, const SftpOptions& options, Credentials& credentials, int64_t until_ns)
      : session_(session),
        options_(options),
        credentials_(credentials),
        until_ns_(until_ns),
        who_(options.user + " at " + options.host) {}

  Status Run();

  // libssh2's questions in the name of the server: see Interact.
  void Answer(const LIBSSH2_USERAUTH_KBDINT_PROMPT& prompt,
              LIBSSH2_USERAUTH_KBDINT_RESPONSE& response);
  // What libssh2 wants signed: see SignWithAgent.
  Result<Bytes> Sign(ByteView data) { return agent_->Sign(*agent_key_, data); }

 private:
  // Whether that let us in; an error when there is no going on.
  Result<bool> TryAgent();
  Result<bool> TryKeyFiles();
  Result<bool> TryKeyFile(const std::string& path, bool named);
  Result<bool> TryKey(const std::string& path, const KeyFile& key, ByteView passphrase);
  Result<bool> TryPassword(ByteView password);
  Result<bool> TryInteractive();
  Result<bool> TryAsking();

  Status AskMethods();
  bool Takes(std::string_view method) const;
  Result<bool> Outcome(int result);
  Result<Secret> Ask(const std::string& prompt);
  Status Denied() const;

  SshSession& session_;
  const SftpOptions& options_;
  Credentials& credentials_;
  const int64_t until_ns_;
  const std::string who_;
  std::string methods_;  // of the server: "publickey,password"
  std::vector<std::string> tried_;
  bool tried_rsa_ = false;
  bool let_in_ = false;  // by asking for nothing

  std::unique_ptr<SshAgent> agent_;
  const Bytes* agent_key_ = nullptr;
  Secret answer_;          // the one for hidden questions, when it is known before they are asked
  bool answered_ = false;  // the server has had it; a second question means it was wrong
  int questions_ = 0;
};

void Interact(const char* /*name*/, int /*name_size*/, const char* /*instruction*/,
              int /*instruction_size*/, int count, const LIBSSH2_USERAUTH_KBDINT_PROMPT* prompts,
              LIBSSH2_USERAUTH_KBDINT_RESPONSE* responses, void** abstract) {
  for (int i = 0; i < count; ++i) static_cast<Login*>(*abstract)->Answer(prompts[i], responses[i]);
}

int SignWithAgent(LIBSSH2_SESSION* /*session*/, unsigned char** signature, size_t* size,
                  const unsigned char* data, size_t data_size, void** abstract) {
  Result<Bytes> signed_data = static_cast<Login*>(*abstract)->Sign({data, data_size});
  if (!signed_data.ok()) return -1;
  *signature = reinterpret_cast<unsigned char*>(CopyForLibrary(*signed_data));
  *size = signed_data->size();
  return *signature == nullptr ? -1 : 0;
}

Status Login::AskMethods() {
  BKFS_ASSIGN(int result, session_.Drive([this] {
    const char* list = ::libssh2_userauth_list(session_.raw(), options_.user.data(),
                                               static_cast<unsigned>(options_.user.size()));
    if (list != nullptr) {
      methods_ = list;
      return 0;
    }
    let_in_ = ::libssh2_userauth_authenticated(session_.raw()) != 0;
    return let_in_ ? 0 : ::libssh2_session_last_errno(session_.raw());
  }));
  return result == 0 ? Status() : session_.Lost("before the login");
}

bool Login::Takes(std::string_view method) const {
  return ("," + methods_ + ",").find("," + std::string(method) + ",") != std::string::npos;
}

Result<bool> Login::Outcome(int result) {
  switch (result) {
    case 0: return true;
    case LIBSSH2_ERROR_AUTHENTICATION_FAILED:
    case LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED:
    case LIBSSH2_ERROR_METHOD_NOT_SUPPORTED: return false;
    default: {
      Status lost = session_.Lost("during the login");
      std::string after;
      for (const std::string& what : tried_) after += (after.empty() ? "" : ", ") + what;
      return Status(lost.code(), lost.message() + " after " + after);
    }
  }
}

Result<Secret> Login::Ask(const std::string& prompt) {
  if (!credentials_.ask) return Status(Code::kDenied, "nobody to ask");
  const int64_t begun = MonotonicNow();
  Result<Secret> answer = credentials_.ask(prompt);
  session_.Extend(MonotonicNow() - begun);
  return answer;
}

Result<bool> Login::TryAgent() {
  auto agent = SshAgent::Connect(until_ns_);
  if (!agent.ok()) return false;
  agent_ = std::move(*agent);
  auto keys = agent_->Keys();
  if (!keys.ok()) {
    tried_.push_back("the agent (" + keys.status().message() + ")");
    return false;
  }
  const bool others = !options_.key_file.empty() || !options_.password.empty();
  const size_t limit = std::min(keys->size(), others ? kAgentKeysBeforeOthers : kAgentKeys);
  tried_.push_back("the agent's keys (" + std::to_string(limit) + " of " +
                   std::to_string(keys->size()) + ")");
  for (size_t i = 0; i < limit; ++i) {
    agent_key_ = &(*keys)[i];
    tried_rsa_ = tried_rsa_ || KeyType(*agent_key_) == "ssh-rsa";
    void* self = this;
    BKFS_ASSIGN(int result, session_.Drive([&] {
      return ::libssh2_userauth_publickey(session_.raw(), options_.user.c_str(), agent_key_->data(),
                                          agent_key_->size(), SignWithAgent, &self);
    }));
    BKFS_ASSIGN(bool in, Outcome(result));
    if (in) return true;
  }
  return false;
}

Result<bool> Login::TryKey(const std::string& path, const KeyFile& key, ByteView passphrase) {
  // libssh2 wants a C string here; empty for a key without one.
  Secret text(passphrase.size() + 1);
  std::copy(passphrase.begin(), passphrase.end(), text.mutable_view().begin());
  BKFS_ASSIGN(int result, session_.Drive([&] {
    return ::libssh2_userauth_publickey_frommemory(
        session_.raw(), options_.user.data(), options_.user.size(), nullptr, 0,
        reinterpret_cast<const char*>(key.text.view().data()), key.text.size() - 1,
        reinterpret_cast<const char*>(text.view().data()));
  }));
  if (result == LIBSSH2_ERROR_FILE || result == LIBSSH2_ERROR_KEYFILE_AUTH_FAILED ||
      result == LIBSSH2_ERROR_DECRYPT) {
    return Status(Code::kWrongKey, path);
  }
  return Outcome(result);
}

Result<bool> Login::TryKeyFile(const std::string& path, bool named) {
  BKFS_ASSIGN(KeyFile key, ReadKeyFile(path));
  tried_rsa_ = tried_rsa_ || key.type == "ssh-rsa";
  tried_.push_back("the key file " + path);
  if (!key.encrypted) {
    Result<bool> in = TryKey(path, key, {});
    if (in.code() != Code::kWrongKey) return in;
    tried_.back() += " (libssh2 cannot read it)";
    return false;
  }
  auto known = credentials_.passphrases.find(path);
  if (known != credentials_.passphrases.end()) {
    Result<bool> in = TryKey(path, key, known->second.view());
    if (in.code() != Code::kWrongKey) return in;
  }
  bool asked = false;
  // A key that nobody named is not worth a question while a password is there to be tried.
  for (int i = 0; i < kAnswers && (named || options_.password.empty()); ++i) {
    Result<Secret> passphrase = Ask("passphrase of the key " + path);
    if (!passphrase.ok()) break;
    asked = true;
    Result<bool> in = TryKey(path, key, passphrase->view());
    if (in.code() == Code::kWrongKey) continue;
    if (in.ok()) credentials_.passphrases[path] = std::move(*passphrase);
    return in;
  }
  tried_.back() += asked ? " (wrong passphrase)" : " (it is encrypted: add it to an agent)";
  return false;
}

Result<bool> Login::TryKeyFiles() {
  if (!options_.key_file.empty()) return TryKeyFile(options_.key_file, true);
  const std::string home = LocalHome();
  for (const char* name : {"id_ed25519", "id_ecdsa", "id_rsa"}) {
    const std::string path = home + "/.ssh/" + name;
    if (home.empty() || ::access(path.c_str(), R_OK) != 0) continue;
    Result<bool> in = TryKeyFile(path, false);
    if (in.code() == Code::kInvalid) continue;
    if (!in.ok() || *in) return in;
  }
  return false;
}

Result<bool> Login::TryPassword(ByteView password) {
  BKFS_ASSIGN(int result, session_.Drive([&] {
    return ::libssh2_userauth_password_ex(session_.raw(), options_.user.data(),
                                          static_cast<unsigned>(options_.user.size()),
                                          reinterpret_cast<const char*>(password.data()),
                                          static_cast<unsigned>(password.size()), nullptr);
  }));
  if (result == LIBSSH2_ERROR_PASSWORD_EXPIRED) {
    tried_.back() += " (it has expired)";
    return false;
  }
  return Outcome(result);
}

void Login::Answer(const LIBSSH2_USERAUTH_KBDINT_PROMPT& prompt,
                   LIBSSH2_USERAUTH_KBDINT_RESPONSE& response) {
  response = {nullptr, 0};
  Secret answer;
  if (prompt.echo == 0 && !answer_.empty() && !answered_) {
    answered_ = true;
    answer = answer_.Clone();
  } else if (questions_++ < kAnswers) {
    const std::string text = Printable({prompt.text, prompt.length});
    Result<Secret> asked = Ask(who_ + ": " + text);
    if (asked.ok() && prompt.echo == 0) answer_ = asked->Clone();
    if (asked.ok()) answer = std::move(*asked);
  }
  response.text = CopyForLibrary(answer.view());
  response.length = response.text == nullptr ? 0 : static_cast<unsigned>(answer.size());
}

Result<bool> Login::TryInteractive() {
  *::libssh2_session_abstract(session_.raw()) = this;
  BKFS_ASSIGN(int result, session_.Drive([this] {
    return ::libssh2_userauth_keyboard_interactive_ex(session_.raw(), options_.user.data(),
                                                      static_cast<unsigned>(options_.user.size()),
                                                      Interact);
  }));
  *::libssh2_session_abstract(session_.raw()) = nullptr;
  return Outcome(result);
}

// What a person types is tried as the server asks for it.
Result<bool> Login::TryAsking() {
  for (int i = 0; i < kAnswers && credentials_.ask; ++i) {
    if (Takes("keyboard-interactive")) {
      if (i == 0) tried_.emplace_back("questions of the server");
      answer_ = Secret();
      BKFS_ASSIGN(bool in, TryInteractive());
      if (in) {
        credentials_.password = std::move(answer_);
        return true;
      }
      if (questions_ >= kAnswers) return false;
      if (questions_ > 0) continue;
    }
    if (!Takes("password")) return false;
    if (i == 0) tried_.emplace_back("a password that was asked for");
    Result<Secret> password = Ask("password of " + who_);
    if (!password.ok()) return false;
    BKFS_ASSIGN(bool in, TryPassword(password->view()));
    if (!in) continue;
    credentials_.password = std::move(*password);
    return true;
  }
  return false;
}

Status Login::Denied() const {
  std::string what;
  for (const std::string& one : tried_) what += (what.empty() ? "" : ", ") + one;
  if (what.empty()) what = "nothing: there is no key, agent or password to try";
  std::string message = session_.peer() + ": the server does not let " + options_.user +
                        " in. Tried: " + what + ". It takes: " + Printable(methods_);
  if (tried_rsa_ && ::libssh2_version(0x010b00) == nullptr) {
    message += std::string(". libssh2 ") + LIBSSH2_VERSION +
               " cannot sign with RSA keys as newer servers want it: use an Ed25519 key";
  }
  return {Code::kDenied, message};
}

Status Login::Run() {
  BKFS_TRY(AskMethods());
  bool in = let_in_;
  if (!in && Takes("publickey")) {
    BKFS_ASSIGN(in, TryAgent());
    if (!in) {
      BKFS_ASSIGN(in, TryKeyFiles());
    }
  }
  const Secret& password = options_.password.empty() ? credentials_.password : options_.password;
  if (!in && !password.empty() && Takes("password")) {
    tried_.emplace_back("the password");
    BKFS_ASSIGN(in, TryPassword(password.view()));
  }
  if (!in && !password.empty() && Takes("keyboard-interactive")) {
    tried_.emplace_back("the password as an answer");
    answer_ = password.Clone();
    questions_ = kAnswers;  // this answer and no other
    BKFS_ASSIGN(in, TryInteractive());
    questions_ = 0;
  }
  if (!in) {
    BKFS_ASSIGN(in, TryAsking());
  }
  return in ? Status() : Denied();
}
}  // namespace

std::string LocalHome() {
  const char* home = std::getenv("HOME");  // NOLINT(concurrency-mt-unsafe)
  if (home != nullptr && *home != '\0') return home;
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> room{};
  if (::getpwuid_r(::getuid(), &entry, room.data(), room.size(), &found) != 0 || found == nullptr) {
    return {};
  }
  return entry.pw_dir;
}

Status LogIn(SshSession& session, const SftpOptions& options, Credentials& credentials,
             int64_t until_ns) {
  return Login(session, options, credentials, until_ns).Run();
}

}  // namespace bkfs
