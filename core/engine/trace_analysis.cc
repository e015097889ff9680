#include "core/engine/trace_analysis.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/spline/chebyshev.h"
#include "core/spline/piece.h"

namespace splineserve {
namespace {

absl::Status SameLength(const char* field, size_t from, size_t to) {
  if (from == to) return absl::OkStatus();
  return InvalidField(absl::StrCat("to.", field),
                      absl::StrCat("as many tokens as from.", field, " has, ", from), absl::StrCat(to));
}

bool SameNumbers(const CheckedSequence& a, const CheckedSequence& b) {
  return a.ids == b.ids && a.vectors.values == b.vectors.values;
}

void Append(const CheckedSequence& sequence, std::string& bytes) {
  absl::StrAppend(&bytes, sequence.ids.size(), ",", sequence.vectors.values.size(), ":");
  bytes.append(reinterpret_cast<const char*>(sequence.ids.data()), sequence.ids.size() * sizeof(int32_t));
  bytes.append(reinterpret_cast<const char*>(sequence.vectors.values.data()),
               sequence.vectors.values.size() * sizeof(float));
}

// The values of all series of a piece at x.
std::vector<double> ValuesAt(const Matrix64& series, double x) {
  std::vector<double> values;
  for (Eigen::Index o = 0; o < series.rows(); ++o) {
    values.push_back(EvaluateSeries({series.row(o).data(), static_cast<size_t>(series.cols())}, x));
  }
  return values;
}

}  // namespace

absl::StatusOr<CheckedTrace> CheckTrace(const LoadedModel& model, TraceRequest request,
                                        const EngineOptions& limits) {
  SPLINESERVE_RETURN_IF_ERROR(RequireExact(model, "Trace"));
  CheckedTrace checked;
  SPLINESERVE_ASSIGN_OR_RETURN(checked.from, CheckModelInput(model, std::move(request.from), "from", limits));
  SPLINESERVE_ASSIGN_OR_RETURN(checked.to, CheckModelInput(model, std::move(request.to), "to", limits));
  SPLINESERVE_RETURN_IF_ERROR(SameLength("source", checked.from.source.length(), checked.to.source.length()));
  SPLINESERVE_RETURN_IF_ERROR(SameLength("target", checked.from.target.length(), checked.to.target.length()));
  SPLINESERVE_ASSIGN_OR_RETURN(checked.outputs, CheckOutputs(model, checked.from, request.outputs));
  if (request.max_pieces > kMaxTracePieces) {
    return InvalidField("max_pieces", absl::StrCat("at most ", kMaxTracePieces),
                        absl::StrCat(request.max_pieces));
  }
  checked.max_pieces = request.max_pieces == 0 ? kDefaultTracePieces : request.max_pieces;
  if (request.integrated_gradients && checked.outputs.indices.size() > kMaxIntegratedOutputs) {
    return InvalidField("outputs.indices",
                        absl::StrCat("at most ", kMaxIntegratedOutputs, " outputs with integrated_gradients"),
                        absl::StrCat(checked.outputs.indices.size()));
  }
  checked.resume = std::move(request.resume);
  checked.integrated_gradients = request.integrated_gradients;
  checked.top_output = request.top_output;
  const GateLayout layout(model.config(),
                          {checked.from.source.length(), checked.from.target.length(),
                           SameNumbers(checked.from.source, checked.to.source) ? uint64_t{0} : uint64_t{1},
                           SameNumbers(checked.from.target, checked.to.target) ? uint64_t{0} : uint64_t{1}});
  checked.degree = layout.degree();
  const size_t samples = TraceSamples(checked.degree, TraceOptions{}.max_samples);
  SPLINESERVE_RETURN_IF_ERROR(CheckAnalysisSize(model, checked.from, samples, "from"));
  checked.bytes = AnalysisBytes(model.config(), checked.from, samples) +
                  sizeof(double) * samples * checked.outputs.indices.size() * 4 + (size_t{4} << 20);
  return checked;
}

absl::StatusOr<std::unique_ptr<TraceAnalysis>> TraceAnalysis::Create(std::shared_ptr<const LoadedModel> model,
                                                                     CheckedTrace trace) {
  SPLINESERVE_ASSIGN_OR_RETURN(const ModelWeights64* const weights, model->weights64());
  std::unique_ptr<TraceAnalysis> analysis(new TraceAnalysis(std::move(model), std::move(trace), *weights));
  const std::string& resume = analysis->trace_request_.resume;
  if (!resume.empty()) {
    SPLINESERVE_RETURN_IF_ERROR(analysis->trace_.Restore(resume, analysis->Fingerprint()));
  }
  return analysis;
}

TraceAnalysis::TraceAnalysis(std::shared_ptr<const LoadedModel> model, CheckedTrace trace,
                             const ModelWeights64& weights)
    : model_(std::move(model)),
      trace_request_(std::move(trace)),
      segment_(weights, ToContinuous(weights, trace_request_.from), ToContinuous(weights, trace_request_.to)),
      trace_(segment_, {.outputs = trace_request_.outputs,
                        .integrated_gradients = trace_request_.integrated_gradients,
                        .top_output = trace_request_.top_output}) {}

std::string TraceAnalysis::Fingerprint() const {
  std::string bytes = model_->digest();
  for (const CheckedSequence* sequence : {&trace_request_.from.source, &trace_request_.from.target,
                                          &trace_request_.to.source, &trace_request_.to.target}) {
    Append(*sequence, bytes);
  }
  absl::StrAppend(&bytes, trace_request_.outputs.head ? "head" : "hidden");
  for (const OutputIndex& index : trace_request_.outputs.indices) {
    absl::StrAppend(&bytes, " ", index.row, ",", index.col);
  }
  return PieceHash({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

absl::StatusOr<std::vector<TracePiece>> TraceAnalysis::Next(absl::FunctionRef<bool()> more_time,
                                                            absl::FunctionRef<absl::Status()> check) {
  constexpr Eigen::Index kMostNumbers = 1 << 17;
  std::vector<TracePiece> pieces;
  Eigen::Index numbers = 0;
  while (!done() && (pieces.empty() || (numbers < kMostNumbers && more_time()))) {
    SPLINESERVE_ASSIGN_OR_RETURN(TracePiece piece, trace_.Next(check));
    numbers += piece.coefficients.size();
    if (summary_.pieces++ == 0) first_ = ValuesAt(piece.coefficients, -1);
    last_ = ValuesAt(piece.coefficients, 1);
    summary_.certified = summary_.certified && piece.certified;
    summary_.resolution = std::max(summary_.resolution, piece.resolution);
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

TraceSummary TraceAnalysis::Summary() const {
  TraceSummary summary = summary_;
  summary.reached = trace_.reached();
  summary.evaluations = trace_.evaluations();
  if (!trace_.done()) summary.resume = trace_.State(Fingerprint());
  for (size_t o = 0; o < trace_.gradient_integrals().size() && !first_.empty(); ++o) {
    IntegratedGradient gradient;
    const InputRows64& integral = trace_.gradient_integrals()[o];
    const auto element = [&](const Matrix64& rows, const Matrix64& direction, Matrix64& out) {
      if (rows.size() == 0) return;
      out = rows.cwiseProduct(direction);
      gradient.sum += out.sum();
    };
    element(integral.source, segment_.direction().source, gradient.elements.source);
    element(integral.target, segment_.direction().target, gradient.elements.target);
    gradient.difference = last_[o] - first_[o];
    summary.integrated_gradients.push_back(std::move(gradient));
  }
  return summary;
}

}  // namespace splineserve
