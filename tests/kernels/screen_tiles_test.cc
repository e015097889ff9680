// Screening in tiles misses no open gate and computes its candidates exactly, whatever the shape, the format
// of the weights and the steps it is done in.
#include <algorithm>
#include <cmath>
#include <limits>
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
      std::fill(candidates.begin() + static_cast<std::ptrdiff_t>(begin), candidates.end(), kGuard);
      used = set.screen_tiles({words.data(), screen.inner_words, rounded.data()}, x.rows, screen, p,
                              candidates.data(), begin, &tiles[2 * p], &tiles[2 * p + 1]);
      ASSERT_EQ(used % kLaneBlock, 0);
      ASSERT_LE(used, begin + kMostOfTwoTiles);
      for (size_t i = begin + kMostOfTwoTiles; i < candidates.size(); ++i) ASSERT_EQ(candidates[i], kGuard);
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
        const size_t end = tiles[t].begin + (tiles[t].count() + kLaneBlock - 1) / kLaneBlock * kLaneBlock;
        const std::vector<float> others = numbers;
        set.tile_chains(operands, candidates.data() + tiles[t].begin, tiles[t].count(),
                        numbers.data() + tiles[t].begin);
        for (size_t i = 0; i < numbers.size(); ++i) {
          ASSERT_TRUE((i >= tiles[t].begin && i < end) || numbers[i] == others[i]) << "entry " << i;
        }
      }
    }
    ExpectCandidates(screen, x.rows, tiles, candidates, numbers, expected);
    for (const bool square : {false, true}) {
      for (size_t r = 0; r < x.rows; ++r) {
        // From the middle on, too.
        for (const size_t first : {size_t{0}, tiles.size() / 2}) {
          ExpectLists(set, screen, r, square, first, tiles, candidates, numbers, expected);
        }
      }
    }
  }

  // One panel as screen_columns makes it.
  struct MadePanel {
    MadePanel(size_t inner, size_t columns)
        : words((inner + 3) / 4 * kScreenPanel), sums(kScreenPanel), numbers(5 * kScreenPanel) {
      float* const at = numbers.data();
      out = {words.data(), sums.data(), at, at + kScreenPanel, at + 2 * kScreenPanel, at + 3 * kScreenPanel};
      view.inner = inner;
      view.outer = columns;
      view.inner_words = (inner + 3) / 4;
      view.panel_stride = words.size();
      view.words = words.data();
      view.sums = sums.data();
      view.scales = out.scales;
      view.errors = out.errors;
      view.lengths = out.lengths;
      view.biases = out.biases;
      view.starts = at + 4 * kScreenPanel;
    }
    AlignedBuffer<uint32_t> words;
    AlignedBuffer<int32_t> sums;
    AlignedBuffer<float> numbers;
    ScreenPanel out;
    ScreenView view;
  };

  // What bounds are made of is at least what it stands for, in double, and not much more.
  static void ExpectBounds(const MadePanel& made, const std::vector<float>& w, size_t columns, size_t inner) {
    for (size_t n = 0; n < columns; ++n) {
      double error = 0, rounded = 0, exact = 0;
      int32_t sum = 0;
      for (size_t k = 0; k < inner; ++k) {
        const auto q = static_cast<int8_t>(made.words[k / 4 * kScreenPanel + n] >> (8 * (k % 4)));
        const double back = static_cast<double>(made.out.scales[n]) * q, number = w[n * inner + k];
        error += (number - back) * (number - back);
        rounded += back * back;
        exact += number * number;
        sum += q;
      }
      ASSERT_EQ(made.out.sums[n], sum) << "column " << n;
      const double rounding = (2 * static_cast<double>(inner) + 16) * 0x1p-23;
      const double least = std::sqrt(error) + rounding * (std::sqrt(exact) + std::sqrt(rounded));
      ASSERT_GE(made.out.errors[n], least) << "column " << n;
      ASSERT_LE(made.out.errors[n], least + 1e-4 * std::sqrt(exact)) << "column " << n;
      ASSERT_GE(made.out.lengths[n], std::sqrt(rounded)) << "column " << n;
      ASSERT_LE(made.out.lengths[n], 1.02 * std::sqrt(exact)) << "column " << n;
    }
  }

  // Which columns of the first panel are candidates of each of kCandidateRows rows.
  static std::vector<bool> Listed(const KernelSet& set, const ScreenView& screen, MatrixView<const float> x) {
    std::vector<uint32_t> words(x.rows * screen.inner_words);
    std::vector<ScreenedRow> rounded(x.rows);
    for (size_t r = 0; r < x.rows; ++r) {
      set.screen_row(x.row(r), x.cols, words.data() + r * screen.inner_words, &rounded[r]);
    }
    std::vector<uint16_t> candidates(kMostOfTwoTiles);
    CandidateTile tiles[2];
    set.screen_tiles({words.data(), screen.inner_words, rounded.data()}, x.rows, screen, 0, candidates.data(),
                     0, &tiles[0], &tiles[1]);
    std::vector<bool> listed(kCandidateRows * kScreenPanel);
    for (size_t t = 0; t < 2; ++t) {
      for (size_t i = tiles[t].begin; i < tiles[t].begin + tiles[t].count(); ++i) {
        listed[candidates[i] / kCandidateColumns * kScreenPanel + t * kCandidateColumns +
               candidates[i] % kCandidateColumns] = true;
      }
    }
    return listed;
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
    std::vector<uint32_t> index(screen.outer + 2 * kOpenListSlack, 77);
    std::vector<float> value(index.size(), 77.0f);
    const auto column = static_cast<uint32_t>(first * kCandidateColumns);
    // Of products with this some underflow to zero.
    const float scale = square ? 0.7f : 0x1p-120f;
    const size_t count = set.list_tiles(tiles.data() + first, 1, tiles.size() - first, r, candidates.data(),
                                        numbers.data(), scale, square, column, index.data(), value.data());
    for (size_t i = count + kOpenListSlack; i < index.size(); ++i) {
      ASSERT_EQ(index[i], 77);
      ASSERT_EQ(value[i], 77.0f);
    }
    size_t i = 0;
    for (size_t n = column; n < screen.outer; ++n) {
      const float number = scale * expected[r * screen.outer + n];
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

// From no candidate of a tile to all of them: of 16 rows, every number of groups.
TEST_F(ScreenTilesTest, AnyNumberOfCandidates) {
  const size_t inner = 24, outer = 128;
  for (size_t open = 0; open <= kCandidateColumns; ++open) {
    SCOPED_TRACE(std::to_string(open) + " columns are open, seed " + std::to_string(seed_));
    const std::vector<float> x = random_.Vector(16 * inner, Values::kNormal);
    const RandomWeights w(random_, outer, inner, Values::kNormal, WeightFormat::kFloat32);
    std::vector<float> bias(outer, -1e3f);
    for (size_t n = 0; n < outer; ++n) {
      if (n * 7 % kCandidateColumns < open) bias[n] = 1e3f;
    }
    Check({x.data(), 16, inner}, w, bias);
    if (HasFailure()) return;
  }
}

// Columns made at once, as keys are, beside those of a ScreenedMatrix without a bias: candidates of one are
// those of the other but for roundings of the bounds, and none that is open is missing.
TEST_F(ScreenTilesTest, ColumnsMadeAtOnce) {
  size_t differences = 0, all = 0;
  for (const size_t inner : {1, 4, 7, 64, 130}) {
    for (const size_t columns : {1, 15, 16, 33, 63, 64}) {
      for (const int exponent : {-60, 0, 25}) {
        std::vector<float> w = random_.Vector(columns * inner, Values::kNormal);
        for (size_t i = 0; i < w.size(); ++i) w[i] = std::ldexp(w[i], exponent - static_cast<int>(i % 3) * 6);
        std::fill_n(w.begin() + static_cast<std::ptrdiff_t>(columns / 2 * inner), inner, 0.0f);
        std::vector<float> x = random_.Vector(kCandidateRows * inner, Values::kNormal);
        for (size_t r = 0; r < kCandidateRows; ++r) x[r * inner] += x[r * inner] == 0 ? 1.0f : 0.0f;
        std::vector<float> expected(kCandidateRows * columns);
        testing::ScalarProduct({x.data(), kCandidateRows, inner}, {w.data(), columns, inner}, nullptr, 1,
                               {expected.data(), kCandidateRows, columns});
        // A whole panel, whose other columns hold anything.
        AlignedBuffer<float> panel(inner * kScreenPanel);
        std::fill_n(panel.data(), panel.size(), std::numeric_limits<float>::quiet_NaN());
        for (size_t n = 0; n < columns; ++n) {
          for (size_t k = 0; k < inner; ++k) panel[k * kScreenPanel + n] = w[n * inner + k];
        }
        for (const KernelSet* set : AvailableKernelSets()) {
          SCOPED_TRACE(std::string(set->name) + " inner " + std::to_string(inner) + " columns " +
                       std::to_string(columns) + " exponent " + std::to_string(exponent) + " seed " +
                       std::to_string(seed_));
          MadePanel made(inner, columns);
          ASSERT_TRUE(set->screen_columns(panel.data(), inner, columns, made.out));
          ExpectBounds(made, w, columns, inner);
          const ScreenedMatrix other = ScreenedMatrix::Make(
              PackedMatrix::FromRows({w.data(), columns, inner}), nullptr, ScreenedMatrix::Columns::kNone);
          const auto one = Listed(*set, made.view, {x.data(), kCandidateRows, inner});
          const auto two = Listed(*set, other.view(), {x.data(), kCandidateRows, inner});
          for (size_t r = 0; r < kCandidateRows; ++r) {
            for (size_t n = 0; n < kScreenPanel; ++n) {
              const bool is_open = n < columns && expected[r * columns + n] > 0;
              ASSERT_TRUE(one[r * kScreenPanel + n] || !is_open) << "row " << r << " column " << n;
              ASSERT_FALSE(one[r * kScreenPanel + n] && n >= columns) << "row " << r << " column " << n;
              differences += one[r * kScreenPanel + n] != two[r * kScreenPanel + n] ? 1 : 0;
              all += n < columns ? 1 : 0;
            }
          }
        }
      }
    }
  }
  EXPECT_LT(static_cast<double>(differences), 2e-3 * static_cast<double>(all));
}

TEST_F(ScreenTilesTest, ColumnsThatCannotBeScreenedSaySo) {
  constexpr size_t kInner = 9, kColumns = 40;
  for (const float bad :
       {1e-30f, 1e20f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t column : {0, 21, 39}) {
      AlignedBuffer<float> panel(kInner * kScreenPanel);
      panel[5 * kScreenPanel + column] = bad;
      panel[4 * kScreenPanel + kColumns] = bad;  // beyond the last
      for (const KernelSet* set : AvailableKernelSets()) {
        MadePanel made(kInner, kColumns);
        EXPECT_FALSE(set->screen_columns(panel.data(), kInner, kColumns, made.out))
            << set->name << " " << bad << " in column " << column;
        EXPECT_TRUE(set->screen_columns(panel.data(), kInner, column, made.out)) << set->name << " " << bad;
      }
    }
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
