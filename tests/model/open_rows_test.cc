// Rows behind gates multiply to the same bits whether they are listed by a product, listed afterwards or left
// dense, in any order of blocks.
#include "core/model/open_rows.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/kernels/packing.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::BitsEqual;
using testing::Values;

// A set that counts the rows of its sparse products.
const KernelSet* counted_set = nullptr;
size_t listed_rows = 0;
KernelSet Counting(const KernelSet& set) {
  counted_set = &set;
  KernelSet counting = set;
  counting.sparse_product = [](const OpenLists& x, size_t rows, const PackedView& w, const float* bias,
                               float* out, size_t out_stride) {
    listed_rows += rows;
    counted_set->sparse_product(x, rows, w, bias, out, out_stride);
  };
  return counting;
}

class OpenRowsTest : public ::testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }

  // Gates `rows` rows against `cols` columns, of which some two thirds are closed, and multiplies what is
  // open.
  void RunBlock(const KernelSet& kernels, size_t rows, size_t cols, bool by_product, double sparse_below) {
    const size_t inner = 9, outer = 70;
    std::vector<float> x = random_.Vector(rows * inner, Values::kNormal);
    // Half of the gates of rows 12 to 23 are open, of the others of so many rows one in twenty.
    for (size_t i = 0; rows == 30 && i < x.size(); ++i) x[i] *= i / inner / 12 == 1 ? 20.0f : 0.3f;
    const std::vector<float> up = random_.Vector(cols * inner, Values::kNormal);
    const std::vector<float> down = random_.Vector(outer * cols, Values::kNormal);
    const std::vector<float> bias(cols, -1.5f);
    const PackedMatrix first = PackedMatrix::FromRows({up.data(), cols, inner});
    const PackedMatrix second = PackedMatrix::FromRows({down.data(), outer, cols});
    AlignedBuffer<float> units(rows * cols);
    AlignedBuffer<GateState> states(rows);
    for (size_t r = 0; r < rows; ++r) states[r].Reset();
    GateSpec spec;
    spec.states = states.data();
    spec.lists = open_.Room(rows, cols, by_product ? 0.3 : OpenRows::kUnknown, 0.5);
    EXPECT_EQ(spec.lists != nullptr, by_product);
    const auto gate = [&] {
      kernels.gated_product(x.data(), inner, rows, first.view(), bias.data(), 1, spec, units.data(), cols);
    };
    if (by_product) gate();
    const std::vector<GateState> listed_states(states.data(), states.data() + rows);
    spec.lists = nullptr;
    for (size_t r = 0; r < rows; ++r) states[r].Reset();
    gate();
    const MatrixView<const float> gated(by_product ? nullptr : units.data(), rows, cols);
    const double open =
        open_.List(kernels, gated, by_product ? listed_states.data() : states.data(), sparse_below);
    const auto count =
        std::count_if(units.data(), units.data() + units.size(), [](float u) { return u > 0; });
    EXPECT_DOUBLE_EQ(open, static_cast<double>(count) / static_cast<double>(units.size()));

    std::vector<float> expected(rows * outer), actual(rows * outer), continued(rows * outer, 0.0f);
    kernels.product(units.data(), cols, rows, second.view(), nullptr, 1, expected.data(), outer);
    listed_rows = 0;
    open_.Multiply(Counting(kernels), second.view(), nullptr, {actual.data(), rows, outer});
    EXPECT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()));
    open_.Continue(kernels, second.view(), {continued.data(), rows, outer});
    EXPECT_TRUE(BitsEqual(continued.data(), expected.data(), expected.size()));
  }

  const uint64_t seed_ = testing::TestSeed();
  testing::RandomFloats random_{seed_};
  OpenRows open_;
};

TEST_F(OpenRowsTest, BlocksOfAnyShapeAndChoiceFollowEachOther) {
  for (const KernelSet* set : AvailableKernelSets()) {
    for (const size_t cols : {300, 33, 128}) {
      for (const size_t rows : {30, 1, 2, 6}) {
        for (const bool by_product : {true, false, true}) {
          SCOPED_TRACE(std::string(set->name) + " cols " + std::to_string(cols) + " rows " +
                       std::to_string(rows) + (by_product ? " by product" : "") + " seed " +
                       std::to_string(seed_));
          RunBlock(*set, rows, cols, by_product, 0.95);
          EXPECT_EQ(listed_rows, rows);
          RunBlock(*set, rows, cols, by_product, 0.0);
          // What a product has listed is there as lists alone.
          EXPECT_EQ(listed_rows, by_product ? rows : 0) << "listed though none is sparse enough";
          RunBlock(*set, rows, cols, by_product, 0.3);
          // Rows are listed, or not, by the dozen.
          if (rows == 30) {
            EXPECT_EQ(listed_rows, by_product ? 30 : 18);
          }
        }
      }
    }
  }
}

// Lists whose places would not fit 32 bits are not made, and no room for them.
TEST_F(OpenRowsTest, RowsThatDoNotFitStayDense) {
  constexpr size_t kRows = 4, kCols = size_t{1} << 30;
  EXPECT_TRUE(OpenRows::Fits(kRows - 1, kCols));
  EXPECT_FALSE(OpenRows::Fits(kRows, kCols));
  EXPECT_EQ(open_.Room(kRows, kCols, 0.1, 0.5), nullptr);
  AlignedBuffer<GateState> states(kRows);
  for (size_t r = 0; r < kRows; ++r) states[r].open = kCols / 10;
  KernelSet kernels = *AvailableKernelSets().front();
  kernels.list_open = nullptr;
  static size_t dense_rows;
  dense_rows = 0;
  kernels.product = [](const float*, size_t, size_t rows, const PackedView&, const float*, float, float*,
                       size_t) { dense_rows += rows; };
  EXPECT_NEAR(open_.List(kernels, {nullptr, kRows, kCols}, states.data(), 0.5), 0.1, 1e-6);
  std::vector<float> out(kRows);
  open_.Multiply(kernels, PackedView(), nullptr, {out.data(), kRows, 1});
  EXPECT_EQ(dense_rows, kRows);
}

// Lists that a caller makes, one row after the other, of any density: they are cut into blocks or not.
TEST_F(OpenRowsTest, ListsOfACallerMultiplyLikeTheRows) {
  constexpr size_t kOuter = 70;
  const KernelSet& kernels = *AvailableKernelSets().front();
  for (const size_t cols : {1, 127, 128, 129, 600}) {
    const std::vector<float> w = random_.Vector(kOuter * cols, Values::kNormal);
    const PackedMatrix packed = PackedMatrix::FromRows({w.data(), kOuter, cols});
    for (const size_t rows : {1, 2, 7}) {
      for (const float threshold : {-9.0f, 0.5f, 1.5f, 1.9f, 9.0f}) {
        SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(cols) + " columns above " +
                     std::to_string(threshold) + ", seed " + std::to_string(seed_));
        std::vector<float> x = random_.Vector(rows * cols, Values::kNormal);
        for (float& number : x) number = number > threshold ? std::abs(number) + 1 : 0;
        // What earlier lists have left must not count.
        AlignedBuffer<GateState> states(rows);
        for (size_t r = 0; r < rows; ++r) states[r].open = static_cast<uint32_t>(cols / 2);
        const std::vector<float> open_row(rows * cols, 1.0f);
        open_.List(kernels, {open_row.data(), rows, cols}, states.data(), 2);
        // Two callers share the columns; the first one's lists go on with those of the other.
        OpenRows other;
        const RowListRoom first = open_.ListedByCaller(rows, cols), second = other.ListedByCaller(rows, cols);
        const auto append = [&](const RowListRoom& room, size_t r, size_t column, size_t count) {
          room.index[r * room.stride + count] = static_cast<uint32_t>(column);
          room.value[r * room.stride + count] = x[r * cols + column];
        };
        for (size_t r = 0; r < rows; ++r) {
          size_t counts[2] = {0, 0};
          for (size_t k = 0; k < cols; ++k) {
            if (!(x[r * cols + k] > 0)) continue;
            const bool is_first = k < cols / 3;
            append(is_first ? first : second, r, k, counts[is_first ? 0 : 1]++);
          }
          other.AppendTo(r, counts[1], counts[0], open_);
          open_.SetCount(r, counts[0] + counts[1]);
        }
        open_.CutIntoBlocks();
        for (size_t r = 0; r < rows; ++r) {
          std::vector<uint8_t> bits((cols + 7) / 8, 0), wanted = bits;
          std::vector<float> row(x.begin() + static_cast<std::ptrdiff_t>(r * cols),
                                 x.begin() + static_cast<std::ptrdiff_t>((r + 1) * cols));
          const uint32_t count =
              testing::ScalarGate(row.data(), cols, /*square=*/false, wanted.data(), false).open;
          EXPECT_EQ(open_.MarkOpen(r, bits.data()), count) << "row " << r;
          EXPECT_EQ(bits, wanted) << "row " << r;
        }
        std::vector<float> expected(rows * kOuter), actual(rows * kOuter);
        kernels.product(x.data(), cols, rows, packed.view(), nullptr, 1, expected.data(), kOuter);
        open_.Multiply(kernels, packed.view(), nullptr, {actual.data(), rows, kOuter});
        EXPECT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()));
      }
    }
  }
}

}  // namespace
}  // namespace splineserve
