// Where keys and values of few tokens lie if a query reads those of all its heads together, as every step of
// generation does, and a short sequence of an encoder.
//
// The tokens come in blocks, each one piece of memory: first its keys, then its values. One line of 16 keys
// holds number k of 16 / heads_together() tokens of heads_together() heads, so that of a short sequence
// little is read that nobody asked for: 4 heads of 32 with 5 tokens are 64 lines, where panels of 16 tokens a
// head (PackedView) are 128, in four places. Generations of hundreds of words do not fit a core's cache, and
// reading them is what their attention consists of.
#ifndef SPLINESERVE_CORE_KERNELS_TOKEN_BLOCKS_H_
#define SPLINESERVE_CORE_KERNELS_TOKEN_BLOCKS_H_

#include <cstddef>

#include "core/kernels/kernel_set.h"

namespace splineserve {

// The most tokens that lie in blocks: the gates of a head's keys are the bits of one word.
inline constexpr size_t kMaxBlockTokens = 64;

// Of one layer. All sizes and places are in floats; blocks are aligned to 64 bytes.
struct TokenBlocks {
  size_t heads = 1, head_dim = 1;

  // Heads that share a line: the largest of 4, 2 and 1 that divides all heads.
  size_t heads_together() const { return kLaneBlock >> shift(); }
  size_t block_tokens() const { return size_t{1} << shift(); }
  size_t Blocks(size_t tokens) const { return (tokens + block_tokens() - 1) >> shift(); }

  // A value's numbers, whole vectors.
  size_t value_width() const { return (head_dim + kLaneBlock - 1) / kLaneBlock * kLaneBlock; }
  size_t keys_size() const { return heads * head_dim * block_tokens(); }
  size_t block_size() const { return keys_size() + block_tokens() * heads * value_width(); }
  size_t Size(size_t tokens) const { return Blocks(tokens) * block_size(); }

  // Of number 0 of a key, whose next number lies kLaneBlock further, and of a value, whose next lies next.
  size_t KeyAt(size_t token, size_t head) const {
    const size_t group_bits = 4 - shift(), in_group = head & ((size_t{1} << group_bits) - 1);
    return (token >> shift()) * block_size() + (head >> group_bits) * head_dim * kLaneBlock +
           (in_group << shift()) + InBlock(token);
  }
  size_t ValueAt(size_t token, size_t head) const {
    return (token >> shift()) * block_size() + keys_size() + (InBlock(token) * heads + head) * value_width();
  }

 private:
  // Divisions would take longer than the stores of a head.
  size_t shift() const { return heads % 4 == 0 ? 2 : heads % 2 == 0 ? 3 : 4; }
  size_t InBlock(size_t token) const { return token & (block_tokens() - 1); }
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_TOKEN_BLOCKS_H_
