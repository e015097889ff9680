// Gated products and products over lists of open numbers, on every SIMD target, against the scalar chain and
// gate.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/packing.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/random_weights.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::BitsEqual;
using testing::kWeightFormats;
using testing::RandomFloats;
using testing::RandomWeights;
using testing::Values;

class SparseTest : public ::testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }
  // Normal numbers of which about `open` are above zero, the others zero: what a gate leaves.
  std::vector<float> Gated(size_t n, double open) {
    std::vector<float> x(n);
    for (float& v : x) v = pick_(engine_) < open ? std::abs(random_.Next(Values::kNormal)) : 0.0f;
    return x;
  }
  const uint64_t seed_ = testing::TestSeed();
  RandomFloats random_{seed_};
  std::mt19937_64 engine_{seed_};
  std::uniform_real_distribution<double> pick_{0, 1};
};

// The lists of `rows` rows, in memory of exactly the size that the contract asks for.
struct Lists {
  Lists(size_t rows, size_t inner)
      : stride(inner + kOpenListSlack),
        starts_stride(OpenBlocks(inner) + 1),
        index(rows * stride),
        value(rows * stride),
        starts(rows * starts_stride, 77) {}
  Lists(const KernelSet& set, const std::vector<float>& x, size_t rows, size_t inner, size_t n)
      : Lists(rows, inner) {
    for (size_t r = 0; r < rows; ++r) {
      counts.push_back(set.list_open(x.data() + r * inner, n, inner, index.data() + r * stride,
                                     value.data() + r * stride, starts.data() + r * starts_stride));
    }
  }
  OpenLists view() const { return {index.data(), value.data(), stride, starts.data(), starts_stride}; }
  OpenListRoom room() { return {index.data(), value.data(), stride, starts.data(), starts_stride}; }
  size_t stride, starts_stride;
  std::vector<uint32_t> index;
  std::vector<float> value;
  std::vector<uint32_t> starts;
  std::vector<size_t> counts;
};

TEST_F(SparseTest, ListsNameEveryOpenNumberInOrder) {
  for (const KernelSet* set : AvailableKernelSets()) {
    SCOPED_TRACE(set->name);
    for (size_t inner : {0, 1, 7, 15, 16, 17, 127, 128, 129, 300}) {
      for (size_t n : {inner, inner / 2, size_t{0}}) {
        for (double open : {0.0, 0.1, 0.5, 1.0}) {
          const std::vector<float> x = Gated(inner, open);
          const Lists lists(*set, x, 1, inner, n);
          std::vector<uint32_t> expected;
          std::vector<uint32_t> starts;
          for (size_t i = 0; i < inner; ++i) {
            if (i % kOpenBlock == 0) starts.push_back(static_cast<uint32_t>(expected.size()));
            if (i < n && x[i] > 0) expected.push_back(static_cast<uint32_t>(i));
          }
          if (inner == 0) starts.push_back(0);
          starts.push_back(static_cast<uint32_t>(expected.size()));
          ASSERT_EQ(lists.counts[0], expected.size()) << "inner " << inner << " n " << n;
          ASSERT_EQ(lists.starts, starts) << "inner " << inner << " n " << n;
          for (size_t i = 0; i < expected.size(); ++i) {
            ASSERT_EQ(lists.index[i], expected[i]);
            ASSERT_EQ(lists.value[i], x[expected[i]]);
          }
        }
      }
    }
  }
}

TEST_F(SparseTest, SparseProductEqualsTheWholeChain) {
  constexpr float kGuard = -77.5f;
  for (const KernelSet* set : AvailableKernelSets()) {
    for (WeightFormat format : kWeightFormats) {
      SCOPED_TRACE(std::string(set->name) + " " + testing::Name(format));
      for (size_t outer : {0, 1, 8, 15, 16, 17, 31, 33, 40, 48, 63, 64, 65, 100, 129}) {
        for (size_t inner : {0, 1, 17, 128, 150, 300, 700}) {
          for (size_t rows : {1, 2, 3, 9}) {
            // One density for each way of passing over the blocks.
            for (double open : {0.0, 0.02, 0.06, 0.15, 0.5, 1.0}) {
              const std::vector<float> x = Gated(rows * inner, open);
              const RandomWeights w(random_, outer, inner, Values::kNormal, format);
              const std::vector<float> bias = random_.Vector(outer, Values::kNormal);
              const float* bias_or_null = rows % 2 == 0 ? bias.data() : nullptr;
              const size_t stride = outer + 3;
              std::vector<float> expected(rows * stride, kGuard), actual(rows * stride, kGuard);
              testing::ScalarProduct({x.data(), rows, inner}, {w.numbers.data(), outer, inner}, bias_or_null,
                                     1, {expected.data(), rows, outer, stride});
              const Lists lists(*set, x, rows, inner, inner);
              set->sparse_product(lists.view(), rows, w.packed.view(), bias_or_null, actual.data(), stride);
              ASSERT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()))
                  << "outer " << outer << " inner " << inner << " rows " << rows << " open " << open;
            }
          }
        }
      }
      // Long enough for several passes at every density but the sparsest.
      const size_t rows = 4, inner = 1500, outer = 70;
      for (double open : {0.05, 0.1, 0.3}) {
        const std::vector<float> x = Gated(rows * inner, open);
        const RandomWeights w(random_, outer, inner, Values::kNormal, format);
        std::vector<float> expected(rows * outer), actual(rows * outer);
        testing::ScalarProduct({x.data(), rows, inner}, {w.numbers.data(), outer, inner}, nullptr, 1,
                               {expected.data(), rows, outer});
        const Lists lists(*set, x, rows, inner, inner);
        set->sparse_product(lists.view(), rows, w.packed.view(), nullptr, actual.data(), outer);
        ASSERT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size())) << "open " << open;
      }
    }
  }
}

// A list cut anywhere and gone on with, densely or by the other list, is the whole chain.
TEST_F(SparseTest, ContinuedChainsEqualTheWhole) {
  constexpr float kGuard = -77.5f;
  for (size_t outer : {1, 8, 17, 40, 64, 65, 130}) {
    for (size_t rows : {1, 2, 5}) {
      for (size_t inner : {2, 64, 700}) {
        for (double open : {0.02, 0.15, 0.6}) {
          const std::vector<float> x = Gated(rows * inner, open);
          const std::vector<float> w = random_.Vector(outer * inner, Values::kNormal);
          const size_t stride = outer + 3;
          std::vector<float> expected(rows * stride, kGuard);
          testing::ScalarProduct({x.data(), rows, inner}, {w.data(), outer, inner}, nullptr, 1,
                                 {expected.data(), rows, outer, stride});
          const size_t cut = inner / 3 + 1;
          std::vector<float> x_before, x_after;
          for (size_t r = 0; r < rows; ++r) {
            const auto row = x.begin() + r * inner;
            x_before.insert(x_before.end(), row, row + cut);
            x_after.insert(x_after.end(), row + cut, row + inner);
          }
          const PackedMatrix before = PackedMatrix::FromRows({w.data(), outer, cut, inner});
          const PackedMatrix after = PackedMatrix::FromRows({w.data() + cut, outer, inner - cut, inner});
          for (const KernelSet* set : AvailableKernelSets()) {
            SCOPED_TRACE(std::string(set->name) + " outer " + std::to_string(outer) + " rows " +
                         std::to_string(rows) + " inner " + std::to_string(inner));
            const Lists first(*set, x_before, rows, cut, cut);
            const Lists second(*set, x_after, rows, inner - cut, inner - cut);
            std::vector<float> actual(rows * stride, kGuard);
            set->sparse_product(first.view(), rows, before.view(), nullptr, actual.data(), stride);
            set->continue_sparse_product(second.view(), rows, after.view(), actual.data(), stride);
            ASSERT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()));
            std::fill(actual.begin(), actual.end(), kGuard);
            set->product(x_before.data(), cut, rows, before.view(), nullptr, 1, actual.data(), stride);
            set->continue_sparse_product(second.view(), rows, after.view(), actual.data(), stride);
            ASSERT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()));
          }
        }
      }
    }
  }
}

// What a gated product must equal: the scalar chain, then the scalar gate over each row's own width.
struct Expected {
  std::vector<float> out;
  std::vector<GateRow> rows;
  std::vector<std::vector<uint8_t>> bits;
};

// Row r's list names its open gates, a square that underflowed to zero among them.
void ExpectListed(const Expected& expected, size_t r, size_t outer, size_t width, const Lists& lists) {
  std::vector<uint32_t> index, starts;
  std::vector<float> value;
  for (size_t n = 0; n < outer; ++n) {
    if (n % kOpenBlock == 0) starts.push_back(static_cast<uint32_t>(index.size()));
    if (n >= width || (expected.bits[r][n / 8] >> n % 8 & 1) == 0) continue;
    index.push_back(static_cast<uint32_t>(n));
    value.push_back(expected.out[r * outer + n]);
  }
  starts.push_back(static_cast<uint32_t>(index.size()));
  const auto list = [&](const auto& lists_of_rows, size_t stride, size_t count) {
    return std::vector(lists_of_rows.begin() + r * stride, lists_of_rows.begin() + r * stride + count);
  };
  EXPECT_EQ(list(lists.index, lists.stride, index.size()), index) << r;
  EXPECT_TRUE(BitsEqual(list(lists.value, lists.stride, value.size()).data(), value.data(), value.size()))
      << r;
  EXPECT_EQ(list(lists.starts, lists.starts_stride, starts.size()), starts) << r;
}

TEST_F(SparseTest, GatedProductEqualsProductThenGate) {
  for (WeightFormat format : kWeightFormats) {
    for (Values values : {Values::kNormal, Values::kWide}) {
      for (size_t outer :
           {1, 7, 8, 10, 12, 16, 17, 26, 31, 40, 44, 48, 63, 64, 65, 100, 127, 128, 129, 200}) {
        for (size_t rows : {1, 2, 3, 5, 6, 7, 13}) {
          for (int variant = 0; variant < 8; ++variant) {
            const bool square = (variant & 1) != 0, margin = (variant & 2) != 0, cut = (variant & 4) != 0;
            const size_t inner = 19;
            const float scale = square ? 0.25f : 1.0f;
            const std::vector<float> x = random_.Vector(rows * inner, values);
            const RandomWeights w(random_, outer, inner, values, format);
            const std::vector<float> bias = random_.Vector(outer, values);
            std::vector<uint32_t> widths(rows, static_cast<uint32_t>(outer));
            if (cut) {
              for (size_t r = 0; r < rows; ++r) widths[r] = static_cast<uint32_t>(engine_() % (outer + 1));
            }
            Expected expected;
            expected.out.resize(rows * outer);
            testing::ScalarProduct({x.data(), rows, inner}, {w.numbers.data(), outer, inner}, bias.data(),
                                   scale, {expected.out.data(), rows, outer});
            for (size_t r = 0; r < rows; ++r) {
              float* row = expected.out.data() + r * outer;
              std::fill(row + widths[r], row + outer, 0.0f);
              expected.bits.emplace_back((widths[r] + 7) / 8 + 1, uint8_t{0xA5});
              expected.rows.push_back(
                  testing::ScalarGate(row, widths[r], square, expected.bits.back().data(), margin));
            }
            for (const KernelSet* set : AvailableKernelSets()) {
              SCOPED_TRACE(std::string(set->name) + " " + testing::Name(format) + " outer " +
                           std::to_string(outer) + " rows " + std::to_string(rows) + " variant " +
                           std::to_string(variant));
              std::vector<float> out(rows * outer, -5.0f);
              AlignedBuffer<GateState> states(rows);
              std::vector<std::vector<uint8_t>> bits;
              std::vector<uint8_t*> pointers;
              for (size_t r = 0; r < rows; ++r) {
                states[r].Reset();
                bits.emplace_back((widths[r] + 7) / 8 + 1, uint8_t{0xA5});
              }
              // One row's bits are not wanted.
              for (size_t r = 0; r < rows; ++r) pointers.push_back(r == 3 ? nullptr : bits[r].data());
              set->gated_product(
                  x.data(), inner, rows, w.packed.view(), bias.data(), scale,
                  {square, margin, cut ? widths.data() : nullptr, pointers.data(), states.data()}, out.data(),
                  outer);
              ASSERT_TRUE(BitsEqual(out.data(), expected.out.data(), out.size()));
              const auto expect_gates = [&] {
                for (size_t r = 0; r < rows; ++r) {
                  const GateRow row = states[r].Summary(margin);
                  ASSERT_EQ(row.open, expected.rows[r].open) << r;
                  ASSERT_EQ(row.finite, expected.rows[r].finite) << r;
                  ASSERT_EQ(row.margin, expected.rows[r].margin) << r;
                  if (r != 3) {
                    ASSERT_EQ(bits[r], expected.bits[r]) << r;
                  }
                }
              };
              ASSERT_NO_FATAL_FAILURE(expect_gates());

              // Once more, with lists.
              Lists lists(rows, outer);
              const OpenListRoom room = lists.room();
              std::fill(out.begin(), out.end(), -5.0f);
              for (size_t r = 0; r < rows; ++r) {
                states[r].Reset();
                std::fill(bits[r].begin(), bits[r].end(), uint8_t{0xA5});
              }
              set->gated_product(
                  x.data(), inner, rows, w.packed.view(), bias.data(), scale,
                  {square, margin, cut ? widths.data() : nullptr, pointers.data(), states.data(), &room},
                  out.data(), outer);
              ASSERT_TRUE(BitsEqual(out.data(), expected.out.data(), out.size()));
              ASSERT_NO_FATAL_FAILURE(expect_gates());
              for (size_t r = 0; r < rows; ++r) {
                ExpectListed(expected, r, outer, widths[r], lists);
              }
            }
          }
        }
      }
    }
  }
}

// A row's summary may be taken in parts, one a range of panels.
TEST_F(SparseTest, SummariesMerge) {
  const size_t inner = 5, outer = 150;
  const std::vector<float> x = random_.Vector(inner, Values::kNormal);
  const std::vector<float> w = random_.Vector(outer * inner, Values::kNormal);
  const PackedMatrix packed = PackedMatrix::FromRows({w.data(), outer, inner});
  for (const KernelSet* set : AvailableKernelSets()) {
    SCOPED_TRACE(set->name);
    std::vector<float> whole(outer), parts(outer);
    AlignedBuffer<GateState> states(3);
    for (size_t i = 0; i < 3; ++i) states[i].Reset();
    set->gated_product(x.data(), inner, 1, packed.view(), nullptr, 1,
                       {false, true, nullptr, nullptr, &states[0]}, whole.data(), outer);
    set->gated_product(x.data(), inner, 1, packed.view().Panels(0, 1), nullptr, 1,
                       {false, true, nullptr, nullptr, &states[1]}, parts.data(), outer);
    set->gated_product(x.data(), inner, 1, packed.view().Panels(1, 2), nullptr, 1,
                       {false, true, nullptr, nullptr, &states[2]}, parts.data() + 64, outer);
    EXPECT_TRUE(BitsEqual(parts.data(), whole.data(), outer));
    states[1].Merge(states[2]);
    const GateRow expected = states[0].Summary(true), merged = states[1].Summary(true);
    EXPECT_EQ(merged.open, expected.open);
    EXPECT_EQ(merged.margin, expected.margin);
    EXPECT_EQ(merged.finite, expected.finite);
  }
}

}  // namespace
}  // namespace splineserve
