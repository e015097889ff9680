// A thousand random splines, compiled, against what they are by definition: the construction in float64 to 12
// digits, the engine's float32 within the bound that is promised.
#include "core/spline/compile/compile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>

#include "core/engine/engine.h"
#include "core/kernels/kernel_set.h"
#include "core/spline/spline_class.h"
#include "tests/spline/compile/random_splines.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/reference_model.h"
#include "tests/testing/temp_dir.h"

namespace splineserve {
namespace {

using testing::Random;
using testing::ReferenceInput;
using testing::ReferenceModel;
using testing::ReferenceWeights;
using testing::TempDir;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float RandomIn(Random* random, const Interval& side) {
  const double x = side.low + (side.high - side.low) * random->Uniform();
  return std::clamp(static_cast<float>(x), static_cast<float>(side.low), static_cast<float>(side.high));
}

// Knots of one variable at a time with their neighbours, the others random; and random points.
std::vector<std::vector<float>> Points(Random* random, const CompiledSpline& compiled, size_t count) {
  std::vector<std::vector<float>> points;
  const auto add = [&](size_t at, float x) {
    std::vector<float> point;
    for (size_t v = 0; v < compiled.domain.size(); ++v) {
      point.push_back(v == at ? x : RandomIn(random, compiled.domain[v]));
    }
    points.push_back(point);
  };
  for (size_t v = 0; v < compiled.knots.size(); ++v) {
    for (const double knot : compiled.knots[v]) {
      const float x = static_cast<float>(knot);
      if (x < compiled.domain[v].low || x > compiled.domain[v].high) continue;
      for (const float near : {std::nextafter(x, -kInfinity), x, std::nextafter(x, kInfinity)}) add(v, near);
    }
  }
  for (size_t i = 0; i < count; ++i) add(0, RandomIn(random, compiled.domain[0]));
  return points;
}

class CompileTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Engine> MakeEngine() {
    EngineOptions options;
    options.threads = 1;
    return *Engine::Create(options, **SelectKernelSet(""));
  }

  std::vector<std::vector<float>> Run(const CompiledSpline& compiled,
                                      const std::vector<std::vector<float>>& points) {
    TempDir directory;
    for (const auto& [name, contents] : compiled.files) directory.Write(name, contents);
    const auto model = LoadedModel::Load("spline", 1, directory.path());
    EXPECT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->spline_class(), SplineClass::kExact);
    EncodeRequest request;
    for (const std::vector<float>& point : points) request.inputs.push_back(Matrix{1, point.size(), point});
    const auto result = engine_->EncodeAndWait(*model, std::move(request));
    EXPECT_TRUE(result.ok()) << result.status();
    std::vector<std::vector<float>> outputs;
    if (result.ok()) {
      for (const SequenceResult& sequence : result->results) outputs.push_back(sequence.output.values);
    }
    return outputs;
  }

  // Everything that is promised of one spline. Returns the largest error in units of its bound.
  double Check(const SplineSource& source, CompileOptions options, Random* random) {
    const auto compiled = CompileSpline(source, options);
    if (!compiled.ok()) {
      ADD_FAILURE() << compiled.status();
      return 0;
    }
    EXPECT_LE(compiled->degree, compiled->degree_bound);
    const std::vector<std::vector<float>> points = Points(random, *compiled, 10);

    options.dtype = DType::kF64;
    const auto exact = CompileSpline(source, options);
    EXPECT_TRUE(exact.ok()) << exact.status();
    const auto directory = ModelDirectory::OpenInMemory("spline", exact->files);
    EXPECT_TRUE(directory.ok()) << directory.status();
    const ReferenceModel<double> reference(*directory, ReferenceWeights::kAsStored);
    const double scale = testing::SlowScale(source, compiled->domain);

    const std::vector<std::vector<float>> outputs = Run(*compiled, points);
    double worst = 0;
    for (size_t i = 0; i < points.size() && i < outputs.size(); ++i) {
      const std::vector<double> expected = testing::SlowEvaluate(
          source, options.extrapolation, std::vector<double>(points[i].begin(), points[i].end()));
      const std::vector<double> construction = reference.Encode(ReferenceInput{{}, {points[i]}}).head.at(0);
      EXPECT_EQ(outputs[i].size(), expected.size());
      EXPECT_EQ(construction.size(), expected.size());
      for (size_t o = 0; o < expected.size(); ++o) {
        EXPECT_NEAR(construction[o], expected[o], 1e-12 * scale) << "at " << points[i][0] << ", output " << o;
        const double error = std::fabs(static_cast<double>(outputs[i][o]) - expected[o]);
        EXPECT_LE(error, compiled->error_bound[o]) << "at " << points[i][0] << ", output " << o;
        if (error > 0) worst = std::max(worst, error / compiled->error_bound[o]);
      }
    }
    return worst;
  }

  // `count` splines of a kind.
  template <typename Draw>
  void CheckMany(size_t count, uint64_t kind, const Draw& draw) {
    const uint64_t seed = testing::TestSeed();
    std::vector<double> tightness;
    for (size_t i = 0; i < count && !HasFailure(); ++i) {
      Random random(seed * 0x9e3779b97f4a7c15 + kind * 1'000'003 + i);
      SCOPED_TRACE(::testing::Message() << "SPLINESERVE_TEST_SEED=" << seed << ", spline " << i);
      const SplineSource source = draw(&random);
      CompileOptions options;
      options.bound_work.worthwhile = 1e6;
      if (random.Chance(0.3)) options.extrapolation = Extrapolation::kConstant;
      const bool beyond = random.Chance(0.4);
      if (beyond && !std::holds_alternative<ExpressionSpline>(source)) {
        const auto natural = CompileSpline(source, options);
        ASSERT_TRUE(natural.ok()) << natural.status();
        for (const Interval& side : natural->domain) {
          const double length = side.high - side.low;
          options.domain.push_back({side.low - 0.3 * length, side.high + 0.2 * length});
        }
      }
      tightness.push_back(Check(source, options, &random));
    }
    std::sort(tightness.begin(), tightness.end());
    std::printf("seed %llu: %zu splines, largest error / bound: median %.3f, largest %.3f\n",
                static_cast<unsigned long long>(seed), tightness.size(), tightness[tightness.size() / 2],
                tightness.back());
  }

  const std::unique_ptr<Engine> engine_ = MakeEngine();
};

TEST_F(CompileTest, PiecewisePolynomials) {
  CheckMany(400, 1, [](Random* random) -> SplineSource { return testing::RandomPiecewise(random); });
}

TEST_F(CompileTest, TensorProducts) {
  CheckMany(300, 2, [](Random* random) -> SplineSource { return testing::RandomTensor(random); });
}

TEST_F(CompileTest, MaxMinExpressions) {
  CheckMany(300, 3, [](Random* random) -> SplineSource { return testing::RandomExpression(random); });
}

}  // namespace
}  // namespace splineserve
