// SPDX-License-Identifier: Apache-2.0
// Whom an SFTP store believes to be its server, and how it is let in.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/backends/sftp_server.h"
#include "tests/support/loop_mount.h"
#include "tests/support/scratch.h"

namespace bkfs {
namespace {

Secret SecretOf(const std::string& text) { return Secret::CopyOf(AsBytes(text)); }

// An environment variable for the time of a case.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    const char* before = std::getenv(name);
    if (before != nullptr) before_ = before;
    ::setenv(name, value.c_str(), 1);
  }
  ~Environment() { before_.empty() ? ::unsetenv(name_) : ::setenv(name_, before_.c_str(), 1); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* const name_;
  std::string before_;
};

void WriteFile(const std::string& path, const std::string& text) {
  BKFS_CHECK(WriteNewFile(path, AsBytes(text), 0600).ok());
}

std::string ReadFile(const std::string& path) {
  auto text = ReadWholeFile(path);
  BKFS_CHECK(text.ok());
  return std::string(AsText(*text));
}

void ExpectSays(const Status& status, Code code, const std::string& word) {
  EXPECT_EQ(status.code(), code) << status.ToString();
  EXPECT_NE(status.message().find(word), std::string::npos) << status.message();
}

class SftpLogin : public testing::Test {
 protected:
  // Neither the keys nor the agent of who runs the tests.
  SftpLogin() : home_("HOME", scratch_.path()), agent_("SSH_AUTH_SOCK", "") {
    BKFS_CHECK(::mkdir((scratch_.path() + "/.ssh").c_str(), 0700) == 0);
  }
  static SshServer& server() { return SshServer::Shared(); }
  std::string Path(const std::string& name) const { return scratch_.path() + "/" + name; }
  SftpOptions WithPassword(const std::string& password) {
    SftpOptions options = server().Options();
    options.key_file.clear();
    options.user = server().Fact("password_user");
    if (!password.empty()) options.password = SecretOf(password);
    return options;
  }
  // What a person types, one after the other; counts the questions.
  SecretPrompt Typing(const std::vector<std::string>& answers) {
    return [this, answers](const std::string& prompt) -> Result<Secret> {
      prompts_ += prompt + "\n";
      if (questions_ >= answers.size()) return Status(Code::kInterrupted, "no more");
      return SecretOf(answers[questions_++]);
    };
  }

  ScratchFolder scratch_;
  Environment home_;
  Environment agent_;
  size_t questions_ = 0;
  std::string prompts_;
};

TEST_F(SftpLogin, AnUnknownHostIsNotAccepted) {
  SftpOptions options = server().Options();
  options.known_hosts_file.clear();
  Status status = OpenStatus(std::move(options));
  ExpectSays(status, Code::kDenied, server().Fact("fingerprint_ed25519"));
  ExpectSays(status, Code::kDenied, "not known");
  ExpectSays(status, Code::kDenied, "ssh-keyscan -p " + server().Fact("port"));
  EXPECT_NE(::access(Path(".ssh/known_hosts").c_str(), F_OK), 0);
}

TEST_F(SftpLogin, AKnownHostsFileThatIsNotThereIsNamed) {
  SftpOptions options = server().Options();
  options.known_hosts_file = Path("absent");
  ExpectSays(OpenStatus(std::move(options)), Code::kNotFound, Path("absent"));
}

TEST_F(SftpLogin, AChangedHostKeyIsNotAccepted) {
  const std::string file = Path("changed");
  ASSERT_EQ(Shell("ssh-keygen -q -t ed25519 -N '' -f " + Path("other")), 0);
  const std::string name = "[127.0.0.1]:" + server().Fact("port");
  WriteFile(file, "# a comment\n" + name + " " + ReadFile(Path("other.pub")));
  SftpOptions options = server().Options();
  options.known_hosts_file = file;
  Status status = OpenStatus(std::move(options));
  ExpectSays(status, Code::kDenied, server().Fact("fingerprint_ed25519"));
  ExpectSays(status, Code::kDenied, file + ":2");
}

TEST_F(SftpLogin, FormsOfKnownHosts) {
  const std::string all = ReadFile(server().Fact("known_hosts"));
  const std::string name = "[127.0.0.1]:" + server().Fact("port");
  const std::string first = all.substr(name.size(), all.find('\n') - name.size());
  const size_t second_at = all.find('\n') + 1 + name.size();
  const std::string second = all.substr(second_at, all.find('\n', second_at) - second_at);
  struct Form {
    std::string line;
    bool good;
  };
  const Form forms[] = {{name + first, true},
                        {name + second, true},  // ECDSA, which would not be agreed on by itself
                        {"a.example," + name + ",b.example" + first + " comment", true},
                        {"[127.0.0.*]:*" + first, true},
                        {"*,!" + name + ",!127.0.0.1" + first, false},
                        {"127.0.0.1" + first, true},  // as ssh does
                        {"[127.0.0.1]:1" + first, false},
                        {"@cert-authority " + name + first, false},
                        {name + first + "\n@revoked " + name + first, false},
                        {"@revoked *" + first + "\n" + name + first, false},
                        {name + " ssh-ed25519 !!!!\n" + name + first, true},
                        {name + "\n\n" + name + first, true}};
  int number = 0;
  for (const Form& form : forms) {
    SftpOptions options = server().Options();
    options.known_hosts_file = Path("form" + std::to_string(++number));
    WriteFile(options.known_hosts_file, form.line + "\n");
    Status status = OpenStatus(std::move(options));
    EXPECT_EQ(status.code(), form.good ? Code::kOk : Code::kDenied)
        << form.line << ": " << status.ToString();
  }
}

TEST_F(SftpLogin, HashedKnownHosts) {
  const std::string file = Path("hashed");
  WriteFile(file, ReadFile(server().Fact("known_hosts")));
  ASSERT_EQ(Shell("ssh-keygen -q -H -f " + file + " 2>/dev/null >/dev/null"), 0);
  ASSERT_EQ(ReadFile(file).find("127.0.0.1"), std::string::npos);
  SftpOptions options = server().Options();
  options.known_hosts_file = file;
  Status status = OpenStatus(std::move(options));
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_F(SftpLogin, AFingerprintDecidesAlone) {
  for (const char* type : {"ed25519", "ecdsa"}) {
    SftpOptions options = server().Options();
    options.known_hosts_file = Path("absent");
    options.fingerprint = server().Fact(std::string("fingerprint_") + type);
    Status status = OpenStatus(std::move(options));
    EXPECT_TRUE(status.ok()) << type << ": " << status.ToString();
  }
  SftpOptions wrong = server().Options();
  wrong.fingerprint = "SHA256:" + std::string(43, 'A');
  Status status = OpenStatus(std::move(wrong));
  ExpectSays(status, Code::kDenied, server().Fact("fingerprint_ed25519"));
  ExpectSays(status, Code::kDenied, "Fingerprint=");
  for (const char* bad : {"MD5:00:11", "SHA256:", "SHA256:short", "x"}) {
    SftpOptions options = server().Options();
    options.fingerprint = bad;
    ExpectSays(OpenStatus(std::move(options)), Code::kInvalid, bad);
  }
}

TEST_F(SftpLogin, PasswordRightAndWrong) {
  Status right = OpenStatus(WithPassword(server().Fact("password")));
  EXPECT_TRUE(right.ok()) << right.ToString();
  Status wrong = OpenStatus(WithPassword("geheim"));
  ExpectSays(wrong, Code::kDenied, "the password");
  ExpectSays(wrong, Code::kDenied, "publickey,password");
  EXPECT_EQ(wrong.message().find("geheim"), std::string::npos);
  ExpectSays(OpenStatus(WithPassword("")), Code::kDenied, "nothing");
}

TEST_F(SftpLogin, APasswordIsAskedForOnceAndKept) {
  SftpOptions options = WithPassword("");
  options.ask = Typing({"wrong", server().Fact("password")});
  auto backend = OpenOrDie(std::move(options));
  EXPECT_EQ(questions_, 2U);
  EXPECT_NE(prompts_.find(server().Fact("password_user")), std::string::npos) << prompts_;
  // More connections than the one that asked, at the same time.
  ASSERT_TRUE(backend->PutOne("a", AsBytes("x")).ok());
  Status status = backend->List(
      "", [&](const std::string&, uint64_t) -> Status { return backend->Get("a").status(); });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(questions_, 2U);

  questions_ = 0;
  SftpOptions never = WithPassword("");
  never.ask = Typing({"a", "b", "c", "d"});
  EXPECT_EQ(OpenStatus(std::move(never)).code(), Code::kDenied);
  EXPECT_EQ(questions_, 3U);
}

TEST_F(SftpLogin, AnEncryptedKeyFile) {
  auto options = [&] {
    SftpOptions out = server().Options();
    out.key_file = server().Fact("encrypted_key_file");
    return out;
  };
  ExpectSays(OpenStatus(options()), Code::kDenied, "encrypted");
  SftpOptions right = options();
  right.ask = Typing({"wrong", server().Fact("passphrase")});
  Status status = OpenStatus(std::move(right));
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_NE(prompts_.find(server().Fact("encrypted_key_file")), std::string::npos) << prompts_;
  questions_ = 0;
  SftpOptions wrong = options();
  prompts_.clear();
  wrong.ask = Typing({"1", "2", "3"});
  ExpectSays(OpenStatus(std::move(wrong)), Code::kDenied, "wrong passphrase");
  EXPECT_EQ(questions_, 3U);
  const size_t last = prompts_.rfind("passphrase");
  EXPECT_NE(prompts_.find("password", last), std::string::npos) << prompts_;
}

TEST_F(SftpLogin, KeysOfOtherKindsAndForms) {
  const struct {
    const char* make;
    bool good;
  } kinds[] = {{"-t ecdsa", true}, {"-t ecdsa -b 521", true}, {"-t ecdsa -m PEM", true}};
  int number = 0;
  for (const auto& kind : kinds) {
    const std::string file = Path("key" + std::to_string(++number));
    ASSERT_EQ(Shell(std::string("ssh-keygen -q -N '' ") + kind.make + " -f " + file), 0);
    const std::string authorized = server().Fact("root") + "/../authorized_keys";
    ASSERT_EQ(Shell("cat " + file + ".pub >> " + authorized), 0);
    SftpOptions options = server().Options();
    options.key_file = file;
    Status status = OpenStatus(std::move(options));
    EXPECT_EQ(status.ok(), kind.good) << kind.make << ": " << status.ToString();
  }
}

TEST_F(SftpLogin, KeyFilesThatAreNone) {
  SftpOptions options = server().Options();
  options.key_file += ".pub";
  ExpectSays(OpenStatus(std::move(options)), Code::kInvalid, "no private key");
  options = server().Options();
  options.key_file = Path("absent");
  ExpectSays(OpenStatus(std::move(options)), Code::kNotFound, Path("absent"));
  options = server().Options();
  options.key_file = Path("stranger");
  ASSERT_EQ(Shell("ssh-keygen -q -t ed25519 -N '' -f " + options.key_file), 0);
  ExpectSays(OpenStatus(std::move(options)), Code::kDenied, Path("stranger"));
}

TEST_F(SftpLogin, TheUsualKeyFile) {
  WriteFile(Path(".ssh/id_ed25519"), ReadFile(server().Fact("key_file")));
  SftpOptions options = server().Options();
  options.key_file.clear();
  Status status = OpenStatus(std::move(options));
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_F(SftpLogin, AnAgent) {
  const std::string socket = Path("agent");
  ASSERT_EQ(Shell("ssh-agent -a " + socket + " > " + Path("agent.out")), 0);
  const Environment agent("SSH_AUTH_SOCK", socket);
  auto options = [&] {
    SftpOptions out = server().Options();
    out.key_file.clear();
    return out;
  };
  ExpectSays(OpenStatus(options()), Code::kDenied, "agent's keys (0 of 0)");
  EXPECT_EQ(Shell("ssh-add -q " + server().Fact("key_file") + " 2>/dev/null"), 0);
  Status status = OpenStatus(options());
  EXPECT_TRUE(status.ok()) << status.ToString();
  // Strangers in the agent do not keep the key file from being tried.
  EXPECT_EQ(Shell("ssh-add -q -D 2>/dev/null"), 0);
  for (int i = 0; i < 7; ++i) {
    const std::string stranger = Path("stranger" + std::to_string(i));
    EXPECT_EQ(Shell("ssh-keygen -q -t ed25519 -N '' -f " + stranger + " && ssh-add -q " + stranger +
                    " 2>/dev/null"),
              0);
  }
  status = OpenStatus(server().Options());
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(Shell("eval $(cat " + Path("agent.out") + ") >/dev/null; ssh-agent -k >/dev/null"), 0);
  ExpectSays(OpenStatus(options()), Code::kDenied, "nothing");
}

TEST_F(SftpLogin, NoSftpThere) {
  SshServer bare({"--sftp", ""});
  ExpectSays(OpenStatus(bare.Options()), Code::kUnsupported, "Subsystem sftp");
}

TEST_F(SftpLogin, NobodyThere) {
  SftpOptions options = server().Options();
  options.port = 1;
  ExpectSays(OpenStatus(std::move(options)), Code::kUnavailable, "127.0.0.1 port 1");
  options = server().Options();
  options.host = "no-such-host.invalid";
  ExpectSays(OpenStatus(std::move(options)), Code::kUnavailable, "no-such-host.invalid");
}

}  // namespace
}  // namespace bkfs
