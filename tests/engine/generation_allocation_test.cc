// A steady step of generations allocates nothing, on any thread.
#include <array>
#include <latch>
#include <memory>
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
constexpr size_t kLastToken = 60;

// Without an end-of-sequence token, so that generations are as long as is asked. Learned positions for some
// of the way would only add a table; none here.
std::string Config(Architecture architecture, const std::string& attention) {
  const bool encoder = architecture == Architecture::kEncoderDecoder;
  return absl::StrCat(R"({"model_type": "spline_transformer", "architecture": ")", std::string(Name(architecture)),
                      R"(", "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 50,)",
                      encoder ? R"("num_encoder_layers": 1, "target_input": {"kind": "tokens", "vocab_size": 20},)"
                              : "",
                      R"("num_decoder_layers": 2, "norm": "affine", "attention_activation": ")", attention,
                      R"(", "hidden_act": "relu", "input": {"kind": "tokens", "vocab_size": 20},
                          "head": {"kind": "linear", "size": 20}, "bos_token_id": 1})");
}

// Parameters: architecture, attention's activation, threads of the pool, strategy.
class GenerationAllocationTest
    : public ::testing::TestWithParam<std::tuple<Architecture, std::string, size_t, GenerationStrategy>> {};

// Several sequences in flight; what the process allocates between two tokens of the last one is counted.
TEST_P(GenerationAllocationTest, SteadyStepsAllocateNothing) {
  const auto& [architecture, attention, threads, strategy] = GetParam();
  const TestModel model(Config(architecture, attention), ModelOptions{.seed = TestSeed()});
  const std::unique_ptr<Engine> engine = MakeEngine(*AvailableKernelSets().front(), threads);

  std::latch submitted(1), done(kSequences);
  struct Stream {
    size_t tokens = 0;
    std::array<size_t, kLastToken + 1> allocations = {};  // after each token
    absl::Status status;
  };
  std::vector<Stream> streams(kSequences);
  for (size_t i = 0; i < kSequences; ++i) {
    GenerateRequest request;
    if (architecture == Architecture::kEncoderDecoder) request.source = TokenIds{{3, 4, 5, 6, 7}};
    request.prompt = TokenIds{{1, static_cast<int32_t>(i + 2), 3}};
    request.strategy = strategy;
    request.seed = i;
    request.top_k = i % 2 == 0 ? 0 : 5;
    request.max_new_tokens = kLastToken + 1 + (kSequences - i);  // the last one to come ends first
    const absl::Status status = engine->Generate(
        model.loaded(), std::move(request), std::make_shared<CancellationToken>(),
        [&stream = streams[i], &submitted, &done, i](absl::StatusOr<GenerateEvent> event) {
          // The first one stands still until all have come: then all of them are in every later step.
          if (i == 0 && stream.tokens == 0) submitted.wait();
          if (!event.ok()) stream.status = event.status();
          if (!event.ok() || event->final) {
            done.count_down();
          } else if (++stream.tokens <= kLastToken) {
            stream.allocations[stream.tokens] = CountedAllocations();
          }
          return true;
        });
    ASSERT_TRUE(status.ok()) << status;
  }
  submitted.count_down();
  done.wait();
  for (const Stream& stream : streams) ASSERT_TRUE(stream.status.ok()) << stream.status;

  const std::array<size_t, kLastToken + 1>& allocations = streams.back().allocations;
  EXPECT_GT(allocations[1], 0u) << "the counter does not count";
  for (size_t token = 3; token <= kLastToken; ++token) {
    EXPECT_EQ(allocations[token - 1], allocations[token]) << "before token " << token;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, GenerationAllocationTest,
    ::testing::Combine(::testing::Values(Architecture::kDecoder, Architecture::kEncoderDecoder),
                       ::testing::Values("relu", "softmax"), ::testing::Values(1, 2),
                       ::testing::Values(GenerationStrategy::kGreedy, GenerationStrategy::kSample)),
    [](const auto& info) {
      return absl::StrCat(std::string(Name(std::get<0>(info.param))), "_", std::get<1>(info.param), "_",
                          std::get<2>(info.param), "_threads_",
                          std::get<3>(info.param) == GenerationStrategy::kGreedy ? "greedy" : "sample");
    });

}  // namespace
}  // namespace splineserve::testing
