// A model stored in BF16 or F16 and the same numbers stored in F32: the same bits everywhere, half the
// memory.
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/format/model_directory.h"
#include "core/model/weights.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/random_model.h"
#include "tests/testing/comparison.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

class CompactTest : public ::testing::TestWithParam<DType> {
 protected:
  static std::unique_ptr<TestModel> Model(const std::string& config, DType dtype, DType rounded_to,
                                          uint64_t seed) {
    return std::make_unique<TestModel>(config,
                                       ModelOptions{.seed = seed, .dtype = dtype, .rounded_to = rounded_to});
  }
  const uint64_t seed_ = TestSeed();
};

TEST_P(CompactTest, OutputsAndPiecesAreThoseOfTheSameNumbersInFloat32) {
  Random random(seed_);
  size_t compared = 0;
  for (Architecture architecture :
       {Architecture::kEncoder, Architecture::kDecoder, Architecture::kEncoderDecoder}) {
    for (int i = 0; i < 12; ++i) {
      const std::string config = RandomConfig(&random, architecture, /*exact=*/i % 4 != 3);
      SCOPED_TRACE(config);
      const auto wide = Model(config, DType::kF32, GetParam(), seed_ + i);
      const auto compact = Model(config, GetParam(), GetParam(), seed_ + i);
      for (bool decode : {false, true}) {
        if (decode ? !wide->config().has_decoder() : !wide->config().has_encoder()) continue;
        std::vector<Example> examples;
        for (int e = 0; e < 4; ++e) examples.push_back(RandomExample(&random, wide->config(), decode));
        for (const KernelSet* kernels : AvailableKernelSets()) {
          for (size_t threads : {1, 2}) {
            SCOPED_TRACE(absl::StrCat(kernels->name, ", ", threads, " threads"));
            const auto engine = MakeEngine(*kernels, threads);
            const auto expected = RunAll(engine.get(), *wide, examples, decode);
            const auto actual = RunAll(engine.get(), *compact, examples, decode);
            // Some models grow until they overflow, at the same place then.
            ASSERT_EQ(expected.status(), actual.status());
            if (!expected.ok()) continue;
            ++compared;
            for (size_t e = 0; e < examples.size(); ++e) ExpectExact((*expected)[e], (*actual)[e]);
          }
        }
      }
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(compared, 100u);
}

TEST_P(CompactTest, GenerationIsThatOfTheSameNumbersInFloat32) {
  Random random(seed_ + 1);
  for (Architecture architecture : {Architecture::kDecoder, Architecture::kEncoderDecoder}) {
    for (int i = 0; i < 8; ++i) {
      const std::string config = GeneratorConfig(&random, architecture);
      SCOPED_TRACE(config);
      const auto wide = Model(config, DType::kF32, GetParam(), seed_ + i);
      const auto compact = Model(config, GetParam(), GetParam(), seed_ + i);
      GenerateRequest request;
      if (wide->config().has_encoder()) {
        request.source = ToSequence(RandomInput(&random, wide->config().input, random.Between(1, 12)));
      }
      request.max_new_tokens = 10;
      request.pieces = AllPieces();
      if (i % 2 == 1) request.strategy = GenerationStrategy::kBeam;
      for (size_t threads : {1, 2}) {
        const auto engine = MakeEngine(*AvailableKernelSets()[0], threads);
        const auto expected = engine->GenerateAndWait(wide->loaded(), request);
        const auto actual = engine->GenerateAndWait(compact->loaded(), request);
        ASSERT_TRUE(expected.ok()) << expected.status();
        ASSERT_TRUE(actual.ok()) << actual.status();
        const Hypothesis& a = expected->back().hypotheses[0];
        const Hypothesis& b = actual->back().hypotheses[0];
        EXPECT_EQ(a.sequence_id, b.sequence_id);
        ASSERT_EQ(a.tokens.size(), b.tokens.size());
        for (size_t t = 0; t < a.tokens.size(); ++t) {
          EXPECT_EQ(a.tokens[t].id, b.tokens[t].id);
          EXPECT_EQ(a.tokens[t].log_probability, b.tokens[t].log_probability);
        }
      }
    }
  }
}

// Lower precision rounds the numbers, however they are stored.
TEST_P(CompactTest, LowerPrecisionRoundsTheSameNumbers) {
  Random random(seed_ + 2);
  const std::string config = RandomConfig(&random, Architecture::kEncoder, /*exact=*/true);
  const TempDir wide = WriteModel(config, {.rounded_to = GetParam()});
  const TempDir compact = WriteModel(config, {.dtype = GetParam(), .rounded_to = GetParam()});
  for (Precision precision : {Precision::kBfloat16, Precision::kInt8}) {
    const auto encode = [&](const TempDir& directory) {
      LoadedModel::LoadOptions options;
      options.precision = precision;
      const auto model = LoadedModel::Load("model", 1, directory.path(), options).value();
      Random input(seed_ + 3);
      EncodeRequest request = ToEncodeRequest({RandomExample(&input, model->config(), false)});
      request.output = OutputKind::kHidden;
      return MakeEngine(*AvailableKernelSets()[0], 1)
          ->EncodeAndWait(model, std::move(request))
          .value()
          .results[0]
          .output.values;
    };
    EXPECT_EQ(encode(wide), encode(compact));
  }
}

TEST_P(CompactTest, MatricesAndTablesTakeTwoBytesANumber) {
  const TempDir files = WriteModel(
      R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 64,
          "num_encoder_layers": 1, "num_attention_heads": 4, "intermediate_size": 192, "norm": "layer_norm",
          "positions": "learned", "max_positions": 30,
          "input": {"kind": "tokens", "vocab_size": 100}, "head": {"kind": "linear", "size": 64}})",
      {.dtype = GetParam()});
  const ModelWeights weights = PackWeights(ModelDirectory::Open(files.path()).value()).value();
  const StackWeights& stack = *weights.encoder;
  EXPECT_EQ(stack.token_embedding.bytes(), 100u * 64 * 2);
  EXPECT_EQ(stack.positions.bytes(), 30u * 64 * 2);
  const LayerWeights& layer = stack.layers[0];
  EXPECT_EQ(layer.self_attention.query.weight.bytes(), 64u * 64 * 2);
  EXPECT_EQ(layer.feed_forward.up.weight.bytes(), 64u * 192 * 2);
  EXPECT_EQ(layer.feed_forward.down.weight.bytes(), 192u * 64 * 2);
  EXPECT_EQ(weights.head->weight.bytes(), 64u * 64 * 2);
}

// The value is refused as it is when it becomes float32.
TEST_P(CompactTest, NumbersThatAreNotFiniteAreRefused) {
  constexpr char kConfig[] =
      R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 8,
          "num_encoder_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "norm": "none",
          "input": {"kind": "tokens", "vocab_size": 10}})";
  for (const char* tensor : {"encoder.embed_tokens.weight", "encoder.layers.0.ffn.up_proj.weight"}) {
    for (double value : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
      ModelFiles files = BuildModel(kConfig, {.dtype = GetParam()});
      std::string& blob = files["model.safetensors"];
      blob = PokeValue(blob, tensor, 13, value);
      const TempDir directory = WriteFiles(files);
      const auto model = LoadedModel::Load("model", 1, directory.path());
      ASSERT_FALSE(model.ok()) << tensor;
      EXPECT_NE(model.status().message().find("element 13: expected a finite float32"), std::string::npos)
          << model.status();
      EXPECT_NE(model.status().message().find(tensor), std::string::npos) << model.status();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, CompactTest, ::testing::Values(DType::kBF16, DType::kF16),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace splineserve::testing
