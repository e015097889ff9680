// Rows that are equal before the first layer: which are found, and that a batch which has them gives the
// numbers of its sequences one by one.
#include "core/model/distinct_rows.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/format/model_directory.h"
#include "core/model/decoder.h"
#include "core/model/encoder.h"
#include "core/model/weights.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/counted_allocations.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using Ids = std::vector<std::vector<int32_t>>;

std::string Config(const char* architecture, const char* positions) {
  return std::string(R"({"model_type": "spline_transformer", "architecture": ")") + architecture +
         R"(", "hidden_size": 20, "num_attention_heads": 4, "head_dim": 5, "intermediate_size": 30,
"num_)" + architecture +
         R"(_layers": 2, "max_positions": 64, "positions": ")" + positions +
         R"(", "input": {"kind": "tokens", "vocab_size": 9, "scale": 1.5}})";
}

class DistinctRowsTest : public ::testing::Test {
 protected:
  static ModelWeights Pack(const std::string& config) {
    const testing::TempDir files = testing::WriteModel(config, {.seed = 5});
    return PackWeights(ModelDirectory::Open(files.path()).value()).value();
  }

  // What Find leaves of `ids` as the evaluation's sequences; sequence `vectors` is given as a vector.
  size_t Found(const ModelWeights& weights, const Ids& ids, std::vector<size_t> positions = {},
               size_t vectors = SIZE_MAX) {
    std::vector<SequenceInput> inputs;
    std::vector<RowRange> ranges;
    size_t rows = 0;
    for (size_t s = 0; s < ids.size(); ++s) {
      inputs.push_back({ids[s], {}});
      ranges.push_back({rows, ids[s].size(), positions.empty() ? 0 : positions[s]});
      rows += ids[s].size();
    }
    const std::vector<float> row(weights.config.hidden_size, 1.0f);
    if (vectors < inputs.size()) inputs[vectors] = {{}, {row.data(), 1, row.size()}};
    Evaluation evaluation(weights.config, *AvailableKernelSets()[0], *pool_, workspace_, nullptr, go_on_);
    evaluation.Begin("encoder", ranges);
    DistinctRows distinct;
    distinct.Find(evaluation, weights.config.input, inputs);
    EXPECT_EQ(distinct.empty(), distinct.size() == 0);
    return distinct.size();
  }

  // Final rows of every sequence, all in one batch or each by itself.
  std::vector<float> Run(const ModelWeights& weights, const Ids& ids, bool together) {
    const size_t d = weights.config.hidden_size;
    std::vector<float> all;
    for (size_t first = 0; first < ids.size(); first += together ? ids.size() : 1) {
      const size_t count = together ? ids.size() : 1;
      std::vector<SequenceInput> inputs;
      std::vector<KeyValueCache> caches;
      std::vector<DecoderInput> steps;
      size_t rows = 0;
      caches.reserve(count);
      for (size_t s = first; s < first + count; ++s) {
        inputs.push_back({ids[s], {}});
        rows += ids[s].size();
        caches.push_back(
            KeyValueCache::ForTokens(&workspace_.key_value_pool, weights.config, ids[s].size(), nullptr));
        steps.push_back({inputs.back(), &caches.back()});
      }
      std::vector<float> hidden(rows * d);
      Evaluation evaluation(weights.config, *AvailableKernelSets()[0], *pool_, workspace_, nullptr, go_on_);
      const MatrixView<float> out(hidden.data(), rows, d);
      const std::vector<absl::Status>& statuses = weights.config.has_encoder()
                                                      ? RunEncoder(evaluation, weights, inputs, out)
                                                      : RunDecoder(evaluation, weights, steps, out);
      for (const absl::Status& status : statuses) EXPECT_TRUE(status.ok()) << status;
      EXPECT_EQ(workspace_.distinct_rows.empty(), !together);
      all.insert(all.end(), hidden.begin(), hidden.end());
    }
    return all;
  }

  const std::unique_ptr<ThreadPool> pool_ = *ThreadPool::Create(2);
  Workspace workspace_;
  const std::function<bool()> go_on_ = [] { return true; };
};

TEST_F(DistinctRowsTest, FindsTokensAtEqualPlaces) {
  const ModelWeights learned = Pack(Config("encoder", "learned")), none = Pack(Config("encoder", "none"));
  const Ids words(9, {1, 2, 1});
  EXPECT_EQ(Found(learned, words), 3u);
  EXPECT_EQ(Found(none, words), 2u);
  Ids other = words;
  other[4] = {1, 2, 8};
  other[7] = {3};
  EXPECT_EQ(Found(learned, other), 5u);
  EXPECT_EQ(Found(none, other), 4u);
  // Steps of generation: one token each, at different places.
  const Ids steps(30, {4});
  EXPECT_EQ(Found(learned, steps), 1u);
  std::vector<size_t> positions;
  for (size_t s = 0; s < steps.size(); ++s) positions.push_back(s % 7);
  EXPECT_EQ(Found(learned, steps, positions), 7u);
  EXPECT_EQ(Found(none, steps, positions), 1u);
}

TEST_F(DistinctRowsTest, FindsNothingWhereItDoesNotPay) {
  const ModelWeights weights = Pack(Config("encoder", "learned"));
  EXPECT_EQ(Found(weights, Ids(23, {1})), 0u);                   // few rows
  EXPECT_EQ(Found(weights, {std::vector<int32_t>(60, 1)}), 0u);  // one sequence
  Ids different;
  std::vector<size_t> positions;
  for (int32_t i = 0; i < 60; ++i) {
    different.push_back({i % 9});
    positions.push_back(static_cast<size_t>(i / 9));
  }
  EXPECT_EQ(Found(weights, different, positions), 0u);  // all different
  positions.assign(60, 0);
  EXPECT_EQ(Found(weights, different, positions), 9u);
}

TEST_F(DistinctRowsTest, VectorsInPlaceOfTokensAreNotCompared) {
  const ModelWeights weights = Pack(Config("encoder", "learned"));
  EXPECT_EQ(Found(weights, Ids(30, {1})), 1u);
  EXPECT_EQ(Found(weights, Ids(30, {1}), {}, 17), 0u);
}

// How many differ changes from step to step: only larger batches allocate.
TEST_F(DistinctRowsTest, BatchesOfOneSizeAllocateOnce) {
  const ModelWeights weights = Pack(Config("encoder", "learned"));
  const AffineMap& map = weights.encoder->layers[0].self_attention.key;
  const size_t rows = 40, d = weights.config.hidden_size;
  const std::vector<float> x(rows * d, 0.5f);
  std::vector<float> out(rows * map.weight.outer());
  DistinctRows distinct;
  std::vector<SequenceInput> inputs(rows);
  std::vector<RowRange> ranges;
  const std::vector<int32_t> ids = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  for (size_t s = 0; s < rows; ++s) ranges.push_back({s, 1, 0});
  for (size_t different : {1, 3, 9}) {
    for (size_t s = 0; s < rows; ++s) inputs[s].ids = {&ids[s % different], 1};
    Evaluation evaluation(weights.config, *AvailableKernelSets()[0], *pool_, workspace_, nullptr, go_on_);
    evaluation.Begin("encoder", ranges);
    const size_t before = testing::CountedAllocations();
    distinct.Find(evaluation, weights.config.input, inputs);
    ASSERT_EQ(distinct.size(), different);
    distinct.Apply(evaluation, map, {x.data(), rows, d}, {out.data(), rows, map.weight.outer()});
    if (different == 1) {
      EXPECT_GT(testing::CountedAllocations(), before) << "the counter sees nothing";
    } else {
      EXPECT_EQ(testing::CountedAllocations(), before) << different;
    }
  }
}

TEST_F(DistinctRowsTest, BatchesGiveTheNumbersOfTheirSequences) {
  std::mt19937_64 random(testing::TestSeed());
  for (const char* architecture : {"encoder", "decoder"}) {
    for (const char* positions : {"learned", "none", "sinusoidal"}) {
      SCOPED_TRACE(std::string(architecture) + " " + positions);
      const ModelWeights weights = Pack(Config(architecture, positions));
      Ids ids(40);
      for (std::vector<int32_t>& sequence : ids) {
        sequence.resize(1 + random() % 6);
        for (int32_t& id : sequence) id = static_cast<int32_t>(random() % 4);
      }
      const std::vector<float> together = Run(weights, ids, true), apart = Run(weights, ids, false);
      ASSERT_EQ(together.size(), apart.size());
      EXPECT_TRUE(testing::BitsEqual(together.data(), apart.data(), together.size()));
    }
  }
}

}  // namespace
}  // namespace splineserve
