// Asks a server for its health: what a container's health check runs.
#ifndef SPLINESERVE_SERVER_HEALTH_PROBE_H_
#define SPLINESERVE_SERVER_HEALTH_PROBE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace splineserve {

// OK if the server at `address` (HOST:PORT) says SERVING within `timeout`; UNAVAILABLE if it says anything
// else; the call's error otherwise.
absl::Status CheckHealth(const std::string& address, absl::Duration timeout);

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_HEALTH_PROBE_H_
