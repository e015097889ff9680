#include "client/distance_text.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace splineserve::client {
namespace {

using testing::HasSubstr;

v1::HammingDistance Distance(uint64_t differing, uint64_t compared, uint64_t unmatched = 0) {
  v1::HammingDistance distance;
  distance.set_differing(differing);
  distance.set_compared(compared);
  distance.set_unmatched(unmatched);
  return distance;
}

void AddGroup(v1::PairComparison& pair, uint32_t layer, v1::Site::Value site, uint32_t head,
              const v1::HammingDistance& distance) {
  v1::GroupDistance& group = *pair.add_groups();
  group.set_layer(layer);
  group.set_site(site);
  group.set_head(head);
  *group.mutable_distance() = distance;
}

v1::PairComparison SamplePair() {
  v1::PairComparison pair;
  pair.set_second(1);
  *pair.mutable_total() = Distance(13, 100, 4);
  for (uint32_t layer = 0; layer < 2; ++layer) {
    AddGroup(pair, layer, v1::Site::SELF_ATTENTION, 0, Distance(layer, 9));
    AddGroup(pair, layer, v1::Site::SELF_ATTENTION, 1, Distance(2, 9));
    AddGroup(pair, layer, v1::Site::FEED_FORWARD, 0, Distance(10 * layer, 32));
  }
  *pair.add_tokens() = Distance(13, 50);
  *pair.add_tokens() = Distance(0, 50);
  *pair.add_tokens() = Distance(0, 0, 4);
  return pair;
}

// Inputs 0 and 2 share a piece; 1 is shorter.
v1::StackComparison SampleStack() {
  v1::StackComparison stack;
  stack.set_stack(v1::GateRef::DECODER);
  for (uint32_t i = 0; i < 3; ++i) {
    stack.add_tokens(i == 1 ? 2 : 3);
    stack.add_sequence_ids(std::string(16, static_cast<char>(i % 2)));
    stack.add_same_as(i % 2);
    for (uint32_t j = 0; j < 3; ++j) {
      const bool same = (i + j) % 2 == 0;
      stack.add_differing(same ? 0 : 13);
      stack.add_compared(100);
      stack.add_unmatched(same ? 0 : 4);
      stack.add_same_tokens(same ? 3 : 1);
    }
  }
  stack.set_distinct_pieces(2);
  *stack.add_pairs() = SamplePair();
  v1::PairComparison& same = *stack.add_pairs();
  same.set_second(2);
  *same.mutable_total() = Distance(0, 100);
  return stack;
}

TEST(DistanceText, SaysWhichShareDiffers) {
  EXPECT_EQ(DistanceText(Distance(13, 100)), "13 of 100 gates differ (13 %)");
  EXPECT_EQ(DistanceText(Distance(1, 7824)), "1 of 7824 gates differ (0.013 %)");
  EXPECT_EQ(DistanceText(Distance(13, 100, 4)), "13 of 100 gates differ (13 %), 4 have no counterpart");
  EXPECT_EQ(DistanceText(Distance(0, 0, 4)), "0 of 0 gates differ, 4 have no counterpart");
}

TEST(DistanceTable, PutsHeadsBesideEachOther) {
  EXPECT_EQ(DistanceTable(SamplePair().groups(), "  "),
            "  layer  self-attention  feed-forward\n"
            "      0        0 2 of 9       0 of 32\n"
            "      1        1 2 of 9      10 of 32\n");
  EXPECT_EQ(DistanceTable({}, ""), "");
}

TEST(ComparisonText, ShowsMatrixAndPairs) {
  EXPECT_EQ(ComparisonText(SampleStack(), {{"a", "b", "c"}, {"a", "x"}, {"a", "b", "c"}}),
            "decoder: 3 inputs on 2 pieces; 0 and 2 share one\n"
            "  gates that differ, + those that only one of the two has:\n"
            "  input  tokens  piece                                0     1     2\n"
            "      0       3  00000000000000000000000000000000     .  13+4     0\n"
            "      1       2  01010101010101010101010101010101  13+4     .  13+4\n"
            "      2       3  00000000000000000000000000000000     0  13+4     .\n"
            "\n"
            "  0 and 1: 13 of 100 gates differ (13 %), 4 have no counterpart\n"
            "    layer  self-attention  feed-forward\n"
            "        0        0 2 of 9       0 of 32\n"
            "        1        1 2 of 9      10 of 32\n"
            "    the same piece at 1 of 3 tokens\n"
            "    token        differing  of  unmatched\n"
            "        0  a  a         13  50          0\n"
            "        1  b  x          0  50          0\n"
            "        2  c             0   0          4\n"
            "\n"
            "  0 and 2: the same piece\n");
}

TEST(ComparisonText, LeavesOutTokensOfLongSequences) {
  v1::StackComparison stack = SampleStack();
  for (int i = 0; i < 20; ++i) *stack.mutable_pairs(0)->add_tokens() = Distance(1, 2);
  EXPECT_THAT(ComparisonText(stack, {}), HasSubstr("    … and 7 more\n"));
}

TEST(ComparisonText, DescribesADamagedAnswer) {
  v1::StackComparison stack = SampleStack();
  stack.mutable_differing()->RemoveLast();
  EXPECT_THAT(ComparisonText(stack, {}), HasSubstr("a damaged answer"));
  stack = SampleStack();
  stack.mutable_sequence_ids()->RemoveLast();
  EXPECT_THAT(ComparisonText(stack, {}), HasSubstr("a damaged answer"));
}

}  // namespace
}  // namespace splineserve::client
