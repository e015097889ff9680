// A steady step of generations allocates nothing, on any thread; nor does one that begins a chunk of keys and
// values, once a finished generation has left one.
#include <array>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/testing/counted_allocations.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

constexpr size_t kSequences = 5;
constexpr size_t kLastToken = 140;  // past the tokens that lie in blocks, and two chunks more

// Without an end-of-sequence token, so that generations are as long as is asked.
std::string Config(Architecture architecture, const std::string& attention) {
  const bool encoder = architecture == Architecture::kEncoderDecoder;
  return absl::StrCat(
      R"({"model_type": "spline_transformer", "architecture": ")", std::string(Name(architecture)),
      R"(", "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 50,)",
      encoder ? R"("num_encoder_layers": 1, "target_input": {"kind": "tokens", "vocab_size": 20},)" : "",
      R"("num_decoder_layers": 2, "norm": "affine", "attention_activation": ")", attention,
      R"(", "hidden_act": "relu", "input": {"kind": "tokens", "vocab_size": 20},
                          "head": {"kind": "linear", "size": 20}, "bos_token_id": 1})");
}

using Counts = std::array<size_t, kLastToken + 1>;  // after each token

// Several sequences in flight: how many allocations the process had made after each token of the last of
// them. The first and the last are no beam searches, which send their tokens only at the end.
Counts CountAllocations(Engine* engine, const TestModel& model, GenerationStrategy strategy) {
  struct Stream {
    size_t tokens = 0;
    Counts allocations = {};
    absl::Status status;
  };
  struct Round {
    std::latch first{1}, submitted{1}, done{kSequences};
    std::vector<Stream> streams = std::vector<Stream>(kSequences);
  };
  const auto round = std::make_shared<Round>();  // a callback may still be leaving `done` when it is over
  for (size_t i = 0; i < kSequences; ++i) {
    GenerateRequest request;
    if (model.config().has_encoder()) request.source = TokenIds{{3, 4, 5, 6, 7}};
    request.prompt = TokenIds{{1, static_cast<int32_t>(i + 2), 3}};
    const bool ends = i == 0 || i + 1 == kSequences;
    request.strategy = strategy == GenerationStrategy::kBeam && ends ? GenerationStrategy::kGreedy : strategy;
    request.seed = i;
    request.top_k = i % 2 == 0 ? 0 : 5;
    request.max_new_tokens = kLastToken + 1 + (kSequences - i);  // the last one to come ends first
    const absl::Status status =
        engine->Generate(model.loaded(), std::move(request), std::make_shared<CancellationToken>(),
                         [round, i](absl::StatusOr<GenerateEvent> event) {
                           Stream& stream = round->streams[i];
                           // The first one begins alone and stands still until all have come: then all of
                           // them are in every later step, each at the same token in every round.
                           if (i == 0 && stream.tokens == 0) {
                             round->first.count_down();
                             round->submitted.wait();
                           }
                           if (!event.ok()) stream.status = event.status();
                           const bool is_token = event.ok() && !event->final;
                           if (is_token && ++stream.tokens <= kLastToken) {
                             stream.allocations[stream.tokens] = CountedAllocations();
                           }
                           if (!event.ok() || event->final) round->done.count_down();
                           return true;
                         });
    if (!status.ok()) throw std::runtime_error(status.ToString());
    if (i == 0) round->first.wait();
  }
  round->submitted.count_down();
  round->done.wait();
  for (const Stream& stream : round->streams) EXPECT_TRUE(stream.status.ok()) << stream.status;
  return round->streams.back().allocations;
}

// Parameters: architecture, attention's activation, threads of the pool, strategy.
class GenerationAllocationTest
    : public ::testing::TestWithParam<std::tuple<Architecture, std::string, size_t, GenerationStrategy>> {};

TEST_P(GenerationAllocationTest, SteadyStepsAllocateNothing) {
  const auto& [architecture, attention, threads, strategy] = GetParam();
  for (const bool screened : {false, true}) {
    SCOPED_TRACE(screened ? "screened" : "not screened");
    const TestModel model(Config(architecture, attention), ModelOptions{.seed = TestSeed()},
                          {.bytes = screened ? size_t{1} << 30 : 0, .always = screened});
    const std::unique_ptr<Engine> engine = MakeEngine(*AvailableKernelSets().front(), threads);
    // The first round leaves the chunks of keys and values that the second takes.
    const Counts first = CountAllocations(engine.get(), model, strategy);
    EXPECT_GT(first[kLastToken], first[2]) << "the counter sees no chunk";
    const Counts second = CountAllocations(engine.get(), model, strategy);
    for (size_t token = 3; token <= kLastToken; ++token) {
      EXPECT_EQ(second[token - 1], second[token]) << "before token " << token;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, GenerationAllocationTest,
    ::testing::Combine(::testing::Values(Architecture::kDecoder, Architecture::kEncoderDecoder),
                       ::testing::Values("relu", "softmax"), ::testing::Values(1, 2),
                       ::testing::Values(GenerationStrategy::kGreedy, GenerationStrategy::kSample,
                                         GenerationStrategy::kBeam)),
    [](const auto& info) {
      const GenerationStrategy strategy = std::get<3>(info.param);
      return absl::StrCat(std::string(Name(std::get<0>(info.param))), "_", std::get<1>(info.param), "_",
                          std::get<2>(info.param), "_threads_",
                          strategy == GenerationStrategy::kGreedy   ? "greedy"
                          : strategy == GenerationStrategy::kSample ? "sample"
                                                                    : "beam");
    });

}  // namespace
}  // namespace splineserve::testing
