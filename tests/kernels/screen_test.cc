// Screening misses no open gate, whatever the numbers, and computes chosen columns exactly.
#include "core/kernels/screen.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/random_weights.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::BitsEqual;
using testing::RandomFloats;
using testing::RandomWeights;
using testing::Values;

constexpr uint32_t kGuard = 0xABCDABCD;

// Candidates of every row, of one call for each of `parts` ranges; all columns of rows that cannot be
// screened.
std::vector<std::vector<uint32_t>> Candidates(const KernelSet& set, const ScreenView& w,
                                              MatrixView<const float> x, size_t parts) {
  std::vector<std::vector<uint32_t>> found(x.rows);
  std::vector<uint32_t> words;
  std::vector<ScreenedRow> rows;
  std::vector<size_t> screened;
  for (size_t r = 0; r < x.rows; ++r) {
    std::vector<uint32_t> row_words(w.inner_words);
    ScreenedRow row;
    set.screen_row(x.row(r), x.cols, row_words.data(), &row);
    if (row.screenable()) {
      words.insert(words.end(), row_words.begin(), row_words.end());
      rows.push_back(row);
      screened.push_back(r);
    } else {
      for (uint32_t n = 0; n < w.outer; ++n) found[r].push_back(n);
    }
  }
  for (size_t part = 0; part < parts; ++part) {
    const size_t first = w.panels() * part / parts;
    const size_t panels = w.panels() * (part + 1) / parts - first;
    const size_t stride = (panels + 1) * kScreenPanel;
    std::vector<uint32_t> candidates(rows.size() * stride, kGuard), counts(rows.size(), kGuard);
    set.screen({words.data(), w.inner_words, rows.data()}, rows.size(), w, {first, panels}, candidates.data(),
               stride, counts.data());
    for (size_t i = 0; i < rows.size(); ++i) {
      std::vector<uint32_t>& list = found[screened[i]];
      for (size_t c = 0; c < counts[i]; ++c) {
        const uint32_t n = candidates[i * stride + c];
        EXPECT_GE(n, first * kScreenPanel);
        EXPECT_LT(n, std::min(w.outer, (first + panels) * kScreenPanel));
        EXPECT_TRUE(list.empty() || list.back() < n);
        list.push_back(n);
      }
    }
  }
  return found;
}

class ScreenTest : public ::testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }

  // Expects of every target that no open number of the product is missing among the candidates, and that all
  // candidates' numbers are the product's. Returns the share of candidates that are closed.
  double Check(MatrixView<const float> x, const RandomWeights& w, const std::vector<float>& bias) {
    const size_t outer = bias.size();
    std::vector<float> expected(x.rows * outer);
    testing::ScalarProduct(x, {w.numbers.data(), outer, x.cols}, bias.data(), 1,
                           {expected.data(), x.rows, outer});
    const ScreenedMatrix screen = ScreenedMatrix::Make(w.packed, bias.data());
    EXPECT_FALSE(screen.empty());
    size_t closed = 0, all = 0;
    for (const KernelSet* set : AvailableKernelSets()) {
      for (const size_t parts : {1, 3}) {
        const auto candidates = Candidates(*set, screen.view(), x, parts);
        for (size_t r = 0; r < x.rows; ++r) {
          const std::vector<uint32_t>& found = candidates[r];
          for (size_t n = 0; n < outer; ++n) {
            const bool listed = std::binary_search(found.begin(), found.end(), n);
            EXPECT_TRUE(listed || !(expected[r * outer + n] > 0))
                << set->name << " row " << r << " column " << n << ": " << expected[r * outer + n];
            closed += listed && !(expected[r * outer + n] > 0) ? 1 : 0;
            ++all;
          }
          std::vector<uint32_t> narrowed = found;
          ScreenedRow row;
          std::vector<uint32_t> words(screen.view().inner_words);
          set->screen_row(x.row(r), x.cols, words.data(), &row);
          if (row.screenable()) {
            narrowed.resize(set->narrow(x.row(r), row.length, screen.view(), narrowed.data(), found.size()));
          }
          EXPECT_TRUE(std::includes(found.begin(), found.end(), narrowed.begin(), narrowed.end()));
          for (const uint32_t n : found) {
            const bool kept = std::binary_search(narrowed.begin(), narrowed.end(), n);
            EXPECT_TRUE(kept || !(expected[r * outer + n] > 0))
                << set->name << " row " << r << " column " << n;
            dismissed_ += kept ? 0 : 1;
          }
          std::vector<float> numbers(found.size()), wanted;
          set->chosen_product(x.row(r), screen.view(), bias.data(), found.data(), found.size(),
                              numbers.data());
          for (const uint32_t n : found) wanted.push_back(expected[r * outer + n]);
          EXPECT_TRUE(BitsEqual(numbers.data(), wanted.data(), wanted.size())) << set->name << " row " << r;
        }
      }
    }
    return static_cast<double>(closed) / static_cast<double>(std::max<size_t>(all, 1));
  }

  const uint64_t seed_ = testing::TestSeed();
  RandomFloats random_{seed_};
  size_t dismissed_ = 0;  // by narrowing
};

TEST_F(ScreenTest, AnyShape) {
  for (const size_t inner : {1, 2, 3, 4, 5, 15, 16, 17, 40, 67}) {
    for (const size_t outer : {1, 63, 64, 65, 130, 200}) {
      for (const size_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 13}) {
        SCOPED_TRACE("inner " + std::to_string(inner) + " outer " + std::to_string(outer) + " rows " +
                     std::to_string(rows) + " seed " + std::to_string(seed_));
        const std::vector<float> x = random_.Vector(rows * (inner + 3), Values::kNormal);
        const RandomWeights w(random_, outer, inner, Values::kNormal, WeightFormat::kFloat32);
        Check({x.data(), rows, inner, inner + 3}, w, random_.Vector(outer, Values::kNormal));
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(ScreenTest, WeightsOfEveryFormat) {
  for (const WeightFormat format : testing::kWeightFormats) {
    const std::vector<float> x = random_.Vector(5 * 70, Values::kNormal);
    const RandomWeights w(random_, 150, 70, Values::kNormal, format);
    Check({x.data(), 5, 70}, w, random_.Vector(150, Values::kNormal));
  }
}

// Few closed gates are candidates, or screening would be of no use.
TEST_F(ScreenTest, BoundsAreTight) {
  const size_t inner = 256, outer = 1024, rows = 12;
  const std::vector<float> x = random_.Vector(rows * inner, Values::kNormal);
  const RandomWeights w(random_, outer, inner, Values::kNormal, WeightFormat::kFloat32);
  // 5 % of gates are open: 1.645 of the 16 that a sum of 256 products deviates by.
  const double closed = Check({x.data(), rows, inner}, w, std::vector<float>(outer, -1.645f * 16));
  EXPECT_LT(closed, 0.04);
  EXPECT_GT(closed, 0.01) << "tighter than the bound can be";
  const double all = static_cast<double>(AvailableKernelSets().size() * 2 * rows * outer);
  EXPECT_GT(static_cast<double>(dismissed_), 0.95 * closed * all) << "sums leave few closed gates";
}

// The hardest case for a bound: every number is zero but for rounding, on either side of it.
TEST_F(ScreenTest, NumbersAtZero) {
  for (const size_t inner : {7, 64, 500}) {
    const size_t outer = 192;
    for (int i = 0; i < 20; ++i) {
      SCOPED_TRACE("inner " + std::to_string(inner) + " seed " + std::to_string(seed_));
      const std::vector<float> x = random_.Vector(inner, Values::kNormal);
      const RandomWeights w(random_, outer, inner, Values::kNormal, WeightFormat::kFloat32);
      std::vector<float> bias(outer);
      for (size_t n = 0; n < outer; ++n) {
        double exact = 0;
        for (size_t k = 0; k < inner; ++k) exact += static_cast<double>(x[k]) * w.numbers[n * inner + k];
        bias[n] = static_cast<float>(-exact);
      }
      Check({x.data(), 1, inner}, w, bias);
    }
  }
}

// Inputs and weights of sizes far apart, in one row and from row to row.
TEST_F(ScreenTest, NumbersOfAllSizes) {
  const size_t inner = 33, outer = 100;
  for (const int input : {-80, -40, 0, 20, 30}) {
    for (const int weight : {-70, -40, 0, 20, 30}) {
      SCOPED_TRACE("input 2^" + std::to_string(input) + " weight 2^" + std::to_string(weight));
      std::vector<float> x = random_.Vector(3 * inner, Values::kNormal);
      for (size_t i = 0; i < x.size(); ++i) x[i] = std::ldexp(x[i], input - static_cast<int>(i % 5) * 9);
      RandomWeights w(random_, outer, inner, Values::kNormal, WeightFormat::kFloat32);
      for (size_t i = 0; i < w.numbers.size(); ++i) {
        w.numbers[i] = std::ldexp(w.numbers[i], weight - static_cast<int>(i % 7) * 5);
      }
      w.packed = PackedMatrix::FromRows({w.numbers.data(), outer, inner});
      std::vector<float> bias = random_.Vector(outer, Values::kNormal);
      for (float& b : bias) b = std::ldexp(b, std::clamp(input + weight, -120, 120));
      Check({x.data(), 3, inner}, w, bias);
      Check({x.data(), 3, inner}, w, std::vector<float>(outer, 0.0f));
    }
  }
}

// Sums of bytes that come as close to 32 bits as they may.
TEST_F(ScreenTest, LongestChains) {
  const std::vector<float> ones(kLongestScreened, 1.0f);
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<float> signs(kLongestScreened, sign);
    const PackedMatrix packed = PackedMatrix::FromRows({signs.data(), 1, kLongestScreened});
    const std::vector<float> bias = {-sign * static_cast<float>(kLongestScreened) / 2};
    const ScreenedMatrix screen = ScreenedMatrix::Make(packed, bias.data());
    ASSERT_FALSE(screen.empty());
    for (const KernelSet* set : AvailableKernelSets()) {
      const auto found = Candidates(*set, screen.view(), {ones.data(), 1, kLongestScreened}, 1);
      EXPECT_EQ(found[0].size(), sign > 0 ? 1 : 0) << set->name;
    }
  }
  const std::vector<float> more(kLongestScreened + 1, 1.0f);
  EXPECT_TRUE(
      ScreenedMatrix::Make(PackedMatrix::FromRows({more.data(), 1, kLongestScreened + 1}), nullptr).empty());
}

TEST_F(ScreenTest, WhatCannotBeScreenedSaysSo) {
  const std::vector<float> good(40, 1.0f);
  for (const float bad : {0.0f, 1e-30f, 1e20f, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x(40, 0.0f);
    x[21] = bad;
    for (const KernelSet* set : AvailableKernelSets()) {
      std::vector<uint32_t> words(10);
      ScreenedRow row;
      set->screen_row(x.data(), x.size(), words.data(), &row);
      EXPECT_EQ(row.length, std::numeric_limits<float>::infinity()) << set->name << " " << bad;
      set->screen_row(good.data(), good.size(), words.data(), &row);
      EXPECT_GE(row.length, std::sqrt(40.0f)) << set->name;
      EXPECT_LT(row.length, 1.001f * std::sqrt(40.0f)) << set->name;
    }
  }
  for (const float bad : {1e-30f, 1e20f}) {
    std::vector<float> w(2 * 5, 0.0f);
    const PackedMatrix zeros = PackedMatrix::FromRows({w.data(), 2, 5});
    EXPECT_FALSE(ScreenedMatrix::Make(zeros, nullptr).empty()) << "zeros are columns like others";
    w[7] = bad;
    EXPECT_TRUE(ScreenedMatrix::Make(PackedMatrix::FromRows({w.data(), 2, 5}), nullptr).empty()) << bad;
  }
  const std::vector<float> w(5, 1.0f), bias = {3e38f};
  EXPECT_TRUE(ScreenedMatrix::Make(PackedMatrix::FromRows({w.data(), 1, 5}), bias.data()).empty());
}

TEST_F(ScreenTest, BytesAreWhatItTakes) {
  // 100 columns of 32 floats; 128 of 32 bytes and of seven numbers.
  EXPECT_EQ(ScreenedMatrix::Bytes(30, 100), 100 * 32 * 4 + 128 * 32 + 128 * 7 * 4);
  EXPECT_EQ(ScreenedMatrix::Bytes(30, 100, ScreenedMatrix::Columns::kNone), 128 * 32 + 128 * 7 * 4);
}

}  // namespace
}  // namespace splineserve
