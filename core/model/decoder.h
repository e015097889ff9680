// The decoder stack: teacher-forced over whole sequences or one step at a time, by the same code.
#ifndef SPLINESERVE_CORE_MODEL_DECODER_H_
#define SPLINESERVE_CORE_MODEL_DECODER_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/model/evaluation.h"
#include "core/model/key_value_cache.h"

namespace splineserve {

// New tokens of one sequence after those in its cache. An empty cache and all tokens: teacher forcing. One
// token: a step of generation. Any split gives the same bits.
struct DecoderInput {
  SequenceInput tokens;
  KeyValueCache* cache = nullptr;  // grows by the new tokens; with memory iff the model is an encoder_decoder
};

// Projects the encoder's final rows of each source, memory [sum of lengths, hidden_size] stacked, to keys and
// values of every decoder layer's cross-attention: projected[i], immutable from then on, which all beams of a
// source share. With kTokenBlocks as `layout` those of short sources lie in token blocks, where the
// activation lets generation read them (KeyValueCache::MemoryLayout). Returns one status a source,
// OUT_OF_RANGE where a number overflows, valid as Evaluation::statuses.
const std::vector<absl::Status>& ProjectMemory(Evaluation& evaluation, const ModelWeights& weights,
                                               absl::Span<const size_t> lengths,
                                               MatrixView<const float> memory, KeyValueLayout layout,
                                               std::vector<std::shared_ptr<const KeyValues>>& projected);

// Evaluates the new tokens of every input (at least one each; caches distinct) and writes their final rows,
// stacked, to hidden [sum of new tokens, hidden_size]. Returns one status an input, as RunEncoder does; a
// failed input's cache must not be used again. Allocates only where the workspace has to grow and where a
// cache begins a chunk that the pool does not have: a step of generation as a rule not at all.
const std::vector<absl::Status>& RunDecoder(Evaluation& evaluation, const ModelWeights& weights,
                                            absl::Span<const DecoderInput> inputs, MatrixView<float> hidden);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_DECODER_H_
