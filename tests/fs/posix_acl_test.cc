// SPDX-License-Identifier: Apache-2.0
#include "fs/posix_acl.h"

#include <gtest/gtest.h>

namespace bkfs {
namespace {

using Tag = AclEntry::Tag;

const Acl kMinimal{{Tag::kOwner, 6, 0}, {Tag::kOwningGroup, 4, 0}, {Tag::kOther, 0, 0}};
const Acl kNamed{{Tag::kOwner, 7, 0},       {Tag::kUser, 6, 1000}, {Tag::kUser, 4, 1001},
                 {Tag::kOwningGroup, 5, 0}, {Tag::kGroup, 7, 50},  {Tag::kMask, 4, 0},
                 {Tag::kOther, 1, 0}};

TEST(PosixAcl, ThereAndBack) {
  for (const Acl& acl : {kMinimal, kNamed, Acl{}}) {
    auto parsed = ParseAcl(EncodeAcl(acl));
    ASSERT_TRUE(parsed.ok());
    // Ids mean something for named entries only.
    ASSERT_EQ(parsed->size(), acl.size());
    for (size_t i = 0; i < acl.size(); ++i) {
      EXPECT_EQ((*parsed)[i].tag, acl[i].tag);
      EXPECT_EQ((*parsed)[i].permissions, acl[i].permissions);
      if (acl[i].tag == Tag::kUser || acl[i].tag == Tag::kGroup) {
        EXPECT_EQ((*parsed)[i].id, acl[i].id);
      }
    }
  }
}

TEST(PosixAcl, WhatPosixDoesNotKnowIsRefused) {
  Acl bad[] = {
      {{Tag::kOwner, 6, 0}, {Tag::kOther, 0, 0}},                             // no group
      {{Tag::kOther, 0, 0}, {Tag::kOwner, 6, 0}, {Tag::kOwningGroup, 4, 0}},  // order
      {{Tag::kOwner, 6, 0}, {Tag::kUser, 6, 5}, {Tag::kOwningGroup, 4, 0}, {Tag::kOther, 0, 0}},
      {{Tag::kOwner, 9, 0}, {Tag::kOwningGroup, 4, 0}, {Tag::kOther, 0, 0}},  // bits
      {{Tag::kOwner, 6, 0}, {Tag::kOwner, 6, 0}, {Tag::kOwningGroup, 4, 0}, {Tag::kOther, 0, 0}},
  };
  for (const Acl& acl : bad) EXPECT_EQ(ParseAcl(EncodeAcl(acl)).code(), Code::kInvalid);
  std::string text = EncodeAcl(kNamed);
  EXPECT_EQ(ParseAcl(text.substr(0, text.size() - 1)).code(), Code::kInvalid);
  text[0] = 3;  // another version
  EXPECT_FALSE(ParseAcl(text).ok());
}

TEST(PosixAcl, ModeAndChmod) {
  EXPECT_EQ(ModeOfAcl(kMinimal), 0640);
  EXPECT_EQ(ModeOfAcl(kNamed), 0741);
  EXPECT_TRUE(IsTrivial(kMinimal));
  EXPECT_FALSE(IsTrivial(kNamed));
  Acl acl = kNamed;
  ChmodAcl(acl, 0620);
  EXPECT_EQ(ModeOfAcl(acl), 0620);
  EXPECT_EQ(acl[3].permissions, 5);  // the owning group's own stay; the mask changed
  acl = kMinimal;
  ChmodAcl(acl, 0755);
  EXPECT_EQ(ModeOfAcl(acl), 0755);
}

TEST(PosixAcl, Inheritance) {
  const InheritedAcl plain = InheritAcl(kMinimal, 0666);
  EXPECT_EQ(plain.mode, 0640);
  EXPECT_FALSE(plain.access.has_value());
  const InheritedAcl named = InheritAcl(kNamed, 0660);
  ASSERT_TRUE(named.access.has_value());
  EXPECT_EQ(ModeOfAcl(*named.access), named.mode & 0777);
  EXPECT_EQ(named.mode & 0777, 0640);  // each class limited by what was asked for
  EXPECT_EQ(InheritAcl(kNamed, 04777).mode & 07000, 04000);
}

}  // namespace
}  // namespace bkfs
