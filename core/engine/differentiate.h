// Differentiate: exact derivatives of an EXACT model on the active piece.
#ifndef SPLINESERVE_CORE_ENGINE_DIFFERENTIATE_H_
#define SPLINESERVE_CORE_ENGINE_DIFFERENTIATE_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine/analysis.h"

namespace splineserve {

// v1.DifferentiateRequest.
struct DifferentiateRequest {
  ModelInput at;
  OutputSelection outputs;
  bool jacobian = false;
  std::vector<double> cotangent;         // empty: none
  std::optional<InputRows64> direction;  // an empty matrix in it is zero
  size_t nearest_gates = 0;
};

inline constexpr size_t kMaxJacobianNumbers = size_t{1} << 24;
inline constexpr size_t kMaxNearestGates = 1000;
// Terms of a Taylor polynomial: four layers of relu attention have degree 81.
inline constexpr size_t kMaxTaylorDegree = 255;

struct CheckedDifferentiate {
  CheckedInput at;
  OutputChoice outputs;
  bool jacobian = false;
  Matrix64 cotangent;                    // [1, outputs] or empty
  std::optional<InputRows64> direction;  // both matrices in their shapes, where the stack runs
  size_t nearest_gates = 0;
  size_t bytes = 0;  // estimate of inputs, scratch memory and results
};

// INVALID_ARGUMENT as the API says, FAILED_PRECONDITION as RequireExact. Cheap.
absl::StatusOr<CheckedDifferentiate> CheckDifferentiate(const LoadedModel& model,
                                                        DifferentiateRequest request,
                                                        const EngineOptions& limits);

struct TaylorPolynomial {
  Matrix64 coefficients;  // [outputs, degree + 1]
  double lower = 0, upper = 0;
  bool certified = false;
};

// v1.GateDistance.
struct GateDistance {
  GateId gate;
  bool open = false;
  double argument = 0;
  double distance = 0;
};

// v1.DifferentiateResponse.
struct Derivatives {
  std::vector<OutputIndex> outputs;
  std::vector<double> values;
  // [outputs, tokens * size of a row]; empty for a stack that does not run, or if not asked for.
  Matrix64 source_jacobian, target_jacobian;
  InputRows64 gradient;  // cotangent^T J
  std::vector<double> directional;
  std::optional<TaylorPolynomial> taylor;
  std::vector<GateDistance> nearest;
  std::string sequence_id;
  size_t tokens = 0;
};

// `check` is asked between batches of evaluations, for OK to go on. Errors: its own, OUT_OF_RANGE for numbers
// that overflow, LoadedModel::weights64's, INVALID_ARGUMENT for a Taylor polynomial of more terms than
// kMaxTaylorDegree + 1 or more gates than kMaxGateNumbers. Thread-safe.
//
// Cost in evaluations: the Jacobian two for each output (or, if fewer, each input number), nearest gates two
// for each input number, a Taylor polynomial about `degree`.
absl::StatusOr<Derivatives> Differentiate(const LoadedModel& model, const CheckedDifferentiate& request,
                                          absl::FunctionRef<absl::Status()> check);

// The same as an analysis of one turn.
class Differentiation {
 public:
  Differentiation(std::shared_ptr<const LoadedModel> model, CheckedDifferentiate request)
      : model_(std::move(model)), request_(std::move(request)) {}

  absl::StatusOr<bool> RunTurn(absl::FunctionRef<absl::Status()> check) {
    absl::StatusOr<Derivatives> result = Differentiate(*model_, request_, check);
    if (!result.ok()) return result.status();
    result_ = *std::move(result);
    return true;
  }
  Derivatives TakeResult() { return std::move(result_); }

 private:
  const std::shared_ptr<const LoadedModel> model_;
  const CheckedDifferentiate request_;
  Derivatives result_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_DIFFERENTIATE_H_
