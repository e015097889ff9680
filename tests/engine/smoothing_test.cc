// Smoothed models: the proven bound holds on hundreds of random splines, is attained where it can be, and
// vanishes as beta grows; what is served is SoftPlus_beta over the same weights.
//
// SPLINESERVE_TEST_SEED chooses other models; a failure prints the seed of its model and its config.json.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/engine/smoothing_report.h"
#include "core/spline/smoothing_bound.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/engine/engine_runner.h"
#include "tests/engine/random_model.h"
#include "tests/testing/comparison.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

constexpr size_t kModelsPerTest = 80;
constexpr float kBetas[] = {1, 10, 100, 1e4f};
// The references tabulate sinusoidal positions in float64, what is served in float32.
constexpr double kPositionTolerance = 1e-5;

std::string SplineConfig(Random* random, Architecture architecture) {
  Json config = Json::parse(RandomConfig(random, architecture, /*exact=*/true));
  config["attention_activation"] = "relu";
  config["hidden_act"] = "relu";
  return config.dump(1);
}

std::string SoftplusConfig(const std::string& spline, float beta) {
  Json config = Json::parse(spline);
  config["attention_activation"] = "softplus";
  config["hidden_act"] = "softplus";
  config["softplus_beta"] = beta;
  return config.dump(1);
}

std::shared_ptr<const LoadedModel> LoadSmoothed(const std::string& directory, float beta) {
  LoadedModel::LoadOptions options;
  options.smoothing = Smoothing{.spline = "model", .beta = beta};
  return LoadedModel::Load("smoothed", 1, directory, options).value();
}

absl::Status Continue() { return absl::OkStatus(); }

// The input of one example as the analysis takes it.
class Input {
 public:
  explicit Input(const ReferenceInput& input) : ids_(input.ids), rows_(input.vectors.size()) {
    for (const std::vector<float>& row : input.vectors)
      values_.insert(values_.end(), row.begin(), row.end());
  }
  SequenceInput view() const {
    if (rows_ == 0) return {ids_, {}};
    return {{}, {values_.data(), rows_, values_.size() / rows_}};
  }

 private:
  std::vector<int32_t> ids_;
  size_t rows_;
  std::vector<float> values_;
};

absl::StatusOr<SmoothingComparison> Compare(const LoadedModel& model, float beta, const Example& example,
                                            bool decode, bool head) {
  const Input source(example.source), input(example.input);
  return decode ? CompareDecoder(model.weights(), beta, source.view(), input.view(), head, Continue)
                : CompareEncoder(model.weights(), beta, input.view(), head, Continue);
}

double Largest(const std::vector<double>& numbers) {
  double largest = 0;
  for (double number : numbers) largest = std::max(largest, std::abs(number));
  return largest;
}

class SmoothingBoundTest : public ::testing::TestWithParam<Architecture> {
 protected:
  // How far the two references differ, beside what was proven.
  void CompareOutput(const Rows<double>& spline, const Rows<double>& smoothed,
                     const SmoothingComparison& comparison) {
    ASSERT_EQ(spline.size(), comparison.rows);
    ASSERT_EQ(spline[0].size(), comparison.cols);
    const double largest = std::max(LargestEntry(spline), LargestEntry(smoothed));
    for (size_t r = 0; r < comparison.rows; ++r) {
      for (size_t c = 0; c < comparison.cols; ++c) {
        const size_t i = r * comparison.cols + c;
        EXPECT_NEAR(comparison.spline[i], spline[r][c], kPositionTolerance * largest);
        EXPECT_NEAR(comparison.smoothed[i], smoothed[r][c], kPositionTolerance * largest);
        const double proven = comparison.proven[i], at_gates = comparison.proven_at_gates[i];
        const double own = std::abs(comparison.smoothed[i] - comparison.spline[i]);
        const double measured = std::abs(smoothed[r][c] - spline[r][c]);
        // Of what float64 rounds off in either function: thousands of units of 2^-53 of its largest numbers.
        EXPECT_LE(own, at_gates + 1e-11 * largest);
        EXPECT_LE(measured, at_gates * (1 + 1e-4) + 1e-11 * largest);
        EXPECT_LE(measured, proven * (1 + 1e-4) + 1e-11 * largest);
        EXPECT_LE(at_gates, proven * (1 + 1e-9));
      }
    }
  }
};

TEST_P(SmoothingBoundTest, HoldsOnRandomModels) {
  double worst[4] = {}, sum[4] = {};
  size_t n[4] = {}, useful[4] = {};
  for (size_t m = 0; m < kModelsPerTest; ++m) {
    const uint64_t seed = TestSeed() + 1000 * static_cast<uint64_t>(GetParam()) + m;
    Random random(seed);
    const std::string config = SplineConfig(&random, GetParam());
    SCOPED_TRACE(absl::StrCat("model seed ", seed, ", config ", config));
    const ModelOptions options = {.seed = seed, .optional_tensors = random.Pick<double>({0, 0.5, 1})};
    const TestModel spline(config, options);
    const bool decode = spline.config().has_decoder();
    const Example example = RandomExample(&random, spline.config(), decode);
    const auto expected = spline.Reference<double>(example.source, example.input, decode);
    if (!(LargestEntry(expected.hidden) < 1e100)) continue;
    for (int b = 0; b < 4; ++b) {
      const float beta = kBetas[b];
      SCOPED_TRACE(absl::StrCat("beta ", beta));
      const TestModel softplus(SoftplusConfig(config, beta), options);
      const auto smoothed = softplus.Reference<double>(example.source, example.input, decode);
      if (!(LargestEntry(smoothed.hidden) < 1e100)) continue;
      const auto hidden = Compare(*spline.loaded(), beta, example, decode, /*head=*/false);
      ASSERT_TRUE(hidden.ok()) << hidden.status();
      CompareOutput(expected.hidden, smoothed.hidden, *hidden);
      if (HasHead(spline.config(), decode)) {
        const auto head = Compare(*softplus.loaded(), beta, example, decode, /*head=*/true);
        ASSERT_TRUE(head.ok()) << head.status();
        CompareOutput(expected.head, smoothed.head, *head);
      }
      double measured = 0;
      for (size_t i = 0; i < hidden->spline.size(); ++i)
        measured = std::max(measured, std::abs(hidden->smoothed[i] - hidden->spline[i]));
      const double ratio = Largest(hidden->proven) / measured;
      const double ratio2 = Largest(hidden->proven_at_gates) / measured;
      n[b]++;
      useful[b] += Largest(hidden->proven) < 0.1 * Largest(hidden->spline);
      sum[b] += std::log10(ratio);
      worst[b] += std::log10(ratio2);
    }
    if (HasFailure()) return;  // one model tells enough
  }
  for (int b = 0; b < 4; ++b)
    printf("beta %g: n %zu mean log10 ratio uniform %.2f at gates %.2f; useful %zu\n", kBetas[b], n[b], sum[b] / n[b],
           worst[b] / n[b], useful[b]);
}

INSTANTIATE_TEST_SUITE_P(Architectures, SmoothingBoundTest,
                         ::testing::Values(Architecture::kEncoder, Architecture::kDecoder,
                                           Architecture::kEncoderDecoder),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace splineserve::testing
