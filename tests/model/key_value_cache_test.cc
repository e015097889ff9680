// Chunks of keys and values against plain lists of tokens: contents, sharing between copies, memory.
#include "core/model/key_value_cache.h"

#include <algorithm>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

constexpr size_t kChunk = KeyValues::kChunkTokens;

// Element (k, n) as kernel_set.h defines its place.
float At(const PackedView& w, size_t k, size_t n) {
  return NumberAt(w.format, w.data,
                  n / w.panel_width * w.panel_stride + k * w.panel_width + n % w.panel_width);
}

// A sequence and what must be in it: key of token t, layer l, column c is tokens[t] + l + c / 256, the value
// its negative.
struct Sequence {
  KeyValues actual;
  std::vector<int> tokens;
};

float Expected(int token, size_t layer, size_t column) {
  return static_cast<float>(token) + static_cast<float>(layer) * 4096 + static_cast<float>(column) / 256;
}

class KeyValueCacheTest : public ::testing::Test {
 protected:
  KeyValueShape shape_ = {2, 3, 20};  // head_dim: a panel of 32 with a tail

  void Grow(Sequence& sequence, size_t count) {
    sequence.actual.Grow(count);
    for (size_t t = 0; t < count; ++t) sequence.tokens.push_back(next_++ % 4096);
    const size_t width = shape_.heads * shape_.head_dim;
    for (size_t layer = 0; layer < shape_.layers; ++layer) {
      std::vector<float> keys, values;
      for (size_t t = sequence.tokens.size() - count; t < sequence.tokens.size(); ++t) {
        for (size_t c = 0; c < width; ++c) {
          keys.push_back(Expected(sequence.tokens[t], layer, c));
          values.push_back(-keys.back());
        }
      }
      for (size_t head = 0; head < shape_.heads; ++head) {
        // The last third first, and by the other tokens' side.
        const MatrixView<const float> key_rows(keys.data(), count, width),
            value_rows(values.data(), count, width);
        const size_t token = sequence.tokens.size() - count, cut = count - count / 3;
        const auto store = [&](size_t first, size_t rows) {
          sequence.actual.Store(*AvailableKernelSets()[0], layer, head, token + first,
                                key_rows.Rows(first, rows), value_rows.Rows(first, rows));
        };
        store(cut, count - cut);
        store(0, cut);
      }
    }
  }

  void ExpectHead(const KeyValueView& chunk, size_t layer, size_t head, absl::Span<const int> tokens) const {
    const bool blocks = chunk.layout == KeyValueLayout::kTokenBlocks;
    const TokenBlocks layout = chunk.token_blocks();
    PackedView keys, values;
    if (!blocks) {
      keys = chunk.Keys(layer, head, tokens.size());
      values = chunk.Values(layer, head, tokens.size());
      ASSERT_EQ(keys.inner, shape_.head_dim);
      ASSERT_EQ(keys.outer, tokens.size());
      ASSERT_EQ(values.inner, tokens.size());
      ASSERT_EQ(values.outer, shape_.head_dim);
    }
    for (size_t t = 0; t < tokens.size(); ++t) {
      for (size_t k = 0; k < shape_.head_dim; ++k) {
        const float expected = Expected(tokens[t], layer, head * shape_.head_dim + k);
        const float key =
            blocks ? chunk.Blocks(layer)[layout.KeyAt(t, head) + k * kLaneBlock] : At(keys, k, t);
        const float value = blocks ? chunk.Blocks(layer)[layout.ValueAt(t, head) + k] : At(values, t, k);
        ASSERT_EQ(key, expected) << "token " << t << " of the chunk";
        ASSERT_EQ(value, -expected) << "token " << t << " of the chunk";
      }
    }
  }

  void ExpectContents(const Sequence& sequence) const {
    const KeyValues& actual = sequence.actual;
    ASSERT_EQ(actual.length(), sequence.tokens.size());
    ASSERT_GE(actual.capacity(), actual.length());
    size_t token = 0;
    for (size_t i = 0; i < actual.chunks() && token < actual.length(); ++i) {
      ASSERT_EQ(actual.first_token(i), token);
      ASSERT_EQ(token % 16, 0u);
      const size_t count = std::min(actual.chunk(i).capacity, actual.length() - token);
      for (size_t layer = 0; layer < shape_.layers; ++layer) {
        for (size_t head = 0; head < shape_.heads; ++head) {
          ASSERT_NO_FATAL_FAILURE(
              ExpectHead(actual.chunk(i), layer, head, {sequence.tokens.data() + token, count}));
        }
      }
      token += count;
    }
    ASSERT_EQ(token, actual.length());
  }

  KeyValuePool pool_;
  int next_ = 0;
};

// Heads that share lines by one, two and four; values of one panel and of two.
class KeyValueShapesTest : public KeyValueCacheTest, public ::testing::WithParamInterface<KeyValueShape> {
 protected:
  KeyValueShapesTest() { shape_ = GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Shapes, KeyValueShapesTest,
                         ::testing::Values(KeyValueShape{2, 3, 20}, KeyValueShape{1, 1, 5},
                                           KeyValueShape{2, 2, 16}, KeyValueShape{3, 4, 20},
                                           KeyValueShape{1, 6, 80}),
                         [](const auto& info) {
                           return absl::StrCat(info.param.layers, "_layers_", info.param.heads, "_heads_",
                                               info.param.head_dim);
                         });

// Chunks grow with a sequence that is not to be copied, and hold at most as much as is before them.
TEST_F(KeyValueCacheTest, LargerChunksForOneSequence) {
  Sequence sequence = {KeyValues(&pool_, shape_, 16, KeyValues::kMaxChunkTokens), {}};
  Grow(sequence, 1);
  while (sequence.tokens.size() < 1200) Grow(sequence, sequence.tokens.size() % 7 + 1);
  ExpectContents(sequence);
  std::vector<size_t> capacities;
  for (size_t i = 0; i < sequence.actual.chunks(); ++i) {
    capacities.push_back(sequence.actual.chunk(i).capacity);
  }
  EXPECT_EQ(capacities, (std::vector<size_t>{16, 64, 64, 128, 256, 512, 512}));
  EXPECT_EQ(sequence.actual.largest_chunk(), 512u);
}

// Token blocks stay alone while they can, then panels take their place.
TEST_P(KeyValueShapesTest, TokenBlocksWiden) {
  for (size_t first : {1, 5, 16, 20, 64}) {
    for (size_t step : {1, 3, 40}) {
      Sequence sequence = {KeyValues(&pool_, shape_, first, kChunk, KeyValueLayout::kTokenBlocks), {}};
      while (sequence.tokens.size() < 150) {
        Grow(sequence, step);
        ASSERT_NO_FATAL_FAILURE(ExpectContents(sequence)) << "first " << first << " step " << step;
        if (sequence.tokens.size() <= 16) {
          EXPECT_EQ(sequence.actual.chunk(0).layout, KeyValueLayout::kTokenBlocks);
        }
        if (sequence.actual.chunk(0).layout == KeyValueLayout::kTokenBlocks) {
          EXPECT_EQ(sequence.actual.chunks(), 1u);
          EXPECT_LE(sequence.actual.capacity(), kMaxBlockTokens);
        } else {
          EXPECT_GT(2 * sequence.tokens.size(), kMaxBlockTokens);
        }
      }
    }
  }
  EXPECT_EQ(pool_.used_bytes(), 0u);
}

// All heads of a token are stored as one by one.
TEST_P(KeyValueShapesTest, StoresWholeTokens) {
  for (KeyValueLayout layout : {KeyValueLayout::kPanels, KeyValueLayout::kTokenBlocks}) {
    KeyValues actual(&pool_, shape_, 20, kChunk, layout);
    actual.Grow(20);
    const size_t width = shape_.heads * shape_.head_dim;
    std::vector<int> tokens;
    for (int t = 0; t < 20; ++t) {
      tokens.push_back(t);
      for (size_t layer = 0; layer < shape_.layers; ++layer) {
        std::vector<float> keys, values;
        for (size_t c = 0; c < width; ++c) {
          keys.push_back(Expected(t, layer, c));
          values.push_back(-keys.back());
        }
        actual.chunk(0).StoreToken(layer, static_cast<size_t>(t), keys.data(), values.data());
      }
    }
    // And copied from either layout to the other, and to the same with another capacity.
    for (KeyValueLayout other : {KeyValueLayout::kPanels, KeyValueLayout::kTokenBlocks}) {
      KeyValues copy(&pool_, shape_, 40, kChunk, other);
      copy.Grow(20);
      copy.chunk(0).CopyFirst(actual.chunk(0), 20);
      for (size_t head = 0; head < shape_.heads; ++head) {
        ExpectHead(actual.chunk(0), shape_.layers - 1, head, tokens);
        ExpectHead(copy.chunk(0), shape_.layers - 1, head, tokens);
      }
    }
  }
}

TEST_P(KeyValueShapesTest, EveryLengthAndFirstChunk) {
  for (size_t first : {1, 16, 17, 32, 64, 65, 100, 129}) {
    for (size_t prompt : {size_t{1}, first - 1, first, first + 1, first + kChunk, first + 2 * kChunk + 1}) {
      if (prompt == 0) continue;
      Sequence sequence = {KeyValues(&pool_, shape_, first), {}};
      Grow(sequence, prompt);
      ASSERT_NO_FATAL_FAILURE(ExpectContents(sequence));
      for (size_t step = 0; step < kChunk + 3; ++step) Grow(sequence, 1);
      ASSERT_NO_FATAL_FAILURE(ExpectContents(sequence));
    }
  }
  EXPECT_EQ(pool_.used_bytes(), 0u);
}

// What a beam search does, at random: copies part ways, and none sees what another wrote.
TEST_P(KeyValueShapesTest, CopiesPartWays) {
  std::mt19937_64 random(testing::TestSeed());
  const auto fresh = [&] {
    const bool blocks = random() % 2 == 0;
    return Sequence{KeyValues(&pool_, shape_, blocks ? 16 : 32, kChunk,
                              blocks ? KeyValueLayout::kTokenBlocks : KeyValueLayout::kPanels),
                    {}};
  };
  std::vector<Sequence> beams;
  beams.push_back(fresh());
  Grow(beams[0], 50);
  for (int step = 0; step < 200; ++step) {
    std::vector<Sequence> children;
    for (size_t i = 0; i < 1 + random() % 5; ++i) children.push_back(beams[random() % beams.size()]);
    beams = std::move(children);
    for (Sequence& beam : beams) {
      Grow(beam, random() % 10 == 0 ? 1 + random() % 70 : 1);
      if (beam.tokens.size() > (random() % 2 == 0 ? 500u : 90u)) beam = fresh();
    }
    for (const Sequence& beam : beams) ASSERT_NO_FATAL_FAILURE(ExpectContents(beam)) << "step " << step;
  }
  beams.clear();
  EXPECT_EQ(pool_.used_bytes(), 0u);
}

// Copies cost nothing; a token more of each costs every copy but one a last chunk, whatever lies before.
TEST_F(KeyValueCacheTest, CopiesShareAllButTheirTails) {
  const size_t chunk = KeyValueChunk::Bytes(shape_, KeyValueLayout::kPanels, kChunk);
  for (size_t chunks : {1, 5, 20}) {
    Sequence root = {KeyValues(&pool_, shape_, kChunk), {}};
    Grow(root, chunks * kChunk + 7);
    const size_t alone = pool_.used_bytes();
    EXPECT_EQ(alone, (chunks + 1) * chunk);
    std::vector<Sequence> beams(8, root);
    root.actual.Clear();
    EXPECT_EQ(pool_.used_bytes(), alone);
    for (Sequence& beam : beams) Grow(beam, 1);
    EXPECT_EQ(pool_.used_bytes(), alone + 7 * chunk);
    for (Sequence& beam : beams) Grow(beam, 1);
    EXPECT_EQ(pool_.used_bytes(), alone + 7 * chunk);
    for (const Sequence& beam : beams) ASSERT_NO_FATAL_FAILURE(ExpectContents(beam));
  }
}

TEST_F(KeyValueCacheTest, UnusedChunksAreTakenAgainAndBounded) {
  const size_t chunk = KeyValueChunk::Bytes(shape_, KeyValueLayout::kPanels, kChunk);
  const KeyValueView* first = nullptr;
  {
    KeyValues keys(&pool_, shape_, kChunk);
    keys.Grow(1);
    first = &keys.chunk(0);
  }
  EXPECT_EQ(pool_.kept_bytes(), chunk);
  {
    KeyValues other_size(&pool_, shape_, 2 * kChunk), other_shape(&pool_, {1, 3, 20}, kChunk);
    other_size.Grow(1);
    other_shape.Grow(1);
    EXPECT_EQ(pool_.kept_bytes(), chunk);
    KeyValues keys(&pool_, shape_, kChunk);
    keys.Grow(1);
    EXPECT_EQ(&keys.chunk(0), first);
    EXPECT_EQ(pool_.kept_bytes(), 0u);
    // More than is ever kept, by bytes.
    KeyValues many(&pool_, shape_, kChunk);
    many.Grow((KeyValuePool::kMaxKeptBytes / chunk + 10) * kChunk);
  }
  EXPECT_EQ(pool_.used_bytes(), 0u);
  EXPECT_LE(pool_.kept_bytes(), KeyValuePool::kMaxKeptBytes);
  EXPECT_GT(pool_.kept_bytes(), KeyValuePool::kMaxKeptBytes - 4 * chunk);
  // And by number.
  const KeyValueShape tiny = {1, 1, 1};
  {
    KeyValues many(&pool_, tiny, kChunk);
    many.Grow((KeyValuePool::kMaxKept + 10) * kChunk);
  }
  EXPECT_EQ(pool_.kept_bytes(),
            KeyValuePool::kMaxKept * KeyValueChunk::Bytes(tiny, KeyValueLayout::kPanels, kChunk));
}

// The encoder's slots: one chunk, whose memory is kept while it is large enough.
TEST_F(KeyValueCacheTest, PreparedIsOneChunk) {
  KeyValues keys;
  keys.Prepare(&pool_, shape_, 200);
  keys.Grow(200);
  const KeyValueView* const chunk = &keys.chunk(0);
  EXPECT_EQ(keys.chunks(), 1u);
  keys.Prepare(&pool_, shape_, 90);
  EXPECT_EQ(keys.length(), 0u);
  keys.Grow(90);
  EXPECT_EQ(&keys.chunk(0), chunk);
  keys.Prepare(&pool_, shape_, 1000);
  keys.Grow(1000);
  EXPECT_EQ(keys.chunks(), 1u);
  EXPECT_GE(keys.capacity(), 1000u);
  keys.Prepare(&pool_, {1, 3, 20}, 10);
  EXPECT_EQ(pool_.used_bytes(), KeyValueChunk::Bytes({1, 3, 20}, KeyValueLayout::kPanels, 16));
}

// What admission charges is never less than what a search holds.
TEST_P(KeyValueShapesTest, BytesForGenerationIsAnUpperBound) {
  std::mt19937_64 random(testing::TestSeed());
  ModelConfig config;
  config.num_decoder_layers = shape_.layers;
  config.num_attention_heads = shape_.heads;
  config.head_dim = shape_.head_dim;
  for (const AttentionActivation activation : {AttentionActivation::kRelu, AttentionActivation::kSoftmax}) {
    config.attention_activation = activation;
    for (size_t prompt : {1, 15, 31, 32, 33, 47, 48, 64, 100, 130}) {
      for (size_t width : {1, 2, 5}) {
        for (size_t memory_tokens : {0, 21, 70}) {
          const size_t steps = 1 + random() % 150;
          std::shared_ptr<KeyValues> memory;
          if (memory_tokens != 0) {
            memory = std::make_shared<KeyValues>(&pool_, shape_, memory_tokens, kChunk,
                                                 KeyValueCache::MemoryLayout(config, memory_tokens));
            memory->Grow(memory_tokens);
          }
          const size_t bound = KeyValueCache::BytesForGeneration(config, prompt, steps, memory_tokens, width);
          std::vector<KeyValueCache> beams = {
              KeyValueCache::ForGeneration(&pool_, config, prompt, width, std::move(memory))};
          size_t most = 0;
          const auto grow = [&](KeyValueCache& beam, size_t count) {
            beam.own.Grow(count);
            most = std::max(most, pool_.used_bytes());
          };
          grow(beams[0], prompt);
          for (size_t step = 1; step < steps; ++step) {
            std::vector<KeyValueCache> children;
            // All from different parents, or few that part at once.
            for (size_t i = 0; i < width; ++i) {
              children.push_back(beams[random() % 3 == 0 ? random() % beams.size() : i % beams.size()]);
            }
            beams = std::move(children);
            for (KeyValueCache& beam : beams) grow(beam, 1);
          }
          EXPECT_LE(most, bound) << "prompt " << prompt << " steps " << steps << " width " << width;
          // And not far above where nothing is shared.
          EXPECT_LE(bound,
                    most + (width + 1) * (KeyValueChunk::Bytes(shape_, KeyValueLayout::kPanels, kChunk) *
                                          (steps / kChunk + 2)));
        }
      }
    }
  }
}

}  // namespace
}  // namespace splineserve
