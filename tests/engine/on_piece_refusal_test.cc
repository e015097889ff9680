// What evaluation on a piece refuses, and what it says then.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/engine/evaluation_on_piece.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/analysis_runner.h"
#include "tests/engine/engine_runner.h"

namespace splineserve::testing {
namespace {

using ::testing::HasSubstr;

std::string VectorEncoder(const std::string& rest = "") {
  return absl::StrCat(R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 6,
      "num_attention_heads": 2, "intermediate_size": 9, "num_encoder_layers": 1,
      "input": {"kind": "vectors", "size": 3})",
                      rest, "}");
}

class OnPieceRefusalTest : public ::testing::Test {
 protected:
  static void Expect(const absl::Status& status, absl::StatusCode code,
                     const std::vector<std::string>& words) {
    EXPECT_EQ(status.code(), code) << status;
    for (const std::string& word : words) EXPECT_THAT(std::string(status.message()), HasSubstr(word));
  }
  static void ExpectInvalid(const absl::Status& status, const std::vector<std::string>& words) {
    Expect(status, absl::StatusCode::kInvalidArgument, words);
  }
  static absl::Status Run(const TestModel& model, EvaluateOnPieceRequest request,
                          const EngineOptions& limits = {}) {
    return EvaluateOnPiece(model.loaded(), std::move(request), *AvailableKernelSets().front(), limits)
        .status();
  }
  static Sequence Rows(size_t rows) { return Matrix{rows, 3, std::vector<float>(3 * rows, 0.5f)}; }
  static Sequence Ids(std::vector<int32_t> ids) { return TokenIds{std::move(ids)}; }

  const TestModel encoder_{VectorEncoder(), {.seed = 1}};
  const TestModel both_{R"({"model_type": "spline_transformer", "architecture": "encoder_decoder",
      "hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 7, "num_encoder_layers": 1,
      "num_decoder_layers": 1, "input": {"kind": "tokens", "vocab_size": 9},
      "target_input": {"kind": "tokens", "vocab_size": 7}, "head": {"kind": "linear", "size": 7}})",
                        {.seed = 2}};
};

TEST_F(OnPieceRefusalTest, SmoothModelsAndWhy) {
  const TestModel softmax(VectorEncoder(R"(, "attention_activation": "softmax")"), {.seed = 1});
  Expect(Run(softmax, {.input = {.source = Rows(2)}}), absl::StatusCode::kFailedPrecondition,
         {"SMOOTH", "without gates to freeze at attention_activation softmax"});
  const TestModel smooth(VectorEncoder(R"(, "attention_activation": "softplus", "hidden_act": "gelu")"),
                         {.seed = 1});
  Expect(Run(smooth, {.input = {.source = Rows(2)}}), absl::StatusCode::kFailedPrecondition,
         {"attention_activation softplus and hidden_act gelu"});
  const TestModel silu(VectorEncoder(R"(, "hidden_act": "silu")"), {.seed = 1});
  Expect(Run(silu, {}), absl::StatusCode::kFailedPrecondition, {"at hidden_act silu"});
}

TEST_F(OnPieceRefusalTest, InputsAndOptions) {
  EXPECT_TRUE(Run(encoder_, {.input = {.source = Rows(2)}}).ok());
  EXPECT_TRUE(Run(both_, {.input = {.source = Ids({1}), .target = Ids({1})}}).ok());
  EXPECT_TRUE(Run(both_, {.input = {.source = Ids({1})}}).ok());
  ExpectInvalid(Run(encoder_, {}), {"input.source: expected vectors", "nothing"});
  ExpectInvalid(Run(encoder_, {.input = {.source = Rows(2), .target = Rows(2)}}),
                {"input.target:", "encoder"});
  ExpectInvalid(Run(both_, {.input = {.target = Ids({1})}}), {"input.source:", "nothing"});
  ExpectInvalid(Run(both_, {.input = {.source = Ids({9}), .target = Ids({1})}}),
                {"input.source.tokens.ids[0]"});
  ExpectInvalid(Run(both_, {.input = {.source = Rows(2), .target = Ids({1})}}),
                {"input.source.vectors.cols: expected", "found 3"});
  ExpectInvalid(Run(both_, {.input = {.source = Ids({1})}, .output = OutputKind::kHead}),
                {"output:", "belongs to its decoder"});
  ExpectInvalid(Run(encoder_, {.input = {.source = Rows(2)}, .output = OutputKind::kHead}),
                {"output:", "no head"});
  ExpectInvalid(Run(encoder_, {.input = {.source = Rows(2)}, .pieces = {.margins = true}}),
                {"pieces.margins"});
  ExpectInvalid(
      Run(encoder_, {.input = {.source = Rows(2)}, .pieces = {.detail = PieceDetail::kBits, .layers = {1}}}),
      {"pieces.layers[0]"});
}

TEST_F(OnPieceRefusalTest, GatesOfOtherNumbersOfTokens) {
  ExpectInvalid(Run(encoder_, {.input = {.source = Rows(2)}, .gates = ModelInput{.source = Rows(3)}}),
                {"gates_of.source: expected as many tokens as input.source, 2, found 3"});
  ExpectInvalid(Run(encoder_, {.input = {.source = Rows(2)}, .gates = ModelInput{}}), {"gates_of.source:"});
  ExpectInvalid(Run(both_, {.input = {.source = Ids({1}), .target = Ids({1})},
                            .gates = ModelInput{.source = Ids({1})}}),
                {"gates_of.target: expected as many tokens as input.target, 1, found 0"});
  EngineOptions limits;
  limits.max_tokens_per_request = 5;
  ExpectInvalid(Run(encoder_, {.input = {.source = Rows(3)}, .gates = ModelInput{.source = Rows(3)}}, limits),
                {"input: expected at most 5 tokens in all", "found 6"});
}

TEST_F(OnPieceRefusalTest, GivenPieces) {
  const EvaluateOnPieceRequest own = {.input = {.source = Ids({1, 2}), .target = Ids({1, 2, 3})},
                                      .pieces = {.detail = PieceDetail::kBits}};
  const auto evaluated =
      EvaluateAlone(*both_.loaded(), *CheckModelInput(*both_.loaded(), own.input, "input", {}), true, nullptr,
                    "input", *AvailableKernelSets().front(), [] { return absl::OkStatus(); });
  ASSERT_TRUE(evaluated.ok());
  EvaluateOnPieceRequest request = own;
  request.gates = evaluated->pieces;
  EXPECT_TRUE(Run(both_, request).ok());
  StackPieces broken = evaluated->pieces;
  broken.encoder[1].groups[2].bits[0] |= 0x80;  // 7 units
  request.gates = broken;
  ExpectInvalid(Run(both_, request), {"given.encoder[1], layer 0, feed-forward, bits:"});
  broken = evaluated->pieces;
  broken.decoder[2].groups.pop_back();
  request.gates = broken;
  ExpectInvalid(Run(both_, request), {"given.decoder[2]: expected all groups"});
  request.gates = StackPieces{evaluated->pieces.encoder, {}};
  ExpectInvalid(Run(both_, request), {"given.decoder: expected a piece for each of the input's 3 tokens"});
  request.input.target = {};
  request.gates = evaluated->pieces;
  ExpectInvalid(Run(both_, request), {"given.decoder: expected none"});
}

TEST_F(OnPieceRefusalTest, CallersWhoLeave) {
  auto work = CheckEvaluateOnPiece(*encoder_.loaded(), {.input = {.source = Rows(3)}}, {});
  ASSERT_TRUE(work.ok());
  EvaluationOnPiece analysis(encoder_.loaded(), *std::move(work), *AvailableKernelSets().front());
  EXPECT_FALSE(*analysis.RunTurn([] { return absl::OkStatus(); }));
  int asked = 0;
  const auto left =
      analysis.RunTurn([&] { return ++asked == 2 ? absl::CancelledError("left") : absl::OkStatus(); });
  EXPECT_EQ(left.status(), absl::CancelledError("left"));
}

// 1e25 squared.
TEST_F(OnPieceRefusalTest, OverflowBeyondThePieceNamesIt) {
  Sequence large = Matrix{2, 3, std::vector<float>(6, 1e25f)};
  Expect(Run(encoder_, {.input = {.source = large}, .gates = ModelInput{.source = Rows(2)}}),
         absl::StatusCode::kOutOfRange, {"input.source, on the piece: encoder layer 0, token 0"});
  Expect(Run(encoder_, {.input = {.source = Rows(2)}, .gates = ModelInput{.source = large}}),
         absl::StatusCode::kOutOfRange, {"gates_of.source: encoder layer 0, token 0"});
  // Also where every gate is closed, so that nothing of it would reach the output.
  const auto small =
      EvaluateAlone(*encoder_.loaded(), *CheckModelInput(*encoder_.loaded(), {.source = Rows(2)}, "", {}),
                    false, nullptr, "", *AvailableKernelSets().front(), [] { return absl::OkStatus(); });
  ASSERT_TRUE(small.ok());
  StackPieces closed = small->pieces;
  for (TokenPiece& piece : closed.encoder) {
    piece.id.clear();
    for (PieceGroup& group : piece.groups) {
      group.open = 0;
      std::fill(group.bits.begin(), group.bits.end(), uint8_t{0});
    }
  }
  EXPECT_TRUE(Run(encoder_, {.input = {.source = Rows(2)}, .gates = closed}).ok());
  Expect(Run(encoder_, {.input = {.source = large}, .gates = closed}), absl::StatusCode::kOutOfRange,
         {"token 0: a self-attention score overflowed"});
}

}  // namespace
}  // namespace splineserve::testing
