// A monitor's part in Encode, Decode, Generate and RecordPatterns: what it asks the engine for, and its
// verdicts.
#ifndef SPLINESERVE_SERVER_MONITORING_H_
#define SPLINESERVE_SERVER_MONITORING_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/engine/request.h"
#include "server/monitor_registry.h"
#include "splineserve/v1/inference.pb.h"
#include "splineserve/v1/monitor.pb.h"

namespace splineserve {

// The class that the model put a sequence into: its largest output, the first of several; 0 for a monitor
// with one class.
uint32_t LabelOf(const SequenceResult& result, uint32_t classes);

v1::MonitorInfo ToMonitorInfo(const PatternMonitor& monitor);  // but name and models

// Between a call's request and its response. Immutable; thread-safe.
class Monitoring {
 public:
  // Nothing if the request does not ask for a monitor. Else finds it and widens what `pieces` of the engine's
  // request says by what it needs. Errors are those of v1::MonitorOptions.
  template <typename Request, typename EngineRequest>
  static absl::StatusOr<std::optional<Monitoring>> Prepare(const MonitorRegistry& monitors,
                                                           const LoadedModel& model, const Request& request,
                                                           EngineRequest& engine_request) {
    if (!request.has_monitor()) return std::nullopt;
    return Prepare(monitors, model, StackOf(engine_request), request.monitor(), OutputOf(engine_request),
                   engine_request.pieces);
  }

  // The verdicts on all results, in order; then takes from the results' pieces what only the monitor wanted.
  // Cost: PatternOf and PatternMonitor::Judge for each, which is why it is done by ResponseWorkers.
  std::vector<v1::MonitorVerdict> Judge(std::vector<SequenceResult>& results) const;

  // Lives as long as any copy of this.
  const PatternSelection& selection() const { return monitor_->monitor.description().selection; }
  // The verdict on a pattern of the selection's gates. `label` is a class of the monitor.
  v1::MonitorVerdict Judge(const Pattern& pattern, uint32_t label) const;
  // Whether the request asks for pieces itself; if so, Narrow takes from one what it did not ask for.
  bool wants_pieces() const { return asked_.detail != PieceDetail::kNone; }
  void Narrow(TokenPiece& piece) const { splineserve::Narrow(asked_, piece); }

  static PieceRecorder::Stack StackOf(const EncodeRequest&) { return PieceRecorder::Stack::kEncoder; }
  static PieceRecorder::Stack StackOf(const DecodeRequest&) { return PieceRecorder::Stack::kDecoder; }
  static PieceRecorder::Stack StackOf(const GenerateRequest&) { return PieceRecorder::Stack::kDecoder; }

 private:
  template <typename EngineRequest>
  static OutputKind OutputOf(const EngineRequest& request) {
    return request.output;
  }
  static OutputKind OutputOf(const GenerateRequest&) { return OutputKind::kHead; }
  Monitoring(MonitorRegistry::MonitorPtr monitor, uint32_t gamma, PieceOptions asked)
      : monitor_(std::move(monitor)), gamma_(gamma), asked_(std::move(asked)) {}
  static absl::StatusOr<std::optional<Monitoring>> Prepare(const MonitorRegistry& monitors,
                                                           const LoadedModel& model,
                                                           PieceRecorder::Stack stack,
                                                           const v1::MonitorOptions& options,
                                                           OutputKind output, PieceOptions& pieces);

  MonitorRegistry::MonitorPtr monitor_;
  uint32_t gamma_;
  PieceOptions asked_;
};

// The layers of a stack.
size_t LayersOf(const ModelConfig& config, PieceRecorder::Stack stack);

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_MONITORING_H_
