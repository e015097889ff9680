// A running server: models, engine, gRPC, metrics.
#ifndef SPLINESERVE_SERVER_SERVER_H_
#define SPLINESERVE_SERVER_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/engine/engine.h"
#include "server/model_registry.h"
#include "server/options.h"

namespace splineserve {

class Server {
 public:
  // Loads the models, starts the engine, then listens; logs one line with everything in force. Whatever fails
  // is returned and nothing is left running: a bad model (see ModelRegistry::Load) or monitor (see
  // MonitorRegistry::Load; those beside the models are loaded before options.monitors), a SIMD target that
  // this machine lacks (see SelectKernelSet), RESOURCE_EXHAUSTED for threads that cannot be started,
  // UNAVAILABLE for an address that cannot be listened on.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);
  // The same over models that are loaded already; options.model_repository is not read.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, ModelRegistry registry);

  virtual ~Server() = default;  // Drain(0)s

  virtual const std::string& address() const = 0;  // HOST:PORT of gRPC with the port in use
  virtual int metrics_port() const = 0;            // 0: no metrics
  virtual const Engine& engine() const = 0;

  // Reports NOT_SERVING, refuses new requests with UNAVAILABLE, waits up to `grace` for the running ones,
  // ends the rest with UNAVAILABLE, then stops listening. Blocks; idempotent; not thread-safe.
  virtual void Drain(absl::Duration grace) = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_SERVER_H_
