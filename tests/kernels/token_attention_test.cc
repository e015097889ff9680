// Attention of one token, all heads in one call, on every SIMD target, against scalar chains and gate.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/token_blocks.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::BitsEqual;
using testing::RandomFloats;
using testing::Values;

// Keys and values in token blocks, as a cache holds them; NaN wherever nothing may be read or, past the last
// token, no output may depend on it.
struct Heads {
  Heads(RandomFloats& random, size_t heads, size_t tokens, size_t head_dim)
      : layout{heads, head_dim}, keys(heads * tokens * head_dim), values(heads * tokens * head_dim) {
    memory.EnsureSize(layout.Size(tokens));
    std::fill_n(memory.data(), layout.Size(tokens), std::numeric_limits<float>::quiet_NaN());
    for (float& k : keys) k = random.Next(Values::kNormal);
    for (float& v : values) v = random.Next(Values::kNormal);
    for (size_t h = 0; h < heads; ++h) {
      for (size_t t = 0; t < tokens; ++t) {
        const size_t at = (h * tokens + t) * head_dim;
        for (size_t n = 0; n < head_dim; ++n) {
          memory.data()[layout.KeyAt(t, h) + n * kLaneBlock] = keys[at + n];
          memory.data()[layout.ValueAt(t, h) + n] = values[at + n];
        }
      }
    }
  }
  // From now on nobody may read it.
  void ForbidValue(size_t token, size_t head) {
    std::fill_n(memory.data() + layout.ValueAt(token, head), layout.head_dim,
                std::numeric_limits<float>::quiet_NaN());
  }
  const TokenBlocks layout;
  std::vector<float> keys, values;  // [heads, tokens, head_dim]
  AlignedBuffer<float> memory;
};

// No two numbers share a place, and all lie in the blocks.
TEST(TokenBlocksTest, PlacesAreDistinct) {
  for (size_t heads : {1, 2, 3, 4, 6, 8, 12}) {
    for (size_t head_dim : {1, 5, 16, 33}) {
      for (size_t tokens : {1, 4, 5, 16, 31, 64}) {
        const TokenBlocks layout = {heads, head_dim};
        std::vector<int> uses(layout.Size(tokens));
        for (size_t h = 0; h < heads; ++h) {
          for (size_t t = 0; t < tokens; ++t) {
            for (size_t n = 0; n < head_dim; ++n) {
              ++uses.at(layout.KeyAt(t, h) + n * kLaneBlock);
              ++uses.at(layout.ValueAt(t, h) + n);
            }
          }
        }
        EXPECT_EQ(*std::max_element(uses.begin(), uses.end()), 1);
        EXPECT_EQ(layout.block_size() % kLaneBlock, 0u);
        EXPECT_EQ(layout.ValueAt(0, heads - 1) % kLaneBlock, 0u);
        EXPECT_EQ(heads % layout.heads_together(), 0u);
      }
    }
  }
}

// store_tokens puts every number where it belongs and touches nothing past the blocks.
TEST(TokenBlocksTest, TokensAreStoredInTheirPlaces) {
  constexpr float kGuard = -77.5f;
  const uint64_t seed = testing::TestSeed();
  RandomFloats random(seed);
  for (const KernelSet* set : AvailableKernelSets()) {
    for (size_t heads : {1, 2, 3, 4, 6, 8}) {
      for (size_t head_dim : {1, 4, 5, 16, 33}) {
        for (size_t tokens : {1, 3, 4, 5, 8, 12, 17}) {
          SCOPED_TRACE(std::string(set->name) + " heads " + std::to_string(heads) + " head_dim " +
                       std::to_string(head_dim) + " tokens " + std::to_string(tokens) + " seed " +
                       std::to_string(seed));
          const TokenBlocks layout = {heads, head_dim};
          const size_t key_stride = heads * head_dim + 3, value_stride = heads * head_dim + 1;
          const std::vector<float> keys = random.Vector(tokens * key_stride, Values::kNormal),
                                   values = random.Vector(tokens * value_stride, Values::kNormal);
          AlignedBuffer<float> blocks(layout.Size(tokens) + 1);
          blocks[layout.Size(tokens)] = kGuard;
          set->store_tokens({keys.data(), key_stride, values.data(), value_stride}, tokens, layout,
                            blocks.data());
          EXPECT_EQ(blocks[layout.Size(tokens)], kGuard);
          for (size_t t = 0; t < tokens; ++t) {
            for (size_t h = 0; h < heads; ++h) {
              for (size_t n = 0; n < head_dim; ++n) {
                ASSERT_EQ(blocks[layout.KeyAt(t, h) + n * kLaneBlock],
                          keys[t * key_stride + h * head_dim + n]);
                ASSERT_EQ(blocks[layout.ValueAt(t, h) + n], values[t * value_stride + h * head_dim + n]);
              }
            }
          }
        }
      }
    }
  }
}

class TokenAttentionTest : public ::testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }

  struct Expected {
    std::vector<uint8_t> bits;  // and a guard
    GateRow row;
    std::vector<float> out;
  };

  static Expected ExpectedHead(const Heads& memory, const TokenAttention& a, size_t h) {
    Expected expected;
    const size_t tokens = a.tokens, head_dim = a.head_dim;
    std::vector<float> scores(tokens), columns(head_dim * tokens);
    testing::ScalarProduct({a.query + h * head_dim, 1, head_dim},
                           {memory.keys.data() + h * tokens * head_dim, tokens, head_dim}, nullptr, a.scale,
                           {scores.data(), 1, tokens});
    expected.bits.assign((tokens + 7) / 8 + 1, kGuardByte);
    expected.row = testing::ScalarGate(scores.data(), tokens, a.square, expected.bits.data(), a.want_margin);
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t n = 0; n < head_dim; ++n) {
        columns[n * tokens + t] = memory.values[(h * tokens + t) * head_dim + n];
      }
    }
    expected.out.resize(head_dim);
    testing::ScalarProduct({scores.data(), 1, tokens}, {columns.data(), head_dim, tokens}, nullptr, 1,
                           {expected.out.data(), 1, head_dim});
    return expected;
  }

  void Compare(const KernelSet& set, size_t heads, size_t tokens, size_t head_dim, int variant,
               bool read_closed) {
    constexpr float kGuard = -77.5f;
    Heads memory(random_, heads, tokens, head_dim);
    std::vector<float> query = random_.Vector(heads * head_dim, Values::kNormal);
    if (variant == 3) query[head_dim / 2] = std::numeric_limits<float>::infinity();
    std::vector<std::vector<uint8_t>> bits(heads, std::vector<uint8_t>((tokens + 7) / 8 + 1, kGuardByte));
    std::vector<uint8_t*> pointers;
    // Somebody may want the bits of some heads only.
    for (size_t h = 0; h < heads; ++h)
      pointers.push_back(variant == 2 && h % 2 == 1 ? nullptr : bits[h].data());

    TokenAttention attention;
    attention.query = query.data();
    attention.blocks = memory.memory.data();
    attention.heads = heads;
    attention.head_dim = head_dim;
    attention.tokens = tokens;
    attention.scale = 0.37f;
    attention.square = variant == 1;
    attention.want_margin = variant != 0;
    attention.read_closed = read_closed;
    attention.bits = variant == 0 ? nullptr : pointers.data();
    std::vector<Expected> expected;
    for (size_t h = 0; h < heads; ++h) {
      expected.push_back(ExpectedHead(memory, attention, h));
      for (size_t t = 0; t < tokens && !read_closed; ++t) {
        if ((expected[h].bits[t / 8] >> t % 8 & 1) == 0) memory.ForbidValue(t, h);
      }
    }
    std::vector<GateRow> gates(heads);
    std::vector<float> out(heads * head_dim + 1, kGuard);
    set.attend_token(attention, gates.data(), out.data());

    EXPECT_EQ(out.back(), kGuard);
    for (size_t h = 0; h < heads; ++h) {
      const GateRow& row = expected[h].row;
      ASSERT_EQ(gates[h].open, row.open) << "head " << h;
      ASSERT_EQ(gates[h].finite, row.finite) << "head " << h;
      ASSERT_EQ(gates[h].margin, row.margin) << "head " << h;
      if (attention.bits != nullptr && pointers[h] != nullptr) {
        ASSERT_EQ(bits[h], expected[h].bits) << "head " << h;
      }
      if (row.finite) {
        ASSERT_TRUE(BitsEqual(out.data() + h * head_dim, expected[h].out.data(), head_dim)) << "head " << h;
      }
    }
  }

  void CompareAll(std::vector<size_t> all_heads, std::vector<size_t> all_tokens,
                  std::vector<size_t> head_dims) {
    for (const KernelSet* set : AvailableKernelSets()) {
      for (size_t heads : all_heads) {
        for (size_t tokens : all_tokens) {
          for (size_t head_dim : head_dims) {
            for (int variant = 0; variant < 4; ++variant) {
              SCOPED_TRACE(std::string(set->name) + " heads " + std::to_string(heads) + " tokens " +
                           std::to_string(tokens) + " head_dim " + std::to_string(head_dim) + " variant " +
                           std::to_string(variant));
              Compare(*set, heads, tokens, head_dim, variant, /*read_closed=*/false);
              Compare(*set, heads, tokens, head_dim, variant, /*read_closed=*/true);
              if (HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }

  static constexpr uint8_t kGuardByte = 0xA5;
  const uint64_t seed_ = testing::TestSeed();
  RandomFloats random_{seed_};
};

// Every number of heads with every number of tokens, for a head of less than a vector and one of whole ones.
TEST_F(TokenAttentionTest, HeadsAndTokensEqualScalarChainsAndGate) {
  CompareAll({1, 2, 3, 4, 5, 6, 8, 10, 12}, {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 33, 48, 63, 64},
             {5, 32});
}

// Other sizes of a head, up to more than is arranged at a time, with every way in which heads share lines.
TEST_F(TokenAttentionTest, HeadSizesEqualScalarChainsAndGate) {
  CompareAll({1, 2, 3, 4, 6}, {1, 5, 16, 17, 33, 64}, {1, 16, 80, 130});
}

}  // namespace
}  // namespace splineserve
