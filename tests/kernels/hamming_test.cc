#include "core/kernels/hamming.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

// Bit by bit.
NearestRow Slowly(const uint64_t* rows, size_t count, size_t words, const uint64_t* query) {
  NearestRow best{0, ~uint64_t{0}};
  for (size_t r = 0; r < count; ++r) {
    uint64_t distance = 0;
    for (size_t bit = 0; bit < 64 * words; ++bit) {
      const uint64_t a = rows[r * words + bit / 64] >> (bit % 64) & 1, b = query[bit / 64] >> (bit % 64) & 1;
      distance += a != b ? 1 : 0;
    }
    if (distance < best.distance) best = {r, distance};
  }
  return best;
}

TEST(HammingTest, FindsTheFirstNearestRow) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  for (size_t words = 0; words <= 40; ++words) {  // runs of 16 words, and what is left of them
    for (const size_t count : {1, 2, 7, 30}) {
      std::vector<uint64_t> query(words), rows;
      for (uint64_t& word : query) word = random();
      for (size_t r = 0; r < count; ++r) {
        // Near and far ones, equal ones and ties.
        const size_t flips = random() % (1 + 4 * words);
        std::vector<uint64_t> row = query;
        for (size_t f = 0; f < flips && words > 0; ++f)
          row[random() % words] ^= uint64_t{1} << (random() % 64);
        rows.insert(rows.end(), row.begin(), row.end());
      }
      SCOPED_TRACE(absl::StrCat(count, " rows of ", words, " words"));
      const NearestRow expected = Slowly(rows.data(), count, words, query.data());
      for (const auto find : {FindNearestRow, FindNearestRowPortably}) {
        const NearestRow found = find(rows.data(), count, words, query.data());
        EXPECT_EQ(found.index, expected.index);
        EXPECT_EQ(found.distance, expected.distance);
      }
    }
  }
}

TEST(HammingTest, CountsEveryBit) {
  std::vector<uint64_t> query(17, 0);
  for (size_t bit = 0; bit < 64 * query.size(); ++bit) {
    std::vector<uint64_t> row = query;
    row[bit / 64] ^= uint64_t{1} << (bit % 64);
    EXPECT_EQ(FindNearestRow(row.data(), 1, row.size(), query.data()).distance, 1u) << bit;
    EXPECT_EQ(FindNearestRowPortably(row.data(), 1, row.size(), query.data()).distance, 1u) << bit;
  }
}

}  // namespace
}  // namespace splineserve
