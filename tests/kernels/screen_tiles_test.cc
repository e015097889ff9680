// Screening in tiles misses no open gate and computes its candidates exactly, whatever the shape, the format
// of the weights and the steps it is done in.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/kernels/screen.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/random_weights.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::RandomFloats;
using testing::RandomWeights;
using testing::SameNumber;
using testing::Values;

constexpr uint16_t kGuard = 0xABCD;

class ScreenTilesTest : public ::testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }

  // What the kernels make of up to kCandidateRows rows and all panels, beside the product.
  void Check(MatrixView<const float> x, const RandomWeights& w, const std::vector<float>& bias) {
    const size_t outer = bias.size(), inner = x.cols;
    std::vector<float> expected(x.rows * outer);
    testing::ScalarProduct(x, {w.numbers.data(), outer, inner}, bias.data(), 1,
                           {expected.data(), x.rows, outer});
    const ScreenedMatrix screen = ScreenedMatrix::Make(w.packed, bias.data(), ScreenedMatrix::Columns::kNone);
    ASSERT_FALSE(screen.empty());
    ASSERT_EQ(screen.view().columns, nullptr);
    for (const KernelSet* set : AvailableKernelSets()) {
      for (const size_t steps : {inner, (inner + 2) / 3}) {
        SCOPED_TRACE(std::string(set->name) + " in steps of " + std::to_string(steps));
        CheckSet(*set, screen.view(), w.packed.view(), x, steps, expected);
        if (HasFailure()) return;
      }
    }
  }

  void CheckSet(const KernelSet& set, const ScreenView& screen, const PackedView& w,
                MatrixView<const float> x, size_t steps, const std::vector<float>& expected) {
    std::vector<uint32_t> words(x.rows * screen.inner_words);
    std::vector<ScreenedRow> rounded(x.rows);
    for (size_t r = 0; r < x.rows; ++r) {
      set.screen_row(x.row(r), x.cols, words.data() + r * screen.inner_words, &rounded[r]);
      ASSERT_TRUE(rounded[r].screenable());
    }
    AlignedBuffer<float> transposed(x.cols * kCandidateRows);
    set.transpose(x.row(0), x.stride, x.rows, x.cols, transposed.data(), kCandidateRows);

    std::vector<uint16_t> candidates(screen.panels() * kMostOfTwoTiles + kMostOfTwoTiles, kGuard);
    std::vector<CandidateTile> tiles(2 * screen.panels());
    size_t used = 0;
    for (size_t p = 0; p < screen.panels(); ++p) {
      const size_t begin = used;
      used = set.screen_tiles({words.data(), screen.inner_words, rounded.data()}, x.rows, screen, p,
                              candidates.data(), begin, &tiles[2 * p], &tiles[2 * p + 1]);
      ASSERT_EQ(used % kLaneBlock, 0);
      ASSERT_LE(used, begin + kMostOfTwoTiles);
      ASSERT_EQ(candidates[begin + kMostOfTwoTiles], kGuard);
    }
    std::vector<float> numbers(used + kLaneBlock, -1.0f);
    for (size_t t = 0; t < tiles.size(); ++t) {
      for (size_t k = 0; k < x.cols; k += steps) {
        TileOperands operands;
        operands.x = transposed.data() + k * kCandidateRows;
        operands.format = w.format;
        operands.w = static_cast<const std::byte*>(w.data) +
                     (t / 2 * w.panel_stride + k * kScreenPanel + t % 2 * kCandidateColumns) *
                         BytesPerNumber(w.format);
        operands.inner = std::min(steps, x.cols - k);
        operands.starts = k == 0 ? screen.starts + t * kCandidateColumns : nullptr;
        set.tile_chains(operands, candidates.data() + tiles[t].begin, tiles[t].count(),
                        numbers.data() + tiles[t].begin);
      }
    }
    ExpectCandidates(screen, x.rows, tiles, candidates, numbers, expected);
    for (const bool square : {false, true}) {
      for (size_t r = 0; r < x.rows; ++r) {
        // From the second tile on, too.
        for (const size_t first : {size_t{0}, tiles.size() / 2}) {
          ExpectLists(set, screen, r, square, first, tiles, candidates, numbers, expected);
        }
      }
    }
  }

  void ExpectCandidates(const ScreenView& screen, size_t rows, const std::vector<CandidateTile>& tiles,
                        const std::vector<uint16_t>& candidates, const std::vector<float>& numbers,
                        const std::vector<float>& expected) {
    for (size_t t = 0; t < tiles.size(); ++t) {
      const CandidateTile& tile = tiles[t];
      ASSERT_EQ(tile.row[0], 0);
      for (size_t r = 0; r < kCandidateRows; ++r) {
        ASSERT_LE(tile.row[r], tile.row[r + 1]);
        ASSERT_TRUE(r < rows || tile.row[r] == tile.row[r + 1]);
        size_t i = tile.begin + tile.row[r];
        const size_t end = tile.begin + tile.row[r + 1];
        for (size_t c = 0; r < rows && c < kCandidateColumns; ++c) {
          const size_t n = t * kCandidateColumns + c;
          const bool listed = i < end && candidates[i] == r * kCandidateColumns + c;
          if (n >= screen.outer) {
            ASSERT_FALSE(listed) << "column " << n;
            continue;
          }
          const float number = expected[r * screen.outer + n];
          ASSERT_TRUE(listed || !(number > 0)) << "row " << r << " column " << n << ": " << number;
          if (!listed) continue;
          ASSERT_TRUE(SameNumber(numbers[i], number)) << "row " << r << " column " << n;
          closed_ += number > 0 ? 0 : 1;
          ++i;
        }
        ASSERT_EQ(i, end) << "row " << r << " of tile " << t;
        all_ += rows > r ? kCandidateColumns : 0;
      }
    }
  }

  void ExpectLists(const KernelSet& set, const ScreenView& screen, size_t r, bool square, size_t first,
                   const std::vector<CandidateTile>& tiles, const std::vector<uint16_t>& candidates,
                   const std::vector<float>& numbers, const std::vector<float>& expected) {
    std::vector<uint32_t> index(screen.outer + kOpenListSlack, 77);
    std::vector<float> value(index.size(), 77.0f);
    const auto column = static_cast<uint32_t>(first * kCandidateColumns);
    const size_t count = set.list_tiles(tiles.data() + first, 1, tiles.size() - first, r, candidates.data(),
                                        numbers.data(), 1.0f, square, column, index.data(), value.data());
    size_t i = 0;
    for (size_t n = column; n < screen.outer; ++n) {
      const float number = expected[r * screen.outer + n];
      if (!(number > 0)) continue;
      ASSERT_LT(i, count);
      ASSERT_EQ(index[i], n);
      ASSERT_TRUE(SameNumber(value[i], square ? number * number : number)) << "row " << r << " column " << n;
      ++i;
    }
    ASSERT_EQ(i, count) << "row " << r;
  }

  const uint64_t seed_ = testing::TestSeed();
  RandomFloats random_{seed_};
  size_t closed_ = 0, all_ = 0;
};

TEST_F(ScreenTilesTest, AnyShape) {
  for (const size_t inner : {1, 3, 4, 5, 16, 17, 67}) {
    for (const size_t outer : {49, 64, 65, 97, 200}) {
      for (const size_t rows : {1, 2, 5, 6, 7, 12, 13, 15, 16}) {
        SCOPED_TRACE("inner " + std::to_string(inner) + " outer " + std::to_string(outer) + " rows " +
                     std::to_string(rows) + " seed " + std::to_string(seed_));
        std::vector<float> x = random_.Vector(rows * (inner + 3), Values::kNormal);
        // A row of zeros cannot be screened.
        for (size_t r = 0; r < rows; ++r) x[r * (inner + 3)] += x[r * (inner + 3)] == 0 ? 1.0f : 0.0f;
        const RandomWeights w(random_, outer, inner, Values::kNormal, WeightFormat::kFloat32);
        Check({x.data(), rows, inner, inner + 3}, w, random_.Vector(outer, Values::kNormal));
        if (HasFailure()) return;
      }
    }
  }
}

// From no candidate of a tile to all of them: every number of groups that is computed side by side.
TEST_F(ScreenTilesTest, AnyNumberOfCandidates) {
  const size_t inner = 24, outer = 128;
  for (const float bias : {-1e3f, -9.0f, -6.0f, -4.0f, -3.0f, -2.0f, 0.0f, 3.0f, 8.0f, 1e3f}) {
    SCOPED_TRACE("bias " + std::to_string(bias) + " seed " + std::to_string(seed_));
    const std::vector<float> x = random_.Vector(16 * inner, Values::kNormal);
    const RandomWeights w(random_, outer, inner, Values::kNormal, WeightFormat::kFloat32);
    Check({x.data(), 16, inner}, w, std::vector<float>(outer, bias));
    if (HasFailure()) return;
  }
}

TEST_F(ScreenTilesTest, WeightsOfEveryFormat) {
  for (const WeightFormat format : testing::kWeightFormats) {
    SCOPED_TRACE("format " + std::to_string(static_cast<int>(format)) + " seed " + std::to_string(seed_));
    const std::vector<float> x = random_.Vector(15 * 70, Values::kNormal);
    const RandomWeights w(random_, 150, 70, Values::kNormal, format);
    Check({x.data(), 15, 70}, w, random_.Vector(150, Values::kNormal));
  }
}

// Few closed gates are candidates, or screening would be of no use.
TEST_F(ScreenTilesTest, BoundsAreTight) {
  const size_t inner = 256, outer = 1024;
  const std::vector<float> x = random_.Vector(16 * inner, Values::kNormal);
  const RandomWeights w(random_, outer, inner, Values::kNormal, WeightFormat::kFloat32);
  // 5 % of the gates are open: 1.645 of the 16 that a sum of 256 products deviates by.
  Check({x.data(), 16, inner}, w, std::vector<float>(outer, -1.645f * 16));
  const double closed = static_cast<double>(closed_) / static_cast<double>(all_);
  EXPECT_LT(closed, 0.04);
  EXPECT_GT(closed, 0.01) << "tighter than the bound can be";
}

}  // namespace
}  // namespace splineserve
