// The open units that screening in tiles finds are those of the product, in whatever blocks the rows come; it
// gives up where it must.
#include "core/model/screened_tiles.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/counted_allocations.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::Values;

class ScreenedTilesTest : public ::testing::Test {
 protected:
  void Make(size_t rows, size_t inner, size_t outer, float bias) {
    x_ = random_.Vector(rows * (inner + 1), Values::kNormal);
    w_ = random_.Vector(outer * inner, Values::kNormal);
    bias_.assign(outer, bias);
    rows_ = {x_.data(), rows, inner, inner + 1};
    packed_ = PackedMatrix::FromRows({w_.data(), outer, inner});
    screen_ = ScreenedMatrix::Make(packed_, bias_.data(), ScreenedMatrix::Columns::kNone);
    ASSERT_TRUE(ScreenedTiles::CanScreen(packed_.view()));
    expected_.resize(rows * outer);
    testing::ScalarProduct(rows_, {w_.data(), outer, inner}, bias_.data(), 1,
                           {expected_.data(), rows, outer});
  }

  bool Find(const KernelSet& kernels, bool square, double limit) {
    input_.Prepare(rows_);
    for (size_t r = 0; r < rows_.rows; ++r) input_.Round(kernels, r);
    EXPECT_TRUE(input_.screenable());
    return tiles_.Find(kernels, screen_.view(), packed_.view(), 1.0f, square, input_, limit,
                       OpenRows::kUnknown, open_);
  }

  // The bits of what is listed, how many they are, and what `down` makes of the lists.
  void ExpectFound(const KernelSet& kernels, bool square) {
    const size_t outer = bias_.size(), rows = rows_.rows;
    ASSERT_TRUE(Find(kernels, square, 1));
    std::vector<float> units(expected_);
    for (size_t r = 0; r < rows; ++r) {
      std::vector<uint8_t> bits((outer + 7) / 8, 0), wanted = bits;
      const GateRow gates =
          testing::ScalarGate(units.data() + r * outer, outer, square, wanted.data(), false);
      ASSERT_EQ(open_.MarkOpen(r, bits.data()), gates.open) << "row " << r;
      ASSERT_EQ(bits, wanted) << "row " << r;
    }
    const auto above = std::count_if(expected_.begin(), expected_.end(), [](float x) { return x > 0; });
    ASSERT_EQ(tiles_.open(), above);
    constexpr size_t kOut = 20;
    const std::vector<float> down = random_.Vector(kOut * outer, Values::kNormal);
    std::vector<float> out(rows * kOut), product(rows * kOut);
    testing::ScalarProduct({units.data(), rows, outer}, {down.data(), kOut, outer}, nullptr, 1,
                           {product.data(), rows, kOut});
    const PackedMatrix packed = PackedMatrix::FromRows({down.data(), kOut, outer});
    open_.Multiply(kernels, packed.view(), nullptr, {out.data(), rows, kOut});
    ASSERT_TRUE(testing::BitsEqual(out.data(), product.data(), out.size()));
  }

  const uint64_t seed_ = testing::TestSeed();
  testing::RandomFloats random_{seed_};
  std::vector<float> x_, w_, bias_, expected_;
  MatrixView<const float> rows_;
  PackedMatrix packed_;
  ScreenedMatrix screen_;
  ScreenedInput input_;
  ScreenedTiles tiles_;
  OpenRows open_;
};

TEST_F(ScreenedTilesTest, AreThoseOfTheProduct) {
  struct Case {
    size_t rows, inner, outer;
    float bias;
  };
  // One block, several, some of them shorter; lists in one block of columns and in several, of both lengths;
  // chains in one go and in several; no open unit, few, and all.
  for (const Case& c :
       {Case{1, 30, 64, 0}, Case{12, 30, 200, -8}, Case{16, 64, 300, -1e3f}, Case{17, 65, 200, 0},
        Case{47, 130, 330, -20}, Case{33, 20, 530, 1e3f}, Case{150, 33, 900, -10}}) {
    ASSERT_NO_FATAL_FAILURE(Make(c.rows, c.inner, c.outer, c.bias));
    for (const KernelSet* set : AvailableKernelSets()) {
      for (const bool square : {false, true}) {
        SCOPED_TRACE(std::string(set->name) + " rows " + std::to_string(c.rows) + " inner " +
                     std::to_string(c.inner) + " outer " + std::to_string(c.outer) + " seed " +
                     std::to_string(seed_));
        ASSERT_NO_FATAL_FAILURE(ExpectFound(*set, square));
      }
    }
  }
}

TEST_F(ScreenedTilesTest, GivesUpAboveTheLimit) {
  ASSERT_NO_FATAL_FAILURE(Make(20, 40, 128, 0));  // half of the gates are open
  for (const KernelSet* set : AvailableKernelSets()) {
    SCOPED_TRACE(set->name);
    EXPECT_FALSE(Find(*set, false, 0.3));
    EXPECT_TRUE(Find(*set, false, 0.9));
    const double share = static_cast<double>(tiles_.candidates()) / (20 * 128);
    EXPECT_GT(share, 0.4);
    EXPECT_LT(share, 0.7);
    EXPECT_FALSE(Find(*set, false, share * 0.99));
    EXPECT_TRUE(Find(*set, false, share));
    ASSERT_NO_FATAL_FAILURE(ExpectFound(*set, false)) << "after giving up";
  }
}

TEST_F(ScreenedTilesTest, ReservesAllThatItNeeds) {
  ASSERT_NO_FATAL_FAILURE(Make(40, 50, 300, 1e3f));  // all gates are open
  for (const KernelSet* set : AvailableKernelSets()) {
    input_.Prepare(rows_);
    for (size_t r = 0; r < rows_.rows; ++r) input_.Round(*set, r);
    ScreenedTiles tiles;
    tiles.Reserve(40, 50, 300);
    open_.Reserve(40, 300);
    const size_t before = testing::CountedAllocations();
    ASSERT_TRUE(
        tiles.Find(*set, screen_.view(), packed_.view(), 1.0f, false, input_, 1, OpenRows::kUnknown, open_));
    EXPECT_EQ(testing::CountedAllocations(), before) << set->name;
  }
}

TEST_F(ScreenedTilesTest, NeedsWholePanels) {
  const std::vector<float> w = random_.Vector(48 * 5, Values::kNormal);
  EXPECT_FALSE(ScreenedTiles::CanScreen(PackedMatrix::FromRows({w.data(), 48, 5}).view()));
}

}  // namespace
}  // namespace splineserve
