// The comparison must fail on every planted error: a test helper that cannot fail proves nothing.
#include "tests/testing/bits_equal.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace splineserve::testing {
namespace {

TEST(SameNumberTest, TellsNumbersApart) {
  EXPECT_TRUE(SameNumber(1.5f, 1.5f));
  EXPECT_TRUE(SameNumber(0.0f, -0.0f));
  EXPECT_TRUE(SameNumber(std::nanf("1"), -std::nanf("2")));
  EXPECT_FALSE(SameNumber(1.0f, std::nextafter(1.0f, 2.0f)));
  EXPECT_FALSE(SameNumber(1.0f, -1.0f));
  EXPECT_FALSE(SameNumber(0.0f, std::numeric_limits<float>::denorm_min()));
  EXPECT_FALSE(SameNumber(std::numeric_limits<float>::infinity(), std::numeric_limits<float>::max()));
  EXPECT_FALSE(SameNumber(std::numeric_limits<float>::infinity(), std::nanf("")));
  EXPECT_FALSE(SameNumber(0.0f, std::nanf("")));
}

TEST(BitsEqualTest, FindsOneUlpAnywhere) {
  const std::vector<float> expected(37, 0.7f);
  EXPECT_TRUE(BitsEqual(expected.data(), expected.data(), expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    std::vector<float> planted = expected;
    planted[i] = std::nextafter(planted[i], 0.0f);
    const ::testing::AssertionResult result = BitsEqual(planted.data(), expected.data(), expected.size());
    EXPECT_FALSE(result);
    EXPECT_NE(std::string(result.message()).find("[0, " + std::to_string(i) + "]"), std::string::npos);
    EXPECT_NE(std::string(result.message()).find("1 of 37"), std::string::npos);
  }
}

TEST(BitsEqualTest, ReadsStridesAndIgnoresWhatLiesBetweenRows) {
  std::vector<float> a(3 * 8, 1.0f), b(3 * 5, 1.0f);
  for (size_t r = 0; r < 3; ++r) a[r * 8 + 4] = 99.0f;  // past the columns
  EXPECT_TRUE(
      BitsEqual(MatrixView<const float>(a.data(), 3, 4, 8), MatrixView<const float>(b.data(), 3, 4, 5)));
  a[2 * 8 + 3] = 2.0f;
  EXPECT_FALSE(
      BitsEqual(MatrixView<const float>(a.data(), 3, 4, 8), MatrixView<const float>(b.data(), 3, 4, 5)));
}

TEST(BitsEqualTest, RefusesOtherShapes) {
  const std::vector<float> a(12, 1.0f);
  EXPECT_FALSE(BitsEqual(MatrixView<const float>(a.data(), 3, 4), MatrixView<const float>(a.data(), 4, 3)));
}

}  // namespace
}  // namespace splineserve::testing
