// Attention: self, causal and cross, of any activation.
//
//   out_i = (sum over visible j, ascending, of act(scale * q_i . k_j) v_j) / n_i,   heads concatenated
//
// With act = ReLU the map is piecewise cubic in its input (arXiv 2408.09624, section 3).
#ifndef SPLINESERVE_CORE_MODEL_ATTENTION_H_
#define SPLINESERVE_CORE_MODEL_ATTENTION_H_

#include <cstddef>
#include <string_view>

#include "absl/types/span.h"
#include "core/model/evaluation.h"
#include "core/model/key_value_cache.h"

namespace splineserve {

// One attention of one layer, over what its sequences see. `keys[s]` holds the keys and values that sequence
// s may see: its own tokens so far (causal) or all of them, or its memory's. It is null where token_keys[s]
// says that they are not kept.
struct AttentionStage {
  const AttentionWeights* weights = nullptr;
  Site site = Site::kSelfAttention;
  int layer = 0;
  bool causal = false;      // the token at position p sees keys 0..p only
  size_t stored_layer = 0;  // of `keys`: the encoder keeps one layer at a time
  // Of each sequence, as FindTokenKeys or FindShortSequences found them (token_attention.h); or empty.
  absl::Span<const TokenKeys> token_keys = {};
  DistinctRows* distinct = nullptr;  // of x; or null, or empty
};

// What overflowed, for messages.
std::string_view ScoreName(Site site);

// The heads' outputs side by side, for the queries of x: [rows, heads * head_dim], valid until the next call.
// x is [rows, hidden_size], already normed as the placement asks. Reports gates of every (token, head) if the
// activation is ReLU, and takes them from evaluation.frozen if there is one; fails sequences whose queries or
// scores are not finite. That the outputs are is for the caller to check.
MatrixView<const float> Attend(Evaluation& evaluation, const AttentionStage& stage,
                               absl::Span<const KeyValues* const> keys, MatrixView<const float> x);

// The same after StoreKeyValues of x into `caches`, which are then the keys: self-attention. A short
// sequence's are stored right before they are read, while they are in the cache: those of 256 sequences do
// not stay there. (Measured together with the kernel for tokens only: 256 words of g2p in 1/1.13 of the
// time.)
MatrixView<const float> AttendToSelf(Evaluation& evaluation, const AttentionStage& stage,
                                     absl::Span<const KeyValues* const> caches, MatrixView<const float> x);

// Projects x (rows of the current sequences) to keys and values and stores them as one layer's of the last
// tokens of `caches[s]`, which must be distinct and have been grown by them.
void StoreKeyValues(Evaluation& evaluation, const AttentionWeights& weights, int layer, size_t stored_layer,
                    MatrixView<const float> x, absl::Span<const KeyValues* const> caches);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_ATTENTION_H_
