// The smoothing error of a request: how far a smoothed model's outputs are from its spline's, measured and
// proven.
#ifndef SPLINESERVE_CORE_ENGINE_SMOOTHING_REPORT_H_
#define SPLINESERVE_CORE_ENGINE_SMOOTHING_REPORT_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/loaded_model.h"
#include "core/engine/request.h"

namespace splineserve {

struct CheckedEvaluation;
struct EngineOptions;

// Estimated multiply-adds (WorkOf) of a request whose smoothing error may be asked for: at 0.4 G a second,
// under a second of one thread.
inline constexpr double kMaxSmoothingWork = 0x1p28;

// Part of checking a request (validation.h): INVALID_ARGUMENT unless the model is a smoothing, in float32,
// and the request's work is at most kMaxSmoothingWork. Adds what MeasureSmoothing holds to the request's
// bytes.
absl::Status AdmitSmoothingError(const LoadedModel& model, CheckedEvaluation& checked);

// One for each sequence of the request, for the output that it asks for. A pure function: thread-safe, on the
// calling thread, which should be neither gRPC's nor the executor's. INVALID_ARGUMENT as Engine::Encode and
// Decode with these limits; what `check` returns, asked between sub-layers, if it is not OK; OUT_OF_RANGE,
// naming the sequence, if a number overflows float64. Throws std::bad_alloc.
absl::StatusOr<std::vector<SmoothingError>> MeasureSmoothing(const LoadedModel& model, EncodeRequest request,
                                                             const EngineOptions& limits,
                                                             absl::FunctionRef<absl::Status()> check);
absl::StatusOr<std::vector<SmoothingError>> MeasureSmoothing(const LoadedModel& model, DecodeRequest request,
                                                             const EngineOptions& limits,
                                                             absl::FunctionRef<absl::Status()> check);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_SMOOTHING_REPORT_H_
