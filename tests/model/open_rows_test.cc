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

namespace splineserve {
namespace {

using testing::BitsEqual;
using testing::Values;

class OpenRowsTest : public ::testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }

  // Gates `rows` rows against `cols` columns, of which some two thirds are closed, and multiplies what is
  // open; returns whether most rows were listed.
  bool RunBlock(const KernelSet& kernels, size_t rows, size_t cols, bool by_product, double sparse_below) {
    const size_t inner = 9, outer = 70;
    const std::vector<float> x = random_.Vector(rows * inner, Values::kNormal);
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
    spec.lists = open_.Room(rows, cols, by_product);
    EXPECT_EQ(spec.lists != nullptr, by_product);
    kernels.gated_product(x.data(), inner, rows, first.view(), bias.data(), 1, spec, units.data(), cols);
    const MatrixView<const float> gated(units.data(), rows, cols);
    const bool mostly_listed = open_.List(kernels, gated, states.data(), sparse_below);

    std::vector<float> expected(rows * outer), actual(rows * outer), continued(rows * outer, 0.0f);
    kernels.product(units.data(), cols, rows, second.view(), nullptr, 1, expected.data(), outer);
    open_.Multiply(kernels, second.view(), nullptr, {actual.data(), rows, outer});
    EXPECT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()));
    open_.Continue(kernels, second.view(), {continued.data(), rows, outer});
    EXPECT_TRUE(BitsEqual(continued.data(), expected.data(), expected.size()));
    return mostly_listed;
  }

  const uint64_t seed_ = testing::TestSeed();
  testing::RandomFloats random_{seed_};
  OpenRows open_;
};

TEST_F(OpenRowsTest, BlocksOfAnyShapeAndChoiceFollowEachOther) {
  for (const KernelSet* set : AvailableKernelSets()) {
    for (const size_t cols : {300, 33, 128}) {
      for (const size_t rows : {13, 1, 6}) {
        for (const bool by_product : {true, false, true}) {
          SCOPED_TRACE(std::string(set->name) + " cols " + std::to_string(cols) + " rows " +
                       std::to_string(rows) + (by_product ? " by product" : "") + " seed " +
                       std::to_string(seed_));
          EXPECT_TRUE(RunBlock(*set, rows, cols, by_product, 0.9));
          EXPECT_FALSE(RunBlock(*set, rows, cols, by_product, 0.0)) << "listed though none is sparse enough";
          RunBlock(*set, rows, cols, by_product, 0.31);  // some listed, some dense
        }
      }
    }
  }
}

// Lists that a caller makes get the starts that listing the rows gives them.
TEST_F(OpenRowsTest, StartsOfACallersListsAreThoseOfListing) {
  const KernelSet& kernels = *AvailableKernelSets().front();
  for (const size_t cols : {1, 127, 128, 129, 600}) {
    for (const float threshold : {-9.0f, 0.5f, 1.8f, 9.0f}) {
      std::vector<float> row = random_.Vector(cols, Values::kNormal);
      for (float& number : row) number = number > threshold ? std::abs(number) + 1 : 0;
      std::vector<uint32_t> index(cols + kOpenListSlack), starts(OpenBlocks(cols) + 1);
      std::vector<float> value(cols + kOpenListSlack);
      const size_t count =
          kernels.list_open(row.data(), cols, cols, index.data(), value.data(), starts.data());
      const OpenListRoom& lists = open_.ListedByCaller(1, cols);
      std::copy_n(index.begin(), count, lists.index);
      EXPECT_EQ(open_.SetStarts(0, count), lists.index);
      EXPECT_EQ(std::vector<uint32_t>(lists.starts, lists.starts + starts.size()), starts)
          << cols << " columns above " << threshold << ", seed " << seed_;
    }
  }
}

}  // namespace
}  // namespace splineserve
