// The gate of every SIMD target against the scalar one: values, bits, counts, margins, overflow.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/kernels/kernel_set.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::BitsEqual;
using testing::RandomFloats;
using testing::Values;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kTiniest = std::numeric_limits<float>::denorm_min();

::testing::AssertionResult Check(const std::vector<float>& x, size_t shift, bool square, bool want_bits,
                                 bool want_margin) {
  const size_t n = x.size();
  const size_t bytes = (n + 7) / 8;
  std::vector<float> expected = x;
  std::vector<uint8_t> expected_bits(bytes + 8, 0xAB);
  const GateRow wanted = testing::ScalarGate(expected.data(), n, square,
                                             want_bits ? expected_bits.data() : nullptr, want_margin);
  for (const KernelSet* set : AvailableKernelSets()) {
    const auto fail = [&](const std::string& what) {
      return ::testing::AssertionFailure()
             << set->name << " n " << n << " shift " << shift << " square " << square << " bits " << want_bits
             << " margin " << want_margin << ": " << what;
    };
    std::vector<float> buffer(shift + n + 16, 77.5f);
    std::copy(x.begin(), x.end(), buffer.begin() + shift);
    std::vector<uint8_t> bits(bytes + 8, 0xAB);
    const GateRow row =
        set->gate(buffer.data() + shift, n, square, want_bits ? bits.data() : nullptr, want_margin);
    const ::testing::AssertionResult same = BitsEqual(buffer.data() + shift, expected.data(), n);
    if (!same) return fail(same.message());
    for (size_t i = 0; i < buffer.size(); ++i) {
      if ((i < shift || i >= shift + n) && buffer[i] != 77.5f) return fail("wrote outside the row");
    }
    if (bits != expected_bits) return fail("other bits");
    if (row.open != wanted.open) return fail("open " + std::to_string(row.open));
    if (row.finite != wanted.finite) return fail("finite " + std::to_string(row.finite));
    if (row.margin != wanted.margin) return fail("margin " + std::to_string(row.margin));
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult CheckAll(const std::vector<float>& x, size_t shift) {
  for (int options = 0; options < 8; ++options) {
    ::testing::AssertionResult result =
        Check(x, shift, (options & 1) != 0, (options & 2) != 0, (options & 4) != 0);
    if (!result) return result;
  }
  return ::testing::AssertionSuccess();
}

TEST(GateTest, EverySizeAndMisalignment) {
  const uint64_t seed = testing::TestSeed();
  RandomFloats random(seed);
  for (size_t n = 0; n <= 200; ++n) {
    ASSERT_TRUE(CheckAll(random.Vector(n, Values::kNormal), n % 16)) << "seed " << seed;
    ASSERT_TRUE(CheckAll(random.Vector(n, Values::kWide), (n * 5) % 16)) << "seed " << seed;
  }
  ASSERT_TRUE(CheckAll(random.Vector(4099, Values::kNormal), 3)) << "seed " << seed;
}

// One special number at every place of short rows.
TEST(GateTest, SpecialNumbersAnywhere) {
  for (float special : {0.0f, -0.0f, kTiniest, -kTiniest, std::numeric_limits<float>::max(),
                        std::numeric_limits<float>::lowest(), std::numeric_limits<float>::min(), kInfinity,
                        -kInfinity, kNan, -kNan}) {
    for (size_t n : {1, 2, 7, 8, 9, 15, 16, 17, 20, 31, 33, 40}) {
      for (size_t at = 0; at < n; ++at) {
        for (float other : {1.0f, -1.0f}) {
          std::vector<float> x(n, other);
          x[at] = special;
          ASSERT_TRUE(CheckAll(x, at % 16)) << special << " at " << at;
        }
      }
    }
  }
}

TEST(GateTest, RowsOfOneKind) {
  for (float value : {0.0f, -0.0f, 1.0f, -1.0f, kTiniest, kInfinity, -kInfinity, kNan}) {
    for (size_t n : {1, 5, 16, 24, 37, 64, 65})
      ASSERT_TRUE(CheckAll(std::vector<float>(n, value), 0)) << value;
  }
}

// What SPEC 5 says in words, without the reference: ties closed, NaN closed, low bit first, last byte padded
// by zeros.
TEST(GateTest, MeaningInPlainNumbers) {
  for (const KernelSet* set : AvailableKernelSets()) {
    SCOPED_TRACE(set->name);
    std::vector<float> x = {2.0f, -3.0f, 0.0f, kTiniest, -0.0f, -kTiniest, 5.0f, -1.0f, 4.0f, -2.0f};
    uint8_t bits[3] = {0xFF, 0xFF, 0xFF};
    const GateRow row = set->gate(x.data(), x.size(), false, bits, true);
    EXPECT_EQ(bits[0], 0b01001001);
    EXPECT_EQ(bits[1], 0b00000001);
    EXPECT_EQ(bits[2], 0xFF) << "past the last byte";
    EXPECT_EQ(row.open, 4u);
    EXPECT_EQ(row.margin, 0.0f);
    EXPECT_TRUE(row.finite);
    EXPECT_EQ(x, (std::vector<float>{2, 0, 0, kTiniest, 0, 0, 5, 0, 4, 0}));

    std::vector<float> bad = {1.0f, kNan, 3.0f};
    const GateRow bad_row = set->gate(bad.data(), bad.size(), true, bits, true);
    EXPECT_EQ(bits[0], 0b101);
    EXPECT_FALSE(bad_row.finite);
    EXPECT_EQ(bad_row.margin, 1.0f);
    EXPECT_EQ(bad, (std::vector<float>{1, 0, 9}));

    const GateRow empty = set->gate(nullptr, 0, false, nullptr, true);
    EXPECT_EQ(empty.open, 0u);
    EXPECT_EQ(empty.margin, kInfinity);
    EXPECT_TRUE(empty.finite);
  }
}

}  // namespace
}  // namespace splineserve
