// The parts of the compiler, each by itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/format/model_directory.h"
#include "core/spline/compile/compile.h"
#include "core/spline/compile/degree_plan.h"
#include "core/spline/compile/expression_program.h"
#include "core/spline/compile/piecewise_program.h"
#include "core/spline/compile/program_files.h"
#include "tests/testing/reference_model.h"

namespace splineserve {
namespace {

TEST(FormTest, TermsAreMergedAndOrdered) {
  Form form(2.0);
  form.Add(5, 1).Add(2, 3).Add(5, 0.5).Add(2, -3).Add(7, 0).Add(1.0);
  ASSERT_EQ(form.terms().size(), 1u);
  EXPECT_EQ(form.terms()[0].index, 5u);
  EXPECT_EQ(form.terms()[0].weight, 1.5);
  EXPECT_EQ(form.constant(), 3.0);
  form.Add(Form::Of(1).Add(5, 3), -0.5);
  ASSERT_EQ(form.terms().size(), 1u);  // 1.5 - 1.5 at 5 is gone
  EXPECT_EQ(form.terms()[0].index, 1u);
  EXPECT_EQ(form.terms()[0].weight, -0.5);
  EXPECT_EQ(form.Times(-2).constant(), -6.0);
}

TEST(DegreePlan, ReachesEveryDegreeInTheFewestLayers) {
  for (size_t degree = 0; degree <= kMaxSplineDegree; ++degree) {
    const auto steps = PlanDegree(degree);
    ASSERT_TRUE(steps.ok()) << steps.status();
    size_t layers = 0;
    for (size_t reached = 1; reached < degree; reached *= 3) ++layers;
    EXPECT_EQ(steps->size(), layers) << degree;
    size_t reached = 1;
    for (const DegreeStep& step : *steps) {
      EXPECT_EQ(step.first + step.second + step.third, step.degree);
      for (const size_t factor : {step.first, step.second, step.third}) {
        EXPECT_TRUE(factor <= 1 || factor == reached) << degree;
      }
      EXPECT_GT(step.degree, reached);
      reached = step.degree;
    }
    EXPECT_GE(reached, degree == 0 ? 1 : degree);
    EXPECT_LE(reached, degree + degree / 2 + 1) << degree;  // not much further than asked for
  }
  EXPECT_FALSE(PlanDegree(kMaxSplineDegree + 1).ok());
}

TEST(Bernstein, ElevationAndContinuationAreTheSamePolynomial) {
  const PiecewisePolynomial spline = {{1, 3}, 3, 1, {0.5, -2, 1, 4}};
  const BernsteinSpline bernstein = ToBernstein(spline);
  BernsteinSpline elevated = Elevated(bernstein, 7);
  SetContinuation(elevated);
  for (const double x : {-2.0, 0.5, 1.0, 1.7, 2.9, 3.0, 4.5}) {
    const double expected = Evaluate(spline, Extrapolation::kPolynomial, x)[0];
    const double t = (x - 1) / 2;
    for (const BernsteinSpline* form : std::initializer_list<const BernsteinSpline*>{&bernstein, &elevated}) {
      double sum = 0;
      for (size_t j = 0; j <= form->degree; ++j) {
        sum += form->at(0, j, 0) * Binomial(form->degree, j) * std::pow(t, j) *
               std::pow(1 - t, form->degree - j);
      }
      EXPECT_NEAR(sum, expected, 1e-11);
      const double e = x < 1 ? (1 - x) / 2 : (x - 3) / 2;
      const std::vector<double>& powers = x < 1 ? form->left : form->right;
      double beyond = form->knot_value(x < 1 ? 0 : 1, 0);
      for (size_t j = 1; j < powers.size(); ++j) beyond += powers[j] * std::pow(e, j);
      if (x < 1 || x > 3) {
        EXPECT_NEAR(beyond, expected, 1e-11);
      }
    }
  }
}

TEST(Bernstein, EmptyPiecesSayHowItGoesOn) {
  // x^2 on [1, 2] between empty pieces: to the left 1 - (x - 1), to the right 4 + (x - 2)^2, in the middle
  // anything that joins.
  const PiecewisePolynomial spline = {
      {1, 1, 1.5, 1.5, 2, 2}, 2, 1, {0, 1, 7, 1, 1, -1, 2, 7, 3, 0, 1, 1, 2.25, 2.25, 4}};
  ASSERT_TRUE(CheckPiecewisePolynomial(spline).ok());
  const auto compiled = CompileSpline(spline, {});
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  EXPECT_EQ(compiled->knots, (std::vector<std::vector<double>>{{1, 1.5, 2}}));
  for (const double x : {-1.0, 0.5, 1.0, 1.2, 1.5, 1.9, 2.0, 3.5}) {
    const double expected = x < 1 ? 2 - x : x > 2 ? 4 + (x - 2) * (x - 2) : x * x;
    EXPECT_NEAR(Evaluate(spline, Extrapolation::kPolynomial, x)[0], expected, 1e-13);
    EXPECT_NEAR(compiled->program.Evaluate({x})[0], expected, 1e-13);
  }
}

TEST(Bernstein, QuarterRangesHoldTheValues) {
  const PiecewisePolynomial spline = {{0, 1, 4}, 3, 1, {4, 0.1, -6, -0.5, 1, 0.7, 2, 1}};
  std::vector<double> breaks;
  std::vector<Interval> ranges;
  QuarterRanges(ToBernstein(spline), 0, &breaks, &ranges);
  ASSERT_EQ(breaks.size(), 9u);
  ASSERT_EQ(ranges.size(), 8u);
  for (size_t i = 0; i < ranges.size(); ++i) {
    for (int step = 0; step <= 20; ++step) {
      const double x = breaks[i] + (breaks[i + 1] - breaks[i]) * step / 20;
      const double value = Evaluate(spline, Extrapolation::kPolynomial, x)[0];
      EXPECT_GE(value, ranges[i].low - 1e-12);
      EXPECT_LE(value, ranges[i].high + 1e-12);
    }
    EXPECT_LT(ranges[i].high - ranges[i].low, 3);
  }
}

// A spline around a million that a steep piece brings down to around 0: where it is small, its errors are,
// too, as no share of the large pieces is left in it.
TEST(PiecewiseProgram, PiecesFarAwayAreExactlySilent) {
  constexpr size_t kPieces = 50, kSteep = 20;
  PiecewisePolynomial spline;
  for (size_t i = 0; i <= kPieces; ++i) spline.knots.push_back(1000 + 0.1 * static_cast<double>(i));
  spline.degree = 3;
  for (size_t c = 0; c < 3 * kPieces; ++c) spline.coefficients.push_back(std::sin(static_cast<double>(c)));
  double value = 1e6;
  for (size_t i = 0; i < kPieces; ++i) {
    const double h = spline.knots[i + 1] - spline.knots[i];
    spline.coefficients.push_back(value);
    if (i == kSteep) {
      spline.coefficients[i] = spline.coefficients[kPieces + i] = 0;
      spline.coefficients[2 * kPieces + i] = -value / h;
    }
    value = spline.coefficient(3, i, 0);
    for (size_t power = 3; power-- > 0;) value = value * h + spline.coefficient(power, i, 0);
  }
  const auto compiled = CompileSpline(spline, {});
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  const auto directory = ModelDirectory::OpenInMemory("spline", compiled->files);
  ASSERT_TRUE(directory.ok()) << directory.status();
  const testing::ReferenceModel<float> model(*directory);
  for (int i = 0; i < 200; ++i) {
    const float x = static_cast<float>(spline.knots[22] + 0.014 * i);
    const double expected = Evaluate(spline, Extrapolation::kPolynomial, x)[0];
    const float found = model.Encode({{}, {{x}}}).head[0][0];
    EXPECT_NEAR(found, expected, 2e-6) << x;
  }
}

TEST(PiecewiseProgram, SizesAreWhatTheConstructionNeeds) {
  PiecewisePolynomial cubic = {{0, 1, 2, 4}, 3, 1, std::vector<double>(12, 0.0)};
  cubic.coefficients[0] = cubic.coefficients[1] = cubic.coefficients[2] = 1;
  cubic.coefficients[9] = 0, cubic.coefficients[10] = 1, cubic.coefficients[11] = 2;
  auto compiled = CompileSpline(cubic, {});
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  EXPECT_EQ(compiled->sizes.layers, 2u);
  EXPECT_EQ(compiled->sizes.heads, 5u);  // a piece each, and beyond both ends
  EXPECT_EQ(compiled->sizes.head_dim, 2u);
  EXPECT_EQ(compiled->degree, 3u);
  EXPECT_EQ(compiled->degree_bound, 9u);
  CompileOptions constant;
  constant.extrapolation = Extrapolation::kConstant;
  compiled = CompileSpline(cubic, constant);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  EXPECT_EQ(compiled->sizes.heads, 3u);
  // Leading zeros are no degree; degree 1 needs no head but the one that every layer has.
  PiecewisePolynomial line = {{0, 1, 2}, 3, 1, {0, 0, 0, 0, 1, -1, 0, 1}};
  compiled = CompileSpline(line, {});
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  EXPECT_EQ(compiled->degree, 1u);
  EXPECT_EQ(compiled->sizes.heads, 1u);
  EXPECT_EQ(compiled->sizes.head_dim, 1u);
}

Expression Monomial(double coefficient, std::vector<uint32_t> powers) {
  return {Expression::Kind::kPolynomial, {{coefficient, std::move(powers)}}, {}, 1};
}

TEST(ExpressionProgram, MonomialsAreSharedAndTreesBalanced) {
  // x^9: two layers, a head each: x^3 = x^2 x, x^9 = (x^3)^2 x^3.
  const Program ninth = CompileExpression({1, {Monomial(2, {9}), Monomial(-1, {3})}});
  EXPECT_EQ(ninth.sizes().layers, 2u);
  EXPECT_EQ(ninth.sizes().heads, 1u);
  EXPECT_EQ(ninth.columns(), 4u);
  EXPECT_EQ(ninth.Evaluate({-2.0}), (std::vector<double>{-1024, 8}));
  // 16 lines: 4 layers of 8, 4, 2 and 1 gates, no attention.
  Expression most = {Expression::Kind::kMax, {}, {}, 1};
  for (int i = 0; i < 16; ++i) most.arguments.push_back(Monomial(i + 1, {1}));
  const Program tree = CompileExpression({1, {most}});
  EXPECT_EQ(tree.sizes().layers, 4u);
  EXPECT_EQ(tree.sizes().intermediate_size, 8u);
  EXPECT_TRUE(tree.layers()[0].heads.empty());
  EXPECT_EQ(tree.Evaluate({3.0}), std::vector<double>{48});
  EXPECT_EQ(tree.Evaluate({-3.0}), std::vector<double>{-3});
  // Products of either sign.
  const Program product = CompileExpression({3, {Monomial(1, {1, 1, 1}), Monomial(1, {1, 1, 0})}});
  EXPECT_EQ(product.sizes().layers, 1u);
  EXPECT_EQ(product.Evaluate({-2.0, 3.0, -5.0}), (std::vector<double>{30, -6}));
  // A constant needs nothing.
  const Program constant = CompileExpression({1, {Monomial(4, {0})}});
  EXPECT_EQ(constant.Evaluate({7.0}), std::vector<double>{4});
}

TEST(ErrorBound, CountsEachRounding) {
  // 0.1 x: the weight's rounding and one of the product.
  Program scaled(1);
  scaled.AddOutput(Form::Of(0, 0.1));
  auto bound = BoundOutputs(scaled, {{{-2, 3}}});
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_NEAR((*bound)[0].low, -0.2, 1e-15);
  EXPECT_NEAR((*bound)[0].high, 0.3, 1e-15);
  const double weight = 3 * std::fabs(0.1 - RoundedWeight(0.1));
  EXPECT_NEAR((*bound)[0].error, weight + 0.3 * 0x1p-24, 1e-3 * 0x1p-24);
  // x itself, and what a closed gate lets through: exact.
  Program exact(1);
  exact.AddOutput(Form::Of(0));
  const size_t column = exact.NewColumn();
  exact.AddFeedForward(0, column, exact.AddUnit(0, Form(0.1).Add(0, -1)), 0.3);
  exact.AddOutput(Form::Of(column));
  bound = BoundOutputs(exact, {{{0.2, 5}}});
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_EQ((*bound)[0].error, 0);
  EXPECT_EQ((*bound)[1].error, 0);
  EXPECT_EQ((*bound)[1].high, 0);
  // A knot that is no float32 number is where it should be all the same.
  bound = BoundOutputs(exact, {{{0.1 - 1e-6, 0.1}}});
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_LT((*bound)[1].error, 1e-6 * 0.3 * 0x1p-21);
}

TEST(ErrorBound, MaximaHaveTheErrorOfOneArgument) {
  // Of two to the sixth tangents of x^2 on [-1, 1]: each of the six rounds may add its own rounding, none may
  // double what came before.
  Expression most = {Expression::Kind::kMax, {}, {}, 1};
  for (int i = 0; i < 64; ++i) {
    const double at = -1 + (2 * i + 1) / 64.0;
    most.arguments.push_back({Expression::Kind::kPolynomial, {{2 * at, {1}}, {-at * at, {0}}}, {}, 1});
  }
  const auto compiled = CompileSpline(ExpressionSpline{1, {most}}, {});
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  EXPECT_LT(compiled->error_bound[0], 60 * 0x1p-24);
  EXPECT_LT(compiled->magnitude[0], 1.5);
}

TEST(ErrorBound, OverflowIsFound) {
  Program product(1);
  const size_t column = product.NewColumn();
  product.AddAttention(0, column, product.AddHead(0, Form::Of(0), Form::Of(0)), 1);
  product.AddOutput(Form::Of(column));
  EXPECT_TRUE(BoundOutputs(product, {{{-1e19, 1e19}}}).ok());
  EXPECT_EQ(BoundOutputs(product, {{{-1e20, 1e20}}}).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(ErrorBound, LittleWorkGivesALargerBoundThatHolds) {
  PiecewisePolynomial spline = {{0, 1, 2, 3, 4, 5, 6, 7, 8}, 2, 1, {}};
  for (int i = 0; i < 8; ++i) spline.coefficients.push_back(i % 2 == 0 ? 1 : -1);
  for (int i = 0; i < 8; ++i) spline.coefficients.push_back(0);
  for (int i = 0; i < 8; ++i) spline.coefficients.push_back(i % 2 == 0 ? 0 : 1);
  CompileOptions options;
  const auto fine = CompileSpline(spline, options);
  ASSERT_TRUE(fine.ok()) << fine.status();
  options.bound_work = {.most = 1, .worthwhile = 0};
  const auto coarse = CompileSpline(spline, options);
  ASSERT_TRUE(coarse.ok()) << coarse.status();
  EXPECT_GT(coarse->error_bound[0], 2 * fine->error_bound[0]);
  EXPECT_LT(fine->error_bound[0], 20 * 0x1p-24);
}

TEST(ProgramFiles, OneTokenAndNoMore) {
  Program program(2);
  program.AddOutput(Form(0.5).Add(0, 2).Add(1, -1));
  const auto files = ToModelFiles(program, DType::kF32, 1 << 20);
  ASSERT_TRUE(files.ok()) << files.status();
  const auto directory = ModelDirectory::OpenInMemory("m", *files);
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ(directory->config().max_positions, 1u);
  EXPECT_EQ(directory->config().num_encoder_layers, 1u);
  const testing::ReferenceModel<float> model(*directory);
  EXPECT_EQ(model.Encode({{}, {{3, 4}}}).head[0], std::vector<float>{2.5f});
}

}  // namespace
}  // namespace splineserve
