#include "core/base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace splineserve {
namespace {

TEST(Utf8, AcceptsExactlyTheWellFormed) {
  for (const char* good : {"a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(CodePointLength(good), std::string(good).size()) << good;
  }
  for (const char* bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf", "\xe1\x80",
        "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(CodePointLength(bad), 0u);
  }
  EXPECT_EQ(ValidUtf8Prefix("ab\xc3\xa9\xff"), 4u);
}

}  // namespace
}  // namespace splineserve
