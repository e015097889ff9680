// What the analyses of SplineService share: their inputs, checked, and what they may be asked of.
#ifndef SPLINESERVE_CORE_ENGINE_ANALYSIS_H_
#define SPLINESERVE_CORE_ENGINE_ANALYSIS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/engine.h"
#include "core/engine/loaded_model.h"
#include "core/engine/request.h"
#include "core/engine/validation.h"
#include "core/spline/segment.h"

namespace splineserve {

// All that one evaluation takes: v1.ModelInput. monostate for what is absent.
struct AnalysisInput {
  Sequence source;
  Sequence target;
};

struct CheckedInput {
  CheckedSequence source, target;  // of length 0 for a stack that does not run
};

// v1.OutputSelection.
struct OutputSelection {
  OutputKind output = OutputKind::kDefault;
  std::vector<OutputIndex> indices;  // empty for all
};

// Bounds of what one analysis may take. An array of gates holds a number for each gate and sample.
inline constexpr size_t kMaxOutputs = 4096;
inline constexpr size_t kMaxGateNumbers = size_t{1} << 23;  // 64 MiB; an analysis holds some four at a time

// FAILED_PRECONDITION, saying why, for a model that is not EXACT: `call` is the name of the analysis.
absl::Status RequireExact(const LoadedModel& model, std::string_view call);

// Which stacks run: INVALID_ARGUMENT for a missing source or target, or one that the model does not take.
// `where` is the field, "from".
absl::StatusOr<CheckedInput> CheckInput(const LoadedModel& model, AnalysisInput input,
                                        const EngineOptions& limits, const std::string& where);

// The selection for outputs of `tokens` tokens of the stack that runs last. INVALID_ARGUMENT for HEAD without
// a head, indices past the end, more than kMaxOutputs.
absl::StatusOr<OutputChoice> CheckOutputs(const LoadedModel& model, const CheckedInput& input,
                                          const OutputSelection& selection);

// Its rows in float64.
ContinuousInput ToContinuous(const ModelWeights64& weights, const CheckedInput& input);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_ANALYSIS_H_
