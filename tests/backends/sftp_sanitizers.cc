// SPDX-License-Identifier: Apache-2.0

// For LeakSanitizer, which calls it: libssh2 1.10 loses the host's key, some fifty bytes, each time
// keys are renewed, and a number of an ECDSA key each time it has used one; what it asks OpenSSL
// for is seen without its own frames.
extern "C" const char* __lsan_default_suppressions();   // NOLINT: the name is LeakSanitizer's
extern "C" const char* __lsan_default_suppressions() {  // NOLINT
  return "leak:libssh2.so\nleak:CRYPTO_zalloc\n";
}
