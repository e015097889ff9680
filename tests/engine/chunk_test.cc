#include "core/engine/chunk.h"

#include <gtest/gtest.h>

namespace splineserve {
namespace {

// Multiply-adds counted one by one, as the mathematics has them.
class Counter {
 public:
  explicit Counter(const ModelConfig& config) : config_(config) {}

  void Input(const InputConfig& input, size_t tokens) {
    if (input.kind == InputKind::kVectors) Map(tokens, input.size, config_.hidden_size);
  }
  void EncoderLayer(size_t tokens) {
    Map(tokens, d(), a()), Map(tokens, d(), a()), Map(tokens, d(), a()), Map(tokens, a(), d());
    for (size_t query = 0; query < tokens; ++query) Attend(tokens);
    FeedForward(tokens);
  }
  void DecoderLayer(size_t tokens, size_t memory, bool cross) {
    Map(tokens, d(), a()), Map(tokens, d(), a()), Map(tokens, d(), a()), Map(tokens, a(), d());
    for (size_t query = 0; query < tokens; ++query) Attend(query + 1);
    if (cross) {
      Map(tokens, d(), a()), Map(memory, d(), a()), Map(memory, d(), a()), Map(tokens, a(), d());
      for (size_t query = 0; query < tokens; ++query) Attend(memory);
    }
    FeedForward(tokens);
  }
  void Map(size_t rows, size_t in, size_t out) {
    for (size_t row = 0; row < rows; ++row) count_ += in * out;
  }
  size_t count() const { return count_; }

 private:
  size_t d() const { return config_.hidden_size; }
  size_t a() const { return config_.num_attention_heads * config_.head_dim; }
  void Attend(size_t keys) {
    for (size_t head = 0; head < config_.num_attention_heads; ++head) {
      for (size_t key = 0; key < keys; ++key) count_ += 2 * config_.head_dim;  // its score, its value
    }
  }
  void FeedForward(size_t tokens) {
    Map(tokens, d(), config_.intermediate_size);
    Map(tokens, config_.intermediate_size, d());
  }
  const ModelConfig& config_;
  size_t count_ = 0;
};

ModelConfig Config(Architecture architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.hidden_size = 10;
  config.num_attention_heads = 3;
  config.head_dim = 4;
  config.intermediate_size = 17;
  config.num_encoder_layers = config.has_encoder() ? 2 : 0;
  config.num_decoder_layers = config.has_decoder() ? 3 : 0;
  config.input = {InputKind::kVectors, 5, 1};
  if (architecture == Architecture::kEncoderDecoder) config.target_input = {InputKind::kTokens, 30, 1};
  config.head = {HeadKind::kLinear, 7, Pooling::kNone};
  return config;
}

TEST(WorkTest, OfAnEncoder) {
  const ModelConfig config = Config(Architecture::kEncoder);
  for (const size_t tokens : {1, 2, 9}) {
    Counter counter(config);
    counter.Input(config.input, tokens);
    for (int l = 0; l < 2; ++l) counter.EncoderLayer(tokens);
    EXPECT_EQ(WorkOf(config, tokens, 0, false).multiply_adds, counter.count());
    counter.Map(tokens, 10, 7);
    EXPECT_EQ(WorkOf(config, tokens, 0, true).multiply_adds, counter.count());
    EXPECT_EQ(WorkOf(config, tokens, 0, true).tokens, tokens);
  }
}

TEST(WorkTest, OfADecoder) {
  const ModelConfig config = Config(Architecture::kDecoder);
  for (const size_t tokens : {1, 2, 9}) {
    Counter counter(config);
    counter.Input(config.input, tokens);
    for (int l = 0; l < 3; ++l) counter.DecoderLayer(tokens, 0, false);
    counter.Map(tokens, 10, 7);
    EXPECT_EQ(WorkOf(config, 0, tokens, true).multiply_adds, counter.count());
    EXPECT_EQ(WorkOf(config, 0, tokens, true).tokens, tokens);
  }
}

TEST(WorkTest, OfAnEncoderDecoder) {
  const ModelConfig config = Config(Architecture::kEncoderDecoder);
  for (const size_t source : {1, 6}) {
    for (const size_t target : {1, 9}) {
      Counter counter(config);
      counter.Input(config.input, source);
      for (int l = 0; l < 2; ++l) counter.EncoderLayer(source);
      EXPECT_EQ(WorkOf(config, source, 0, false).multiply_adds, counter.count()) << "Encode";
      for (int l = 0; l < 3; ++l) counter.DecoderLayer(target, source, true);
      counter.Map(target, 10, 7);
      EXPECT_EQ(WorkOf(config, source, target, true).multiply_adds, counter.count());
      EXPECT_EQ(WorkOf(config, source, target, true).tokens, source + target);
    }
  }
}

TEST(ChunkLimitsTest, AllowWhatKeepsBothBoundsOrIsTooShortToSplit) {
  const ChunkLimits limits = {.tokens = 100, .multiply_adds = 1000};
  EXPECT_TRUE(limits.Allow({100, 1000}));
  EXPECT_FALSE(limits.Allow({101, 1}));
  EXPECT_FALSE(limits.Allow({100, 1001}));
  EXPECT_TRUE(limits.Allow({kMinChunkTokens, 1e9}));
  EXPECT_FALSE(limits.Allow({kMinChunkTokens + 1, 1e9}));
  const ChunkLimits short_ones = {.tokens = 4, .multiply_adds = 1};
  EXPECT_TRUE(short_ones.Allow({4, 1e9}));
  EXPECT_FALSE(short_ones.Allow({5, 1}));
}

}  // namespace
}  // namespace splineserve
