// Gated products and products over lists of open numbers, on every SIMD target, against the scalar chain and
// gate.
#include <algorithm>
#include <cstdint>
#include <iterator>
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
  Lists(size_t rows, size_t inner, size_t log2_block)
      : rows(rows),
        log2_block(log2_block),
        row_stride(inner + kOpenListSlack),
        index(rows * row_stride),
        value(index.size()),
        segments(rows * OpenBlocks(inner, log2_block), OpenSegment{77, 78}) {}
  Lists(const KernelSet& set, const std::vector<float>& x, size_t rows, size_t inner, size_t log2_block)
      : Lists(rows, inner, log2_block) {
    size_t at = 0;
    for (size_t s = 0; s < segments.size(); ++s) {
      const size_t column = s / rows << log2_block;
      const size_t n = std::min(inner - column, size_t{1} << log2_block), begin = at;
      at += set.list_open(x.data() + s % rows * inner + column, n, column, index.data() + at,
                          value.data() + at);
      segments[s] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(at)};
    }
  }
  OpenListRoom room() { return {index.data(), value.data(), row_stride, segments.data(), rows, log2_block}; }
  OpenLists view() { return room().lists(); }
  // Of all blocks of one row.
  std::vector<uint32_t> Places(size_t row) const { return OfRow(index, row); }
  std::vector<float> Values(size_t row) const { return OfRow(value, row); }

  size_t rows, log2_block, row_stride;
  std::vector<uint32_t> index;
  std::vector<float> value;
  std::vector<OpenSegment> segments;

 private:
  template <typename T>
  std::vector<T> OfRow(const std::vector<T>& entries, size_t row) const {
    std::vector<T> of_row;
    for (size_t s = row; s < segments.size(); s += rows) {
      for (size_t i = segments[s].begin; i < segments[s].end; ++i) of_row.push_back(entries.at(i));
    }
    return of_row;
  }
};

// Each segment holds columns of its own block.
void ExpectInBlocks(const Lists& lists) {
  for (size_t s = 0; s < lists.segments.size(); ++s) {
    ASSERT_LE(lists.segments[s].begin, lists.segments[s].end);
    for (size_t i = lists.segments[s].begin; i < lists.segments[s].end; ++i) {
      EXPECT_EQ(size_t{lists.index[i]} >> lists.log2_block, s / lists.rows) << "entry " << i;
    }
  }
}

constexpr size_t kLog2Blocks[] = {kLeastLog2Block, 7, 8, kWholeRowLog2Block};

TEST_F(SparseTest, ListsNameEveryOpenNumberInOrder) {
  constexpr size_t kRows = 3;
  for (const KernelSet* set : AvailableKernelSets()) {
    for (size_t inner : {0, 1, 7, 15, 16, 17, 63, 64, 65, 127, 128, 129, 256, 300}) {
      for (size_t log2_block : kLog2Blocks) {
        for (double open : {0.0, 0.1, 0.5, 1.0}) {
          SCOPED_TRACE(std::string(set->name) + " inner " + std::to_string(inner) + " blocks of 2^" +
                       std::to_string(log2_block) + " open " + std::to_string(open));
          const std::vector<float> x = Gated(kRows * inner, open);
          const Lists lists(*set, x, kRows, inner, log2_block);
          ASSERT_NO_FATAL_FAILURE(ExpectInBlocks(lists));
          for (size_t r = 0; r < kRows; ++r) {
            std::vector<uint32_t> places;
            std::vector<float> values;
            for (size_t i = 0; i < inner; ++i) {
              if (!(x[r * inner + i] > 0)) continue;
              places.push_back(static_cast<uint32_t>(i));
              values.push_back(x[r * inner + i]);
            }
            ASSERT_EQ(lists.Places(r), places);
            ASSERT_EQ(lists.Values(r), values);
          }
        }
      }
    }
  }
}

TEST_F(SparseTest, SparseProductEqualsTheWholeChain) {
  constexpr float kGuard = -77.5f;
  size_t turn = 0;
  for (const KernelSet* set : AvailableKernelSets()) {
    for (WeightFormat format : kWeightFormats) {
      SCOPED_TRACE(std::string(set->name) + " " + testing::Name(format));
      for (size_t outer : {0, 1, 8, 15, 16, 17, 31, 33, 40, 48, 63, 64, 65, 100, 129}) {
        for (size_t inner : {0, 1, 17, 128, 150, 300, 700}) {
          ++turn;  // or the same rows would always meet the same blocks
          for (size_t rows : {1, 2, 3, 9}) {
            for (double open : {0.0, 0.02, 0.15, 0.5, 1.0}) {
              const std::vector<float> x = Gated(rows * inner, open);
              const RandomWeights w(random_, outer, inner, Values::kNormal, format);
              const std::vector<float> bias = random_.Vector(outer, Values::kNormal);
              const float* bias_or_null = rows % 2 == 0 ? bias.data() : nullptr;
              const size_t stride = outer + 3;
              std::vector<float> expected(rows * stride, kGuard), actual(rows * stride, kGuard);
              testing::ScalarProduct({x.data(), rows, inner}, {w.numbers.data(), outer, inner}, bias_or_null,
                                     1, {expected.data(), rows, outer, stride});
              // Blocks of each size in turn.
              Lists lists(*set, x, rows, inner, kLog2Blocks[turn++ % std::size(kLog2Blocks)]);
              set->sparse_product(lists.view(), rows, w.packed.view(), bias_or_null, actual.data(), stride);
              ASSERT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()))
                  << "outer " << outer << " inner " << inner << " rows " << rows << " open " << open;
            }
          }
        }
      }
      // Long enough for weights to be fetched ahead; some of the listed rows are left out.
      const size_t rows = 9, inner = 3000, outer = 100;
      for (size_t log2_block : kLog2Blocks) {
        const std::vector<float> x = Gated(rows * inner, 0.6);
        const RandomWeights w(random_, outer, inner, Values::kNormal, format);
        std::vector<float> expected(rows * outer), actual(rows * outer);
        testing::ScalarProduct({x.data(), rows, inner}, {w.numbers.data(), outer, inner}, nullptr, 1,
                               {expected.data(), rows, outer});
        Lists lists(*set, x, rows, inner, log2_block);
        set->sparse_product(lists.view(), 2, w.packed.view(), nullptr, actual.data(), outer);
        set->sparse_product(lists.view().Rows(2), rows - 2, w.packed.view(), nullptr,
                            actual.data() + 2 * outer, outer);
        ASSERT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size())) << "2^" << log2_block;
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
            Lists first(*set, x_before, rows, cut, 7);
            Lists second(*set, x_after, rows, inner - cut, 8);
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
  std::vector<uint32_t> places;
  std::vector<float> values;
  for (size_t n = 0; n < width; ++n) {
    if ((expected.bits[r][n / 8] >> n % 8 & 1) == 0) continue;
    places.push_back(static_cast<uint32_t>(n));
    values.push_back(expected.out[r * outer + n]);
  }
  EXPECT_EQ(lists.Places(r), places) << r;
  const std::vector<float> listed = lists.Values(r);
  ASSERT_EQ(listed.size(), values.size()) << r;
  EXPECT_TRUE(BitsEqual(listed.data(), values.data(), values.size())) << r;
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

              // Once more, as lists and nothing else.
              Lists lists(rows, outer, kLog2Blocks[rows % std::size(kLog2Blocks)]);
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
              ASSERT_EQ(std::count(out.begin(), out.end(), -5.0f), static_cast<std::ptrdiff_t>(out.size()));
              ASSERT_NO_FATAL_FAILURE(expect_gates());
              ASSERT_NO_FATAL_FAILURE(ExpectInBlocks(lists));
              for (size_t r = 0; r < rows; ++r) {
                ASSERT_NO_FATAL_FAILURE(ExpectListed(expected, r, outer, widths[r], lists));
              }

              // And where nobody wants bits.
              Lists alone(rows, outer, kLog2Blocks[rows % std::size(kLog2Blocks)]);
              const OpenListRoom room_alone = alone.room();
              for (size_t r = 0; r < rows; ++r) states[r].Reset();
              set->gated_product(
                  x.data(), inner, rows, w.packed.view(), bias.data(), scale,
                  {square, margin, cut ? widths.data() : nullptr, nullptr, states.data(), &room_alone},
                  out.data(), outer);
              for (size_t r = 0; r < rows; ++r) {
                ASSERT_EQ(states[r].Summary(margin).open, expected.rows[r].open) << r;
                ASSERT_NO_FATAL_FAILURE(ExpectListed(expected, r, outer, widths[r], alone));
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
