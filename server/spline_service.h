// splineserve.v1.SplineService over the engine's analyses.
#ifndef SPLINESERVE_SERVER_SPLINE_SERVICE_H_
#define SPLINESERVE_SERVER_SPLINE_SERVICE_H_

#include "core/engine/byte_budget.h"
#include "server/call.h"
#include "splineserve/v1/spline.grpc.pb.h"

namespace splineserve {

// Handlers run on gRPC's threads and return at once: they check, have the analysis queued and leave. `parts`
// must outlive the service.
class SplineService final : public v1::SplineService::CallbackService {
 public:
  explicit SplineService(const ServerParts& parts)
      : parts_(parts), budget_(parts.facts.limits.max_queue_bytes) {}

  grpc::ServerUnaryReactor* EvaluateOnPiece(grpc::CallbackServerContext* context,
                                            const v1::EvaluateOnPieceRequest* request,
                                            v1::EvaluateOnPieceResponse* response) override;
  grpc::ServerUnaryReactor* Compare(grpc::CallbackServerContext* context, const v1::CompareRequest* request,
                                    v1::CompareResponse* response) override;

  grpc::ServerWriteReactor<v1::TraceResponse>* Trace(grpc::CallbackServerContext* context,
                                                     const v1::TraceRequest* request) override;
  grpc::ServerUnaryReactor* Differentiate(grpc::CallbackServerContext* context,
                                          const v1::DifferentiateRequest* request,
                                          v1::DifferentiateResponse* response) override;

 private:
  const ServerParts& parts_;
  ByteBudget budget_;  // of all analyses together, as large as the engine's
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_SPLINE_SERVICE_H_
