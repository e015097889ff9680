// splineserve.v1.MonitorService over the registry of monitors and the engine.
#ifndef SPLINESERVE_SERVER_MONITOR_SERVICE_H_
#define SPLINESERVE_SERVER_MONITOR_SERVICE_H_

#include "server/call.h"
#include "splineserve/v1/monitor.grpc.pb.h"

namespace splineserve {

// Handlers run on gRPC's threads and return at once. `parts` must outlive the service.
class MonitorService final : public v1::MonitorService::CallbackService {
 public:
  explicit MonitorService(const ServerParts& parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* ListMonitors(grpc::CallbackServerContext* context,
                                         const v1::ListMonitorsRequest* request,
                                         v1::ListMonitorsResponse* response) override;
  grpc::ServerUnaryReactor* RecordPatterns(grpc::CallbackServerContext* context,
                                           const v1::RecordPatternsRequest* request,
                                           v1::RecordPatternsResponse* response) override;

 private:
  const ServerParts& parts_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_MONITOR_SERVICE_H_
