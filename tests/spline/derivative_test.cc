// Derivatives against finite differences of the slow reference and against each other.
#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/spline/float64_derivative.h"
#include "core/spline/segment.h"
#include "core/spline/taylor.h"
#include "gtest/gtest.h"
#include "tests/spline/analysis_model.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

class DerivativeTest : public ::testing::TestWithParam<Architecture> {
 protected:
  template <typename Body>
  void ForModels(size_t count, const Body& body) {
    for (size_t i = 0; i < count; ++i) {
      const uint64_t seed = TestSeed() + 1000 * static_cast<uint64_t>(GetParam()) + i;
      Random random(seed);
      const std::string config = RandomConfig(&random, GetParam(), /*exact=*/true);
      SCOPED_TRACE(absl::StrCat("model seed ", seed, ", config ", config));
      const AnalysisModel model(config, {.seed = seed});
      const size_t source = model.config().has_encoder() ? random.Between(1, 5) : 0;
      const size_t target = model.config().has_decoder() ? random.Between(1, 5) : 0;
      body(model, model.RandomInput(&random, source, target), model.RandomInput(&random, source, target));
      if (HasFailure()) return;
    }
  }
};

PassInput OnePoint(const ContinuousInput& input) {
  PassInput pass;
  pass.source.value = input.source;
  pass.target.value = input.target;
  return pass;
}

Float64Pass PassOf(const AnalysisModel& model, const ContinuousInput& input) {
  return Float64Pass(model.weights(),
                     {static_cast<size_t>(input.source.rows()), static_cast<size_t>(input.target.rows())});
}

ContinuousInput Plus(const ContinuousInput& at, double step, const ContinuousInput& direction) {
  return {at.source + step * direction.source, at.target + step * direction.target};
}

// Largest |number|, at least 1e-300.
double Size(const Matrix64& m) { return m.size() == 0 ? 1e-300 : std::max(1e-300, m.cwiseAbs().maxCoeff()); }

// Central differences of the frozen evaluation, which is a polynomial without kinks, of fourth order.
TEST_P(DerivativeTest, TangentEqualsDifferences) {
  ForModels(60, [&](const AnalysisModel& model, const ContinuousInput& at, const ContinuousInput& direction) {
    const Float64Pass pass = PassOf(model, at);
    const PassResult base = pass.Run(OnePoint(at), {.tape = true});
    if (!base.rows.value.allFinite() || Size(base.rows.value) > 1e60) return;
    const std::vector<uint8_t> pattern = pass.Signs(base, 0);
    const Tangent tangent = TangentOf(pass, base.tape, {direction.source, direction.target}, 1);
    const double h = 1e-3;
    const auto rows = [&](double step) {
      return pass.Run(OnePoint(Plus(at, step, direction)), {.pattern = pattern.data()});
    };
    const PassResult m2 = rows(-2 * h), m1 = rows(-h), p1 = rows(h), p2 = rows(2 * h);
    const auto difference = [&](const Matrix64& a, const Matrix64& b, const Matrix64& c, const Matrix64& d) {
      return Matrix64((8 * (c - b) - (d - a)) / (12 * h));
    };
    const Matrix64 expected = difference(m2.rows.value, m1.rows.value, p1.rows.value, p2.rows.value);
    const double scale = Size(expected) + Size(base.rows.value);
    EXPECT_LT(Size(tangent.rows - expected), 1e-4 * scale);
    if (base.arguments.value.size() == 0) return;
    const Matrix64 gates =
        difference(m2.arguments.value, m1.arguments.value, p1.arguments.value, p2.arguments.value);
    EXPECT_LT(Size(tangent.arguments - gates), 1e-4 * (Size(gates) + Size(base.arguments.value)));
  });
}

// <w, J v> = <J^T w, v> to rounding.
TEST_P(DerivativeTest, AdjointIsTheTransposeOfTangent) {
  ForModels(60, [&](const AnalysisModel& model, const ContinuousInput& at, const ContinuousInput& direction) {
    const Float64Pass pass = PassOf(model, at);
    const PassResult base = pass.Run(OnePoint(at), {.tape = true});
    if (!base.rows.value.allFinite() || Size(base.rows.value) > 1e60) return;
    // Two directions and two weightings at once, on the tape of one point.
    const auto twice = [](const Matrix64& m) {
      Matrix64 out(2 * m.rows(), m.cols());
      out << m, -0.5 * m;
      return out;
    };
    const Tangent tangent = TangentOf(pass, base.tape, {twice(direction.source), twice(direction.target)}, 2);
    Random random(7);
    Matrix64 weights(tangent.rows.rows(), tangent.rows.cols());
    for (double& value : weights.reshaped()) value = static_cast<double>(random.Normal());
    const InputRows64 adjoint = AdjointOf(pass, base.tape, weights, 2);
    const Eigen::Index rows = weights.rows() / 2;
    for (Eigen::Index p = 0; p < 2; ++p) {
      const double forward =
          weights.middleRows(p * rows, rows).cwiseProduct(tangent.rows.middleRows(p * rows, rows)).sum();
      double backward = 0, size = 1e-300;
      const auto add = [&](const Matrix64& gradient, const Matrix64& along) {
        if (along.size() == 0) return;
        const Matrix64 product =
            gradient.middleRows(p * along.rows(), along.rows()).cwiseProduct((p == 0 ? 1 : -0.5) * along);
        backward += product.sum();
        size += product.cwiseAbs().sum();
      };
      add(adjoint.source, direction.source);
      add(adjoint.target, direction.target);
      EXPECT_NEAR(forward, backward, 1e-9 * (size + std::abs(forward)));
    }
  });
}

// The head's transpose, and the choice of outputs.
TEST_P(DerivativeTest, OutputWeightsAreTheTransposeOfOutputs) {
  ForModels(60, [&](const AnalysisModel& model, const ContinuousInput& at, const ContinuousInput& direction) {
    const Float64Pass pass = PassOf(model, at);
    const PassResult base = pass.Run(OnePoint(at), {.tape = true});
    if (!base.rows.value.allFinite() || Size(base.rows.value) > 1e60) return;
    const bool head = model.config().head.kind == HeadKind::kLinear;
    OutputChoice choice = AllOutputs(model.config(), static_cast<size_t>(base.rows.value.rows()), head);
    const Matrix64 rows = TangentOf(pass, base.tape, {direction.source, direction.target}, 1).rows;
    const Matrix64 plus = ChooseOutputs(pass, choice, {rows, {}}, 1, 0).value;
    const Matrix64 zero =
        ChooseOutputs(pass, choice, {Matrix64::Zero(rows.rows(), rows.cols()), {}}, 1, 0).value;
    const Matrix64 along = plus - zero;  // without the head's bias
    for (Eigen::Index o = 0; o < along.cols(); ++o) {
      Matrix64 weights = Matrix64::Zero(1, along.cols());
      weights(0, o) = 1;
      const double product = OutputWeightsToRows(pass, choice, weights).cwiseProduct(rows).sum();
      EXPECT_NEAR(product, along(0, o), 1e-9 * (Size(rows) * 20 + Size(zero)));
    }
  });
}

// The series that ends is the frozen function, near and far.
TEST_P(DerivativeTest, TaylorIsTheFunction) {
  size_t checked = 0;
  ForModels(60, [&](const AnalysisModel& model, const ContinuousInput& at, const ContinuousInput& direction) {
    const Float64Pass pass = PassOf(model, at);
    if (pass.layout().degree() > 40) return;
    const size_t degree = static_cast<size_t>(pass.layout().degree());
    const PassResult base = pass.Run(OnePoint(at), {.tape = true});
    if (!base.rows.value.allFinite() || Size(base.rows.value) > 1e60) return;
    const std::vector<uint8_t> pattern = pass.Signs(base, 0);
    const Matrix64 series =
        TaylorRows(pass, at, {direction.source, direction.target}, pattern.data(), degree);
    const Eigen::Index tokens = base.rows.value.rows();
    EXPECT_LT(Size(series.topRows(tokens) - base.rows.value), 1e-12 * Size(base.rows.value));
    const Tangent tangent = TangentOf(pass, base.tape, {direction.source, direction.target}, 1);
    EXPECT_LT(Size(series.middleRows(tokens, tokens) - tangent.rows),
              1e-11 * (Size(tangent.rows) + Size(base.rows.value)));
    for (double s : {-0.7, 0.01, 1.3}) {
      Matrix64 sum = Matrix64::Zero(tokens, series.cols()), sizes = sum;
      for (size_t k = degree + 1; k-- > 0;) {
        const auto term = series.middleRows(static_cast<Eigen::Index>(k) * tokens, tokens);
        sum = s * sum + term;
        sizes = std::abs(s) * sizes + term.cwiseAbs();
      }
      const Matrix64 expected =
          pass.Run(OnePoint(Plus(at, s, direction)), {.pattern = pattern.data()}).rows.value;
      EXPECT_LT(Size(sum - expected), 1e-10 * Size(sizes)) << "s = " << s;
    }
    ++checked;
  });
  EXPECT_GT(checked, 20u);
}

INSTANTIATE_TEST_SUITE_P(All, DerivativeTest,
                         ::testing::Values(Architecture::kEncoder, Architecture::kDecoder,
                                           Architecture::kEncoderDecoder),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace splineserve::testing
