// Pieces of several inputs beside each other: the same as the slow reference's, compared gate by gate.
#include "core/engine/piece_comparison.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/analysis_runner.h"
#include "tests/engine/engine_runner.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

bool Open(const ReferenceGroup& group, size_t gate) { return (group.bits[gate / 8] >> (gate % 8) & 1) != 0; }

HammingDistance GateByGate(const std::vector<ReferenceToken>& a, const std::vector<ReferenceToken>& b,
                           size_t* same_tokens) {
  HammingDistance total;
  *same_tokens = 0;
  for (size_t t = 0; t < std::max(a.size(), b.size()); ++t) {
    HammingDistance token;
    const std::vector<ReferenceGroup>& groups = (t < a.size() ? a : b)[t].groups;
    for (size_t g = 0; g < groups.size(); ++g) {
      const size_t wa = t < a.size() ? a[t].groups[g].width : 0, wb = t < b.size() ? b[t].groups[g].width : 0;
      for (size_t gate = 0; gate < std::max(wa, wb); ++gate) {
        if (gate >= std::min(wa, wb)) {
          ++token.unmatched;
        } else {
          ++token.compared;
          token.differing += Open(a[t].groups[g], gate) != Open(b[t].groups[g], gate);
        }
      }
    }
    *same_tokens += t < a.size() && t < b.size() && token.same();
    total += token;
  }
  return total;
}

class ComparisonTest : public ::testing::TestWithParam<Architecture> {};

TEST_P(ComparisonTest, EqualsTheReferencesPiecesGateByGate) {
  for (size_t m = 0; m < 12; ++m) {
    const uint64_t seed = TestSeed() + 100 * static_cast<uint64_t>(GetParam()) + m;
    Random random(seed);
    const std::string config = RandomConfig(&random, GetParam(), /*exact=*/true);
    SCOPED_TRACE(absl::StrCat("model seed ", seed, ", config ", config));
    const TestModel model(config, {.seed = seed});
    const bool decode = model.config().has_decoder();
    const size_t count = m % 3 == 0 ? kMaxInputsInAllPairs + 2 : random.Between(2, kMaxInputsInAllPairs);
    CompareRequest request;
    std::vector<std::vector<ReferenceToken>> encoder, decoder;
    bool overflowed = false;
    const ReferenceModel<float> reference(model.directory());
    for (size_t i = 0; i < count; ++i) {
      const Example example = RandomExample(&random, model.config(), decode);
      ModelInput input;
      if (model.config().has_encoder()) {
        const ReferenceInput& source = decode ? example.source : example.input;
        input.source = ToSequence(source);
        const auto result = reference.Encode(source);
        overflowed = overflowed || result.overflowed;
        encoder.push_back(result.tokens);
      }
      if (decode) {
        input.target = ToSequence(example.input);
        const auto result = reference.Decode(example.source, example.input);
        overflowed = overflowed || result.overflowed;
        decoder.push_back(result.tokens);
      }
      request.inputs.push_back(std::move(input));
    }
    if (overflowed) continue;
    for (const KernelSet* kernels : AvailableKernelSets()) {
      const auto result = Compare(model.loaded(), request, *kernels);
      ASSERT_TRUE(result.ok()) << result.status();
      ASSERT_EQ(result->stacks.size(), GetParam() == Architecture::kEncoderDecoder ? 2u : 1u);
      for (const StackComparison& stack : result->stacks) {
        const auto& pieces = stack.stack == PieceLayout::Stack::kEncoder ? encoder : decoder;
        ASSERT_EQ(pieces.size(), count);
        ASSERT_EQ(stack.distances.size(), count * count);
        for (size_t a = 0; a < count; ++a) {
          EXPECT_EQ(stack.tokens[a], pieces[a].size());
          for (size_t b = 0; b < count; ++b) {
            size_t same_tokens = 0;
            EXPECT_EQ(stack.distances[a * count + b], GateByGate(pieces[a], pieces[b], &same_tokens));
            EXPECT_EQ(stack.same_tokens[a * count + b], same_tokens);
          }
        }
        const bool all = count <= kMaxInputsInAllPairs;
        ASSERT_EQ(stack.pairs.size(), all ? count * (count - 1) / 2 : count - 1);
        for (const PairComparison& pair : stack.pairs) {
          EXPECT_LT(pair.first, pair.second);
          EXPECT_EQ(pair.distance.total, stack.distances[pair.first * count + pair.second]);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, ComparisonTest,
                         ::testing::Values(Architecture::kEncoder, Architecture::kDecoder,
                                           Architecture::kEncoderDecoder),
                         [](const auto& info) { return std::string(Name(info.param)); });

std::string Decoder(const std::string& rest = "") {
  return absl::StrCat(R"({"model_type": "spline_transformer", "architecture": "decoder", "hidden_size": 6,
      "num_attention_heads": 2, "intermediate_size": 9, "num_decoder_layers": 1,
      "input": {"kind": "tokens", "vocab_size": 9})",
                      rest, "}");
}
constexpr char kBoth[] = R"({"model_type": "spline_transformer", "architecture": "encoder_decoder",
      "hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 7, "num_encoder_layers": 1,
      "num_decoder_layers": 1, "input": {"kind": "tokens", "vocab_size": 9},
      "target_input": {"kind": "tokens", "vocab_size": 7}})";

const KernelSet& Kernels() { return *AvailableKernelSets().front(); }
ModelInput Target(std::vector<int32_t> ids) { return {.target = TokenIds{std::move(ids)}}; }

TEST(PieceComparisonTest, SaysWhichInputsShareAPiece) {
  const TestModel model(Decoder(), {.seed = 3});
  const auto result = Compare(model.loaded(),
                              {.inputs = {Target({1, 2, 3}), Target({4, 5}), Target({1, 2, 3}),
                                          Target({1, 2}), Target({4, 5}), Target({1, 2, 3})}},
                              Kernels());
  ASSERT_TRUE(result.ok()) << result.status();
  const StackComparison& stack = result->stacks[0];
  EXPECT_THAT(stack.same_as, ElementsAre(0, 1, 0, 3, 1, 0));
  EXPECT_THAT(stack.tokens, ElementsAre(3, 2, 3, 2, 2, 3));
  EXPECT_EQ(stack.sequence_ids[0], stack.sequence_ids[5]);
  EXPECT_NE(stack.sequence_ids[0], stack.sequence_ids[3]);
  // A decoder's token sees none that follow it: those of the shorter sequence have the same pieces.
  EXPECT_EQ(stack.same_tokens[0 * 6 + 3], 2u);
  EXPECT_EQ(stack.distances[0 * 6 + 3], (HammingDistance{0, 2 * (1 + 2) + 2 * 9, 2 * 3 + 9}));
  EXPECT_EQ(result->tokens, 15u);
}

TEST(PieceComparisonTest, EncoderOfAnEncoderDecoderAlone) {
  const TestModel model(kBoth, {.seed = 3});
  const ModelInput source = {.source = TokenIds{{1, 2}}};
  const auto result = Compare(model.loaded(), {.inputs = {source, source}}, Kernels());
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->stacks.size(), 1u);
  EXPECT_EQ(result->stacks[0].stack, PieceLayout::Stack::kEncoder);
  EXPECT_THAT(result->stacks[0].same_as, ElementsAre(0, 0));
}

TEST(PieceComparisonTest, SmoothModelsCompareTheGatesThatTheyHave) {
  const TestModel some(Decoder(R"(, "attention_activation": "softmax")"), {.seed = 3});
  const auto result = Compare(some.loaded(), {.inputs = {Target({1, 2}), Target({3, 4})}}, Kernels());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->stacks[0].distances[1].compared, 2 * 9u);
  const TestModel none(Decoder(R"(, "attention_activation": "softmax", "hidden_act": "gelu")"), {.seed = 3});
  const absl::Status refused =
      Compare(none.loaded(), {.inputs = {Target({1, 2}), Target({3, 4})}}, Kernels()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("SMOOTH with none: attention_activation softmax, hidden_act gelu"));
}

TEST(PieceComparisonTest, Refusals) {
  const TestModel decoder(Decoder(), {.seed = 3}), both(kBoth, {.seed = 3});
  const auto refusal = [](const TestModel& model, std::vector<ModelInput> inputs, size_t most_tokens = 100) {
    EngineOptions limits;
    limits.max_tokens_per_request = most_tokens;
    const absl::Status status =
        Compare(model.loaded(), {.inputs = std::move(inputs)}, Kernels(), limits).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(refusal(decoder, {}), "inputs: expected 2 to 64, found 0");
  EXPECT_EQ(refusal(decoder, {Target({1})}), "inputs: expected 2 to 64, found 1");
  EXPECT_EQ(refusal(decoder, std::vector<ModelInput>(65, Target({1}))), "inputs: expected 2 to 64, found 65");
  EXPECT_THAT(refusal(decoder, {Target({1}), Target({1, 9})}), HasSubstr("inputs[1].target.tokens.ids[1]:"));
  EXPECT_THAT(refusal(decoder, {Target({1, 2}), Target({1, 2})}, 3), HasSubstr("more by inputs[1]"));
  const ModelInput source = {.source = TokenIds{{1}}};
  ModelInput whole = source;
  whole.target = TokenIds{{1}};
  EXPECT_THAT(refusal(both, {source, whole}),
              HasSubstr("inputs[1].target: expected nothing, as in inputs[0]"));
  EXPECT_THAT(refusal(both, {whole, source}), HasSubstr("inputs[1].target: expected a sequence"));
}

TEST(PieceComparisonTest, StopsBetweenTurns) {
  const TestModel model(Decoder(), {.seed = 3});
  auto work = CheckCompare(*model.loaded(), {.inputs = {Target({1}), Target({2})}}, {});
  ASSERT_TRUE(work.ok());
  PieceComparison analysis(model.loaded(), *std::move(work), Kernels());
  for (int turn = 0; turn < 3; ++turn) EXPECT_FALSE(*analysis.RunTurn([] { return absl::OkStatus(); }));
  EXPECT_EQ(analysis.RunTurn([] { return absl::CancelledError("left"); }).status(),
            absl::CancelledError("left"));
}

}  // namespace
}  // namespace splineserve::testing
