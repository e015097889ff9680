#include "core/kernels/packing.h"

#include <cstdint>
#include <new>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/random_weights.h"

namespace splineserve {
namespace {

using testing::RandomFloats;
using testing::Values;

// Element (k, n) as kernel_set.h defines its place.
float At(const PackedView& w, size_t k, size_t n) {
  return NumberAt(w.format, w.data,
                  n / w.panel_width * w.panel_stride + k * w.panel_width + n % w.panel_width);
}

void ExpectWellFormed(const PackedView& w) {
  EXPECT_EQ(reinterpret_cast<uintptr_t>(w.data) % 64, 0u);
  EXPECT_EQ(w.panel_width % kLaneBlock, 0u);
  EXPECT_GE(w.panel_width, kLaneBlock);
  EXPECT_LE(w.panel_width, kMaxPanelWidth);
  EXPECT_EQ(w.panel_stride % 16, 0u);
  EXPECT_GE(w.panel_stride, w.inner * w.panel_width);
}

TEST(PanelWidthTest, IsTheNextLaneBlockUpTo64) {
  for (size_t outer = 0; outer <= 300; ++outer) {
    const size_t width = PanelWidth(outer);
    EXPECT_EQ(width % kLaneBlock, 0u);
    if (outer > 48) {
      EXPECT_EQ(width, kMaxPanelWidth);
    } else if (outer > 0) {
      EXPECT_GE(width, outer);
      EXPECT_LT(width - outer, kLaneBlock);
    } else {
      EXPECT_EQ(width, kLaneBlock);
    }
  }
}

TEST(PackedMatrixTest, FromRowsKeepsEveryNumberAndPadsWithZeros) {
  RandomFloats random(testing::TestSeed());
  for (size_t inner : {0, 1, 15, 16, 17, 40}) {
    for (size_t outer : {0, 1, 15, 16, 17, 48, 49, 64, 65, 130}) {
      const size_t stride = inner + 3;
      const std::vector<float> w = random.Vector(outer * stride, Values::kNormal);
      const PackedMatrix packed = PackedMatrix::FromRows({w.data(), outer, inner, stride});
      ExpectWellFormed(packed.view());
      EXPECT_EQ(packed.inner(), inner);
      EXPECT_EQ(packed.outer(), outer);
      const size_t padded = packed.view().panels() * packed.view().panel_width;
      for (size_t k = 0; k < inner; ++k) {
        for (size_t n = 0; n < padded; ++n) {
          ASSERT_EQ(At(packed.view(), k, n), n < outer ? w[n * stride + k] : 0.0f) << k << ", " << n;
        }
      }
    }
  }
}

TEST(PackedMatrixTest, SixteenBitsAreTwoBytesANumberAndTheSameMatrix) {
  RandomFloats random(testing::TestSeed());
  for (WeightFormat format : {WeightFormat::kBfloat16, WeightFormat::kFloat16}) {
    for (size_t outer : {1, 16, 17, 48, 64, 65, 150}) {
      const size_t inner = 21;
      const testing::RandomWeights w(random, outer, inner, Values::kWide, format);
      const PackedView view = w.packed.view();
      ExpectWellFormed(view);
      EXPECT_EQ(view.format, format);
      EXPECT_EQ(w.packed.bytes(), view.panels() * view.panel_width * inner * 2);
      std::vector<float> column(inner);
      for (size_t n = 0; n < view.panels() * view.panel_width; ++n) {
        if (n < outer) w.packed.Column(n, column.data());
        for (size_t k = 0; k < inner; ++k) {
          const float expected = n < outer ? w.numbers[n * inner + k] : 0.0f;
          ASSERT_EQ(At(view, k, n), expected);
          if (n < outer) {
            ASSERT_EQ(column[k], expected);
          }
          // A range of panels is the same numbers.
          ASSERT_EQ(At(view.Panels(n / view.panel_width, 1), k, n % view.panel_width), expected);
        }
      }
    }
  }
}

// Each factor of the size overflows in turn.
TEST(PackedMatrixTest, RefusesSizesThatOverflow) {
  constexpr size_t kHuge = SIZE_MAX / 32;
  EXPECT_THROW(PackedMatrix(kHuge, 64), std::bad_alloc);
  EXPECT_THROW(PackedMatrix(size_t{1} << 40, size_t{1} << 30), std::bad_alloc);
  EXPECT_THROW(PackedMatrix(SIZE_MAX / 64, 64), std::bad_alloc);
}

TEST(PackedViewTest, PanelsCutsColumns) {
  const PackedMatrix packed(8, 150);
  EXPECT_EQ(packed.view().panels(), 3u);
  EXPECT_EQ(packed.view().Panels(0, 1).outer, 64u);
  EXPECT_EQ(packed.view().Panels(1, 2).outer, 86u);
  EXPECT_EQ(packed.view().Panels(2, 1).outer, 22u);
  const std::byte* const data = static_cast<const std::byte*>(packed.view().data);
  EXPECT_EQ(packed.view().Panels(2, 1).data, data + 2 * packed.view().panel_stride * sizeof(float));
}

}  // namespace
}  // namespace splineserve
