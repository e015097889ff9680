// splineserve.v1.SplineService over core/spline.
#ifndef SPLINESERVE_SERVER_SPLINE_SERVICE_H_
#define SPLINESERVE_SERVER_SPLINE_SERVICE_H_

#include "server/call.h"
#include "splineserve/v1/spline.grpc.pb.h"

namespace splineserve {

// Handlers run on gRPC's threads and return at once: they check, have the analysis queued and leave. `parts`
// must outlive the service.
class SplineService final : public v1::SplineService::CallbackService {
 public:
  explicit SplineService(const ServerParts& parts) : parts_(parts) {}

 private:
  const ServerParts& parts_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_SPLINE_SERVICE_H_
