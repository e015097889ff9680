// What the server tells its operators: metrics for Prometheus and one log line a request.
#ifndef SPLINESERVE_SERVER_TELEMETRY_H_
#define SPLINESERVE_SERVER_TELEMETRY_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/engine/engine.h"
#include "core/engine/request.h"

namespace splineserve {

// One finished call.
struct CallRecord {
  std::string_view method;  // "Encode": one of a fixed set, for it labels metrics
  std::string model;        // as resolved, "g2p/1"; empty if it was not found
  absl::Status status;
  absl::Duration duration;       // from the arrival of the request to the end of the call
  int64_t sequences = 0;         // of the request
  int64_t tokens = 0;            // generated
  int64_t pieces = 0;            // token pieces sent
  std::optional<Timing> timing;  // of calls that the engine answered
};

// Thread-safe.
class Telemetry {
 public:
  // `engine` must outlive it: its statistics are read whenever metrics are.
  Telemetry(const Engine& engine, size_t models);
  ~Telemetry();

  void CallStarted(std::string_view method);
  // Counts and logs: OK and what clients do wrong at debug level, what the server must refuse at info,
  // INTERNAL at error.
  void CallEnded(const CallRecord& record);

  // All metrics in Prometheus' text format.
  std::string Metrics() const;

  // What /healthz says: not serving until the server listens.
  void SetServing(bool serving) { serving_ = serving; }
  bool serving() const { return serving_; }

 private:
  class Families;
  const std::unique_ptr<Families> families_;
  std::atomic<bool> serving_{false};
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_TELEMETRY_H_
