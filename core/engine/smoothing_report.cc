#include "core/engine/smoothing_report.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/engine/validation.h"
#include "core/spline/smoothing_bound.h"

namespace splineserve {
namespace {

SmoothingError Summary(const SmoothingComparison& comparison) {
  SmoothingError error;
  for (size_t row = 0; row < comparison.rows; ++row) {
    double measured = 0, proven = 0, at_gates = 0;
    for (size_t i = row * comparison.cols; i < (row + 1) * comparison.cols; ++i) {
      measured = std::max(measured, std::abs(comparison.smoothed[i] - comparison.spline[i]));
      proven = std::max(proven, comparison.proven[i]);
      at_gates = std::max(at_gates, comparison.proven_at_gates[i]);
      error.largest_output = std::max(error.largest_output, std::abs(comparison.spline[i]));
    }
    error.measured.push_back(measured);
    error.proven.push_back(proven);
    error.proven_at_gates.push_back(at_gates);
  }
  return error;
}

size_t InputBytes(const CheckedSequence& sequence) {
  return sequence.ids.size() * sizeof(int32_t) + sequence.vectors.values.size() * sizeof(float);
}

// compare(i) for every sequence.
template <typename Compare>
absl::StatusOr<std::vector<SmoothingError>> ForAll(size_t sequences, const char* field,
                                                   const Compare& compare) {
  std::vector<SmoothingError> errors;
  for (size_t i = 0; i < sequences; ++i) {
    const absl::StatusOr<SmoothingComparison> comparison = compare(i);
    if (!comparison.ok()) {
      const absl::Status& status = comparison.status();
      if (status.code() != absl::StatusCode::kOutOfRange) return status;
      return absl::OutOfRangeError(
          absl::StrCat("smoothing_error of ", field, "[", i, "]: ", status.message()));
    }
    errors.push_back(Summary(*comparison));
  }
  return errors;
}

}  // namespace

absl::Status AdmitSmoothingError(const LoadedModel& model, CheckedEvaluation& checked) {
  const auto invalid = [](const std::string& expected, const std::string& found) {
    return absl::InvalidArgumentError(
        absl::StrCat("smoothing_error: expected ", expected, ", found ", found));
  };
  if (!model.smoothing().has_value()) {
    return invalid("a smoothed model, as the server's --smoothing adds it",
                   absl::StrCat(model.name(), ", which is served as its files say"));
  }
  if (model.precision() != Precision::kFloat32) {
    return invalid("a model in float32, whose weights are the spline's",
                   absl::StrCat(model.name(), " in ", PrecisionName(model.precision())));
  }
  const double work = checked.total.multiply_adds;
  if (work > kMaxSmoothingWork) {
    return invalid(absl::StrFormat("at most %.0f multiply-adds in a request", kMaxSmoothingWork),
                   absl::StrFormat("about %.3g (fewer or shorter sequences take fewer)", work));
  }
  // The inputs once more, the numbers of one sequence after the other, and three errors a row of the output,
  // in the result and in the message made of it.
  size_t longest_source = 0, longest_target = 0;
  for (const CheckedSequence& source : checked.sources) {
    checked.bytes += InputBytes(source);
    longest_source = std::max(longest_source, source.length());
  }
  for (const CheckedSequence& target : checked.targets) {
    checked.bytes += InputBytes(target);
    longest_target = std::max(longest_target, target.length());
  }
  checked.bytes += ComparisonBytes(model.config(), longest_source, longest_target) +
                   checked.total.tokens * 6 * sizeof(double);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SmoothingError>> MeasureSmoothing(const LoadedModel& model, EncodeRequest request,
                                                             const EngineOptions& limits,
                                                             absl::FunctionRef<absl::Status()> check) {
  request.smoothing_error = true;
  SPLINESERVE_ASSIGN_OR_RETURN(const CheckedEvaluation checked,
                               CheckEncode(model, std::move(request), limits));
  return ForAll(checked.sources.size(), "inputs", [&](size_t i) {
    return CompareEncoder(model.weights(), model.smoothing()->beta, checked.sources[i].input(), checked.head,
                          check);
  });
}

absl::StatusOr<std::vector<SmoothingError>> MeasureSmoothing(const LoadedModel& model, DecodeRequest request,
                                                             const EngineOptions& limits,
                                                             absl::FunctionRef<absl::Status()> check) {
  request.smoothing_error = true;
  SPLINESERVE_ASSIGN_OR_RETURN(const CheckedEvaluation checked,
                               CheckDecode(model, std::move(request), limits));
  return ForAll(checked.targets.size(), "targets", [&](size_t i) {
    const SequenceInput source = checked.sources.empty() ? SequenceInput() : checked.sources[i].input();
    return CompareDecoder(model.weights(), model.smoothing()->beta, source, checked.targets[i].input(),
                          checked.head, check);
  });
}

}  // namespace splineserve
