// Trace: an EXACT model along a segment, in turns.
#ifndef SPLINESERVE_CORE_ENGINE_TRACE_ANALYSIS_H_
#define SPLINESERVE_CORE_ENGINE_TRACE_ANALYSIS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/analysis.h"
#include "core/spline/segment_trace.h"

namespace splineserve {

// v1.TraceRequest.
struct TraceRequest {
  ModelInput from, to;
  OutputSelection outputs;
  size_t max_pieces = 0;  // 0: kDefaultTracePieces
  std::string resume;     // empty: from the beginning
  bool integrated_gradients = false;
  bool top_output = false;
};

inline constexpr size_t kDefaultTracePieces = 1000;
inline constexpr size_t kMaxTracePieces = 100000;
inline constexpr size_t kMaxIntegratedOutputs = 16;

struct CheckedTrace {
  CheckedInput from, to;
  OutputChoice outputs;
  size_t max_pieces = 0;  // >= 1
  std::string resume;
  bool integrated_gradients = false;
  bool top_output = false;
  uint64_t degree = 0;  // bound along the segment
  size_t bytes = 0;     // estimate of scratch memory and one message
};

// INVALID_ARGUMENT as the API says, FAILED_PRECONDITION as RequireExact. Cheap.
absl::StatusOr<CheckedTrace> CheckTrace(const LoadedModel& model, TraceRequest request,
                                        const EngineOptions& limits);

// v1.IntegratedGradient.
struct IntegratedGradient {
  InputRows64 elements;
  double sum = 0;
  double difference = 0;
};

struct TraceSummary {
  uint64_t pieces = 0;
  bool certified = true;
  double resolution = 0;
  double reached = 0;
  std::string resume;  // empty at the end
  std::vector<IntegratedGradient> integrated_gradients;
  uint64_t evaluations = 0;
};

// Not thread-safe. Holds the model.
class TraceAnalysis {
 public:
  // Makes the model's float64 weights if nobody has yet. INVALID_ARGUMENT for a resume token of another
  // trace, FAILED_PRECONDITION as LoadedModel::weights64.
  static absl::StatusOr<std::unique_ptr<TraceAnalysis>> Create(std::shared_ptr<const LoadedModel> model,
                                                               CheckedTrace trace);

  const OutputChoice& outputs() const { return trace_request_.outputs; }
  const GateLayout& layout() const { return segment_.layout(); }

  // Whether the trace is at its end, or has the pieces that were asked for.
  bool done() const { return trace_.done() || summary_.pieces == trace_request_.max_pieces; }
  // The next pieces, as long as more_time() says, up to about a mebibyte of numbers, and at least one. Errors
  // are SegmentTrace::Next's; `check` is asked as it says.
  absl::StatusOr<std::vector<TracePiece>> Next(absl::FunctionRef<bool()> more_time,
                                               absl::FunctionRef<absl::Status()> check);
  TraceSummary Summary() const;

 private:
  TraceAnalysis(std::shared_ptr<const LoadedModel> model, CheckedTrace trace, const ModelWeights64& weights);
  std::string Fingerprint() const;

  const std::shared_ptr<const LoadedModel> model_;
  const CheckedTrace trace_request_;
  const Segment segment_;
  SegmentTrace trace_;
  TraceSummary summary_;
  std::vector<double> first_, last_;  // the outputs at the ends of what was traced
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_TRACE_ANALYSIS_H_
