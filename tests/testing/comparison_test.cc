// The comparisons must be able to fail: each is shown one planted error of every kind that it is there to
// find.
#include "tests/testing/comparison.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace splineserve::testing {
namespace {

TEST(RowsEqualTest, SeesOneUnitInTheLastPlaceAndForgivesTheSignOfZero) {
  const Rows<float> rows = {{1.0f, 0.0f}, {-2.5f, 3.0f}};
  Rows<float> other = rows;
  other[0][1] = -0.0f;
  EXPECT_TRUE(RowsEqual(rows, other));
  other[1][1] = std::nextafter(3.0f, 4.0f);
  EXPECT_FALSE(RowsEqual(rows, other));
}

TEST(RowsEqualTest, SeesShapesAndNan) {
  EXPECT_FALSE(RowsEqual({{1.0f}}, {{1.0f}, {1.0f}}));
  EXPECT_FALSE(RowsEqual({{1.0f}}, {{1.0f, 1.0f}}));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(RowsEqual({{nan}}, {{nan}}));
}

TEST(RowsNearTest, ToleranceIsRelativeToTheLargestEntry) {
  const Rows<double> rows = {{100.0, 0.0}};
  EXPECT_TRUE(RowsNear(rows, {{100.0, 0.0099}}, 1e-4));
  EXPECT_FALSE(RowsNear(rows, {{100.0, 0.0101}}, 1e-4));
  EXPECT_FALSE(RowsNear(rows, {{100.0, std::numeric_limits<double>::quiet_NaN()}}, 1e-4));
  EXPECT_FALSE(RowsNear({{0.0}}, {{1e-30}}, 1e-4));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(LargestEntry({{1.0, nan, 2.0}, {3.0}})));
  EXPECT_EQ(3.0, LargestEntry({{1.0, 2.0}, {-3.0}}));
}

ReferenceToken SomeToken() {
  return {
      .id = "0123456789abcdef",
      .groups = {
          {.layer = 1,
           .site = Site::kSelfAttention,
           .head = 2,
           .width = 3,
           .open = 1,
           .bits = {4},
           .margin = 0.5},
          {.layer = 1, .site = Site::kFeedForward, .width = 9, .open = 2, .bits = {1, 1}, .margin = 0.25}}};
}

TEST(TokensEqualTest, SeesEveryField) {
  const std::vector<ReferenceToken> tokens = {SomeToken(), SomeToken()};
  EXPECT_TRUE(TokensEqual(tokens, tokens));
  const auto planted = [&](auto plant) {
    std::vector<ReferenceToken> other = tokens;
    plant(&other[1]);
    return TokensEqual(tokens, other);
  };
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->id[15] ^= 1; }));
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->groups.pop_back(); }));
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->groups[1].layer = 0; }));
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->groups[1].site = Site::kCrossAttention; }));
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->groups[0].head = 1; }));
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->groups[0].width = 4; }));
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->groups[0].open = 2; }));
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->groups[0].bits[0] = 5; }));
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->groups[0].bits.push_back(0); }));
  EXPECT_FALSE(planted([](ReferenceToken* token) { token->groups[0].margin = 0.5000001; }));
  EXPECT_FALSE(TokensEqual(tokens, {SomeToken()}));
}

TEST(TokensNearTest, BitsAndIdsMatterAboveTheTolerance) {
  const std::vector<ReferenceToken> tokens = {SomeToken()};
  std::vector<ReferenceToken> other = tokens;
  other[0].groups[1].bits[0] = 2;
  EXPECT_FALSE(TokensNear(tokens, other, 0.1));
  EXPECT_TRUE(TokensNear(tokens, other, 0.3));  // a margin of 0.25 leaves this group open to doubt
  other = tokens;
  other[0].id[0] ^= 1;
  EXPECT_FALSE(TokensNear(tokens, other, 0.1));
  EXPECT_TRUE(TokensNear(tokens, other, 0.3));
  other = tokens;
  other[0].groups[0].margin = 0.7;
  EXPECT_FALSE(TokensNear(tokens, other, 0.1));
  other = tokens;
  other[0].groups[0].width = 4;
  EXPECT_FALSE(TokensNear(tokens, other, 10));
}

}  // namespace
}  // namespace splineserve::testing
