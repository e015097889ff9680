// What is no spline that an encoder can be, and limits.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/spline/compile/compile.h"
#include "core/spline/compile/degree_plan.h"
#include "tests/format/failure.h"

namespace splineserve {
namespace {

using testing::FailsWith;
using testing::Refused;

constexpr double kInf = std::numeric_limits<double>::infinity();

absl::StatusOr<CompiledSpline> Compile(const SplineSource& source, const CompileOptions& options = {}) {
  return CompileSpline(source, options);
}

// |x - 1| + 1 on [0, 1] and [1, 3].
PiecewisePolynomial Corner() { return {{0, 1, 3}, 1, 1, {-1, 1, 2, 1}}; }

TEST(PiecewiseRefusals, Knots) {
  ASSERT_TRUE(Compile(Corner()).ok());
  const std::pair<std::vector<double>, std::vector<std::string>> cases[] = {
      {{0, 3, 1}, {"x[2]", "x[1] = 3 or more", "do not decrease", "found 1"}},
      {{3, 1, 0}, {"x[1]"}},
      {{2, 2, 2}, {"at least 2 different knots, found 2 alone"}},
      {{0, NAN, 3}, {"x[1]", "finite"}},
      {{0, 1, kInf}, {"x[2]", "finite"}},
      {{0}, {"at least 2 knots, found 1"}},
      {{}, {"at least 2 knots, found 0"}}};
  for (const auto& [knots, pieces] : cases) {
    PiecewisePolynomial spline = Corner();
    spline.knots = knots;
    EXPECT_TRUE(Refused(Compile(spline), pieces));
  }
}

TEST(PiecewiseRefusals, Coefficients) {
  PiecewisePolynomial spline = Corner();
  spline.coefficients[3] = NAN;
  EXPECT_TRUE(Refused(Compile(spline), {"c[1, 1, 0]", "finite", "nan"}));
  spline = Corner();
  spline.coefficients.pop_back();
  EXPECT_TRUE(Refused(Compile(spline), {"c: expected 2 x 2 x 1 numbers, found 3"}));
  spline = Corner();
  spline.outputs = 0;
  EXPECT_TRUE(Refused(Compile(spline), {"c: expected"}));
  spline = Corner();
  spline.degree = kMaxSplineDegree + 1;
  EXPECT_TRUE(Refused(Compile(spline), {"at most 243, found 244"}));
  spline = Corner();
  spline.coefficients = {1e308, 1, 1e308, 1};
  spline.knots = {0, 1, 1e9};
  EXPECT_TRUE(Refused(Compile(spline), {"c: "}));
}

TEST(PiecewiseRefusals, JumpsAreNamedAndRoundingIsNot) {
  PiecewisePolynomial spline = Corner();
  spline.coefficients[3] = 1.25;
  EXPECT_TRUE(Refused(Compile(spline), {"knot x[1] = 1", "found 1 from the left and 1.25 from the right",
                                        "output 0", "a jump of 0.25"}));
  // A float32 table misses its knots by more than float64 rounding, unless one says that this is meant.
  spline.coefficients[3] = 1 + 1e-7;
  EXPECT_TRUE(Refused(Compile(spline), {"a jump of 1e-07"}));
  CompileOptions options;
  options.join_tolerance = 1e-6;
  const auto compiled = Compile(spline, options);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  EXPECT_NEAR(compiled->largest_jump, 1e-7, 1e-12);
  EXPECT_GE(compiled->error_bound[0], compiled->largest_jump);
  spline.coefficients[3] = 1 + 4e-16;
  EXPECT_TRUE(Compile(spline).ok());
  // The second output's fault.
  PiecewisePolynomial two = {{0, 1, 3}, 1, 2, {-1, 0, 1, 0, 2, 5, 1, 6}};
  EXPECT_TRUE(Refused(Compile(two), {"output 1", "found 5 from the left and 6 from the right"}));
}

TEST(PiecewiseRefusals, BeyondFloat32) {
  PiecewisePolynomial spline = Corner();
  spline.knots = {0, 1e-300, 3e-300};
  spline.coefficients = {0, 0, 1, 1};
  EXPECT_TRUE(Refused(Compile(spline), {"knots 0 and 1e-300", "rescale"}));
  spline.knots = {0, 1e60, 3e60};
  EXPECT_TRUE(Refused(Compile(spline), {"rescale"}));
  spline = Corner();
  for (double& c : spline.coefficients) c *= 1e39;
  EXPECT_FALSE(Compile(spline).ok());
  // In the domain, but only beyond the knots.
  CompileOptions options;
  options.domain = {{-1e20, 1e20}};
  const PiecewisePolynomial square = {{0, 1}, 2, 1, {1, 0, 0}};
  EXPECT_TRUE(
      FailsWith(Compile(square, options).status(), absl::StatusCode::kOutOfRange, {"overflow float32"}));
}

TEST(PiecewiseRefusals, DomainAndSize) {
  CompileOptions options;
  options.domain = {{1, 1}};
  EXPECT_TRUE(Refused(Compile(Corner(), options), {"domain", "1:1"}));
  options.domain = {{0, 1}, {0, 1}};
  EXPECT_TRUE(
      Refused(Compile(Corner(), options), {"domain: expected an interval for each of 1 variables, found 2"}));
  options.domain = {{0, NAN}};
  EXPECT_TRUE(Refused(Compile(Corner(), options), {"domain"}));
  options.domain.clear();
  options.max_bytes = 100;
  EXPECT_TRUE(Refused(Compile(Corner(), options), {"too large", "at most 100 bytes", "found 2 pieces"}));
  options.max_bytes = 300;
  EXPECT_TRUE(
      Refused(Compile(Corner(), options), {"too large", "at most 300 bytes", "layers", "hidden size"}));
  // At once, before anything of that size is made.
  PiecewisePolynomial long_one;
  for (int i = 0; i <= 200'000; ++i) long_one.knots.push_back(i);
  long_one.coefficients.assign(200'000, 1.0);
  EXPECT_TRUE(Refused(Compile(long_one), {"too large", "found 200000 pieces"}));
  TensorSpline cube;
  for (int v = 0; v < 3; ++v) {
    cube.knots.emplace_back();
    for (int i = 0; i < 32; ++i) cube.knots[v].push_back(i);
    cube.degrees.push_back(1);
  }
  cube.coefficients.assign(30 * 30 * 30, 0.0);
  options.max_bytes = size_t{1} << 20;
  EXPECT_TRUE(Refused(Compile(cube, options), {"too large", "these knots"}));
}

TensorSpline Bilinear() { return {{{0, 0, 1, 1}, {0, 0, 2, 2}}, {1, 1}, 1, {0, 0, 0, 2}}; }

TEST(TensorRefusals, EachIsNamed) {
  ASSERT_TRUE(Compile(Bilinear()).ok());
  TensorSpline spline = Bilinear();
  spline.knots[1] = {0, 0, 2, 1};
  EXPECT_TRUE(Refused(Compile(spline), {"t[1][3]", "do not decrease"}));
  spline.knots[1] = {0, 0, NAN, 1};
  EXPECT_TRUE(Refused(Compile(spline), {"t[1][2]", "finite"}));
  spline.knots[1] = {0, 0, 0, 1};
  EXPECT_TRUE(Refused(Compile(spline), {"t[1]", "base interval"}));
  spline.knots[1] = {0, 1};
  EXPECT_TRUE(Refused(Compile(spline), {"t[1]: expected at least 2 k + 2 = 4 knots for degree 1, found 2"}));
  spline = Bilinear();
  spline.coefficients.push_back(1);
  EXPECT_TRUE(Refused(Compile(spline), {"c: expected 2 x 2 x 1 numbers", "found 5"}));
  spline = Bilinear();
  spline.coefficients[2] = kInf;
  EXPECT_TRUE(Refused(Compile(spline), {"finite numbers", "flat index 2"}));
  spline = Bilinear();
  spline.degrees = {1};
  EXPECT_TRUE(Refused(Compile(spline), {"k: expected a degree for each of 2"}));
  spline = {{{0, 0, 1, 1, 2, 2}}, {1}, 1, {0, 0, 1, 1}};
  EXPECT_TRUE(Refused(Compile(spline), {"t[0]: expected the inner knot 1 at most k = 1 times", "2 times"}));
  spline = {{{0, 1, 2}}, {0}, 1, {0, 1}};
  EXPECT_TRUE(Refused(Compile(spline), {"inner knot 1 at most k = 0 times"}));
  spline = {};
  EXPECT_TRUE(Refused(Compile(spline), {"1 to 3 variables, found 0"}));
}

TEST(ExpressionRefusals, EachIsNamed) {
  ExpressionSpline spline = {1, {Expression{}}};
  ASSERT_TRUE(Compile(spline).ok());
  spline.variables = 0;
  EXPECT_TRUE(Refused(Compile(spline), {"variables"}));
  spline = {1, {}};
  EXPECT_TRUE(Refused(Compile(spline), {"at least one expression"}));
  spline = {2, {Expression{Expression::Kind::kPolynomial, {{1, {1}}}, {}, 1}}};
  EXPECT_TRUE(Refused(Compile(spline), {"output 0", "powers", "2 variables, found 1"}));
  spline = {1, {Expression{Expression::Kind::kPolynomial, {{1, {800}}}, {}, 1}}};
  EXPECT_TRUE(Refused(Compile(spline), {"degree of at most 729, found 800"}));
  spline = {1, {Expression{Expression::Kind::kPolynomial, {{kInf, {1}}}, {}, 1}}};
  EXPECT_TRUE(Refused(Compile(spline), {"coefficient"}));
  spline = {1, {Expression{Expression::Kind::kMax, {}, {}, 1}}};
  EXPECT_TRUE(Refused(Compile(spline), {"at least one argument"}));
  spline = {1, {Expression{Expression::Kind::kPolynomial, {}, {}, NAN}}};
  EXPECT_TRUE(Refused(Compile(spline), {"scale"}));
  Expression deep;
  for (int i = 0; i < 70; ++i) deep = Expression{Expression::Kind::kMax, {}, {deep}, 1};
  spline = {1, {deep}};
  EXPECT_TRUE(Refused(Compile(spline), {"nested at most 64"}));
}

}  // namespace
}  // namespace splineserve
