// What the float64 analyses of SplineService share: which models they take, and which outputs.
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
#include "core/engine/model_input.h"
#include "core/engine/request.h"
#include "core/spline/segment.h"

namespace splineserve {

// v1.OutputSelection.
struct OutputSelection {
  OutputKind output = OutputKind::kDefault;
  std::vector<OutputIndex> indices;  // empty for all
};

// Bounds of what one analysis may take. An array of gates holds a number for each gate and sample.
inline constexpr size_t kMaxOutputs = 4096;
inline constexpr size_t kMaxGateNumbers = size_t{1} << 23;  // 64 MiB; an analysis holds some four at a time
// Some four seconds of one thread.
inline constexpr double kMaxAnalysisWork = 0x1p33;

// FAILED_PRECONDITION, saying why, for a model that is not EXACT: `call` is the name of the analysis.
absl::Status RequireExact(const LoadedModel& model, std::string_view call);

// The selection for the outputs of the stack that runs last. INVALID_ARGUMENT for HEAD without
// a head, indices past the end, more than kMaxOutputs.
absl::StatusOr<OutputChoice> CheckOutputs(const LoadedModel& model, const CheckedInput& input,
                                          const OutputSelection& selection);

// INVALID_ARGUMENT if `points` points together have more gates than kMaxGateNumbers or take more than
// kMaxAnalysisWork multiply-adds (WorkOf): what is done between two looks at the caller's token.
absl::Status CheckAnalysisSize(const LoadedModel& model, const CheckedInput& input, size_t points,
                               const std::string& where);

// Estimate of the memory of evaluating `points` points together, with error bounds.
size_t AnalysisBytes(const ModelConfig& config, const CheckedInput& input, size_t points);

// The input's rows in float64.
ContinuousInput ToContinuous(const ModelWeights64& weights, const CheckedInput& input);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_ANALYSIS_H_
