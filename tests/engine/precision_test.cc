// Lower precision, chosen at load: outputs stay near those of float32, the model says what it computes in,
// and int8 sums are the same on every SIMD target and number of threads.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

constexpr char kConfig[] =
    R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 48,
    "num_encoder_layers": 2, "num_attention_heads": 3, "intermediate_size": 200, "norm": "layer_norm",
    "input": {"kind": "tokens", "vocab_size": 50}, "head": {"kind": "linear", "size": 10, "pooling": "mean"}})";

class PrecisionTest : public ::testing::TestWithParam<Precision> {
 protected:
  std::shared_ptr<const LoadedModel> Load(Precision precision) const {
    LoadedModel::LoadOptions options;
    options.precision = precision;
    return LoadedModel::Load("model", 1, directory_.path(), options).value();
  }
  // Several lengths, so that tiles and threads have tails.
  static EncodeRequest Request(OutputKind output) {
    EncodeRequest request;
    request.output = output;
    request.pieces.detail = PieceDetail::kBits;
    for (size_t length : {1, 7, 20, 45}) {
      TokenIds ids;
      for (size_t t = 0; t < length; ++t) ids.ids.push_back(static_cast<int32_t>((11 * length + 7 * t) % 50));
      request.inputs.emplace_back(std::move(ids));
    }
    return request;
  }
  static EvaluationResult Encode(const std::shared_ptr<const LoadedModel>& model, const KernelSet& kernels,
                                 size_t threads, OutputKind output) {
    return MakeEngine(kernels, threads)->EncodeAndWait(model, Request(output)).value();
  }
  const TempDir directory_ = WriteModel(kConfig);
};

double Norm(const std::vector<float>& x) {
  double sum = 0;
  for (float v : x) sum += double{v} * v;
  return std::sqrt(sum);
}

TEST_P(PrecisionTest, OutputsStayNearFloat32) {
  const auto exact = Load(Precision::kFloat32);
  const auto rounded = Load(GetParam());
  EXPECT_EQ(exact->precision(), Precision::kFloat32);
  EXPECT_EQ(rounded->precision(), GetParam());
  for (const KernelSet* kernels : AvailableKernelSets()) {
    SCOPED_TRACE(kernels->name);
    for (OutputKind output : {OutputKind::kHidden, OutputKind::kHead}) {
      const EvaluationResult expected = Encode(exact, *kernels, 1, output);
      const EvaluationResult actual = Encode(rounded, *kernels, 1, output);
      for (size_t s = 0; s < expected.results.size(); ++s) {
        std::vector<float> difference = actual.results[s].output.values;
        const std::vector<float>& values = expected.results[s].output.values;
        ASSERT_EQ(difference.size(), values.size());
        for (size_t i = 0; i < values.size(); ++i) difference[i] -= values[i];
        // Rounding errors of 2^-9 (bfloat16) and 2^-8 of the largest (int8) a number, through two layers of
        // four maps each; never zero, or the precision would not be in force.
        EXPECT_LT(Norm(difference), 0.05 * Norm(values));
        EXPECT_GT(Norm(difference), 1e-5 * Norm(values));
        EXPECT_EQ(actual.results[s].pieces.size(), s == 0 ? 1u : expected.results[s].pieces.size());
      }
    }
  }
}

TEST_P(PrecisionTest, ThreadsDoNotMatter) {
  const auto model = Load(GetParam());
  for (const KernelSet* kernels : AvailableKernelSets()) {
    const EvaluationResult one = Encode(model, *kernels, 1, OutputKind::kHidden);
    const EvaluationResult two = Encode(model, *kernels, 2, OutputKind::kHidden);
    for (size_t s = 0; s < one.results.size(); ++s) {
      EXPECT_EQ(one.results[s].output.values, two.results[s].output.values) << kernels->name;
      EXPECT_EQ(one.results[s].sequence_id, two.results[s].sequence_id) << kernels->name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, PrecisionTest, ::testing::Values(Precision::kBfloat16, Precision::kInt8),
                         [](const auto& info) { return std::string(PrecisionName(info.param)); });

TEST(PrecisionNameTest, NamesAndErrors) {
  for (Precision precision : {Precision::kFloat32, Precision::kBfloat16, Precision::kInt8}) {
    EXPECT_EQ(ParsePrecision(PrecisionName(precision)).value(), precision);
  }
  EXPECT_EQ(ParsePrecision("fp16").status().message(),
            "precision: expected float32, bfloat16 or int8, found 'fp16'");
}

}  // namespace
}  // namespace splineserve::testing
