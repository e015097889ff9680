// Smooth activations against the textbook formulas in long double (64 bits of mantissa here).
//
// Tolerance: the kernels compute in float64 with a few operations, each good to a few units of 2^-53, and
// round once to float32: half a unit in the last place of the result. 1/64 of a unit more covers the float64
// part many times over.
#include "core/kernels/activations.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using Real = long double;

// A unit in the last place of float32 at x.
Real Ulp(Real x) {
  const Real tiniest = std::numeric_limits<float>::denorm_min();
  return x == 0 ? tiniest : std::max(std::ldexp(1.0L, std::ilogb(x) - 23), tiniest);
}

bool Near(float actual, Real expected, Real ulps) {
  return std::abs(static_cast<Real>(actual) - expected) <= ulps * Ulp(expected);
}

constexpr Real kOnce = 0.5L + 1.0L / 64;

// All signs and magnitudes, and the numbers at which formulas usually break.
std::vector<float> Arguments() {
  std::vector<float> x = {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-45f, 1e20f, -1e20f, 3e38f, -3e38f};
  for (float v = -110; v <= 110; v += 0.37f) x.push_back(v);
  testing::RandomFloats random(testing::TestSeed());
  for (int i = 0; i < 2000; ++i) x.push_back(random.Next(testing::Values::kNormal));
  return x;
}

template <class Kernel, class Formula>
void Expect(const Kernel& kernel, const Formula& formula) {
  const std::vector<float> x = Arguments();
  std::vector<float> y = x;
  kernel(y.data(), y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const Real expected = formula(static_cast<Real>(x[i]));
    ASSERT_TRUE(Near(y[i], expected, kOnce)) << "f(" << x[i] << ") = " << y[i] << ", expected " << expected;
    // One step further away from the truth would be refused, so the tolerance means something.
    const float planted = std::nextafter(y[i], y[i] < expected ? -INFINITY : INFINITY);
    ASSERT_FALSE(Near(planted, expected, kOnce)) << "planted error at " << x[i];
  }
  kernel(nullptr, 0);
}

TEST(ActivationsTest, Softplus) {
  for (float beta : {1.0f, 0.5f, 4.0f}) {
    Expect([beta](float* x, size_t n) { Softplus(x, n, beta); },
           [beta](Real x) {
             const Real t = beta * x;
             return (t > 0 ? t + std::log1p(std::exp(-t)) : std::log1p(std::exp(t))) / beta;
           });
  }
}

TEST(ActivationsTest, Gelu) {
  const Real root_two = std::numbers::sqrt2_v<Real>;
  Expect(Gelu, [&](Real x) { return x / 2 * std::erfc(-x / root_two); });
}

TEST(ActivationsTest, GeluTanh) {
  const Real factor = std::sqrt(2 / std::numbers::pi_v<Real>);
  // (1 + tanh u)/2 = 1/(1 + exp(-2u)) without cancellation.
  Expect(GeluTanh, [&](Real x) { return x / (1 + std::exp(-2 * factor * (x + 0.044715L * x * x * x))); });
}

TEST(ActivationsTest, Silu) {
  Expect(Silu, [](Real x) { return x / (1 + std::exp(-x)); });
}

// The definitions as they are usually written, where they do not cancel.
TEST(ActivationsTest, AgreeWithTheDefinitions) {
  for (Real x = -2; x <= 4; x += 0.125L) {
    float y = static_cast<float>(x);
    Gelu(&y, 1);
    EXPECT_NEAR(y, static_cast<double>(x / 2 * (1 + std::erf(x / std::numbers::sqrt2_v<Real>))), 1e-6);
    y = static_cast<float>(x);
    GeluTanh(&y, 1);
    const Real u = std::sqrt(2 / std::numbers::pi_v<Real>) * (x + 0.044715L * x * x * x);
    EXPECT_NEAR(y, static_cast<double>(x / 2 * (1 + std::tanh(u))), 1e-6);
    y = static_cast<float>(x);
    Softplus(&y, 1, 2.0f);
    EXPECT_NEAR(y, static_cast<double>(std::log(1 + std::exp(2 * x)) / 2), 1e-6);
  }
}

// Rounded twice: the exponential to 2^-24 of itself, up to one unit of the quotient where that has a small
// mantissa; and the quotient to half a unit. Where the exponential is subnormal its error is half the
// smallest subnormal, and the sum it is divided by is at least 1.
TEST(SoftmaxTest, MatchesTheFormula) {
  testing::RandomFloats random(testing::TestSeed());
  const Real tolerance = 1.5L + 1.0L / 64;
  for (size_t n = 0; n <= 70; ++n) {
    for (float spread : {0.01f, 1.0f, 30.0f}) {
      std::vector<float> x = random.Vector(n, testing::Values::kNormal);
      for (float& v : x) v *= spread;
      Real largest = -std::numeric_limits<Real>::infinity(), sum = 0;
      for (float v : x) largest = std::max(largest, static_cast<Real>(v));
      for (float v : x) sum += std::exp(v - largest);
      std::vector<float> y = x;
      Softmax(y.data(), n);
      for (size_t i = 0; i < n; ++i) {
        const Real expected = std::exp(x[i] - largest) / sum;
        ASSERT_TRUE(Near(y[i], expected, tolerance)) << n << " " << spread << " " << i;
        ASSERT_FALSE(Near(y[i] + static_cast<float>(4 * Ulp(expected)), expected, tolerance))
            << "planted error";
      }
    }
  }
}

TEST(SoftmaxTest, DoesNotOverflow) {
  std::vector<float> x = {3e38f, 3e38f, -3e38f};
  Softmax(x.data(), x.size());
  EXPECT_EQ(x, (std::vector<float>{0.5f, 0.5f, 0.0f}));
}

}  // namespace
}  // namespace splineserve
