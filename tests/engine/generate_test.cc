// Generation with its key-value cache against Decode without one: the same tokens, pieces and sequence ids.
#include <algorithm>
#include <cmath>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/random_model.h"
#include "tests/testing/comparison.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

constexpr int32_t kEos = 2;

// What a stream of greedy search or sampling said, checked for its form on the way.
struct Generated {
  std::vector<int32_t> ids;  // token events
  std::vector<float> log_probabilities;
  std::vector<TokenPiece> pieces;  // of the prompt, of each chosen token's position, and of the ending's
  Hypothesis hypothesis;
};

Generated Collect(const std::vector<GenerateEvent>& events) {
  Generated generated;
  for (size_t i = 0; i < events.size(); ++i) {
    const GenerateEvent& event = events[i];
    EXPECT_EQ(i + 1 == events.size(), event.final);
    EXPECT_EQ(event.final, !event.token.has_value());
    EXPECT_TRUE(i == 0 || event.prompt_pieces.empty());
    generated.pieces.insert(generated.pieces.end(), event.prompt_pieces.begin(), event.prompt_pieces.end());
    if (!event.token.has_value()) continue;
    generated.ids.push_back(event.token->id);
    generated.log_probabilities.push_back(event.token->log_probability);
    if (event.token->piece.has_value()) generated.pieces.push_back(*event.token->piece);
  }
  if (events.empty() || events.back().hypotheses.size() != 1) {
    ADD_FAILURE() << "expected a final event with one hypothesis";
    return generated;
  }
  generated.hypothesis = events.back().hypotheses[0];
  if (generated.hypothesis.end_piece.has_value()) generated.pieces.push_back(*generated.hypothesis.end_piece);
  std::vector<int32_t> ids;
  for (const GeneratedToken& token : generated.hypothesis.tokens) ids.push_back(token.id);
  EXPECT_EQ(ids, generated.ids) << "the final event repeats the tokens";
  return generated;
}

size_t ArgMax(const std::vector<float>& logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();  // the first of equals
}

double LogProbability(const std::vector<float>& logits, int32_t id) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return logits[id] - largest - std::log(sum);
}

// Log-probabilities are float32 numbers: 1e-4, or 1e-5 of a large one.
double ScoreTolerance(double score) { return 1e-5 * std::max(10.0, std::abs(score)); }

class GenerateTest : public ::testing::TestWithParam<std::tuple<Architecture, int>> {
 protected:
  void SetUp() override {
    const uint64_t seed = TestSeed() + 104729 * std::get<1>(GetParam());
    random_ = std::make_unique<Random>(seed);
    config_ = GeneratorConfig(random_.get(), std::get<0>(GetParam()));
    model_ = std::make_unique<TestModel>(config_, ModelOptions{.seed = seed});
  }

  // A request with a random source and prompt (or bos alone).
  GenerateRequest RandomRequest() {
    GenerateRequest request;
    prompt_ = {1};
    source_ = {};
    if (model_->config().has_encoder()) {
      source_ = RandomInput(random_.get(), model_->config().input, random_->Between(1, 12));
      request.source = ToSequence(source_);
    }
    if (random_->Chance(0.7)) {
      prompt_ = RandomInput(random_.get(), model_->config().decoder_input(), random_->Between(1, 9)).ids;
      request.prompt = TokenIds{prompt_};
    }
    request.max_new_tokens = random_->Between(1, 12);
    request.pieces = AllPieces();
    return request;
  }

  Generated Greedy(GenerateRequest request) {
    const auto events = engine_->GenerateAndWait(model_->loaded(), std::move(request));
    EXPECT_TRUE(events.ok()) << events.status();
    return events.ok() ? Collect(*events) : Generated{};
  }

  // Decode of the prompt and these tokens, without a cache.
  ReferenceResult<float> Decode(const std::vector<int32_t>& tokens) {
    Example example = {.source = source_, .input = {.ids = prompt_}};
    example.input.ids.insert(example.input.ids.end(), tokens.begin(), tokens.end());
    const auto results = RunAll(engine_.get(), *model_, {example}, /*decode=*/true);
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? (*results)[0] : ReferenceResult<float>{};
  }

  std::unique_ptr<Engine> engine_ = MakeEngine(*AvailableKernelSets().front(), 2);
  std::unique_ptr<Random> random_;
  std::string config_;
  std::unique_ptr<TestModel> model_;
  ReferenceInput source_;
  std::vector<int32_t> prompt_;
};

TEST_P(GenerateTest, GreedyIsArgMaxOfDecodeWithItsPieces) {
  SCOPED_TRACE(config_);
  for (int i = 0; i < 6; ++i) {
    const GenerateRequest request = RandomRequest();
    const Generated generated = Greedy(request);
    // The last token is chosen but not evaluated, unless something was chosen after it.
    const bool ended = generated.hypothesis.finish_reason != FinishReason::kLength;
    std::vector<int32_t> fed = generated.ids;
    if (!ended) {
      ASSERT_FALSE(fed.empty());
      fed.pop_back();
    }
    const ReferenceResult<float> decoded = Decode(fed);
    ASSERT_EQ(prompt_.size() + fed.size(), decoded.head.size());
    double score = 0;
    for (size_t t = 0; t < generated.ids.size(); ++t) {
      const std::vector<float>& logits = decoded.head[prompt_.size() - 1 + t];
      ASSERT_EQ(ArgMax(logits), static_cast<size_t>(generated.ids[t]));
      const double expected = LogProbability(logits, generated.ids[t]);
      EXPECT_NEAR(expected, generated.log_probabilities[t], ScoreTolerance(expected));
      EXPECT_NE(kEos, generated.ids[t]);
      score += expected;
    }
    if (ended) {
      EXPECT_EQ(FinishReason::kEndOfSequence, generated.hypothesis.finish_reason);
      ASSERT_EQ(static_cast<size_t>(kEos), ArgMax(decoded.head.back()));
      score += LogProbability(decoded.head.back(), kEos);
    } else {
      EXPECT_LE(generated.ids.size(), request.max_new_tokens);
    }
    EXPECT_NEAR(score, generated.hypothesis.score, ScoreTolerance(score));
    EXPECT_EQ(decoded.sequence_id, generated.hypothesis.sequence_id);
    EXPECT_TRUE(TokensEqual(decoded.tokens, ToTokens(generated.pieces)));
  }
}

TEST_P(GenerateTest, StopIdsAndLimitsEndASequence) {
  SCOPED_TRACE(config_);
  for (int i = 0; i < 6; ++i) {
    GenerateRequest request = RandomRequest();
    request.max_new_tokens = 12;
    const Generated whole = Greedy(request);
    if (whole.ids.size() < 2) continue;
    request.max_new_tokens = 1;
    const Generated one = Greedy(request);
    EXPECT_EQ(std::vector<int32_t>{whole.ids[0]}, one.ids);
    EXPECT_EQ(FinishReason::kLength, one.hypothesis.finish_reason);
    request.max_new_tokens = 12;
    request.stop_ids = {whole.ids.back()};
    const Generated stopped = Greedy(request);
    EXPECT_EQ(FinishReason::kStopId, stopped.hypothesis.finish_reason);
    const auto first = std::find(whole.ids.begin(), whole.ids.end(), whole.ids.back());
    EXPECT_EQ(std::vector<int32_t>(whole.ids.begin(), first), stopped.ids);
  }
}

TEST_P(GenerateTest, PositionsOfTheModelEndASequence) {
  SCOPED_TRACE(config_);
  if (model_->config().max_positions == 0) GTEST_SKIP() << "no positions";
  GenerateRequest request = RandomRequest();
  request.max_new_tokens = 0;
  const Generated generated = Greedy(request);
  EXPECT_LE(prompt_.size() + generated.ids.size(), model_->config().max_positions + 1);
  if (generated.hypothesis.finish_reason == FinishReason::kLength) {
    EXPECT_EQ(prompt_.size() + generated.ids.size(), model_->config().max_positions + 1);
  }
}

TEST_P(GenerateTest, BeamOfOneIsGreedy) {
  SCOPED_TRACE(config_);
  for (int i = 0; i < 6; ++i) {
    GenerateRequest request = RandomRequest();
    const Generated greedy = Greedy(request);
    request.strategy = GenerationStrategy::kBeam;
    request.beam_width = 1;
    request.length_penalty = 0;
    const auto events = engine_->GenerateAndWait(model_->loaded(), request);
    ASSERT_TRUE(events.ok()) << events.status();
    ASSERT_EQ(1u, events->back().hypotheses.size());
    const Hypothesis& beam = events->back().hypotheses[0];
    std::vector<int32_t> ids;
    std::vector<TokenPiece> pieces = events->front().prompt_pieces;
    for (const GeneratedToken& token : beam.tokens) {
      ids.push_back(token.id);
      ASSERT_TRUE(token.piece.has_value());
      pieces.push_back(*token.piece);
    }
    if (beam.end_piece.has_value()) pieces.push_back(*beam.end_piece);
    EXPECT_EQ(greedy.ids, ids);
    EXPECT_EQ(greedy.hypothesis.finish_reason, beam.finish_reason);
    EXPECT_EQ(greedy.hypothesis.sequence_id, beam.sequence_id);
    EXPECT_EQ(greedy.hypothesis.text, beam.text);
    EXPECT_NEAR(greedy.hypothesis.score, beam.score, ScoreTolerance(beam.score));
    EXPECT_TRUE(TokensEqual(ToTokens(greedy.pieces), ToTokens(pieces)));
  }
}

// With two new tokens and a beam as wide as the vocabulary nothing is pruned: the best hypothesis is the best
// of all.
TEST_P(GenerateTest, WideBeamFindsTheBestOfAllPairs) {
  SCOPED_TRACE(config_);
  const size_t vocabulary = model_->config().head.size;
  if (vocabulary > engine_->options().max_beam_width) GTEST_SKIP() << "vocabulary wider than the widest beam";
  GenerateRequest request = RandomRequest();
  request.strategy = GenerationStrategy::kBeam;
  request.beam_width = vocabulary;
  request.num_hypotheses = vocabulary;
  request.length_penalty = 0;
  request.max_new_tokens = 2;
  const auto events = engine_->GenerateAndWait(model_->loaded(), request);
  ASSERT_TRUE(events.ok()) << events.status();

  const std::vector<float> first = Decode({}).head.back();
  double best = LogProbability(first, kEos);
  for (size_t a = 0; a < vocabulary; ++a) {
    const auto id = static_cast<int32_t>(a);
    if (id == kEos) continue;
    const std::vector<float> second = Decode({id}).head.back();
    best = std::max(best,
                    LogProbability(first, id) + LogProbability(second, static_cast<int32_t>(ArgMax(second))));
  }
  const std::vector<Hypothesis>& hypotheses = events->back().hypotheses;
  ASSERT_FALSE(hypotheses.empty());
  EXPECT_LE(hypotheses.size(), request.num_hypotheses);
  EXPECT_NEAR(best, hypotheses[0].score, ScoreTolerance(best));
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    std::vector<int32_t> ids;
    for (const GeneratedToken& token : hypotheses[i].tokens) ids.push_back(token.id);
    const bool ended = hypotheses[i].finish_reason != FinishReason::kLength;
    std::vector<int32_t> fed = ids;
    if (!ended) fed.pop_back();
    const ReferenceResult<float> decoded = Decode(fed);
    EXPECT_EQ(decoded.sequence_id, hypotheses[i].sequence_id);
    double score = ended ? LogProbability(decoded.head.back(), kEos) : 0;
    for (size_t t = 0; t < ids.size(); ++t)
      score += LogProbability(decoded.head[prompt_.size() - 1 + t], ids[t]);
    EXPECT_NEAR(score, hypotheses[i].score, ScoreTolerance(score)) << "hypothesis " << i;
    if (i > 0) {
      EXPECT_GE(hypotheses[i - 1].score, hypotheses[i].score);
    }
  }
}

TEST_P(GenerateTest, SamplingIsReproducibleByItsSeed) {
  SCOPED_TRACE(config_);
  GenerateRequest request = RandomRequest();
  const std::vector<int32_t> greedy = Greedy(request).ids;
  request.max_new_tokens = 12;
  request.strategy = GenerationStrategy::kSample;
  // Hot enough that no logit decides alone.
  const std::vector<float> logits = Decode({}).head.back();
  for (const float logit : logits) request.temperature = std::max(request.temperature, std::abs(logit));
  std::vector<std::vector<int32_t>> first;
  for (request.seed = 0; request.seed < 12; ++request.seed) first.push_back(Greedy(request).ids);
  for (request.seed = 0; request.seed < 12; ++request.seed) {
    EXPECT_EQ(first[request.seed], Greedy(request).ids) << "seed " << request.seed;
  }
  EXPECT_NE(first, std::vector<std::vector<int32_t>>(12, first[0])) << "the seed changes nothing";
}

TEST_P(GenerateTest, TopOneAndTemperatureNearZeroAreGreedy) {
  SCOPED_TRACE(config_);
  GenerateRequest request = RandomRequest();
  const std::vector<int32_t> greedy = Greedy(request).ids;
  request.strategy = GenerationStrategy::kSample;
  for (request.seed = 0; request.seed < 5; ++request.seed) {
    request.temperature = 3;
    request.top_k = 1;
    EXPECT_EQ(greedy, Greedy(request).ids);
    request.temperature = 1e-6f;
    request.top_k = 0;
    EXPECT_EQ(greedy, Greedy(request).ids);
  }
}

// Many generations at a time, advanced together and mixed with a Decode, say what each says alone.
TEST_P(GenerateTest, ConcurrentGenerationsDoNotTouchEachOther) {
  SCOPED_TRACE(config_);
  std::vector<GenerateRequest> requests;
  std::vector<Generated> alone;
  for (uint64_t i = 0; i < 10; ++i) {
    requests.push_back(RandomRequest());
    if (i % 2 == 1) {
      requests.back().strategy = GenerationStrategy::kSample;
      requests.back().seed = i;
    }
    alone.push_back(Greedy(requests.back()));
  }
  struct Stream {
    std::vector<GenerateEvent> events;
    absl::Status status;
    std::latch done{1};
  };
  std::vector<std::shared_ptr<Stream>> streams;
  for (const GenerateRequest& request : requests) {
    streams.push_back(std::make_shared<Stream>());
    const absl::Status status =
        engine_->Generate(model_->loaded(), request, std::make_shared<CancellationToken>(),
                          [stream = streams.back()](absl::StatusOr<GenerateEvent> event) {
                            if (!event.ok()) stream->status = event.status();
                            const bool last = !event.ok() || event->final;
                            if (event.ok()) stream->events.push_back(*std::move(event));
                            if (last) stream->done.count_down();
                            return true;
                          });
    ASSERT_TRUE(status.ok()) << status;
  }
  const ReferenceResult<float> between = Decode({1, 0});
  for (size_t i = 0; i < streams.size(); ++i) {
    streams[i]->done.wait();
    ASSERT_TRUE(streams[i]->status.ok()) << streams[i]->status;
    const Generated together = Collect(streams[i]->events);
    EXPECT_EQ(alone[i].ids, together.ids) << i;
    EXPECT_EQ(alone[i].hypothesis.sequence_id, together.hypothesis.sequence_id);
    EXPECT_EQ(alone[i].log_probabilities, together.log_probabilities);
    EXPECT_TRUE(TokensEqual(ToTokens(alone[i].pieces), ToTokens(together.pieces)));
  }
  ExpectExact(Decode({1, 0}), between);
}

// A receiver that leaves, by returning false or by cancelling, after its first event.
TEST_P(GenerateTest, ReceiversMayLeave) {
  SCOPED_TRACE(config_);
  GenerateRequest request = RandomRequest();
  request.max_new_tokens = 12;
  const size_t whole = Greedy(request).ids.size();
  for (const bool cancel : {false, true}) {
    const auto calls = std::make_shared<std::vector<absl::StatusOr<GenerateEvent>>>();
    const auto token = std::make_shared<CancellationToken>();
    const absl::Status status =
        engine_->Generate(model_->loaded(), request, token, [=](absl::StatusOr<GenerateEvent> event) {
          calls->push_back(std::move(event));
          if (cancel) token->Cancel();
          return cancel;
        });
    ASSERT_TRUE(status.ok()) << status;
    engine_->Drain(absl::InfiniteDuration());
    ASSERT_FALSE(calls->empty());
    if (!cancel) {
      EXPECT_EQ(1u, calls->size());
    }
    if (cancel && whole >= 3) {
      ASSERT_EQ(2u, calls->size());
      EXPECT_EQ(absl::StatusCode::kCancelled, calls->back().status().code());
    }
    EXPECT_EQ(0u, engine_->stats().active_generations);
    engine_ = MakeEngine(*AvailableKernelSets().front(), 2);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GenerateTest,
                         ::testing::Combine(::testing::Values(Architecture::kDecoder,
                                                              Architecture::kEncoderDecoder),
                                            ::testing::Range(1, 9)),
                         [](const auto& info) {
                           return absl::StrCat(std::string(Name(std::get<0>(info.param))), "_",
                                               std::get<1>(info.param));
                         });

}  // namespace
}  // namespace splineserve::testing
