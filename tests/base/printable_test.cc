// SPDX-License-Identifier: Apache-2.0
#include "engine/base/printable.h"

#include <gtest/gtest.h>

namespace bkfs {
namespace {

TEST(PrintableTest, WhatATerminalWouldObeyIsEscaped) {
  EXPECT_EQ(Printable("plain name"), "plain name");
  EXPECT_EQ(Printable("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(Printable("a\nb\x1b[2J"), "a\\x0ab\\x1b[2J");
  EXPECT_EQ(Printable("\x7f"), "\\x7f");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b");  // a control character of two bytes
  EXPECT_EQ(Printable("\xff\xc3"), "\\xff\\xc3");  // no UTF-8
}

TEST(PrintableTest, JsonGetsUtf8) {
  EXPECT_EQ(Utf8("a\xffz"), "a\xef\xbf\xbdz");
  EXPECT_EQ(Utf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  EXPECT_EQ(Utf8("\n"), "\n");
}

}  // namespace
}  // namespace bkfs
