// Requests and results of SplineService's evaluations on pieces and comparisons, from the wire and to it.
#ifndef SPLINESERVE_SERVER_CONVERT_ANALYSIS_H_
#define SPLINESERVE_SERVER_CONVERT_ANALYSIS_H_

#include "absl/status/statusor.h"
#include "core/engine/evaluation_on_piece.h"
#include "core/engine/piece_comparison.h"
#include "splineserve/v1/spline.pb.h"

namespace splineserve {

// Pure functions; thread-safe. As FromProto of Encode: what only the wire can get wrong is checked here.
absl::StatusOr<ModelInput> ToModelInput(const v1::ModelInput& input, const std::string& where);
absl::StatusOr<EvaluateOnPieceRequest> FromProto(const v1::EvaluateOnPieceRequest& request);
absl::StatusOr<CompareRequest> FromProto(const v1::CompareRequest& request);

// All but `timing`. `margins`: whether the request asked for them.
void ToProto(const LoadedModel& model, const OnPieceResult& result, bool margins,
             v1::EvaluateOnPieceResponse* out);
void ToProto(const LoadedModel& model, const ComparisonResult& result, v1::CompareResponse* out);

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_CONVERT_ANALYSIS_H_
