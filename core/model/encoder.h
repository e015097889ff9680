// The encoder stack.
#ifndef SPLINESERVE_CORE_MODEL_ENCODER_H_
#define SPLINESERVE_CORE_MODEL_ENCODER_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/model/evaluation.h"

namespace splineserve {

// Evaluates the encoder on `inputs` (non-empty sequences, validated) and writes the final rows, stacked in
// their order, to hidden [sum of lengths, hidden_size]. Returns one status a sequence: OK, or OUT_OF_RANGE
// where a number overflowed (its rows are then meaningless). If evaluation.KeepGoing() turned false between
// layers, the rows are unfinished: the caller knows, for it gave keep_going. The statuses are the
// evaluation's: valid until its next stack begins.
const std::vector<absl::Status>& RunEncoder(Evaluation& evaluation, const ModelWeights& weights,
                                            absl::Span<const SequenceInput> inputs, MatrixView<float> hidden);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_ENCODER_H_
