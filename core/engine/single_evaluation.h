// One input through a model by itself, on the calling thread: the step that analyses are made of. The same
// arithmetic as Encode's and Decode's, so the same bits.
#ifndef SPLINESERVE_CORE_ENGINE_SINGLE_EVALUATION_H_
#define SPLINESERVE_CORE_ENGINE_SINGLE_EVALUATION_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/loaded_model.h"
#include "core/engine/model_input.h"
#include "core/kernels/kernel_set.h"
#include "core/spline/piece.h"
#include "core/spline/piece_layout.h"

namespace splineserve {

// All gates of an input, one piece a token with the bits of all its groups; a stack that does not run has
// none.
struct StackPieces {
  std::vector<TokenPiece> encoder, decoder;
};

struct SingleEvaluation {
  Matrix output;  // of the last stack: final rows, or the head's
  // By the arguments' own signs, also where the gates were frozen. With margins.
  StackPieces pieces;
};

// `frozen`: the gates of every stack that runs, checked (CheckGivenPieces) or recorded for an input of the
// same lengths; null: the arguments' signs open the gates. `where` is the input's field, for messages.
// `check` is asked between layers and ends the evaluation with its status. OUT_OF_RANGE where a number
// overflows. Memory: all gates, and the rows of one evaluation until it returns.
absl::StatusOr<SingleEvaluation> EvaluateAlone(const LoadedModel& model, const CheckedInput& input, bool head,
                                               const StackPieces* frozen, const std::string& where,
                                               const KernelSet& kernels,
                                               absl::FunctionRef<absl::Status()> check);

// Upper estimate of the memory of one input's ids or vectors, of its StackPieces, and of the rows, keys and
// values while it is evaluated and its output afterwards.
struct SingleEvaluationBytes {
  size_t input = 0, pieces = 0, rows = 0;
};
SingleEvaluationBytes BytesOf(const ModelConfig& config, const CheckedInput& input);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_SINGLE_EVALUATION_H_
