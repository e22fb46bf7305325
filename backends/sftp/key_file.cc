// SPDX-License-Identifier: Apache-2.0
#include "backends/sftp/key_file.h"

#include <algorithm>
#include <string_view>

#include "backends/sftp/host_keys.h"
#include "backends/sftp/wire.h"
#include "engine/base/fd.h"

namespace bkfs {

namespace {
constexpr uint64_t kMaxKeyFile = 1 << 20;
constexpr std::string_view kOpenSshBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";
constexpr std::string_view kMagic{"openssh-key-v1\0", 15};
// Enough of the base64 for what stands before the keys: names of cipher and KDF, and the type.
constexpr size_t kHead = 200;

// The public beginning of OpenSSH's format (PROTOCOL.key).
void LookIntoOpenSsh(std::string_view body, KeyFile& file) {
  std::string head;
  for (char c : body) {
    if (c == '-' || head.size() == kHead) break;
    if (c != '\n' && c != '\r') head += c;
  }
  head.resize(head.size() / 4 * 4);
  Result<Bytes> decoded = DecodeBase64(head);
  WipeMemory({reinterpret_cast<uint8_t*>(head.data()), head.size()});
  if (!decoded.ok() || !AsText(*decoded).starts_with(kMagic)) return;
  WireReader reader(ByteView(*decoded).subspan(kMagic.size()));
  file.encrypted = reader.Text() != "none";
  reader.Blob();  // the KDF
  reader.Blob();  // its options
  reader.U32();   // how many keys
  reader.U32();   // the length of the first public one
  const std::string_view type = reader.Text();
  if (reader.ok()) file.type = type;
  WipeMemory(*decoded);
}
}  // namespace

Result<KeyFile> ReadKeyFile(const std::string& path) {
  BKFS_ASSIGN(Bytes raw, ReadWholeFile(path, kMaxKeyFile));
  KeyFile file;
  file.text = Secret(raw.size() + 1);
  std::copy(raw.begin(), raw.end(), file.text.mutable_view().begin());
  WipeMemory(raw);
  const std::string_view text = AsText(file.text.view().first(file.text.size() - 1));
  if (text.find("PRIVATE KEY-----") == std::string_view::npos) {
    return Status(Code::kInvalid, path +
                                      " is no private key of OpenSSH's (is it the .pub file, or "
                                      "one of PuTTY's, which puttygen can export?)");
  }
  const size_t begin = text.find(kOpenSshBegin);
  if (begin != std::string_view::npos) {
    LookIntoOpenSsh(text.substr(begin + kOpenSshBegin.size()), file);
  } else {
    file.encrypted = text.find("ENCRYPTED") != std::string_view::npos;
    if (text.find("BEGIN RSA") != std::string_view::npos) file.type = "ssh-rsa";
  }
  return file;
}

}  // namespace bkfs
