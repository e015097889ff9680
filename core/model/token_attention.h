// ReLU attention of one token after another, all heads at once: what generation consists of, and the quickest
// way through short sequences of an encoder.
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

// Finds those of an encoder, which see themselves: ReLU gates that follow their arguments and few tokens,
// whose keys and values need not be kept: their `view` is empty. Makes room for them in every worker's
// scratch.
void FindShortSequences(Evaluation& evaluation, std::vector<TokenKeys>& found);

// The numbers, gates and faults that a block of each head gives (attention.h), of the sequence's row `row`.
// `query` and `attended` are all rows of the batch, [rows, heads * head_dim].
void AttendToken(Evaluation& evaluation, const AttentionStage& stage, const TokenKeys& keys, size_t sequence,
                 size_t row, MatrixView<const float> query, MatrixView<float> attended,
                 Workspace::Worker& scratch);

// Keys and values of a short sequence's tokens, out of their rows, in the worker's scratch, where
// FindShortSequences has made room: what AttendToken then reads.
TokenKeys KeepInScratch(const Evaluation& evaluation, MatrixView<const float> keys,
                        MatrixView<const float> values, Workspace::Worker& scratch);

// Brings the keys, not the values, of all heads of a layer into the cache, if they are kept anywhere.
void PrefetchToken(const TokenKeys& keys, size_t stored_layer);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_TOKEN_ATTENTION_H_
