// Chebyshev series against plain sums, and sign changes against polynomials made from their roots.
#include "core/spline/chebyshev.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/spline/sign_change.h"
#include "gtest/gtest.h"
#include "tests/engine/random_model.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

// sum_k c[k] cos(k acos x): the definition.
double Slow(const std::vector<double>& c, double x) {
  double sum = 0;
  for (size_t k = 0; k < c.size(); ++k) sum += c[k] * std::cos(static_cast<double>(k) * std::acos(x));
  return sum;
}

std::vector<double> RandomSeries(Random* random, size_t n) {
  std::vector<double> c(n);
  for (double& value : c) value = static_cast<double>(random->Normal());
  return c;
}

// The series of f through its samples.
template <typename F>
std::vector<double> SeriesOf(const F& f, size_t n) {
  const std::vector<double> points = ChebyshevPoints(n);
  Row64 samples(static_cast<Eigen::Index>(n));
  for (size_t k = 0; k < n; ++k) samples[static_cast<Eigen::Index>(k)] = f(points[k]);
  const Row64 c = samples * ChebyshevTransform(n);
  return {c.data(), c.data() + n};
}

TEST(ChebyshevTest, SamplesDetermineTheSeries) {
  Random random(TestSeed());
  for (size_t n = 1; n <= 100; ++n) {
    const std::vector<double> c = RandomSeries(&random, n);
    const std::vector<double> back = SeriesOf([&](double x) { return Slow(c, x); }, n);
    for (size_t k = 0; k < n; ++k) ASSERT_NEAR(back[k], c[k], 1e-12) << "n " << n << ", k " << k;
  }
}

TEST(ChebyshevTest, EvaluatesRestrictsAndDifferentiates) {
  Random random(TestSeed());
  for (size_t n = 1; n <= 60; ++n) {
    const std::vector<double> c = RandomSeries(&random, n);
    const double lo = -1 + random.Uniform(), hi = lo + (1 - lo) * random.Uniform();
    const std::vector<double> part = RestrictedTo(c, lo, hi), slope = DerivativeOf(c);
    for (int i = 0; i < 10; ++i) {
      const double x = 2 * random.Uniform() - 1;
      ASSERT_NEAR(EvaluateSeries(c, x), Slow(c, x), 1e-12 * static_cast<double>(n));
      ASSERT_NEAR(EvaluateSeries(part, x), Slow(c, lo + (hi - lo) * (x + 1) / 2), 1e-11);
      // d/dx T_k = k sin(k a) / sin(a), x = cos a.
      double expected = 0;
      const double a = std::acos(x);
      for (size_t k = 1; k < n; ++k) {
        expected += c[k] * static_cast<double>(k) * std::sin(static_cast<double>(k) * a) / std::sin(a);
      }
      ASSERT_NEAR(EvaluateSeries(slope, x), expected, 1e-9 * static_cast<double>(n * n));
    }
  }
}

TEST(ChebyshevTest, BernsteinFormIsTheSamePolynomial) {
  Random random(TestSeed());
  for (size_t n = 1; n <= 28; ++n) {
    const std::vector<double> c = RandomSeries(&random, n);
    const std::vector<double> b = ToBernstein(c);
    ASSERT_EQ(b.size(), n);
    EXPECT_NEAR(b.front(), Slow(c, -1), 1e-12 * static_cast<double>(n));
    EXPECT_NEAR(b.back(), Slow(c, 1), 1e-12 * static_cast<double>(n));
    for (int i = 0; i < 5; ++i) {
      const double u = random.Uniform();
      std::vector<double> casteljau = b;
      for (size_t k = n - 1; k > 0; --k) {
        for (size_t j = 0; j < k; ++j) casteljau[j] = (1 - u) * casteljau[j] + u * casteljau[j + 1];
      }
      const double largest = std::abs(*std::max_element(
          b.begin(), b.end(), [](double x, double y) { return std::abs(x) < std::abs(y); }));
      EXPECT_NEAR(casteljau[0], Slow(c, 2 * u - 1), 1e-13 * largest + 1e-12) << "n " << n;
    }
  }
}

TEST(ChebyshevTest, GaussLegendreIntegratesPowers) {
  for (size_t n = 1; n <= 50; ++n) {
    const Quadrature rule = GaussLegendre(n);
    for (size_t power = 0; power < 2 * n; ++power) {
      double sum = 0;
      for (size_t k = 0; k < n; ++k)
        sum += rule.weights[k] * std::pow(rule.nodes[k], static_cast<double>(power));
      EXPECT_NEAR(sum, power % 2 == 0 ? 2 / static_cast<double>(power + 1) : 0, 1e-13) << n << " " << power;
    }
  }
}

// Polynomials with chosen roots: the first one of odd multiplicity, from positive to negative, is found.
TEST(SignChangeTest, FindsTheFirstOfChosenRoots) {
  Random random(TestSeed());
  for (int i = 0; i < 20000; ++i) {
    const size_t degree = random.Between(1, 12);
    std::vector<double> roots;
    for (size_t r = 0; r < degree; ++r) roots.push_back(3 * random.Uniform() - 1.5);
    std::sort(roots.begin(), roots.end());
    double scale = 1;
    const auto polynomial = [&](double x) {
      double product = scale;
      for (double root : roots) product *= x - root;
      return product;
    };
    double expected = kNowhere;
    for (double root : roots) {
      if (root > -1) {
        expected = root;
        break;
      }
    }
    if (polynomial(-1) < 0) scale = -1;  // positive until the first root
    const std::vector<double> c = SeriesOf(polynomial, degree + 1);
    const SignChange change = FirstNegative(c, {.delta = 1e-15});
    SCOPED_TRACE(absl::StrCat("polynomial ", i, " of degree ", degree));
    if (change.uncertain != kNowhere) continue;  // two roots nearer than rounding allows to tell
    if (expected > 1) {
      ASSERT_EQ(change.location, kNowhere);
    } else {
      ASSERT_NEAR(change.location, expected, change.error + 1e-9);
    }
  }
}

TEST(SignChangeTest, ATouchIsUncertainNotMissed) {
  // (x - 0.3)^2: never negative, but by less than any delta. And lowered by more than delta: found.
  const auto touch = [](double below) {
    return SeriesOf([below](double x) { return (x - 0.3) * (x - 0.3) - below; }, 3);
  };
  const SignChange at = FirstNegative(touch(0), {.delta = 1e-14});
  EXPECT_EQ(at.location, kNowhere);
  EXPECT_NEAR(at.uncertain, 0.3, 1e-6);
  const SignChange below = FirstNegative(touch(1e-8), {.delta = 1e-14});
  EXPECT_NEAR(below.location, 0.3 - 1e-4, 1e-9);
  EXPECT_EQ(below.uncertain, kNowhere);
  const SignChange above = FirstNegative(touch(-1e-8), {.delta = 1e-14});
  EXPECT_EQ(above.location, kNowhere);
  EXPECT_EQ(above.uncertain, kNowhere);
}

TEST(SignChangeTest, TheBeginningMayBeARoot) {
  // Rising from a rounded root at -1: no change. Falling: a change at -1.
  const std::vector<double> rising = {1.0 - 1e-15, 1.0};
  EXPECT_EQ(FirstNegative(rising, {.delta = 1e-14, .limit = 1, .zero_at_begin = true}).location, kNowhere);
  // Without that knowledge it may be negative first.
  EXPECT_EQ(FirstNegative(rising, {.delta = 1e-14}).uncertain, -1);
  const std::vector<double> falling = {-1.0 + 1e-15, -1.0};
  EXPECT_EQ(FirstNegative(falling, {.delta = 1e-14, .limit = 1, .zero_at_begin = true}).location, -1);
  EXPECT_EQ(FirstNegative(std::vector<double>{-1.0}, {.delta = 1e-14}).location, -1);
}

TEST(SignChangeTest, LooksNoFurtherThanTheLimit) {
  const std::vector<double> falling = {0.0, -1.0};  // root at 0
  EXPECT_NEAR(FirstNegative(falling, {.delta = 1e-15, .limit = 0.5}).location, 0, 1e-12);
  EXPECT_EQ(FirstNegative(SeriesOf([](double x) { return 0.9 - x + 1e-3 * x * x * x; }, 4),
                          {.delta = 1e-15, .limit = -0.5})
                .uncertain,
            kNowhere);
}

}  // namespace
}  // namespace splineserve::testing
