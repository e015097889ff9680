// A batch of the decoder that mixes prompts and steps gives the numbers of each sequence by itself.
#include "core/model/decoder.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/format/model_directory.h"
#include "core/model/head_block.h"
#include "core/model/weights.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/model_builder.h"

namespace splineserve {
namespace {

constexpr size_t kWidth = 8;

ModelWeights Pack(const std::string& activation) {
  const testing::TempDir files = testing::WriteModel(
      R"({"model_type": "spline_transformer", "architecture": "decoder", "hidden_size": 8,
"num_attention_heads": 2, "head_dim": 4, "intermediate_size": 8, "num_decoder_layers": 2, "max_positions": 600,
"positions": "learned", "attention_activation": ")" +
          activation + R"(", "input": {"kind": "tokens", "vocab_size": 9, "scale": 1.5}})",
      {.seed = 5});
  return PackWeights(ModelDirectory::Open(files.path()).value()).value();
}

class DecoderTest : public ::testing::TestWithParam<const char*> {
 protected:
  // A cache with room for `tokens` tokens in one chunk.
  KeyValueCache Cache(size_t tokens) {
    return KeyValueCache::ForTokens(&pool_of_chunks_, weights_.config, tokens, nullptr);
  }

  // The final rows of some tokens of every cache's sequence, all in one batch.
  std::vector<float> Run(Workspace& workspace, const std::vector<KeyValueCache*>& caches,
                         const std::vector<size_t>& counts) {
    std::vector<std::vector<int32_t>> ids;
    std::vector<DecoderInput> inputs;
    size_t rows = 0;
    for (size_t count : counts) {
      ids.emplace_back();
      for (size_t t = 0; t < count; ++t) ids.back().push_back(static_cast<int32_t>((t + count) % 9));
      rows += count;
    }
    for (size_t s = 0; s < ids.size(); ++s) inputs.push_back({{ids[s], {}}, caches[s]});
    std::vector<float> hidden(rows * kWidth);
    Evaluation evaluation(weights_.config, *AvailableKernelSets()[0], *threads_, workspace, nullptr, go_on_);
    for (const absl::Status& status :
         RunDecoder(evaluation, weights_, inputs, {hidden.data(), rows, kWidth})) {
      EXPECT_TRUE(status.ok()) << status;
    }
    return hidden;
  }

  const ModelWeights weights_ = Pack(GetParam());
  KeyValuePool pool_of_chunks_;
  const std::unique_ptr<ThreadPool> threads_ = *ThreadPool::Create(1);
  const std::function<bool()> go_on_ = [] { return true; };
};

// The first has most rows, the second, a step, most columns: the third needs room for both.
TEST_P(DecoderTest, ShortPromptStepAndLongPromptInOneBatch) {
  const std::vector<size_t> counts = {40, 1, 500};
  std::vector<KeyValueCache> alone = {Cache(40), Cache(512), Cache(500)},
                             together = {Cache(40), Cache(512), Cache(500)};
  Workspace before;
  Run(before, {&alone[1]}, {500});
  Run(before, {&together[1]}, {500});
  std::vector<float> expected;
  for (size_t s = 0; s < counts.size(); ++s) {
    const std::vector<float> rows = Run(before, {&alone[s]}, {counts[s]});
    expected.insert(expected.end(), rows.begin(), rows.end());
  }
  // Where nothing larger has made room yet.
  Workspace fresh;
  const std::vector<float> actual = Run(fresh, {&together[0], &together[1], &together[2]}, counts);
  EXPECT_TRUE(testing::BitsEqual(actual.data(), expected.data(), expected.size()));
  EXPECT_GE(fresh.worker(0).gated.size(), kQueryBlock * 500);
}

INSTANTIATE_TEST_SUITE_P(Activations, DecoderTest, ::testing::Values("relu", "softmax"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace splineserve
