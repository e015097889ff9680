// Metrics over HTTP: GET /metrics (Prometheus' text format) and /healthz (200 while serving, 503 before the
// server listens and while it drains).
#ifndef SPLINESERVE_SERVER_METRICS_ENDPOINT_H_
#define SPLINESERVE_SERVER_METRICS_ENDPOINT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/telemetry.h"

namespace splineserve {

// Serves from two threads of its own until it is destroyed.
class MetricsEndpoint {
 public:
  // `address` is HOST:PORT, port 0 for a free one. `telemetry` must outlive the endpoint. UNAVAILABLE if the
  // address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& address,
                                                                const Telemetry& telemetry);
  virtual ~MetricsEndpoint() = default;
  virtual int port() const = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_METRICS_ENDPOINT_H_
