// Numbers that overflow float32: the request fails with OUT_OF_RANGE naming layer and token, and nobody
// else's does.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/pending_request.h"
#include "tests/engine/random_model.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

using ::testing::HasSubstr;

constexpr char kVectorEncoder[] = R"({
  "model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 6, "num_attention_heads": 2,
  "intermediate_size": 9, "num_encoder_layers": 2, "input": {"kind": "vectors", "size": 3}})";

bool Finite(const Rows<float>& rows) {
  for (const std::vector<float>& row : rows) {
    for (const float value : row) {
      if (!std::isfinite(value)) return false;
    }
  }
  return true;
}

// Over random exact models and inputs of every magnitude, the engine refuses exactly what overflows in the
// reference.
TEST(OverflowTest, FailsWhereTheReferenceOverflowsAndOnlyThere) {
  size_t overflowed = 0, fine = 0;
  std::vector<std::unique_ptr<Engine>> engines;
  for (const KernelSet* kernels : AvailableKernelSets()) engines.push_back(MakeEngine(*kernels, 2));
  for (uint64_t i = 0; i < 240; ++i) {
    const uint64_t seed = TestSeed() + 50000 + i;
    Random random(seed);
    const auto architecture = static_cast<Architecture>(i % 3);
    const std::string config = RandomConfig(&random, architecture, /*exact=*/true);
    SCOPED_TRACE(absl::StrCat("model seed ", seed, ", config ", config));
    const TestModel model(config, {.seed = seed});
    const bool decode = model.config().has_decoder();
    Example example = RandomExample(&random, model.config(), decode);
    const float factor = std::pow(10.0f, static_cast<float>(random.Between(0, 37)));
    for (ReferenceInput* input : {&example.source, &example.input}) {
      if (input->vectors.empty()) continue;
      for (float& value : input->vectors[random.Between(0, input->size() - 1)]) {
        value = std::clamp(value * factor, -3e38f, 3e38f);
      }
    }
    const auto expected = model.Reference<float>(example.source, example.input, decode);
    (expected.overflowed ? overflowed : fine) += 1;
    for (const std::unique_ptr<Engine>& engine : engines) {
      SCOPED_TRACE(engine->kernels().name);
      for (const PieceDetail detail : {PieceDetail::kNone, PieceDetail::kBits}) {
        const auto actual =
            Evaluate(engine.get(), model, {example}, decode, OutputKind::kHidden, {.detail = detail});
        ASSERT_EQ(expected.overflowed ? absl::StatusCode::kOutOfRange : absl::StatusCode::kOk,
                  actual.status().code())
            << actual.status();
        if (!expected.overflowed) {
          ASSERT_TRUE(Finite(ToRows(actual->results[0].output)));
        }
      }
    }
  }
  EXPECT_GT(overflowed, 40u);  // both happen, else nothing is tested
  EXPECT_GT(fine, 40u);
}

EncodeRequest VectorRequest(size_t tokens, size_t large_token, float large) {
  Matrix matrix = {.rows = tokens, .cols = 3, .values = std::vector<float>(3 * tokens, 0.5f)};
  if (large_token < tokens) {
    for (size_t c = 0; c < 3; ++c) matrix.values[3 * large_token + c] = large * (c == 1 ? -1.0f : 1.0f);
  }
  return {.inputs = {matrix}};
}

// Only token 3's score with itself overflows: 1e25 squared. Everything else in layer 0 is finite before it.
TEST(OverflowTest, NamesLayerAndToken) {
  const TestModel model(kVectorEncoder, {.seed = 3});
  const auto engine = MakeEngine(*AvailableKernelSets().front(), 1);
  const auto result = engine->EncodeAndWait(model.loaded(), VectorRequest(5, 3, 1e25f));
  ASSERT_EQ(absl::StatusCode::kOutOfRange, result.status().code()) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("layer 0"));
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("token 3"));
}

// A short sequence takes its tokens one by one. Where a score overflows below zero the gate is closed and
// everything after it finite.
TEST(OverflowTest, NamesTheScoreOfAShortSequence) {
  const auto engine = MakeEngine(*AvailableKernelSets().front(), 1);
  for (uint64_t seed = 1; seed <= 8; ++seed) {  // signs of both heads' scores are all there
    const TestModel model(kVectorEncoder, {.seed = seed});
    for (size_t tokens : {1, 2, 5, 12}) {
      for (const PieceDetail detail : {PieceDetail::kNone, PieceDetail::kBits}) {
        EncodeRequest request = VectorRequest(tokens, tokens - 1, 1e25f);
        request.pieces = {.detail = detail};
        const auto result = engine->EncodeAndWait(model.loaded(), std::move(request));
        ASSERT_EQ(absl::StatusCode::kOutOfRange, result.status().code()) << result.status();
        EXPECT_THAT(std::string(result.status().message()),
                    HasSubstr(absl::StrCat("encoder layer 0, token ", tokens - 1,
                                           ": a self-attention score overflowed")));
      }
    }
  }
}

// The same in a block of rows.
TEST(OverflowTest, NamesTheScoreOfASingleToken) {
  std::string config(kVectorEncoder);
  config.replace(config.find("\"encoder\""), 9, "\"decoder\"");
  config.replace(config.find("num_encoder_layers"), 18, "num_decoder_layers");
  const auto engine = MakeEngine(*AvailableKernelSets().front(), 1);
  for (uint64_t seed = 1; seed <= 8; ++seed) {  // signs of both heads' scores are all there
    const TestModel model(config, {.seed = seed});
    for (const PieceDetail detail : {PieceDetail::kNone, PieceDetail::kBits}) {
      DecodeRequest request{.targets = VectorRequest(1, 0, 1e25f).inputs, .pieces = {.detail = detail}};
      const auto result = engine->DecodeAndWait(model.loaded(), std::move(request));
      ASSERT_EQ(absl::StatusCode::kOutOfRange, result.status().code()) << result.status();
      EXPECT_THAT(std::string(result.status().message()),
                  HasSubstr("decoder layer 0, token 0: a self-attention score overflowed"));
    }
  }
}

TEST(OverflowTest, OnlyTheOffendingRequestOfABatchFails) {
  const TestModel model(kVectorEncoder, {.seed = 3});
  const auto engine = MakeEngine(*AvailableKernelSets().front(), 2);
  const auto alone = engine->EncodeAndWait(model.loaded(), VectorRequest(4, 9, 0));
  ASSERT_TRUE(alone.ok()) << alone.status();
  std::vector<PendingRequest> pending(5);
  {
    HeldExecutor held(engine.get(), model.loaded(), VectorRequest(1, 9, 0));
    for (size_t i = 0; i < pending.size(); ++i) {
      const absl::Status status =
          engine->Encode(model.loaded(), i == 2 ? VectorRequest(4, 1, 1e25f) : VectorRequest(4, 9, 0),
                         std::make_shared<CancellationToken>(), pending[i].Callback());
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  for (size_t i = 0; i < pending.size(); ++i) {
    const absl::StatusOr<EvaluationResult>& result = pending[i].Wait();
    if (i == 2) {
      EXPECT_EQ(absl::StatusCode::kOutOfRange, result.status().code()) << result.status();
      continue;
    }
    ASSERT_TRUE(result.ok()) << i << ": " << result.status();
    EXPECT_EQ(20, result->timing.batch_tokens) << "they were to run as one batch";
    EXPECT_EQ(alone->results[0].output.values, result->results[0].output.values);
  }
}

}  // namespace
}  // namespace splineserve::testing
