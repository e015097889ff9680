// The arithmetic under the smoothing's bounds: pairs against integers of 128 bits, gates against brute force.
#include "core/spline/paired_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "core/spline/compensated.h"

namespace splineserve {
namespace {

using Eigen::Index;
__extension__ using Int128 = __int128;

constexpr uint64_t kSeed = 20261125;

// Integers of about 2^60, of either sign, in pairs: 52 bits in the high part, 7 below it.
class RandomPairs {
 public:
  int64_t Next() {
    const auto high = static_cast<int64_t>(engine_() >> 12) - (int64_t{1} << 51);
    return high * 256 + static_cast<int64_t>(engine_() % 255) - 127;
  }
  int64_t Small(int bits) {
    return static_cast<int64_t>(engine_() >> (64 - bits)) - (int64_t{1} << (bits - 1));
  }

 private:
  std::mt19937_64 engine_{kSeed};
};

void Set(PairedRows& rows, Index r, Index c, int64_t value) {
  rows.spline(r, c) = static_cast<double>(value);
  rows.low(r, c) = static_cast<double>(value - static_cast<int64_t>(rows.spline(r, c)));
}

// |exact - (spline + low)|, and that it is within the bound, which is small beside the sum of magnitudes.
void ExpectWithin(Int128 exact, double magnitudes, const PairedRows& rows, Index r, Index c) {
  const Int128 found =
      static_cast<Int128>(rows.spline(r, c)) + static_cast<Int128>(std::llrint(rows.low(r, c)));
  const auto error = static_cast<double>(exact - found);
  EXPECT_LE(std::abs(error), rows.rounding(r, c) + 1);  // 1: of llrint
  EXPECT_LE(rows.rounding(r, c), 1e-24 * magnitudes);
  EXPECT_LE(std::abs(rows.low(r, c)), std::ldexp(std::abs(rows.spline(r, c)), -53));
}

TEST(CompensatedTest, SumsProductsAndHalvesAreExact) {
  RandomPairs random;
  for (int i = 0; i < 10000; ++i) {
    const int64_t a = random.Small(53), b = random.Small(40);
    const Pair sum = TwoSum(static_cast<double>(a), static_cast<double>(b) * 0x1p40);
    EXPECT_EQ(static_cast<Int128>(sum.high) + static_cast<Int128>(sum.low),
              a + static_cast<Int128>(b) * (int64_t{1} << 40));
    const Pair product = TwoProduct(static_cast<double>(a), static_cast<double>(b));
    EXPECT_EQ(static_cast<Int128>(product.high) + static_cast<Int128>(product.low),
              static_cast<Int128>(a) * b);
    const Pair half = Split(static_cast<double>(a));
    EXPECT_EQ(half.high + half.low, static_cast<double>(a));
    for (const double part : {half.high, half.low}) {
      int exponent = 0;
      const double digits = std::ldexp(std::frexp(part, &exponent), 26);
      EXPECT_EQ(digits, std::floor(digits)) << a;
    }
  }
}

TEST(PairedRowsTest, AffineMapsArePairsWithinTheirRounding) {
  RandomPairs random;
  const Index rows = 5, inner = 61, outer = 19;
  PairedRows x = PairedRows::Zero(rows, inner);
  std::vector<int64_t> values;
  for (Index r = 0; r < rows; ++r) {
    for (Index k = 0; k < inner; ++k) {
      values.push_back(random.Next());
      Set(x, r, k, values.back());
    }
  }
  std::vector<float> w(static_cast<size_t>(inner * outer)), bias(static_cast<size_t>(outer));
  for (float& each : w) each = static_cast<float>(random.Small(24));
  for (float& each : bias) each = static_cast<float>(random.Small(24));
  AffineMap map;
  map.weight = PackedMatrix::FromRows({w.data(), static_cast<size_t>(outer), static_cast<size_t>(inner)});
  map.bias = AlignedBuffer<float>(static_cast<size_t>(outer));
  std::copy(bias.begin(), bias.end(), map.bias.data());
  const PairedRows y = Apply(map, x);
  bool any_low = false;
  for (Index r = 0; r < rows; ++r) {
    for (Index n = 0; n < outer; ++n) {
      auto exact = static_cast<Int128>(bias[static_cast<size_t>(n)]);
      double magnitudes = 0;
      for (Index k = 0; k < inner; ++k) {
        const auto weight = static_cast<int64_t>(w[static_cast<size_t>(n * inner + k)]);
        exact += static_cast<Int128>(values[static_cast<size_t>(r * inner + k)]) * weight;
        magnitudes += std::abs(x.spline(r, k) * static_cast<double>(weight));
      }
      ExpectWithin(exact, magnitudes, y, r, n);
      any_low = any_low || y.low(r, n) != 0;
    }
  }
  EXPECT_TRUE(any_low);
}

TEST(PairedRowsTest, ProductsSumsAndScalingsArePairsWithinTheirRounding) {
  RandomPairs random;
  const Index inner = 33;
  for (int turn = 0; turn < 50; ++turn) {
    PairedRows large = PairedRows::Zero(1, inner), small = PairedRows::Zero(inner, 1);
    std::vector<int64_t> a, b;
    for (Index k = 0; k < inner; ++k) {
      a.push_back(random.Next());
      b.push_back(random.Small(50));
      Set(large, 0, k, a.back());
      Set(small, k, 0, b.back());
    }
    Int128 product = 0, total = 0;
    double magnitudes = 0, total_magnitudes = 0;
    for (size_t k = 0; k < a.size(); ++k) {
      product += static_cast<Int128>(a[k]) * b[k];
      total += a[k];
      magnitudes += std::abs(static_cast<double>(a[k]) * static_cast<double>(b[k]));
      total_magnitudes += std::abs(static_cast<double>(a[k]));
    }
    ExpectWithin(product, magnitudes, Product(large, small), 0, 0);
    ExpectWithin(product, magnitudes, Product(small.Transposed(), large.Transposed()), 0, 0);
    ExpectWithin(total, total_magnitudes, ColumnSums(large.Transposed()), 0, 0);
    const PairedRows one = large.Block(0, 1, 0, 1), other = large.Block(0, 1, 1, 1);
    const double first = std::abs(static_cast<double>(a[0])), second = std::abs(static_cast<double>(a[1]));
    ExpectWithin(static_cast<Int128>(a[0]) + a[1], first + second, Sum(one, other), 0, 0);
    ExpectWithin(static_cast<Int128>(a[0]) * 12345, first * 12345, Scaled(12345, one), 0, 0);
    // Back and forth.
    ExpectWithin(a[0], 2 * first, Divided(Scaled(7, one), Eigen::ArrayXd::Constant(1, 7)), 0, 0);
  }
}

double Softplus(double x, double beta) {
  return std::max(x, 0.0) + std::log1p(std::exp(-beta * std::abs(x))) / beta;
}

// Every s that is within the rounding, every s' that is within the bound.
double LargestDifference(double s, double rounding, double bound, double beta) {
  double largest = 0;
  constexpr int kSteps = 40;
  for (int i = -kSteps; i <= kSteps; ++i) {
    const double argument = s + rounding * i / kSteps;
    for (int j = -kSteps; j <= kSteps; ++j) {
      const double other = argument + bound * j / kSteps;
      largest = std::max(largest, std::abs(Softplus(other, beta) - std::max(argument, 0.0)));
    }
  }
  return largest;
}

TEST(PairedRowsTest, GatesAreBoundedByTheirLargestDifferenceAndNoMore) {
  std::mt19937_64 engine(kSeed);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int i = 0; i < 3000; ++i) {
    const double beta = std::pow(10, 4 * uniform(engine) - 1), bound = 2 * uniform(engine) / beta;
    const double s = (6 * uniform(engine) - 3) / beta, rounding = i % 3 == 0 ? 0 : uniform(engine) / beta;
    PairedRows x = PairedRows::Zero(1, 1);
    x.spline(0, 0) = s;
    x.rounding(0, 0) = rounding;
    x.bound[kUniform](0, 0) = x.bound[kAtGates](0, 0) = bound;
    const PairedRows y = Gated(beta, x);
    const double largest = LargestDifference(s, rounding, bound, beta);
    SCOPED_TRACE(testing::Message() << "beta " << beta << " s " << s << " rounding " << rounding << " bound "
                                    << bound);
    EXPECT_EQ(y.spline(0, 0), std::max(s, 0.0));
    EXPECT_EQ(y.rounding(0, 0), s + rounding < 0 ? 0 : rounding);
    EXPECT_NEAR(y.smoothed(0, 0), Softplus(0, beta), 1e-12 / beta);
    EXPECT_GE(y.bound[kAtGates](0, 0), largest * (1 - 1e-12));
    // The grid misses the worst argument by 1/40 of the rounding at most, and slopes are at most 1.
    EXPECT_LE(y.bound[kAtGates](0, 0), (largest + rounding / 40) * (1 + 1e-9));
    EXPECT_NEAR(y.bound[kUniform](0, 0), bound + std::log(2) / beta, 1e-12 / beta);
    EXPECT_LE(y.bound[kAtGates](0, 0), y.bound[kUniform](0, 0) * (1 + 1e-12));
  }
}

}  // namespace
}  // namespace splineserve
