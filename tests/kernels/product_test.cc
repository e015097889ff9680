// Every product of every SIMD target against the scalar chain, bit for bit.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/base/matrix_view.h"
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
using testing::SameNumber;
using testing::Values;

struct Case {
  size_t rows = 1, inner = 1, outer = 1;
  size_t x_gap = 0, out_gap = 0;      // strides past the widths
  size_t x_shift = 0, out_shift = 0;  // floats past an allocation's start
  bool bias = true;
  float scale = 1;
  Values values = Values::kNormal;
};

std::string Describe(const KernelSet& set, const Case& c) {
  return std::string(set.name) + " rows " + std::to_string(c.rows) + " inner " + std::to_string(c.inner) +
         " outer " + std::to_string(c.outer) + " gaps " + std::to_string(c.x_gap) + "," +
         std::to_string(c.out_gap) + " shifts " + std::to_string(c.x_shift) + "," +
         std::to_string(c.out_shift) + " bias " + std::to_string(c.bias) + " scale " +
         std::to_string(c.scale) + (c.values == Values::kWide ? " wide" : "");
}

// Runs one product on every target and compares it with the specification. Vectors are exactly as long as the
// kernel may read, so that AddressSanitizer sees a read past them; what lies around the outputs must keep its
// bytes.
::testing::AssertionResult Check(const Case& c, WeightFormat format, uint64_t seed) {
  constexpr float kGuard = -123.25f;
  RandomFloats random(seed);
  const size_t x_stride = c.inner + c.x_gap;
  const size_t out_stride = c.outer + c.out_gap;
  const auto extent = [&](size_t stride, size_t width) {
    return c.rows == 0 ? 0 : (c.rows - 1) * stride + width;
  };
  const std::vector<float> x = random.Vector(c.x_shift + extent(x_stride, c.inner), c.values);
  const RandomWeights w(random, c.outer, c.inner, c.values, format);
  const std::vector<float> bias = random.Vector(c.outer, c.values);

  const MatrixView<const float> x_view(x.data() + c.x_shift, c.rows, c.inner, x_stride);
  const float* bias_or_null = c.bias ? bias.data() : nullptr;
  std::vector<float> expected(c.out_shift + extent(out_stride, c.outer) + 32, kGuard);
  testing::ScalarProduct(x_view, {w.numbers.data(), c.outer, c.inner}, bias_or_null, c.scale,
                         {expected.data() + c.out_shift, c.rows, c.outer, out_stride});

  // Every second time the product knows what is used next: first a little of something else, then itself
  // again.
  PackedView view = w.packed.view();
  const std::vector<std::byte> next(100);
  WeightStretch stretches[2] = {{w.packed.data(), w.packed.bytes(), &stretches[1], 5000},
                                {next.data(), next.size(), &stretches[0], 5000}};
  if (seed % 2 == 0 && w.packed.bytes() != 0) view.stretch = &stretches[0];

  for (const KernelSet* set : AvailableKernelSets()) {
    std::vector<float> actual(expected.size(), kGuard);
    set->product(x_view.data, x_stride, c.rows, view, bias_or_null, c.scale, actual.data() + c.out_shift,
                 out_stride);
    const ::testing::AssertionResult same = BitsEqual(actual.data(), expected.data(), expected.size());
    if (!same)
      return ::testing::AssertionFailure()
             << testing::Name(format) << " " << Describe(*set, c) << ": " << same.message();
  }
  return ::testing::AssertionSuccess();
}

class ProductTest : public ::testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }
  void Expect(const Case& c) {
    ++count_;
    for (WeightFormat format : kWeightFormats) {
      ASSERT_TRUE(Check(c, format, seed_ + count_)) << "seed " << seed_ << " case " << count_;
    }
  }
  const uint64_t seed_ = testing::TestSeed();
  uint64_t count_ = 0;
};

// Around every multiple of a lane block, where tails begin and end, in panels of 16, 32, 48 and 64 columns.
const std::vector<size_t>& Widths() {
  static const auto& widths = *new std::vector<size_t>{
      0,  1,  2,  3,  4,  5,  7,  8,  9,  12, 15, 16, 17,  23,  24,  25,  31,  32,  33,  40, 41,
      47, 48, 49, 63, 64, 65, 79, 80, 81, 95, 96, 97, 111, 112, 113, 127, 128, 129, 137, 140};
  return widths;
}

TEST_F(ProductTest, EveryTail) {
  for (size_t outer : Widths()) {
    for (size_t rows = 0; rows <= 14; ++rows) {
      for (size_t inner : {0, 1, 2, 3, 7, 17}) {
        ASSERT_NO_FATAL_FAILURE(Expect({.rows = rows, .inner = inner, .outer = outer}));
      }
    }
  }
}

TEST_F(ProductTest, EveryInner) {
  for (size_t inner = 0; inner <= 70; ++inner) {
    for (size_t rows : {1, 2, 5, 6, 7, 14}) {
      for (size_t outer : {9, 16, 33, 64, 79}) {
        ASSERT_NO_FATAL_FAILURE(Expect({.rows = rows, .inner = inner, .outer = outer}));
      }
    }
  }
}

TEST_F(ProductTest, StridesAndMisalignedPointers) {
  for (size_t outer : {1, 15, 16, 17, 31, 64, 65, 130}) {
    for (size_t rows : {1, 3, 6, 7, 13}) {
      for (size_t shift = 0; shift < 16; ++shift) {
        const Case c = {.rows = rows,
                        .inner = 19,
                        .outer = outer,
                        .x_gap = shift % 5,
                        .out_gap = (shift * 7) % 11,
                        .x_shift = shift,
                        .out_shift = (shift * 5 + 3) % 16};
        ASSERT_NO_FATAL_FAILURE(Expect(c));
      }
    }
  }
}

TEST_F(ProductTest, BiasAndScale) {
  for (size_t outer : {8, 15, 33, 64, 81}) {
    for (size_t rows : {1, 4, 6, 11}) {
      for (bool bias : {false, true}) {
        for (float scale : {1.0f, 0.17677669f, -3.0f, 0.0f, 1e-38f}) {
          for (Values values : {Values::kNormal, Values::kWide}) {
            ASSERT_NO_FATAL_FAILURE(Expect(
                {.rows = rows, .inner = 33, .outer = outer, .bias = bias, .scale = scale, .values = values}));
          }
        }
      }
    }
  }
}

// Huge, tiny, subnormal and zero numbers: chains underflow, overflow, meet inf - inf.
TEST_F(ProductTest, WideValues) {
  for (size_t inner : {1, 2, 3, 5, 8, 40}) {
    for (size_t rows : {1, 2, 6, 9}) {
      for (size_t outer : {7, 16, 40, 64, 100}) {
        ASSERT_NO_FATAL_FAILURE(
            Expect({.rows = rows, .inner = inner, .outer = outer, .values = Values::kWide}));
      }
    }
  }
}

TEST_F(ProductTest, LargeOddSizes) {
  for (const Case& c :
       {Case{.rows = 37, .inner = 1031, .outer = 67}, Case{.rows = 1, .inner = 2053, .outer = 193},
        Case{.rows = 16, .inner = 513, .outer = 130}, Case{.rows = 129, .inner = 67, .outer = 257}}) {
    ASSERT_NO_FATAL_FAILURE(Expect(c));
  }
}

TEST_F(ProductTest, RandomShapes) {
  std::mt19937_64 engine(seed_);
  const auto up_to = [&](size_t n) { return engine() % (n + 1); };
  for (int i = 0; i < 600; ++i) {
    ASSERT_NO_FATAL_FAILURE(Expect({.rows = up_to(25),
                                    .inner = up_to(90),
                                    .outer = up_to(200),
                                    .x_gap = up_to(9),
                                    .out_gap = up_to(9),
                                    .x_shift = up_to(15),
                                    .out_shift = up_to(15),
                                    .bias = up_to(1) == 1,
                                    .scale = up_to(1) == 1 ? 1.0f : 0.25f,
                                    .values = up_to(3) == 0 ? Values::kWide : Values::kNormal}));
  }
}

// A chain that no other order and no unfused arithmetic reproduces: 2^24 + 1 + ... needs its exact sequence.
TEST_F(ProductTest, OrderAndFusionMatter) {
  const float e = std::ldexp(1.0f, -12);
  // fma(1+e, 1+e, -(1+2e)) = e^2 exactly; an unfused product rounds e^2 away.
  const std::vector<float> x = {1.0f, 1 + e};
  const std::vector<float> w = {-(1 + 2 * e), 1 + e};
  const PackedMatrix packed = PackedMatrix::FromRows({w.data(), 1, 2});
  // 2^24 + 1 + 1 is 2^24 added upward and 2^24 + 2 in any other order.
  const std::vector<float> ones = {16777216.0f, 1.0f, 1.0f};
  const std::vector<float> units = {1.0f, 1.0f, 1.0f};
  const PackedMatrix packed_units = PackedMatrix::FromRows({units.data(), 1, 3});
  for (const KernelSet* set : AvailableKernelSets()) {
    SCOPED_TRACE(set->name);
    float out = 0;
    set->product(x.data(), 2, 1, packed.view(), nullptr, 1, &out, 1);
    EXPECT_EQ(out, e * e);
    set->product(ones.data(), 3, 1, packed_units.view(), nullptr, 1, &out, 1);
    EXPECT_EQ(out, 16777216.0f);
  }
}

// A cut view reads neither rows past its inner nor columns past its outer, and a range of panels is a product
// of its own.
TEST_F(ProductTest, CutViewsAndPanels) {
  RandomFloats random(seed_);
  const size_t rows = 7, inner = 40, outer = 150;
  const std::vector<float> x = random.Vector(rows * inner, Values::kNormal);
  for (WeightFormat format : kWeightFormats) {
    const RandomWeights w(random, outer, inner, Values::kNormal, format);
    const PackedMatrix& packed = w.packed;
    for (const KernelSet* set : AvailableKernelSets()) {
      SCOPED_TRACE(std::string(set->name) + " " + testing::Name(format));
      for (size_t cut_inner : {0, 1, 13, 40}) {
        for (size_t cut_outer : {1, 15, 64, 65, 149}) {
          std::vector<float> expected(rows * cut_outer), actual(rows * cut_outer);
          testing::ScalarProduct({x.data(), rows, cut_inner, inner},
                                 {w.numbers.data(), cut_outer, cut_inner, inner}, nullptr, 1,
                                 {expected.data(), rows, cut_outer});
          set->product(x.data(), inner, rows, packed.view(cut_inner, cut_outer), nullptr, 1, actual.data(),
                       cut_outer);
          EXPECT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()));
        }
      }
      std::vector<float> whole(rows * outer), parts(rows * outer);
      set->product(x.data(), inner, rows, packed.view(), nullptr, 1, whole.data(), outer);
      for (size_t p = 0; p < packed.view().panels(); ++p) {
        const PackedView panel = packed.view().Panels(p, 1);
        set->product(x.data(), inner, rows, panel, nullptr, 1, parts.data() + p * panel.panel_width, outer);
      }
      EXPECT_TRUE(BitsEqual(parts.data(), whole.data(), whole.size()));
    }
  }
}

// Every number that 16 bits can hold, the subnormal ones among them, in each lane of several tiles.
TEST_F(ProductTest, EveryNumberOf16BitsExpandsExactly) {
  for (WeightFormat format : {WeightFormat::kBfloat16, WeightFormat::kFloat16}) {
    std::vector<uint16_t> bits;
    std::vector<float> expected;
    for (uint32_t b = 0; b < 0x10000; ++b) {
      const uint32_t exponent = format == WeightFormat::kFloat16 ? 0x7C00 : 0x7F80;
      if ((b & exponent) == exponent) continue;  // infinity and NaN are no weights
      bits.push_back(static_cast<uint16_t>(b));
      expected.push_back(testing::Expanded(format, bits.back()));
    }
    const PackedMatrix packed = PackedMatrix::FromRows({bits.data(), bits.size(), 1}, format);
    const float one = 1;
    const uint32_t index[1 + kOpenListSlack] = {};
    const OpenSegment segment = {0, 1};
    for (const KernelSet* set : AvailableKernelSets()) {
      SCOPED_TRACE(std::string(set->name) + " " + testing::Name(format));
      std::vector<float> out(expected.size(), -1);
      set->product(&one, 1, 1, packed.view(), nullptr, 1, out.data(), out.size());
      EXPECT_TRUE(BitsEqual(out.data(), expected.data(), expected.size()));
      out.assign(expected.size(), -1);
      set->sparse_product({index, &one, &segment, 1, kWholeRowLog2Block}, 1, packed.view(), nullptr,
                          out.data(), out.size());
      EXPECT_TRUE(BitsEqual(out.data(), expected.data(), expected.size()));
    }
  }
}

// Many rows multiply panels that were expanded beforehand, unless these are too long: on both sides of both
// limits (kExpandTiles, kExpandInner) the numbers are those of float32 weights.
TEST_F(ProductTest, SixteenBitsAreTheirFloat32ForAnyNumberOfRows) {
  constexpr float kGuard = -123.25f;
  RandomFloats random(seed_);
  for (WeightFormat format : {WeightFormat::kBfloat16, WeightFormat::kFloat16}) {
    for (const auto& [inner, outer] :
         std::vector<std::pair<size_t, size_t>>{{21, 1}, {21, 40}, {33, 150}, {1024, 65}, {1025, 65}}) {
      const testing::RandomWeights w(random, outer, inner, Values::kNormal, format);
      const PackedMatrix wide = PackedMatrix::FromRows({w.numbers.data(), outer, inner});
      const std::vector<float> bias = random.Vector(outer, Values::kNormal);
      for (size_t rows : {1, 6, 7, 12, 13, 18, 19, 31}) {
        const size_t out_stride = outer + 3;
        const std::vector<float> x = random.Vector(rows * inner, Values::kNormal);
        for (const KernelSet* set : AvailableKernelSets()) {
          std::vector<float> expected(rows * out_stride, kGuard), actual(rows * out_stride, kGuard);
          set->product(x.data(), inner, rows, wide.view(), bias.data(), 0.5f, expected.data(), out_stride);
          set->product(x.data(), inner, rows, w.packed.view(), bias.data(), 0.5f, actual.data(), out_stride);
          ASSERT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()))
              << set->name << " " << testing::Name(format) << " rows " << rows << " inner " << inner
              << " outer " << outer;
        }
      }
    }
  }
}

// A chain cut anywhere along k and gone on with is the whole chain.
TEST_F(ProductTest, ContinuedChainsEqualTheWhole) {
  constexpr float kGuard = -123.25f;
  RandomFloats random(seed_);
  for (size_t outer : {1, 8, 15, 16, 17, 40, 64, 65, 150}) {
    for (size_t rows : {1, 2, 3, 4, 5, 6, 7, 13}) {
      for (size_t inner : {1, 2, 33}) {
        for (Values values : {Values::kNormal, Values::kWide}) {
          const size_t out_stride = outer + 3;
          const std::vector<float> x = random.Vector(rows * inner, values);
          const std::vector<float> w = random.Vector(outer * inner, values);
          const std::vector<float> bias = random.Vector(outer, values);
          std::vector<float> expected(rows * out_stride, kGuard);
          testing::ScalarProduct({x.data(), rows, inner}, {w.data(), outer, inner}, bias.data(), 1,
                                 {expected.data(), rows, outer, out_stride});
          for (const KernelSet* set : AvailableKernelSets()) {
            for (size_t cut : {size_t{0}, inner / 2, inner - 1, inner}) {
              const PackedMatrix before = PackedMatrix::FromRows({w.data(), outer, cut, inner});
              const PackedMatrix after = PackedMatrix::FromRows({w.data() + cut, outer, inner - cut, inner});
              std::vector<float> actual(rows * out_stride, kGuard);
              set->product(x.data(), inner, rows, before.view(), bias.data(), 1, actual.data(), out_stride);
              set->continue_product(x.data() + cut, inner, rows, after.view(), actual.data(), out_stride);
              ASSERT_TRUE(BitsEqual(actual.data(), expected.data(), expected.size()))
                  << set->name << " outer " << outer << " rows " << rows << " inner " << inner << " cut "
                  << cut;
            }
          }
        }
      }
    }
  }
}

// Rows are independent: any split of the batch gives the same bits.
TEST_F(ProductTest, BatchInvariance) {
  RandomFloats random(seed_);
  const size_t rows = 23, inner = 77, outer = 99;
  const std::vector<float> x = random.Vector(rows * inner, Values::kNormal);
  const std::vector<float> w = random.Vector(outer * inner, Values::kNormal);
  const PackedMatrix packed = PackedMatrix::FromRows({w.data(), outer, inner});
  for (const KernelSet* set : AvailableKernelSets()) {
    std::vector<float> whole(rows * outer), parts(rows * outer);
    set->product(x.data(), inner, rows, packed.view(), nullptr, 1, whole.data(), outer);
    for (size_t step : {1, 2, 4, 6, 9}) {
      for (size_t r = 0; r < rows; r += step) {
        set->product(x.data() + r * inner, inner, std::min(step, rows - r), packed.view(), nullptr, 1,
                     parts.data() + r * outer, outer);
      }
      EXPECT_TRUE(BitsEqual(parts.data(), whole.data(), whole.size()))
          << set->name << " in steps of " << step;
    }
  }
}

// Garbage in the columns past outer reaches no output.
TEST_F(ProductTest, PaddingIsNeverSeen) {
  RandomFloats random(seed_);
  const size_t inner = 11, outer = 21;
  const std::vector<float> x = random.Vector(6 * inner, Values::kNormal);
  std::vector<float> w = random.Vector(64 * inner, Values::kNormal);
  std::fill(w.begin() + outer * inner, w.end(), std::numeric_limits<float>::quiet_NaN());
  const PackedMatrix packed = PackedMatrix::FromRows({w.data(), 64, inner});
  for (const KernelSet* set : AvailableKernelSets()) {
    std::vector<float> out(6 * outer);
    set->product(x.data(), inner, 6, packed.view(inner, outer), nullptr, 1, out.data(), outer);
    EXPECT_TRUE(set->all_finite(out.data(), out.size())) << set->name;
  }
}

}  // namespace
}  // namespace splineserve
