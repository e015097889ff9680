// What is wrong with a request is said at once: the field's path, what was expected, what was found.
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/engine/validation.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"

namespace splineserve::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// `path` is where the message begins; every one of `words` occurs in it.
void ExpectInvalid(const absl::Status& status, const std::string& path,
                   const std::vector<std::string>& words = {}) {
  EXPECT_EQ(absl::StatusCode::kInvalidArgument, status.code()) << status;
  const std::string message(status.message());
  EXPECT_THAT(message, StartsWith(path + ":"));
  for (const std::string& word : words) EXPECT_THAT(message, HasSubstr(word));
}

std::string Config(const std::string& architecture, const std::string& rest) {
  return absl::StrCat(R"({"model_type": "spline_transformer", "hidden_size": 6, "num_attention_heads": 2,
                          "intermediate_size": 7, "architecture": ")",
                      architecture, "\", ", rest, "}");
}

class ValidationTest : public ::testing::Test {
 protected:
  static EngineOptions Limits() {
    EngineOptions options;
    options.threads = 1;
    options.max_sequences_per_request = 4;
    options.max_tokens_per_sequence = 12;
    options.max_tokens_per_request = 30;
    options.max_new_tokens = 9;
    options.max_beam_width = 3;
    return options;
  }

  absl::Status Encode(const TestModel& model, std::vector<Sequence> inputs,
                      OutputKind output = OutputKind::kDefault, PieceOptions pieces = {}) {
    return engine_
        ->EncodeAndWait(model.loaded(),
                        {.inputs = std::move(inputs), .output = output, .pieces = std::move(pieces)})
        .status();
  }
  absl::Status Decode(const TestModel& model, std::vector<Sequence> sources, std::vector<Sequence> targets,
                      OutputKind output = OutputKind::kDefault) {
    return engine_
        ->DecodeAndWait(model.loaded(),
                        {.sources = std::move(sources), .targets = std::move(targets), .output = output})
        .status();
  }
  absl::Status Generate(const TestModel& model, GenerateRequest request) {
    return engine_->GenerateAndWait(model.loaded(), std::move(request)).status();
  }

  const TestModel tokens_{
      Config("encoder", R"("num_encoder_layers": 2, "positions": "learned", "max_positions": 8,
                                               "input": {"kind": "tokens", "vocab_size": 5})"),
      ModelOptions{}};
  const TestModel vectors_{
      Config("encoder", R"("num_encoder_layers": 1, "input": {"kind": "vectors", "size": 3},
                                                "head": {"kind": "linear", "size": 2, "pooling": "mean"})"),
      ModelOptions{}};
  const TestModel decoder_{
      Config("decoder", R"("num_decoder_layers": 1, "input": {"kind": "tokens", "vocab_size": 6},
                                                "head": {"kind": "linear", "size": 6}, "bos_token_id": 1)"),
      ModelOptions{}};
  const TestModel no_bos_{
      Config("decoder", R"("num_decoder_layers": 1, "input": {"kind": "tokens", "vocab_size": 6},
                                               "head": {"kind": "linear", "size": 6})"),
      ModelOptions{}};
  const TestModel both_{Config("encoder_decoder", R"("num_encoder_layers": 1, "num_decoder_layers": 1,
      "input": {"kind": "tokens", "vocab_size": 9}, "target_input": {"kind": "tokens", "vocab_size": 7},
      "vocabulary": {"file": "letters.txt", "split": "characters"},
      "head": {"kind": "linear", "size": 7}, "bos_token_id": 1, "eos_token_id": 2)"),
                        ModelOptions{}};
  const std::unique_ptr<Engine> engine_ = Engine::Create(Limits(), *AvailableKernelSets().front()).value();
};

TokenIds Ids(std::vector<int32_t> ids) { return {std::move(ids)}; }

TEST_F(ValidationTest, ValidRequestsPass) {
  EXPECT_TRUE(Encode(tokens_, {Ids({0, 4})}).ok());
  EXPECT_TRUE(Encode(vectors_, {Matrix{1, 3, {1, 2, 3}}}, OutputKind::kHead).ok());
  EXPECT_TRUE(Decode(decoder_, {}, {Ids({0, 5})}).ok());
  EXPECT_TRUE(Decode(both_, {Text{"abc"}}, {Ids({1})}).ok());
  EXPECT_TRUE(Generate(decoder_, {}).ok());
  EXPECT_TRUE(Generate(both_, {.source = Text{"cab"}}).ok());
}

TEST_F(ValidationTest, Lengths) {
  ExpectInvalid(Encode(tokens_, {}), "inputs");
  ExpectInvalid(Encode(tokens_, {Ids({1}), Ids({})}), "inputs[1]", {"empty"});
  ExpectInvalid(Encode(vectors_, {Matrix{0, 3, {}}}), "inputs[0]", {"empty"});
  ExpectInvalid(Encode(tokens_, {Ids(std::vector<int32_t>(9, 1))}), "inputs[0]", {"8", "9", "max_positions"});
  ExpectInvalid(Decode(decoder_, {}, {Ids(std::vector<int32_t>(13, 1))}), "targets[0]", {"12", "13"});
  ExpectInvalid(Encode(tokens_, std::vector<Sequence>(5, Ids({1}))), "inputs", {"4", "5"});
  ExpectInvalid(Decode(decoder_, {}, std::vector<Sequence>(3, Ids(std::vector<int32_t>(11, 1)))), "targets",
                {"30"});
}

TEST_F(ValidationTest, Ids_) {
  ExpectInvalid(Encode(tokens_, {Ids({0}), Ids({0, 1, 5})}), "inputs[1].tokens.ids[2]", {"5"});
  ExpectInvalid(Encode(tokens_, {Ids({-1})}), "inputs[0].tokens.ids[0]", {"-1"});
  ExpectInvalid(Decode(both_, {Ids({9})}, {Ids({1})}), "sources[0].tokens.ids[0]", {"9"});
  ExpectInvalid(Decode(both_, {Ids({8})}, {Ids({7})}), "targets[0].tokens.ids[0]", {"7"});
  EXPECT_TRUE(Decode(both_, {Ids({8})}, {Ids({6})}).ok());
}

TEST_F(ValidationTest, Vectors) {
  ExpectInvalid(Encode(vectors_, {Matrix{1, 4, {1, 2, 3, 4}}}), "inputs[0].vectors.cols", {"3", "4"});
  ExpectInvalid(Encode(vectors_, {Matrix{2, 3, {1, 2, 3, 4, 5}}}), "inputs[0].vectors.values", {"5"});
  ExpectInvalid(Encode(vectors_, {Matrix{std::numeric_limits<size_t>::max() / 2 + 1, 3, {}}}),
                "inputs[0].vectors.values");
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    ExpectInvalid(Encode(vectors_, {Matrix{1, 3, {1, 2, 3}}, Matrix{1, 3, {1, bad, 3}}}),
                  "inputs[1].vectors.values[1]", {"finite"});
  }
}

TEST_F(ValidationTest, Forms) {
  ExpectInvalid(Encode(tokens_, {std::monostate()}), "inputs[0]", {"tokens", "nothing"});
  ExpectInvalid(Encode(tokens_, {Matrix{1, 3, {1, 2, 3}}}), "inputs[0]", {"tokens", "vectors"});
  ExpectInvalid(Encode(vectors_, {Ids({1})}), "inputs[0]", {"vectors", "tokens"});
  ExpectInvalid(Encode(vectors_, {Text{"a"}}), "inputs[0]", {"vectors", "text"});
  ExpectInvalid(Encode(tokens_, {Text{"a"}}), "inputs[0].text", {"vocabulary"});
  ExpectInvalid(Decode(both_, {Text{"a!"}}, {Ids({1})}), "sources[0].text", {"!"});
  ExpectInvalid(Decode(both_, {Text{""}}, {Ids({1})}), "sources[0]", {"empty"});
  ExpectInvalid(Decode(both_, {Text{"a\xff"}}, {Ids({1})}), "sources[0].text");
}

TEST_F(ValidationTest, Output) {
  ExpectInvalid(Encode(tokens_, {Ids({1})}, OutputKind::kHead), "output", {"HIDDEN", "HEAD"});
  ExpectInvalid(Encode(both_, {Ids({1})}, OutputKind::kHead), "output", {"decoder"});
  EXPECT_TRUE(Encode(both_, {Ids({1})}).ok());  // by default hidden rows, for the head is the decoder's
}

TEST_F(ValidationTest, SourcesAndTargets) {
  ExpectInvalid(Decode(both_, {}, {Ids({1})}), "sources", {"1", "0"});
  ExpectInvalid(Decode(both_, {Ids({1}), Ids({1})}, {Ids({1})}), "sources", {"1", "2"});
  ExpectInvalid(Decode(decoder_, {Ids({1})}, {Ids({1})}), "sources", {"none"});
  ExpectInvalid(Decode(both_, {}, {}), "targets");
  ExpectInvalid(Generate(both_, {}), "source");
  ExpectInvalid(Generate(decoder_, {.source = Ids({1})}), "source");
}

TEST_F(ValidationTest, Pieces) {
  ExpectInvalid(
      Encode(tokens_, {Ids({1})}, OutputKind::kDefault, {.detail = PieceDetail::kBits, .layers = {0, 2}}),
      "pieces.layers[1]", {"2"});
  // Even with detail NONE: the lists would be copied for every sequence.
  ExpectInvalid(
      Encode(tokens_, {Ids({1})}, OutputKind::kDefault, {.layers = std::vector<size_t>(1'000'000, 0)}),
      "pieces.layers", {"at most 2", "1000000"});
  ExpectInvalid(Encode(tokens_, {Ids({1})}, OutputKind::kDefault,
                       {.detail = PieceDetail::kCounts, .sites = std::vector<Site>(4, Site::kFeedForward)}),
                "pieces.sites", {"at most 3", "4"});
  EXPECT_TRUE(Encode(tokens_, {Ids({1})}, OutputKind::kDefault,
                     {.detail = PieceDetail::kCounts,
                      .layers = {1, 0},
                      .sites = {Site::kFeedForward, Site::kCrossAttention, Site::kSelfAttention}})
                  .ok());
}

TEST_F(ValidationTest, StopIdsAreKeptOnceAndSorted) {
  std::vector<int32_t> ids(1'000'000, 5);
  ids[77] = 2;
  const auto checked = CheckGenerate(*decoder_.loaded(), {.stop_ids = std::move(ids)}, Limits());
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_EQ((std::vector<int32_t>{2, 5}), checked->options.stop_ids);
  EXPECT_LE(checked->options.stop_ids.capacity(), 2u);
}

TEST_F(ValidationTest, EstimatesCoverResultsWithTheirPieces) {
  constexpr size_t kTokens = 12;
  size_t last = 0;
  for (const PieceDetail detail :
       {PieceDetail::kNone, PieceDetail::kId, PieceDetail::kCounts, PieceDetail::kBits}) {
    const EncodeRequest request{.inputs = {Matrix{kTokens, 3, std::vector<float>(3 * kTokens, 1)}},
                                .output = OutputKind::kHidden,
                                .pieces = {.detail = detail}};
    const auto checked = CheckEncode(*vectors_.loaded(), request, Limits());
    const auto result = engine_->EncodeAndWait(vectors_.loaded(), request);
    ASSERT_TRUE(checked.ok() && result.ok()) << checked.status() << result.status();
    const SequenceResult& sequence = result->results[0];
    size_t held = sequence.output.values.capacity() * sizeof(float);
    for (const TokenPiece& piece : sequence.pieces) {
      held += sizeof(piece) + piece.groups.capacity() * sizeof(PieceGroup);
      for (const PieceGroup& group : piece.groups) held += group.bits.capacity();
    }
    EXPECT_GE(checked->bytes, held);
    EXPECT_GT(checked->bytes, last) << "more detail, more memory";
    last = checked->bytes;
  }
}

TEST_F(ValidationTest, Generation) {
  ExpectInvalid(Generate(no_bos_, {}), "prompt", {"bos_token_id"});
  ExpectInvalid(Generate(decoder_, {.prompt = Ids({6})}), "prompt.tokens.ids[0]", {"6"});
  ExpectInvalid(Generate(decoder_, {.prompt = Ids({})}), "prompt", {"empty"});
  ExpectInvalid(Generate(decoder_, {.prompt = Ids(std::vector<int32_t>(13, 1))}), "prompt", {"12", "13"});
  ExpectInvalid(Generate(decoder_, {.max_new_tokens = 10}), "max_new_tokens", {"9", "10"});
  ExpectInvalid(Generate(decoder_, {.stop_ids = {3, 6}}), "stop_ids[1]", {"6"});
  for (const size_t width : {0, 4}) {
    ExpectInvalid(Generate(decoder_, {.strategy = GenerationStrategy::kBeam, .beam_width = width}),
                  "beam.width", {"3", absl::StrCat(width)});
  }
  ExpectInvalid(
      Generate(decoder_, {.strategy = GenerationStrategy::kBeam, .beam_width = 2, .num_hypotheses = 3}),
      "beam.num_hypotheses", {"2", "3"});
  for (const float bad :
       {-0.5f, 10.5f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    ExpectInvalid(
        Generate(decoder_, {.strategy = GenerationStrategy::kBeam, .beam_width = 2, .length_penalty = bad}),
        "beam.length_penalty", {"0 to 10"});
  }
  for (const float good : {0.0f, 10.0f}) {
    EXPECT_TRUE(
        Generate(decoder_, {.strategy = GenerationStrategy::kBeam, .beam_width = 2, .length_penalty = good})
            .ok());
  }
  for (const float bad :
       {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    ExpectInvalid(Generate(decoder_, {.strategy = GenerationStrategy::kSample, .temperature = bad}),
                  "sample.temperature");
  }
}

TEST_F(ValidationTest, WhatTheModelCannotDo) {
  const auto code = [](const absl::Status& status) { return status.code(); };
  EXPECT_EQ(absl::StatusCode::kInvalidArgument, code(Encode(decoder_, {Ids({1})})));
  EXPECT_EQ(absl::StatusCode::kInvalidArgument, code(Decode(tokens_, {}, {Ids({1})})));
  EXPECT_EQ(absl::StatusCode::kInvalidArgument, code(Generate(tokens_, {})));
}

}  // namespace
}  // namespace splineserve::testing
