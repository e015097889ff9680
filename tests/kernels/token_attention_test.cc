// Attention of one token, all heads in one call, on every SIMD target, against scalar chains and gate.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/packing.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::BitsEqual;
using testing::RandomFloats;
using testing::Values;

// Keys and values of `heads` heads in one piece of memory, as a cache holds them; NaN wherever nothing may be
// read. (PackedView promises that no output depends on what lies past the last key.)
struct Heads {
  Heads(RandomFloats& random, size_t heads, size_t tokens, size_t capacity, size_t head_dim)
      : keys(heads * tokens * head_dim), values(heads * tokens * head_dim) {
    const size_t key_width = PanelWidth(capacity), value_width = PanelWidth(head_dim);
    const size_t panels = (head_dim + value_width - 1) / value_width;
    const size_t keys_size = head_dim * key_width;
    head_stride = keys_size + panels * capacity * value_width;
    memory.EnsureSize(heads * head_stride);
    std::fill_n(memory.data(), heads * head_stride, std::numeric_limits<float>::quiet_NaN());
    for (float& k : keys) k = random.Next(Values::kNormal);
    for (float& v : values) v = random.Next(Values::kNormal);
    for (size_t h = 0; h < heads; ++h) {
      float* const head = memory.data() + h * head_stride;
      for (size_t t = 0; t < tokens; ++t) {
        for (size_t n = 0; n < head_dim; ++n) {
          const size_t at = (h * tokens + t) * head_dim + n;
          head[n * key_width + t] = keys[at];
          head[keys_size + n / value_width * capacity * value_width + t * value_width + n % value_width] =
              values[at];
        }
      }
    }
    key_view = {memory.data(), head_dim, tokens, key_width, keys_size};
    value_view = {memory.data() + keys_size, tokens, head_dim, value_width, capacity * value_width};
  }
  std::vector<float> keys, values;  // [heads, tokens, head_dim]
  AlignedBuffer<float> memory;
  size_t head_stride = 0;
  PackedView key_view, value_view;
};

class TokenAttentionTest : public ::testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }

  void Compare(const KernelSet& set, size_t heads, size_t tokens, size_t capacity, size_t head_dim,
               int variant) {
    constexpr float kGuard = -77.5f;
    constexpr uint8_t kGuardByte = 0xA5;
    const Heads memory(random_, heads, tokens, capacity, head_dim);
    std::vector<float> query = random_.Vector(heads * head_dim, Values::kNormal);
    if (variant == 3) query[head_dim / 2] = std::numeric_limits<float>::infinity();
    const size_t bytes = (tokens + 7) / 8;
    std::vector<std::vector<uint8_t>> bits(heads, std::vector<uint8_t>(bytes + 1, kGuardByte));
    std::vector<uint8_t*> pointers;
    // Somebody may want the bits of some heads only.
    for (size_t h = 0; h < heads; ++h)
      pointers.push_back(variant == 2 && h % 2 == 1 ? nullptr : bits[h].data());

    TokenAttention attention;
    attention.query = query.data();
    attention.heads = heads;
    attention.keys = memory.key_view;
    attention.values = memory.value_view;
    attention.head_stride = memory.head_stride;
    attention.scale = 0.37f;
    attention.square = variant == 1;
    attention.want_margin = variant != 0;
    attention.bits = variant == 0 ? nullptr : pointers.data();
    std::vector<GateRow> gates(heads);
    std::vector<float> out(heads * head_dim + 1, kGuard);
    set.attend_token(attention, gates.data(), out.data());

    EXPECT_EQ(out.back(), kGuard);
    for (size_t h = 0; h < heads; ++h) {
      std::vector<float> scores(tokens), expected(head_dim);
      const float* const keys = memory.keys.data() + h * tokens * head_dim;
      testing::ScalarProduct({query.data() + h * head_dim, 1, head_dim}, {keys, tokens, head_dim}, nullptr,
                             attention.scale, {scores.data(), 1, tokens});
      std::vector<uint8_t> expected_bits(bytes + 1, kGuardByte);
      const GateRow row = testing::ScalarGate(scores.data(), tokens, attention.square, expected_bits.data(),
                                              attention.want_margin);
      std::vector<float> columns(head_dim * tokens);
      for (size_t t = 0; t < tokens; ++t) {
        for (size_t n = 0; n < head_dim; ++n) {
          columns[n * tokens + t] = memory.values[(h * tokens + t) * head_dim + n];
        }
      }
      testing::ScalarProduct({scores.data(), 1, tokens}, {columns.data(), head_dim, tokens}, nullptr, 1,
                             {expected.data(), 1, head_dim});
      ASSERT_EQ(gates[h].open, row.open) << "head " << h;
      ASSERT_EQ(gates[h].finite, row.finite) << "head " << h;
      ASSERT_EQ(gates[h].margin, row.margin) << "head " << h;
      if (attention.bits != nullptr && pointers[h] != nullptr) {
        ASSERT_EQ(bits[h], expected_bits) << "head " << h;
      }
      if (row.finite) {
        ASSERT_TRUE(BitsEqual(out.data() + h * head_dim, expected.data(), head_dim)) << "head " << h;
      }
    }
  }

  const uint64_t seed_ = testing::TestSeed();
  RandomFloats random_{seed_};
};

TEST_F(TokenAttentionTest, EqualsScalarChainsAndGate) {
  for (const KernelSet* set : AvailableKernelSets()) {
    for (size_t heads : {1, 2, 3, 4, 7}) {
      for (size_t capacity : {16, 48, 64}) {
        for (size_t tokens : {1, 2, 8, 9, 15, 16, 17, 31, 33, 48, 64}) {
          if (tokens > capacity) continue;
          for (size_t head_dim : {1, 5, 16, 32, 80, 130}) {
            for (int variant = 0; variant < 4; ++variant) {
              SCOPED_TRACE(std::string(set->name) + " heads " + std::to_string(heads) + " tokens " +
                           std::to_string(tokens) + " of " + std::to_string(capacity) + " head_dim " +
                           std::to_string(head_dim) + " variant " + std::to_string(variant));
              Compare(*set, heads, tokens, capacity, head_dim, variant);
              if (HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace splineserve
