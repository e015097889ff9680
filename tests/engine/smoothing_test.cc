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
// Of the largest output. What float64 rounds off, amplified by models whose parts are larger than their sum.
constexpr double kRoundingTolerance = 1e-9;
// The references compute sinusoidal positions in float64, what is served rounds them to float32.
constexpr double kPositionTolerance = 1e-3;
// Models that are not divided can grow without bound.
constexpr double kLargest = 1e100, kLargestServed = 300;

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
    for (const std::vector<float>& row : input.vectors) values_.insert(values_.end(), row.begin(), row.end());
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
  // `exact_positions`: both sides have the same; see kPositionTolerance.
  void CompareOutput(const Rows<double>& spline, const Rows<double>& smoothed,
                     const SmoothingComparison& comparison, bool exact_positions) {
    ASSERT_EQ(spline.size(), comparison.rows);
    ASSERT_EQ(spline[0].size(), comparison.cols);
    const double largest = std::max(LargestEntry(spline), LargestEntry(smoothed));
    const double same = (exact_positions ? kRoundingTolerance : kPositionTolerance) * largest;
    for (size_t r = 0; r < comparison.rows; ++r) {
      for (size_t c = 0; c < comparison.cols; ++c) {
        const size_t i = r * comparison.cols + c;
        EXPECT_NEAR(comparison.spline[i], spline[r][c], same);
        EXPECT_NEAR(comparison.smoothed[i], smoothed[r][c], same);
        const double proven = comparison.proven[i], at_gates = comparison.proven_at_gates[i];
        EXPECT_LE(std::abs(comparison.smoothed[i] - comparison.spline[i]),
                  at_gates + kRoundingTolerance * largest);
        if (exact_positions) {
          EXPECT_LE(std::abs(smoothed[r][c] - spline[r][c]), at_gates + kRoundingTolerance * largest);
        }
        EXPECT_LE(at_gates, proven * (1 + kRoundingTolerance));
        EXPECT_GT(proven, 0);
      }
    }
  }
};

TEST_P(SmoothingBoundTest, HoldsOnRandomModels) {
  size_t compared = 0, large = 0, small = 0;
  for (size_t m = 0; m < kModelsPerTest; ++m) {
    const uint64_t seed = TestSeed() + 1000 * static_cast<uint64_t>(GetParam()) + m;
    Random random(seed);
    const std::string config = SplineConfig(&random, GetParam());
    SCOPED_TRACE(absl::StrCat("model seed ", seed, ", config ", config));
    const ModelOptions options = {.seed = seed, .optional_tensors = random.Pick<double>({0, 0.5, 1})};
    const TestModel spline(config, options);
    const bool exact_positions = spline.config().positions != Positions::kSinusoidal;
    const bool decode = spline.config().has_decoder();
    const Example example = RandomExample(&random, spline.config(), decode);
    const auto expected = spline.Reference<double>(example.source, example.input, decode);
    for (const float beta : kBetas) {
      SCOPED_TRACE(absl::StrCat("beta ", beta));
      const TestModel softplus(SoftplusConfig(config, beta), options);
      const auto smoothed = softplus.Reference<double>(example.source, example.input, decode);
      if (!(LargestEntry(expected.hidden) < kLargest && LargestEntry(smoothed.hidden) < kLargest)) continue;
      ++compared;
      const auto hidden = Compare(*spline.loaded(), beta, example, decode, /*head=*/false);
      ASSERT_TRUE(hidden.ok()) << hidden.status();
      CompareOutput(expected.hidden, smoothed.hidden, *hidden, exact_positions);
      const double share = Largest(hidden->proven_at_gates) / Largest(hidden->spline);
      large += beta == kBetas[0] && share > 0.01;
      small += beta == kBetas[3] && share < 0.01;
      if (!HasHead(spline.config(), decode)) continue;
      // The weights of either model will do.
      const auto head = Compare(*softplus.loaded(), beta, example, decode, /*head=*/true);
      ASSERT_TRUE(head.ok()) << head.status();
      CompareOutput(expected.head, smoothed.head, *head, exact_positions);
    }
    if (HasFailure()) return;  // one model tells enough
  }
  EXPECT_GT(compared, 3 * kModelsPerTest) << "too few of the random models can be used";
  // Bounds that say something, neither nothing nor anything.
  EXPECT_GT(large, kModelsPerTest / 2);
  EXPECT_GT(small, kModelsPerTest / 4);
}

// What is served over the spline's files is, bit for bit, the model whose config.json says softplus, and that
// agrees with the reference.
TEST_P(SmoothingBoundTest, TheServedModelIsTheSoftplusModel) {
  const std::unique_ptr<Engine> engine = MakeEngine(*AvailableKernelSets().front(), 2);
  size_t compared = 0;
  for (size_t m = 0; m < kModelsPerTest / 4; ++m) {
    const uint64_t seed = TestSeed() + 1000 * static_cast<uint64_t>(GetParam()) + m;
    Random random(seed);
    const std::string config = SplineConfig(&random, GetParam());
    const float beta = random.Pick<float>({0.5f, 3, 20, 1000});
    SCOPED_TRACE(absl::StrCat("model seed ", seed, ", beta ", beta, ", config ", config));
    const TempDir directory = WriteModel(config, {.seed = seed});
    const TestModel softplus(SoftplusConfig(config, beta), {.seed = seed});
    const bool decode = softplus.config().has_decoder();
    const std::vector<Example> examples = {RandomExample(&random, softplus.config(), decode)};
    const auto expected = softplus.Reference<double>(examples[0].source, examples[0].input, decode);
    if (softplus.config().hidden_size < 8 || !(LargestEntry(expected.hidden) < kLargestServed)) continue;
    ++compared;
    const auto served = RunAll(engine.get(), softplus, examples, decode);
    ASSERT_TRUE(served.ok()) << served.status();
    ExpectNear(expected, (*served)[0]);

    const std::shared_ptr<const LoadedModel> smoothed = LoadSmoothed(directory.path(), beta);
    EXPECT_EQ(smoothed->smoothing()->spline, "model");
    EXPECT_EQ(smoothed->smoothing()->beta, beta);
    EXPECT_EQ(smoothed->spline_class(), SplineClass::kSmooth);
    EXPECT_EQ(smoothed->degree_bound(), 0u);
    EXPECT_EQ(smoothed->digest(), LoadedModel::Load("model", 1, directory.path()).value()->digest());
    const auto again = decode ? engine->DecodeAndWait(smoothed, ToDecodeRequest(smoothed->config(), examples))
                              : engine->EncodeAndWait(smoothed, ToEncodeRequest(examples));
    ASSERT_TRUE(again.ok()) << again.status();
    const ReferenceResult<float>& result = (*served)[0];
    EXPECT_TRUE(RowsEqual(HasHead(softplus.config(), decode) ? result.head : result.hidden,
                          ToRows(again->results[0].output)));
    if (HasFailure()) return;
  }
  EXPECT_GT(compared, kModelsPerTest / 16);
}

INSTANTIATE_TEST_SUITE_P(Architectures, SmoothingBoundTest,
                         ::testing::Values(Architecture::kEncoder, Architecture::kDecoder,
                                           Architecture::kEncoderDecoder),
                         [](const auto& info) { return std::string(Name(info.param)); });

// An encoder over vectors with one layer and no norms, positions or head.
std::string SmallConfig(const std::string& rest = "") {
  return absl::StrCat(R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 6,
                          "num_attention_heads": 2, "intermediate_size": 9, "num_encoder_layers": 1,
                          "input": {"kind": "vectors", "size": 4})",
                      rest, "}");
}

// Without biases and at input 0 all gates' arguments are 0, where SoftPlus and ReLU differ by ln 2 / beta
// exactly. So do all 9 units, which makes the difference of output n the sum of its down projection's row,
// and the bound the sum of its magnitudes, for both rules. Attention's scores differ, too, but its values are
// 0.
TEST(SmoothingBound, IsAttainedWhereAllGatesAreOnTheirTies) {
  const TestModel model(SmallConfig(), {.seed = 5, .optional_tensors = 0});
  const Example zero = {.input = {.vectors = Rows<float>(3, std::vector<float>(4, 0))}};
  const PackedMatrix& down = model.loaded()->weights().encoder->layers[0].feed_forward.down.weight;
  for (const float beta : {0.5f, 7.0f, 1e6f}) {
    const auto comparison = Compare(*model.loaded(), beta, zero, /*decode=*/false, /*head=*/false);
    ASSERT_TRUE(comparison.ok()) << comparison.status();
    const double excess = std::log(2) / beta;
    for (size_t n = 0; n < 6; ++n) {
      std::vector<float> row(9);
      down.Column(n, row.data());
      double sum = 0, magnitudes = 0;
      for (float w : row) {
        sum += w;
        magnitudes += std::abs(w);
      }
      for (size_t token = 0; token < 3; ++token) {
        const size_t i = token * 6 + n;
        EXPECT_EQ(comparison->spline[i], 0);
        EXPECT_NEAR(comparison->smoothed[i], sum * excess, 1e-14 * excess);
        EXPECT_NEAR(comparison->proven[i], magnitudes * excess, 1e-12 * excess);
        EXPECT_NEAR(comparison->proven_at_gates[i], magnitudes * excess, 1e-12 * excess);
      }
    }
  }
}

// The bound is linear in 1 / beta once it is small beside the numbers of the model; what is measured is below
// it at every beta, and falls at least as fast from some beta on.
TEST(SmoothingBound, VanishesAsBetaGrows) {
  const TestModel model(SmallConfig(), {.seed = 6});
  Random random(TestSeed());
  for (int i = 0; i < 20; ++i) {
    const Example example = {.input = RandomInput(&random, model.config().input, 5)};
    std::vector<double> measured, proven, at_gates;
    for (float beta = 1e2f; beta < 2e8f; beta *= 10) {
      const auto comparison = Compare(*model.loaded(), beta, example, /*decode=*/false, /*head=*/false);
      ASSERT_TRUE(comparison.ok()) << comparison.status();
      std::vector<double> difference = comparison->smoothed;
      for (size_t n = 0; n < difference.size(); ++n) difference[n] -= comparison->spline[n];
      measured.push_back(Largest(difference));
      proven.push_back(Largest(comparison->proven));
      at_gates.push_back(Largest(comparison->proven_at_gates));
    }
    for (size_t b = 1; b < measured.size(); ++b) {
      EXPECT_LE(measured[b], 0.11 * measured[b - 1] + 1e-14);
      EXPECT_LE(at_gates[b], 0.1 * at_gates[b - 1] * (1 + 1e-9) + 1e-300);
    }
    EXPECT_NEAR(proven[5] / proven[6], 10, 1e-3);
    EXPECT_LT(proven[6], 1e-4);
    EXPECT_GT(measured[0], 1e-6);
  }
}

TEST(SmoothingBound, StopsWhereItIsTold) {
  const TestModel model(SmallConfig(), {.seed = 6});
  const Input input({.vectors = Rows<float>(2, std::vector<float>(4, 1))});
  int asked = 0;
  const auto comparison = CompareEncoder(model.loaded()->weights(), 1, input.view(), false, [&] {
    return ++asked == 2 ? absl::CancelledError("the caller left") : absl::OkStatus();
  });
  EXPECT_EQ(comparison.status().message(), "the caller left");
  EXPECT_EQ(asked, 2);
}

TEST(SmoothingBound, RefusesWhatItIsNotMadeFor) {
  const auto status = [](const std::string& rest, Precision precision) {
    const TempDir directory = WriteModel(SmallConfig(rest));
    LoadedModel::LoadOptions options;
    options.precision = precision;
    const auto model = LoadedModel::Load("model", 1, directory.path(), options).value();
    const Input input({.vectors = Rows<float>(2, std::vector<float>(4, 1))});
    return CompareEncoder(model->weights(), 1, input.view(), false, Continue).status();
  };
  EXPECT_EQ(status("", Precision::kInt8).message(), "expected weights in float32, found int8");
  EXPECT_EQ(status(R"(, "norm": "layer_norm")", Precision::kFloat32).message(),
            "expected norm none or affine, found layer_norm");
}

// Values grow beyond float64 through five cubic layers without a divisor; bounds do long before.
TEST(SmoothingBound, OverflowIsReportedAndAnUnboundedErrorIsInfinite) {
  const TestModel model(R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 8,
      "num_attention_heads": 1, "intermediate_size": 9, "num_encoder_layers": 7, "attention_normalizer": "none",
      "input": {"kind": "vectors", "size": 4}})",
                        {.seed = 3});
  const auto compare = [&](float size, float beta) {
    const Example example = {.input = {.vectors = Rows<float>(6, std::vector<float>(4, size))}};
    return Compare(*model.loaded(), beta, example, /*decode=*/false, /*head=*/false);
  };
  EXPECT_EQ(compare(1e3f, 1).status().code(), absl::StatusCode::kOutOfRange);
  const auto unbounded = compare(1e-3f, 1e-2f);
  ASSERT_TRUE(unbounded.ok()) << unbounded.status();
  EXPECT_TRUE(std::isinf(Largest(unbounded->proven)));
  EXPECT_GT(Largest(unbounded->smoothed), 0);
}

TEST(SmoothingReport, HasTheLargestOfEachRowForTheOutputAskedFor) {
  const TempDir directory =
      WriteModel(SmallConfig(R"(, "head": {"kind": "linear", "size": 3, "pooling": "mean"})"), {.seed = 8});
  const auto model = LoadSmoothed(directory.path(), 30);
  Random random(1);
  std::vector<Example> examples;
  for (size_t length : {4, 1})
    examples.push_back({.input = RandomInput(&random, model->config().input, length)});
  for (const bool head : {false, true}) {
    EncodeRequest request = ToEncodeRequest(examples);
    request.output = head ? OutputKind::kHead : OutputKind::kHidden;
    const auto errors = MeasureSmoothing(*model, request, EngineOptions(), Continue);
    ASSERT_TRUE(errors.ok()) << errors.status();
    ASSERT_EQ(errors->size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      const SmoothingError& error = (*errors)[i];
      const auto comparison = Compare(*model, 30, examples[i], /*decode=*/false, head);
      ASSERT_EQ(error.measured.size(), head ? 1 : examples[i].input.size());
      ASSERT_EQ(error.proven.size(), error.measured.size());
      ASSERT_EQ(error.proven_at_gates.size(), error.measured.size());
      EXPECT_EQ(error.largest_output, Largest(comparison->spline));
      for (size_t row = 0; row < error.measured.size(); ++row) {
        double measured = 0, proven = 0, at_gates = 0;
        for (size_t c = 0; c < comparison->cols; ++c) {
          const size_t n = row * comparison->cols + c;
          measured = std::max(measured, std::abs(comparison->smoothed[n] - comparison->spline[n]));
          proven = std::max(proven, comparison->proven[n]);
          at_gates = std::max(at_gates, comparison->proven_at_gates[n]);
        }
        EXPECT_EQ(error.measured[row], measured);
        EXPECT_EQ(error.proven[row], proven);
        EXPECT_EQ(error.proven_at_gates[row], at_gates);
      }
    }
  }
}

TEST(SmoothingReport, IsRefusedWithItsReason) {
  const TempDir directory = WriteModel(SmallConfig());
  const std::unique_ptr<Engine> engine = MakeEngine(*AvailableKernelSets().front(), 1);
  const auto refusal = [&](const std::shared_ptr<const LoadedModel>& model, size_t tokens) {
    EncodeRequest request;
    request.inputs.emplace_back(Matrix{tokens, 4, std::vector<float>(tokens * 4, 0.5f)});
    request.smoothing_error = true;
    const absl::Status measured = MeasureSmoothing(*model, request, EngineOptions(), Continue).status();
    const absl::Status admitted = engine->EncodeAndWait(model, std::move(request)).status();
    EXPECT_EQ(measured, admitted);
    EXPECT_EQ(admitted.code(), absl::StatusCode::kInvalidArgument);
    return std::string(admitted.message());
  };
  EXPECT_EQ(
      refusal(LoadedModel::Load("model", 1, directory.path()).value(), 1),
      "smoothing_error: expected a smoothed model, as the server's --smoothing adds it, found model, which "
      "is served as its files say");
  LoadedModel::LoadOptions rounded;
  rounded.smoothing = Smoothing{"model", 20};
  rounded.precision = Precision::kBfloat16;
  EXPECT_EQ(refusal(LoadedModel::Load("smoothed", 1, directory.path(), rounded).value(), 1),
            "smoothing_error: expected a model in float32, whose weights are the spline's, found smoothed in "
            "bfloat16");
  const std::string large = refusal(LoadSmoothed(directory.path(), 20), 8000);
  EXPECT_THAT(large, HasSubstr("multiply-adds in a request, found about"));
  // The engine evaluates what it admits, and leaves the error to MeasureSmoothing.
  EncodeRequest request;
  request.inputs.emplace_back(Matrix{1, 4, std::vector<float>(4, 0.5f)});
  request.smoothing_error = true;
  const auto result = engine->EncodeAndWait(LoadSmoothed(directory.path(), 20), std::move(request));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->results[0].smoothing_error.has_value());
}

}  // namespace
}  // namespace splineserve::testing
