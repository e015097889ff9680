// ReLU attention of sequences that have one new token, all heads at once: what generation consists of.
#ifndef SPLINESERVE_CORE_MODEL_TOKEN_ATTENTION_H_
#define SPLINESERVE_CORE_MODEL_TOKEN_ATTENTION_H_

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "core/model/attention.h"
#include "core/model/evaluation.h"
#include "core/model/key_value_cache.h"

namespace splineserve {

// Finds the sequences that AttendToken can do over `keys`, of which they see all: one new token, ReLU gates
// that follow their arguments, and keys in token blocks, kMaxBlockTokens at most. (Of longer ones reading the
// keys is what takes time.) One entry a sequence; valid until its keys grow.
void FindTokenKeys(const Evaluation& evaluation, absl::Span<const KeyValues* const> keys,
                   std::vector<TokenKeys>& found);

// The numbers, gates and faults that a block of each head gives (attention.h). `query` and `attended` are all
// rows of the batch, [rows, heads * head_dim].
void AttendToken(Evaluation& evaluation, const AttentionStage& stage, const TokenKeys& keys, size_t sequence,
                 MatrixView<const float> query, MatrixView<float> attended, Workspace::Worker& scratch);

// Brings the keys, not the values, of all heads of a layer into the cache.
void PrefetchToken(const TokenKeys& keys, size_t stored_layer);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_TOKEN_ATTENTION_H_
