// Products of rounded numbers: bytes exactly, bfloat16 within the error of its float32 sum, on every SIMD
// target.
#include "core/kernels/low_precision.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/kernels/kernel_set.h"
#include "gtest/gtest.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using testing::RandomFloats;
using testing::Values;

struct Rounded {
  Rounded(Precision precision, const std::vector<float>& x, size_t rows, size_t inner)
      : stride(WordsFor(precision, inner)), words(rows * stride + 1), scales(rows) {
    for (size_t r = 0; r < rows; ++r) {
      RoundRow(precision, x.data() + r * inner, inner, words.data() + r * stride, &scales[r]);
    }
  }
  LowPrecisionRows view() const { return {words.data(), stride, scales.data()}; }
  size_t stride;
  std::vector<uint32_t> words;
  std::vector<float> scales;
};

float Bfloat16(float x) {
  uint32_t word = 0;
  float scale = 0;
  RoundRow(Precision::kBfloat16, &x, 1, &word, &scale);
  const uint32_t bits = word << 16;
  float y;
  static_assert(sizeof(y) == sizeof(bits));
  std::memcpy(&y, &bits, sizeof(y));
  return y;
}

class LowPrecisionTest : public ::testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }
  const uint64_t seed_ = testing::TestSeed();
  RandomFloats random_{seed_};
};

TEST_F(LowPrecisionTest, Bfloat16RoundsToNearestEven) {
  EXPECT_EQ(Bfloat16(1.0f), 1.0f);
  EXPECT_EQ(Bfloat16(1.0f + 0x1p-8f), 1.0f);              // a tie: to even
  EXPECT_EQ(Bfloat16(1.0f + 0x1.8p-7f), 1.0f + 0x1p-6f);  // a tie: to even, upward
  EXPECT_EQ(Bfloat16(1.0f + 0x1.02p-8f), 1.0f + 0x1p-7f);
  EXPECT_EQ(Bfloat16(-3.0f), -3.0f);
  EXPECT_TRUE(std::isinf(Bfloat16(std::numeric_limits<float>::infinity())));
  EXPECT_TRUE(std::isnan(Bfloat16(std::numeric_limits<float>::quiet_NaN())));
  for (int i = 0; i < 1000; ++i) {
    const float x = random_.Next(Values::kNormal);
    EXPECT_LE(std::abs(Bfloat16(x) - x), std::ldexp(std::abs(x), -8)) << x;
  }
}

TEST_F(LowPrecisionTest, BytesAreTheNearestSteps) {
  const std::vector<float> x = {0.0f, 127.0f, -127.0f, 0.4f, 0.6f, -63.7f, 2.5f};
  std::vector<uint32_t> words(2);
  float scale = 0;
  RoundRow(Precision::kInt8, x.data(), x.size(), words.data(), &scale);
  EXPECT_EQ(scale, 1.0f);
  const int expected[] = {0, 127, -127, 0, 1, -64, 2};
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(static_cast<int>((words[i / 4] >> (8 * (i % 4))) & 0xFF) - 128, expected[i]) << i;
  }
}

TEST_F(LowPrecisionTest, EveryTargetRoundsAlike) {
  for (Precision precision : {Precision::kBfloat16, Precision::kInt8}) {
    for (size_t n : {0, 1, 3, 4, 15, 16, 17, 31, 32, 33, 70}) {
      const std::vector<float> x = random_.Vector(n, Values::kNormal);
      const size_t words = WordsFor(precision, n);
      std::vector<uint32_t> expected(words + 1, 0), actual;
      float expected_scale = 0, scale = 0;
      RoundRow(precision, x.data(), n, expected.data(), &expected_scale);
      const size_t spare = words * NumbersPerWord(precision) - n;  // whatever it holds meets zero weights
      for (const KernelSet* set : AvailableKernelSets()) {
        actual.assign(words + 1, 0);
        set->round_row(precision, x.data(), n, actual.data(), &scale);
        if (precision == Precision::kInt8 && spare > 0) {
          const uint32_t used = (uint32_t{1} << (8 * (4 - spare))) - 1;
          actual[words - 1] &= used;
          expected[words - 1] &= used;
        }
        EXPECT_EQ(actual, expected) << set->name << " n " << n << " " << PrecisionName(precision);
        EXPECT_EQ(scale, expected_scale);
      }
    }
  }
}

TEST_F(LowPrecisionTest, NonFiniteRowsStayNonFinite) {
  for (Precision precision : {Precision::kBfloat16, Precision::kInt8}) {
    for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> x(9, 1.0f), w(9, 1.0f), out(1);
      x[4] = bad;
      const Rounded rows(precision, x, 1, 9);
      const LowPrecisionMatrix m =
          LowPrecisionMatrix::Round(PackedMatrix::FromRows({w.data(), 1, 9}), precision);
      for (const KernelSet* set : AvailableKernelSets()) {
        set->low_precision_product(rows.view(), 1, m.view(), nullptr, out.data(), 1);
        EXPECT_FALSE(std::isfinite(out[0])) << set->name << " " << PrecisionName(precision);
      }
    }
  }
}

TEST_F(LowPrecisionTest, BytesAreSummedExactly) {
  for (size_t outer : {1, 7, 16, 33, 48, 64, 65, 130}) {
    for (size_t inner : {1, 3, 4, 5, 64, 203}) {
      for (size_t rows : {1, 2, 5, 6, 7, 13}) {
        const std::vector<float> x = random_.Vector(rows * inner, Values::kNormal);
        const std::vector<float> w = random_.Vector(outer * inner, Values::kNormal);
        const std::vector<float> bias = random_.Vector(outer, Values::kNormal);
        const LowPrecisionMatrix m =
            LowPrecisionMatrix::Round(PackedMatrix::FromRows({w.data(), outer, inner}), Precision::kInt8);
        const Rounded r(Precision::kInt8, x, rows, inner);
        // The specification: q = round(127 w / max |w|), one exact sum, one fma.
        std::vector<float> expected(rows * outer);
        for (size_t n = 0; n < outer; ++n) {
          float largest = 0;
          for (size_t k = 0; k < inner; ++k) largest = std::max(largest, std::abs(w[n * inner + k]));
          const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
          for (size_t row = 0; row < rows; ++row) {
            int64_t sum = 0;
            for (size_t k = 0; k < inner; ++k) {
              const int q = static_cast<int>(std::nearbyint(w[n * inner + k] * inverse));
              const int byte = static_cast<int>((r.words[row * r.stride + k / 4] >> (8 * (k % 4))) & 0xFF);
              sum += q * (byte - 128);
            }
            expected[row * outer + n] =
                std::fma(static_cast<float>(sum), r.scales[row] * (largest / 127.0f), bias[n]);
          }
        }
        for (const KernelSet* set : AvailableKernelSets()) {
          std::vector<float> out(rows * outer + 1, -3.0f);
          set->low_precision_product(r.view(), rows, m.view(), bias.data(), out.data(), outer);
          for (size_t i = 0; i < expected.size(); ++i) {
            ASSERT_EQ(out[i], expected[i]) << set->name << " outer " << outer << " inner " << inner;
          }
          ASSERT_EQ(out.back(), -3.0f);
        }
      }
    }
  }
}

TEST_F(LowPrecisionTest, Bfloat16IsWithinTheErrorOfItsSum) {
  for (size_t outer : {1, 16, 33, 64, 65}) {
    for (size_t inner : {1, 2, 5, 64, 203}) {
      for (size_t rows : {1, 2, 6, 7}) {
        const std::vector<float> x = random_.Vector(rows * inner, Values::kNormal);
        const std::vector<float> w = random_.Vector(outer * inner, Values::kNormal);
        const std::vector<float> bias = random_.Vector(outer, Values::kNormal);
        const LowPrecisionMatrix m =
            LowPrecisionMatrix::Round(PackedMatrix::FromRows({w.data(), outer, inner}), Precision::kBfloat16);
        const Rounded r(Precision::kBfloat16, x, rows, inner);
        for (const KernelSet* set : AvailableKernelSets()) {
          std::vector<float> out(rows * outer);
          set->low_precision_product(r.view(), rows, m.view(), bias.data(), out.data(), outer);
          for (size_t row = 0; row < rows; ++row) {
            for (size_t n = 0; n < outer; ++n) {
              double sum = bias[n], size = std::abs(bias[n]);
              for (size_t k = 0; k < inner; ++k) {
                const double product =
                    double{Bfloat16(x[row * inner + k])} * double{Bfloat16(w[n * inner + k])};
                sum += product;
                size += std::abs(product);
              }
              // inner + 2 additions of float32, each off by at most 2^-24 of a partial sum; twice that where
              // the product is rounded on its own.
              const double bound = std::ldexp(2.0 * static_cast<double>(inner + 2) * size, -24);
              ASSERT_NEAR(out[row * outer + n], sum, bound) << set->name << " inner " << inner;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace splineserve
