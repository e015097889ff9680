#include "core/spline/piece_distance.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"

namespace splineserve {
namespace {

constexpr uint64_t kSeed = 20240916;

bool Open(const GateBits& bits, size_t gate) { return (bits[gate / 8] >> (gate % 8) & 1) != 0; }

// The specification: one gate after the other.
HammingDistance GateByGate(const GateBits& a, size_t a_width, const GateBits& b, size_t b_width) {
  HammingDistance distance;
  for (size_t gate = 0; gate < std::max(a_width, b_width); ++gate) {
    if (gate >= a_width || gate >= b_width) {
      ++distance.unmatched;
      continue;
    }
    ++distance.compared;
    distance.differing += Open(a, gate) != Open(b, gate);
  }
  return distance;
}

GateBits RandomBits(std::mt19937_64& random, size_t width) {
  GateBits bits((width + 7) / 8, 0);
  for (size_t gate = 0; gate < width; ++gate) {
    bits[gate / 8] |= static_cast<uint8_t>((random() & 1) << (gate % 8));
  }
  return bits;
}

TEST(BitDistanceTest, EqualsALoopOverGatesForEveryPairOfWidths) {
  std::mt19937_64 random(kSeed);
  for (size_t a_width = 0; a_width <= 150; ++a_width) {
    for (size_t b_width = 0; b_width <= 150; ++b_width) {
      SCOPED_TRACE(absl::StrCat("seed ", kSeed, ", widths ", a_width, " and ", b_width));
      const GateBits a = RandomBits(random, a_width), b = RandomBits(random, b_width);
      ASSERT_EQ(BitDistance(a, a_width, b, b_width), GateByGate(a, a_width, b, b_width));
    }
  }
}

TEST(BitDistanceTest, SeesEveryGate) {
  for (size_t width = 1; width <= 150; ++width) {
    const std::vector<uint8_t> closed((width + 7) / 8, 0);
    for (size_t gate = 0; gate < width; ++gate) {
      std::vector<uint8_t> one = closed;
      one[gate / 8] = static_cast<uint8_t>(1u << (gate % 8));
      ASSERT_EQ(BitDistance(closed, width, one, width), (HammingDistance{1, width, 0})) << width << gate;
    }
  }
}

// A decoder's piece: token t sees t + 1 keys with each of 2 heads, and `memory` ones across; 11 units.
std::vector<TokenPiece> RandomPiece(std::mt19937_64& random, size_t tokens, size_t memory) {
  std::vector<TokenPiece> pieces(tokens);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t layer = 0; layer < 2; ++layer) {
      const auto add = [&](Site site, size_t head, size_t width) {
        pieces[t].groups.push_back(
            {layer, site, head, static_cast<uint32_t>(width), 0, RandomBits(random, width), 0});
      };
      for (size_t head = 0; head < 2; ++head) add(Site::kSelfAttention, head, t + 1);
      for (size_t head = 0; head < 2; ++head) add(Site::kCrossAttention, head, memory);
      add(Site::kFeedForward, 0, 11);
    }
  }
  return pieces;
}

TEST(PieceDistanceTest, SumsGroupsAndTokensOfSequencesOfAnyLength) {
  std::mt19937_64 random(kSeed);
  for (const auto& [a_tokens, b_tokens] : {std::pair(9, 9), std::pair(4, 9), std::pair(9, 1)}) {
    const std::vector<TokenPiece> a = RandomPiece(random, a_tokens, 70);
    const std::vector<TokenPiece> b = RandomPiece(random, b_tokens, 67);
    const PieceDistance distance = DistanceBetween(a, b);
    ASSERT_EQ(distance.groups.size(), 10u);
    ASSERT_EQ(distance.tokens.size(), std::max(a.size(), b.size()));
    std::vector<HammingDistance> groups(10), tokens(distance.tokens.size());
    HammingDistance total;
    for (size_t t = 0; t < tokens.size(); ++t) {
      for (size_t g = 0; g < 10; ++g) {
        HammingDistance one;
        if (t < a.size() && t < b.size()) {
          one = GateByGate(a[t].groups[g].bits, a[t].groups[g].width, b[t].groups[g].bits,
                           b[t].groups[g].width);
        } else {
          one.unmatched = (t < a.size() ? a : b)[t].groups[g].width;
        }
        groups[g] += one;
        tokens[t] += one;
        total += one;
      }
    }
    EXPECT_EQ(distance.total, total);
    EXPECT_EQ(distance.tokens, tokens);
    for (size_t g = 0; g < 10; ++g) {
      EXPECT_EQ(distance.groups[g].distance, groups[g]) << g;
      EXPECT_EQ(distance.groups[g].layer, a[0].groups[g].layer);
      EXPECT_EQ(distance.groups[g].site, a[0].groups[g].site);
      EXPECT_EQ(distance.groups[g].head, a[0].groups[g].head);
    }
    EXPECT_EQ(distance.same_tokens, 0u);
    EXPECT_EQ(DistanceBetween(b, a).total, total);
  }
}

TEST(PieceDistanceTest, TokensAreTheSameIfNothingDiffersAndNothingIsUnmatched) {
  std::mt19937_64 random(kSeed);
  const std::vector<TokenPiece> a = RandomPiece(random, 5, 3);
  std::vector<TokenPiece> b = a;
  EXPECT_EQ(DistanceBetween(a, b).same_tokens, 5u);
  EXPECT_TRUE(DistanceBetween(a, b).total.same());
  b[2].groups[9].bits[1] ^= 4;  // unit 10
  const PieceDistance distance = DistanceBetween(a, b);
  EXPECT_EQ(distance.total.differing, 1u);
  EXPECT_EQ(distance.tokens[2].differing, 1u);
  EXPECT_EQ(distance.groups[9].distance.differing, 1u);
  EXPECT_EQ(distance.same_tokens, 4u);
  b.resize(4);
  EXPECT_EQ(DistanceBetween(a, b).same_tokens, 3u);
  EXPECT_EQ(DistanceBetween(a, b).tokens[4].unmatched, 2u * (2 * 5 + 2 * 3 + 11));
  EXPECT_TRUE(DistanceBetween({}, {}).total.same());
  // One more key with a closed gate: the same bytes, and yet another piece.
  std::vector<TokenPiece> wider = a;
  for (PieceGroup& group : wider[3].groups) group.width += group.site == Site::kCrossAttention ? 1 : 0;
  EXPECT_EQ(DistanceBetween(a, wider).total, (HammingDistance{0, DistanceBetween(a, a).total.compared, 4}));
  EXPECT_FALSE(DistanceBetween(a, wider).total.same());
  EXPECT_EQ(DistanceBetween(a, wider).same_tokens, 4u);
}

}  // namespace
}  // namespace splineserve
