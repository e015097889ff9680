// ReLU attention of a sequence that has one new token, all heads at once: what generation consists of.
#ifndef SPLINESERVE_CORE_MODEL_TOKEN_ATTENTION_H_
#define SPLINESERVE_CORE_MODEL_TOKEN_ATTENTION_H_

#include <cstddef>

#include "core/model/attention.h"
#include "core/model/evaluation.h"
#include "core/model/key_value_cache.h"

namespace splineserve {

// Whether AttendToken can do a sequence of `range` over `keys`: one new token, ReLU gates that follow their
// arguments, and keys of one panel in one chunk, 64 at most. Longer ones are worth a block a head: their time
// is that of reading keys.
bool IsTokenAttention(const Evaluation& evaluation, const RowRange& range, const KeyValues& keys);

// The same numbers, gates and faults as a block of each head (attention.h). `query` and `attended` are all
// rows of the batch, [rows, heads * head_dim].
void AttendToken(Evaluation& evaluation, const AttentionStage& stage, const KeyValues& keys, size_t sequence,
                 MatrixView<const float> query, MatrixView<float> attended, Workspace::Worker& scratch);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_TOKEN_ATTENTION_H_
