// Requests leave nothing behind: after five times as many of the same mixture exactly as many bytes are in
// use. tests/bench/soak_bench is the same for a million requests, threads and resident memory.
#include <latch>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/engine/pending_request.h"
#include "tests/engine/request_mixture.h"
#include "tests/testing/counted_allocations.h"
#include "tests/testing/model_builder.h"

namespace splineserve::testing {
namespace {

constexpr char kVectors[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_encoder_layers": 2,
"input": {"kind": "vectors", "size": 3}, "head": {"kind": "linear", "size": 4, "pooling": "mean"}})";
constexpr char kDecoder[] = R"({"model_type": "spline_transformer", "architecture": "decoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_decoder_layers": 2,
"input": {"kind": "tokens", "vocab_size": 11}, "vocabulary": {"file": "letters.txt", "split": "characters"},
"head": {"kind": "linear", "size": 11}, "bos_token_id": 1, "eos_token_id": 2})";
constexpr char kTranslator[] = R"({"model_type": "spline_transformer", "architecture": "encoder_decoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_encoder_layers": 1,
"num_decoder_layers": 2, "positions": "learned", "max_positions": 16,
"input": {"kind": "tokens", "vocab_size": 11}, "target_input": {"kind": "tokens", "vocab_size": 9},
"vocabulary": {"file": "source.txt", "split": "characters"},
"target_vocabulary": {"file": "target.txt", "split": "whitespace"},
"head": {"kind": "linear", "size": 9}, "bos_token_id": 1, "eos_token_id": 2})";

constexpr size_t kGroup = 20, kGroups = 25;

class Served {
 public:
  Served() {
    for (const char* config : {kVectors, kDecoder, kTranslator}) {
      const TempDir files = WriteModel(config);
      models_.push_back(LoadedModel::Load(absl::StrCat("model", models_.size()), 1, files.path()).value());
    }
    EngineOptions options;
    options.threads = 1;  // which of two threads needs the larger scratch memory is not determined
    engine_ = Engine::Create(options, *AvailableKernelSets().front()).value();
  }

  // The same kGroups * kGroup requests each time. Each group is in the queue before the first of it runs, so
  // that the batches are the same, too.
  void RunMixture() {
    RequestMixture mixture(models_, /*seed=*/7, /*hurried=*/false);
    for (size_t g = 0; g < kGroups; ++g) {
      std::latch answered(kGroup);
      {
        const HeldExecutor held(engine_.get(), models_[0], OneVector());
        for (size_t i = 0; i < kGroup; ++i) {
          MixedRequest request = mixture.Next();
          const MixedKind kind = request.kind;
          Submit(*engine_, std::move(request), [&answered, kind](absl::StatusCode code) {
            EXPECT_TRUE(MayEndSo(kind, code)) << Name(kind) << ": " << absl::StatusCodeToString(code);
            answered.count_down();
          });
        }
      }
      answered.wait();
    }
  }

  // While the executor stands in the callback of one more request: what it did before is cleared away.
  HeapUse InUseAtRest() {
    const HeldExecutor held(engine_.get(), models_[0], OneVector());
    return HeapInUse();
  }

 private:
  static EncodeRequest OneVector() { return {.inputs = {Matrix{1, 3, {0.5f, -0.5f, 1}}}}; }

  std::vector<std::shared_ptr<const LoadedModel>> models_;
  std::unique_ptr<Engine> engine_;
};

TEST(SteadyMemoryTest, FiveTimesAsManyRequestsLeaveNoByteMore) {
  Served served;
  served.RunMixture();  // scratch memory reaches its size
  const HeapUse once = served.InUseAtRest();
  for (int i = 0; i < 4; ++i) served.RunMixture();
  EXPECT_EQ(once, served.InUseAtRest());
}

TEST(SteadyMemoryTest, NothingOutlivesEngineAndModels) {
  { Served().RunMixture(); }  // what the process keeps for good, such as the list of kernel sets
  const HeapUse before = HeapInUse();
  { Served().RunMixture(); }
  EXPECT_EQ(before, HeapInUse());
}

TEST(SteadyMemoryTest, AForgottenByteIsSeen) {
  const HeapUse before = HeapInUse();
  auto forgotten = std::make_unique<char>();
  EXPECT_FALSE(before == HeapInUse());
  forgotten = nullptr;
  EXPECT_EQ(before, HeapInUse());
}

}  // namespace
}  // namespace splineserve::testing
