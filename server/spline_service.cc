#include "server/spline_service.h"

#include <utility>

#include "core/base/status_macros.h"
#include "server/analysis_call.h"
#include "server/convert_spline.h"
#include "server/trace_call.h"

namespace splineserve {

grpc::ServerWriteReactor<v1::TraceResponse>* SplineService::Trace(grpc::CallbackServerContext* context,
                                                                  const v1::TraceRequest* request) {
  return TraceCall::Start(parts_, *context, *request);
}

grpc::ServerUnaryReactor* SplineService::Differentiate(grpc::CallbackServerContext* context,
                                                       const v1::DifferentiateRequest* request,
                                                       v1::DifferentiateResponse* response) {
  using Call = AnalysisCall<v1::DifferentiateResponse>;
  return Call::Start(parts_, *context, "Differentiate", *request, response,
                     [&](CallState& state) -> absl::StatusOr<Call::Work> {
                       SPLINESERVE_ASSIGN_OR_RETURN(DifferentiateRequest converted, FromProto(*request));
                       SPLINESERVE_ASSIGN_OR_RETURN(
                           CheckedDifferentiate checked,
                           CheckDifferentiate(*state.model(), std::move(converted), parts_.facts.limits));
                       return Call::Work([model = state.model(), checked = std::move(checked)](
                                             auto check, v1::DifferentiateResponse* out) -> absl::Status {
                         SPLINESERVE_ASSIGN_OR_RETURN(const Derivatives result,
                                                      splineserve::Differentiate(*model, checked, check));
                         ToProto(checked, result, out);
                         return absl::OkStatus();
                       });
                     });
}

}  // namespace splineserve
