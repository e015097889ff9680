// SplineService's messages from and to the engine's analyses.
#ifndef SPLINESERVE_SERVER_CONVERT_SPLINE_H_
#define SPLINESERVE_SERVER_CONVERT_SPLINE_H_

#include "absl/status/statusor.h"
#include "core/engine/differentiate.h"
#include "core/engine/trace_analysis.h"
#include "splineserve/v1/spline.pb.h"

namespace splineserve {

// Pure functions; thread-safe. INVALID_ARGUMENT names the field, what was expected and what was found.
absl::StatusOr<OutputSelection> FromProto(const v1::OutputSelection& selection);
absl::StatusOr<TraceRequest> FromProto(const v1::TraceRequest& request);
absl::StatusOr<DifferentiateRequest> FromProto(const v1::DifferentiateRequest& request);

// CHEBYSHEV or BERNSTEIN. INVALID_ARGUMENT for other values, and for BERNSTEIN above degree
// kMaxBernsteinDegree.
inline constexpr uint64_t kMaxBernsteinDegree = 30;
absl::StatusOr<v1::PolynomialBasis::Value> CheckBasis(int basis, uint64_t degree);

void ToProto(const Matrix64& matrix, v1::Matrix64* out);
void ToProto(const TracePiece& piece, const GateLayout& layout, v1::PolynomialBasis::Value basis,
             v1::TracePiece* out);
void ToProto(const TraceSummary& summary, v1::TraceSummary* out);
void ToProto(const Derivatives& result, v1::DifferentiateResponse* out);  // all but `model` and `timing`

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_CONVERT_SPLINE_H_
