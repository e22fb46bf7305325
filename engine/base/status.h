// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace bkfs {

// What went wrong, in the terms that POSIX and object stores need. Retry decisions and errno
// translation look at the code only; people read the message.
enum class Code : uint8_t {
  kOk = 0,
  kNotFound,      // no such object, file, key                  ENOENT
  kExists,        // put-if-absent or create found something    EEXIST
  kNotDirectory,  //                                            ENOTDIR
  kIsDirectory,   //                                            EISDIR
  kNotEmpty,      //                                            ENOTEMPTY
  kInvalid,       // bad argument, option, name, configuration  EINVAL
  kDenied,        // the key or the system does not allow it    EACCES
  kNotPermitted,  // never allowed for this object              EPERM
  kReadOnly,      // the mount, view or repository is read-only EROFS
  kNoSpace,       // store or cache is full                     ENOSPC
  kQuota,         // a quota of the store is used up            EDQUOT
  kTooLarge,      // beyond a limit of the format               EFBIG
  kNameTooLong,   //                                            ENAMETOOLONG
  kNoData,        // no such extended attribute                 ENODATA
  kRange,         // caller's buffer too small                  ERANGE
  kCorrupt,       // bytes are not what they must be            EIO
  kIo,            // the operating system or store failed       EIO
  kUnavailable,   // may work when tried again                  EIO after retries
  kBusy,          // held by another process                    EBUSY
  kUnsupported,   // this build, store or format cannot         EOPNOTSUPP
  kStale,         // an inode or handle that is no more         ESTALE
  kInterrupted,   // a signal or a shutdown asked to stop       EINTR
  kCrossDevice,   // rename or link between views               EXDEV
  kWrongKey,      // key does not fit this repository           EACCES
  kNoRepository,  // there is no repository at this place       ENOENT
};

// A stable lower-case word for a code, e.g. "not_found"; for logs and JSON.
std::string_view CodeName(Code code);

// The outcome of something that can fail. Cheap when it is OK (one null pointer). The message says
// what failed, on which object, and what to conclude; never a key, a passphrase or a plaintext.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message, int system_errno = 0)
      : rep_(code == Code::kOk ? nullptr : new Rep{code, system_errno, std::move(message)}) {}
  Status(const Status& other) : rep_(other.rep_ ? new Rep(*other.rep_) : nullptr) {}
  Status& operator=(const Status& other) {
    if (this != &other) rep_.reset(other.rep_ ? new Rep(*other.rep_) : nullptr);
    return *this;
  }
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;

  // From an errno value: maps it to the nearest code; message becomes "<what>: <strerror>".
  static Status FromErrno(int system_errno, std::string_view what);

  bool ok() const { return rep_ == nullptr; }
  Code code() const { return rep_ ? rep_->code : Code::kOk; }
  int system_errno() const { return rep_ ? rep_->system_errno : 0; }
  const std::string& message() const;
  bool Is(Code code) const { return this->code() == code; }

  // The same failure with "<context>: " before the message. OK stays OK.
  Status WithContext(std::string_view context) const;
  // "message" for errors, "ok" otherwise.
  std::string ToString() const;

 private:
  struct Rep {
    Code code;
    int system_errno;
    std::string message;
  };
  std::unique_ptr<Rep> rep_;
};

inline Status OkStatus() { return {}; }

// Aborts with a message. For broken invariants only, never for bad input.
[[noreturn]] void Panic(std::string_view what, const char* file, int line);

// A value or the Status that explains its absence. Asking for the value of a failed Result aborts.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)), has_value_(true) {}  // NOLINT: implicit on purpose
  Result(Status status) : has_value_(false) {                      // NOLINT: implicit on purpose
    if (status.ok()) Panic("Result built from an OK status", __FILE__, __LINE__);
    new (&status_) Status(std::move(status));
  }
  Result(const Result& other) : has_value_(other.has_value_) {
    if (has_value_) {
      new (&value_) T(other.value_);
    } else {
      new (&status_) Status(other.status_);
    }
  }
  Result(Result&& other) noexcept : has_value_(other.has_value_) {
    if (has_value_) {
      new (&value_) T(std::move(other.value_));
    } else {
      new (&status_) Status(std::move(other.status_));
    }
  }
  Result& operator=(Result other) noexcept {
    this->~Result();
    new (this) Result(std::move(other));
    return *this;
  }
  ~Result() {
    if (has_value_) {
      value_.~T();
    } else {
      status_.~Status();
    }
  }

  bool ok() const { return has_value_; }
  Status status() const& { return has_value_ ? Status() : status_; }
  Code code() const { return has_value_ ? Code::kOk : status_.code(); }

  T& value() & {
    Check();
    return value_;
  }
  const T& value() const& {
    Check();
    return value_;
  }
  T&& value() && {
    Check();
    return std::move(value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  void Check() const {
    if (!has_value_) Panic(status_.message(), __FILE__, __LINE__);
  }
  union {
    T value_;
    Status status_;
  };
  bool has_value_;
};

}  // namespace bkfs

#define BKFS_CONCAT_(a, b) a##b
#define BKFS_CONCAT(a, b) BKFS_CONCAT_(a, b)

// Returns the status from the enclosing function unless it is OK. (__COUNTER__, because a lambda
// among the arguments of one such macro stands on the same line for the preprocessor.)
#define BKFS_TRY(expr) BKFS_TRY_(BKFS_CONCAT(bkfs_status_, __COUNTER__), expr)
#define BKFS_TRY_(tmp, expr)     \
  do {                           \
    ::bkfs::Status tmp = (expr); \
    if (!tmp.ok()) return tmp;   \
  } while (false)

// `BKFS_ASSIGN(auto x, Compute());`: returns the Result's status on failure, else moves the value.
#define BKFS_ASSIGN(lhs, expr) BKFS_ASSIGN_(BKFS_CONCAT(bkfs_result_, __COUNTER__), lhs, expr)
#define BKFS_ASSIGN_(tmp, lhs, expr)  \
  auto tmp = (expr);                  \
  if (!tmp.ok()) return tmp.status(); \
  lhs = std::move(tmp).value()

#define BKFS_CHECK(cond)                                                        \
  do {                                                                          \
    if (!(cond)) ::bkfs::Panic("broken invariant: " #cond, __FILE__, __LINE__); \
  } while (false)
