// The first rows of a stack: x = embedding * scale + position, or input_proj(vector) + position. Where a
// model over tokens is given vectors, they stand for embedding * scale.
#ifndef SPLINESERVE_CORE_MODEL_EMBEDDING_H_
#define SPLINESERVE_CORE_MODEL_EMBEDDING_H_

#include "absl/types/span.h"
#include "core/model/evaluation.h"

namespace splineserve {

// Writes the rows of `inputs` (in the order of evaluation.sequences(), with their absolute positions) to x
// [evaluation.rows(), hidden_size]. One fma(e, scale, position) a number for tokens; for vectors the
// projection's chain, then one addition of the position; for vectors in place of tokens, that addition alone.
// `input` is the stack's input configuration.
void Embed(Evaluation& evaluation, const InputConfig& input, const StackWeights& stack,
           absl::Span<const SequenceInput> inputs, MatrixView<float> x);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_EMBEDDING_H_
