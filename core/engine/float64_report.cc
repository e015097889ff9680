#include "core/engine/float64_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/engine/analysis.h"
#include "core/engine/validation.h"
#include "core/spline/float64_pass.h"

namespace splineserve {
namespace {

constexpr double kFloat32Unit = 0x1p-24;

// Embeddings times a scale are rounded where no position is added to them in the same step.
Bounded64 ContinuousWithErrors(Matrix64 rows, const InputConfig& input, bool bounded) {
  Bounded64 out{std::move(rows), {}};
  if (bounded && input.kind == InputKind::kTokens) out.error = kFloat32Unit * out.value.cwiseAbs();
  return out;
}

absl::StatusOr<Float64Result> Measure(const LoadedModel& model, const ModelWeights64& weights,
                                      const CheckedInput& input, bool head, size_t max_gates) {
  const ModelConfig& config = model.config();
  const bool bounded = model.spline_class() == SplineClass::kExact;
  const Float64Pass pass(weights, {input.source.length(), input.target.length()});
  ContinuousInput rows = ToContinuous(weights, input);
  PassInput at;
  at.source = ContinuousWithErrors(std::move(rows.source), config.input, bounded);
  at.target = ContinuousWithErrors(std::move(rows.target), config.decoder_input(), bounded);
  const double unit = bounded ? kFloat32Unit : 0;
  const PassResult result = pass.Run(at, {.unit_roundoff = unit});
  const Bounded64 output = head ? pass.Head(result.rows, 1, unit) : result.rows;
  if (!output.value.allFinite()) return absl::OutOfRangeError("a number overflows float64");

  Float64Result report;
  report.rows = static_cast<size_t>(output.value.rows());
  report.cols = static_cast<size_t>(output.value.cols());
  report.output.assign(output.value.data(), output.value.data() + output.value.size());
  report.bounded = bounded;
  if (!bounded) return report;
  const double largest = output.error.maxCoeff();
  report.max_error_bound = std::isfinite(largest) ? largest : std::numeric_limits<double>::infinity();
  report.gates = pass.layout().gates();
  std::vector<std::pair<double, size_t>> uncertain;  // margin as a part of its bound, gate
  for (size_t g = 0; g < report.gates; ++g) {
    const Eigen::Index column = static_cast<Eigen::Index>(g);
    const double argument = std::abs(result.arguments.value(0, column));
    const double bound = result.arguments.error(0, column);
    if (argument > bound) continue;  // false for a bound that is not a number
    uncertain.emplace_back(bound > 0 ? argument / bound : 0, g);
  }
  report.uncertain_gates = uncertain.size();
  const size_t listed = std::min(max_gates, uncertain.size());
  std::partial_sort(uncertain.begin(), uncertain.begin() + static_cast<std::ptrdiff_t>(listed),
                    uncertain.end());
  for (size_t i = 0; i < listed; ++i) {
    const Eigen::Index column = static_cast<Eigen::Index>(uncertain[i].second);
    report.uncertain.push_back({pass.layout().At(uncertain[i].second), result.arguments.value(0, column),
                                result.arguments.error(0, column)});
  }
  return report;
}

absl::StatusOr<std::vector<Float64Result>> MeasureAll(const LoadedModel& model,
                                                      const CheckedEvaluation& checked, size_t max_gates,
                                                      const char* field,
                                                      absl::FunctionRef<absl::Status()> check) {
  SPLINESERVE_ASSIGN_OR_RETURN(const ModelWeights64* const weights, model.weights64());
  std::vector<Float64Result> results;
  const size_t sequences = checked.targets.empty() ? checked.sources.size() : checked.targets.size();
  for (size_t i = 0; i < sequences; ++i) {
    SPLINESERVE_RETURN_IF_ERROR(check());
    CheckedInput input;
    if (!checked.sources.empty()) input.source = checked.sources[i];
    if (!checked.targets.empty()) input.target = checked.targets[i];
    absl::StatusOr<Float64Result> result = Measure(model, *weights, input, checked.head, max_gates);
    if (!result.ok()) {
      return absl::Status(result.status().code(),
                          absl::StrCat("float64 of ", field, "[", i, "]: ", result.status().message()));
    }
    results.push_back(*std::move(result));
  }
  return results;
}

size_t Listed(size_t max_gates) { return max_gates == 0 ? kDefaultUncertainGates : max_gates; }

}  // namespace

absl::Status AdmitFloat64(const LoadedModel& model, size_t max_gates, CheckedEvaluation& checked) {
  if (model.precision() != Precision::kFloat32) {
    return absl::FailedPreconditionError(
        absl::StrCat("float64: expected a model in float32, whose weights are those of its file, found ",
                     model.name(), " in ", std::string(PrecisionName(model.precision()))));
  }
  if (max_gates > kMaxUncertainGates) {
    return InvalidField("float64.max_gates", absl::StrCat("at most ", kMaxUncertainGates),
                        absl::StrCat(max_gates));
  }
  const double work = checked.total.multiply_adds;
  if (work > kMaxFloat64Work) {
    return InvalidField("float64",
                        absl::StrFormat("at most %.0f multiply-adds in a request", kMaxFloat64Work),
                        absl::StrFormat("about %.3g (fewer or shorter sequences take fewer)", work));
  }
  size_t longest = 0;
  const size_t sequences = std::max(checked.sources.size(), checked.targets.size());
  for (size_t i = 0; i < sequences; ++i) {
    CheckedInput lengths;
    if (!checked.sources.empty()) lengths.source = checked.sources[i];
    if (!checked.targets.empty()) lengths.target = checked.targets[i];
    longest = std::max(longest, AnalysisBytes(model.config(), lengths, 1));
  }
  const size_t row = std::max(model.config().hidden_size, model.config().head.size);
  checked.bytes += longest + 2 * checked.total.tokens * row * sizeof(double) +
                   sequences * Listed(max_gates) * 3 * sizeof(UncertainGate);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Float64Result>> MeasureFloat64(const LoadedModel& model, EncodeRequest request,
                                                          const EngineOptions& limits,
                                                          absl::FunctionRef<absl::Status()> check) {
  const size_t max_gates = Listed(request.float64_gates.value_or(0));
  SPLINESERVE_ASSIGN_OR_RETURN(const CheckedEvaluation checked,
                               CheckEncode(model, std::move(request), limits));
  return MeasureAll(model, checked, max_gates, "inputs", check);
}

absl::StatusOr<std::vector<Float64Result>> MeasureFloat64(const LoadedModel& model, DecodeRequest request,
                                                          const EngineOptions& limits,
                                                          absl::FunctionRef<absl::Status()> check) {
  const size_t max_gates = Listed(request.float64_gates.value_or(0));
  SPLINESERVE_ASSIGN_OR_RETURN(const CheckedEvaluation checked,
                               CheckDecode(model, std::move(request), limits));
  return MeasureAll(model, checked, max_gates, "targets", check);
}

}  // namespace splineserve
