// Generations whose keys and values lie in several chunks, some of them shared by beams, against Decode,
// which has them in one: the same pieces and log-probabilities, bit for bit.
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/engine/token_choice.h"
#include "core/model/key_value_cache.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/random_model.h"
#include "tests/testing/comparison.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

constexpr int32_t kVocabulary = 11;

std::string Config(Architecture architecture, const std::string& attention) {
  const bool encoder = architecture == Architecture::kEncoderDecoder;
  return absl::StrCat(
      R"({"model_type": "spline_transformer", "architecture": ")", std::string(Name(architecture)),
      R"(", "hidden_size": 20, "num_attention_heads": 2, "head_dim": 9, "intermediate_size": 30,)",
      encoder ? R"("num_encoder_layers": 1, "target_input": {"kind": "tokens", "vocab_size": 11},)" : "",
      R"("num_decoder_layers": 2, "norm": "affine", "attention_activation": ")", attention,
      R"(", "hidden_act": "relu", "positions": "sinusoidal", "max_positions": 400,
          "input": {"kind": "tokens", "vocab_size": 11}, "head": {"kind": "linear", "size": 11},
          "bos_token_id": 1, "eos_token_id": 2})");
}

// Parameters: architecture, attention's activation.
class LongGenerationTest : public ::testing::TestWithParam<std::tuple<Architecture, std::string>> {
 protected:
  // What Decode says of the prompt and these tokens.
  ReferenceResult<float> Decode(const std::vector<GeneratedToken>& tokens, bool ended) {
    Example example = {.source = source_, .input = {.ids = prompt_}};
    for (const GeneratedToken& token : tokens) example.input.ids.push_back(token.id);
    if (!ended) example.input.ids.pop_back();  // chosen last, never evaluated
    const auto results = RunAll(engine_.get(), model_, {example}, /*decode=*/true);
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? (*results)[0] : ReferenceResult<float>{};
  }

  static float LogProbability(const std::vector<float>& logits, int32_t id) {
    return static_cast<float>(logits[id] - LogSumExp(logits));
  }

  void ExpectAsDecoded(const Hypothesis& hypothesis, std::vector<TokenPiece> pieces) {
    const bool ended = hypothesis.finish_reason != FinishReason::kLength;
    const ReferenceResult<float> decoded = Decode(hypothesis.tokens, ended);
    ASSERT_EQ(decoded.head.size(), prompt_.size() + hypothesis.tokens.size() - (ended ? 0 : 1));
    for (size_t t = 0; t < hypothesis.tokens.size(); ++t) {
      const GeneratedToken& token = hypothesis.tokens[t];
      ASSERT_EQ(LogProbability(decoded.head[prompt_.size() - 1 + t], token.id), token.log_probability) << t;
      if (token.piece.has_value()) pieces.push_back(*token.piece);
    }
    if (hypothesis.end_piece.has_value()) pieces.push_back(*hypothesis.end_piece);
    EXPECT_TRUE(TokensEqual(decoded.tokens, ToTokens(pieces)));
    EXPECT_EQ(decoded.sequence_id, hypothesis.sequence_id);
  }

  void Run(size_t prompt, size_t new_tokens, GenerationStrategy strategy) {
    SCOPED_TRACE(
        absl::StrCat(prompt, " tokens and ", new_tokens, " new ones, strategy ", static_cast<int>(strategy)));
    prompt_.clear();
    for (size_t i = 0; i < prompt; ++i)
      prompt_.push_back(static_cast<int32_t>(random_.Between(3, kVocabulary - 1)));
    GenerateRequest request;
    if (model_.config().has_encoder()) {
      source_ = RandomInput(&random_, model_.config().input, random_.Between(1, 70));
      request.source = ToSequence(source_);
    }
    request.prompt = TokenIds{prompt_};
    request.strategy = strategy;
    request.temperature = 3;
    request.beam_width = 5;
    request.num_hypotheses = 5;
    request.max_new_tokens = new_tokens;
    request.pieces = AllPieces();
    const auto events = engine_->GenerateAndWait(model_.loaded(), request);
    ASSERT_TRUE(events.ok()) << events.status();
    std::vector<TokenPiece> pieces = events->front().prompt_pieces;
    for (const GenerateEvent& event : *events) {
      if (event.token.has_value() && event.token->piece.has_value()) pieces.push_back(*event.token->piece);
    }
    for (const Hypothesis& hypothesis : events->back().hypotheses) {
      ASSERT_NO_FATAL_FAILURE(ExpectAsDecoded(hypothesis, pieces));
      longest_ = std::max(longest_, prompt + hypothesis.tokens.size());
    }
    hypotheses_ += events->back().hypotheses.size();
  }

  std::unique_ptr<Engine> engine_ = MakeEngine(*AvailableKernelSets().front(), 2);
  Random random_{TestSeed()};
  TestModel model_{Config(std::get<0>(GetParam()), std::get<1>(GetParam())),
                   ModelOptions{.seed = TestSeed()}};
  ReferenceInput source_;
  std::vector<int32_t> prompt_;
  size_t longest_ = 0, hypotheses_ = 0;
};

// The first chunk of a search holds 16 tokens or a longer prompt's multiple of 16, the others 64. After a
// prompt of fewer than 16 it is replaced by one of 32, then 64, then others follow: 16, 32, 64 and 128 are
// boundaries; 32 and 96 are after a prompt of 32.
TEST_P(LongGenerationTest, BeamsOverEveryChunkBoundaryAreAsDecoded) {
  for (size_t prompt : {1, 10, 11, 15, 16, 17, 31, 32, 33, 63, 64, 65, 79, 80, 150}) {
    ASSERT_NO_FATAL_FAILURE(Run(prompt, 6, GenerationStrategy::kBeam));
    if (prompt <= 15) {
      ASSERT_NO_FATAL_FAILURE(Run(prompt, 70, GenerationStrategy::kBeam));
    }
  }
  EXPECT_GT(hypotheses_, 40u);
}

TEST_P(LongGenerationTest, BeamsOfManyStepsAreAsDecoded) {
  for (size_t prompt : {2, 140}) ASSERT_NO_FATAL_FAILURE(Run(prompt, 150, GenerationStrategy::kBeam));
  EXPECT_GT(longest_, 150u);
}

TEST_P(LongGenerationTest, SingleSequencesAreAsDecoded) {
  for (const GenerationStrategy strategy : {GenerationStrategy::kGreedy, GenerationStrategy::kSample}) {
    for (size_t prompt : {1, 31, 96, 150}) ASSERT_NO_FATAL_FAILURE(Run(prompt, 150, strategy));
  }
  EXPECT_GT(longest_, 150u);
}

INSTANTIATE_TEST_SUITE_P(Models, LongGenerationTest,
                         ::testing::Combine(::testing::Values(Architecture::kDecoder,
                                                              Architecture::kEncoderDecoder),
                                            ::testing::Values("relu", "relu2", "softmax", "softplus")),
                         [](const auto& info) {
                           return absl::StrCat(std::string(Name(std::get<0>(info.param))), "_",
                                               std::get<1>(info.param));
                         });

}  // namespace
}  // namespace splineserve::testing
