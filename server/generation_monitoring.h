// A monitor's part in Generate: verdicts on whole hypotheses from pieces that come token by token.
#ifndef SPLINESERVE_SERVER_GENERATION_MONITORING_H_
#define SPLINESERVE_SERVER_GENERATION_MONITORING_H_

#include <utility>
#include <vector>

#include "core/engine/request.h"
#include "core/spline/pattern.h"
#include "server/monitoring.h"
#include "splineserve/v1/monitor.pb.h"

namespace splineserve {

// A hypothesis' pattern is that of its evaluated positions: the prompt's and its tokens' but for a last one
// that was never fed. Decode's at the same ids is the same, bit for bit, so that what was recorded of given
// sequences judges generated ones. Used by one thread at a time. Holds one bit a gate, which the engine's
// admission has charged with the pieces.
class GenerationMonitoring {
 public:
  explicit GenerationMonitoring(Monitoring monitoring) : monitoring_(std::move(monitoring)) {}

  // Takes the events of one generation in their order. Returns the verdicts on a final event's hypotheses
  // (else none), and takes from the event's pieces what only the monitor wanted. Cost: PatternBuilder::Add
  // for each piece, PatternMonitor::Judge for each hypothesis.
  std::vector<v1::MonitorVerdict> Judge(GenerateEvent& event);

 private:
  void Narrow(GenerateEvent& event) const;

  Monitoring monitoring_;  // whose monitor holds the selection that pattern_ refers to
  PatternBuilder pattern_{monitoring_.selection()};  // of the prompt and, but for beam search, the tokens
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_GENERATION_MONITORING_H_
