// What float64 makes of a request to Encode or Decode, and which gates float32 may have on the wrong side.
#ifndef SPLINESERVE_CORE_ENGINE_FLOAT64_REPORT_H_
#define SPLINESERVE_CORE_ENGINE_FLOAT64_REPORT_H_

#include <cstddef>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/loaded_model.h"
#include "core/engine/request.h"

namespace splineserve {

struct CheckedEvaluation;
struct EngineOptions;

// Estimated multiply-adds (WorkOf) of a request: some two seconds of one thread.
inline constexpr double kMaxFloat64Work = 0x1p30;
inline constexpr size_t kDefaultUncertainGates = 100;
inline constexpr size_t kMaxUncertainGates = 10000;

// Part of checking a request (validation.h): INVALID_ARGUMENT for more work or gates than that,
// FAILED_PRECONDITION in lower precision. Adds what MeasureFloat64 holds to the request's bytes.
absl::Status AdmitFloat64(const LoadedModel& model, size_t max_gates, CheckedEvaluation& checked);

// One for each sequence of the request, whose float64_gates must be set, for the output that it asks for. The
// bounds are Float64Pass's with float32's unit roundoff 2^-24: proven for every order of summation, and so
// for the served one. Thread-safe, on the calling thread, which should be neither gRPC's nor the executor's.
// Errors: those of Engine::Encode and Decode, `check`'s, asked between sequences, LoadedModel::weights64's,
// OUT_OF_RANGE if a number overflows float64. Throws std::bad_alloc.
absl::StatusOr<std::vector<Float64Result>> MeasureFloat64(const LoadedModel& model, EncodeRequest request,
                                                          const EngineOptions& limits,
                                                          absl::FunctionRef<absl::Status()> check);
absl::StatusOr<std::vector<Float64Result>> MeasureFloat64(const LoadedModel& model, DecodeRequest request,
                                                          const EngineOptions& limits,
                                                          absl::FunctionRef<absl::Status()> check);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_FLOAT64_REPORT_H_
