#include "core/engine/differentiate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/spline/float64_derivative.h"
#include "core/spline/segment_trace.h"
#include "core/spline/taylor.h"

namespace splineserve {
namespace {

using Eigen::Index;

// Directions, or weightings of outputs, that go through the model together.
constexpr size_t kBatch = 32;
// A direction is followed this far for its nearest gates, in its own lengths.
constexpr double kFarthest = 0x1p30;

size_t RowSize(const ModelConfig& config, const InputConfig& input) {
  return input.kind == InputKind::kVectors ? input.size : config.hidden_size;
}

// Makes `rows` of the shape [tokens, size], zero where it is empty.
absl::Status CheckDirection(Matrix64& rows, size_t tokens, size_t size, const std::string& where) {
  const Index r = static_cast<Index>(tokens), c = static_cast<Index>(tokens == 0 ? 0 : size);
  if (rows.size() == 0) {
    rows = Matrix64::Zero(r, c);
    return absl::OkStatus();
  }
  if (rows.rows() != r || rows.cols() != c) {
    return InvalidField(where, absl::StrCat("[", r, ", ", c, "] numbers, as the input has"),
                        absl::StrCat("[", rows.rows(), ", ", rows.cols(), "]"));
  }
  if (!rows.allFinite()) return InvalidField(where, "finite numbers", "one that is not");
  return absl::OkStatus();
}

// One Differentiate.
class Run {
 public:
  Run(const ModelWeights64& weights, const CheckedDifferentiate& request,
      absl::FunctionRef<absl::Status()> check)
      : request_(request),
        check_(check),
        at_(ToContinuous(weights, request.at)),
        pass_(weights, {static_cast<size_t>(at_.source.rows()), static_cast<size_t>(at_.target.rows())}) {}

  absl::StatusOr<Derivatives> All() {
    PassInput input;
    input.source.value = at_.source;
    input.target.value = at_.target;
    base_ = pass_.Run(input, {.tape = true});
    const Matrix64 values = ChooseOutputs(pass_, request_.outputs, base_.rows, 1, 0).value;
    if (!values.allFinite() || !base_.arguments.value.allFinite()) {
      return absl::OutOfRangeError("at: a number overflows float64");
    }
    pattern_ = pass_.Signs(base_, 0);
    result_.values.assign(values.data(), values.data() + values.size());
    result_.outputs = request_.outputs.indices;
    result_.tokens = request_.at.tokens();
    result_.sequence_id = pass_.layout().SequenceIdOf(pattern_);
    if (request_.cotangent.size() != 0) {
      result_.gradient =
          AdjointOf(pass_, base_.tape, OutputWeightsToRows(pass_, request_.outputs, request_.cotangent), 1);
    }
    if (request_.jacobian) SPLINESERVE_RETURN_IF_ERROR(Jacobian());
    if (request_.direction.has_value()) SPLINESERVE_RETURN_IF_ERROR(Directional());
    if (request_.nearest_gates != 0) SPLINESERVE_RETURN_IF_ERROR(NearestGates());
    if (!result_.source_jacobian.allFinite() || !result_.target_jacobian.allFinite() ||
        !result_.gradient.source.allFinite() || !result_.gradient.target.allFinite()) {
      return absl::OutOfRangeError("at: a derivative overflows float64");
    }
    return std::move(result_);
  }

 private:
  size_t outputs() const { return request_.outputs.indices.size(); }
  size_t SourceSize() const { return static_cast<size_t>(at_.source.size()); }
  size_t TargetSize() const { return static_cast<size_t>(at_.target.size()); }

  // Calls body(tangent, first, count) for the unit vectors of all input numbers, source first.
  template <typename Body>
  absl::Status ForUnitDirections(const Body& body) {
    const size_t inputs = SourceSize() + TargetSize();
    for (size_t first = 0; first < inputs; first += kBatch) {
      SPLINESERVE_RETURN_IF_ERROR(check_());
      const size_t count = std::min(kBatch, inputs - first);
      InputRows64 units{Matrix64::Zero(at_.source.rows() * static_cast<Index>(count), at_.source.cols()),
                        Matrix64::Zero(at_.target.rows() * static_cast<Index>(count), at_.target.cols())};
      for (size_t i = 0; i < count; ++i) {
        const size_t input = first + i;  // stacked matrices of a direction each are contiguous
        if (input < SourceSize()) {
          units.source.data()[i * SourceSize() + input] = 1;
        } else {
          units.target.data()[i * TargetSize() + input - SourceSize()] = 1;
        }
      }
      body(TangentOf(pass_, base_.tape, units, count), first, count);
    }
    return absl::OkStatus();
  }

  absl::Status Jacobian() {
    result_.source_jacobian.resize(static_cast<Index>(outputs()), static_cast<Index>(SourceSize()));
    result_.target_jacobian.resize(static_cast<Index>(outputs()), static_cast<Index>(TargetSize()));
    if (outputs() > SourceSize() + TargetSize()) {
      return ForUnitDirections([&](const Tangent& tangent, size_t first, size_t count) {
        const Matrix64 along = OutputsAlong(tangent.rows, count);
        for (size_t i = 0; i < count; ++i) {
          const size_t input = first + i;
          const Index row = static_cast<Index>(i);
          if (input < SourceSize()) {
            result_.source_jacobian.col(static_cast<Index>(input)) = along.row(row).transpose();
          } else {
            result_.target_jacobian.col(static_cast<Index>(input - SourceSize())) =
                along.row(row).transpose();
          }
        }
      });
    }
    for (size_t first = 0; first < outputs(); first += kBatch) {
      SPLINESERVE_RETURN_IF_ERROR(check_());
      const size_t count = std::min(kBatch, outputs() - first);
      Matrix64 weights = Matrix64::Zero(static_cast<Index>(count), static_cast<Index>(outputs()));
      for (size_t i = 0; i < count; ++i) weights(static_cast<Index>(i), static_cast<Index>(first + i)) = 1;
      const InputRows64 gradients =
          AdjointOf(pass_, base_.tape, OutputWeightsToRows(pass_, request_.outputs, weights), count);
      const auto put = [&](const Matrix64& rows, Matrix64& jacobian) {
        if (jacobian.size() == 0) return;
        jacobian.middleRows(static_cast<Index>(first), static_cast<Index>(count)) =
            Eigen::Map<const Matrix64>(rows.data(), static_cast<Index>(count), jacobian.cols());
      };
      put(gradients.source, result_.source_jacobian);
      put(gradients.target, result_.target_jacobian);
    }
    return absl::OkStatus();
  }

  // The chosen outputs' derivatives of final rows'. Without the head's bias from the outset: a difference
  // with and without it would lose what is small beside it.
  Matrix64 OutputsAlong(const Matrix64& rows, size_t count) const {
    const Matrix64 outputs = request_.outputs.head ? HeadOfDerivatives(pass_, rows, count) : rows;
    return ChooseOutputs(pass_, {false, request_.outputs.indices}, {outputs, {}}, count, 0).value;
  }

  absl::Status Directional() {
    const InputRows64& direction = *request_.direction;
    const Matrix64 along = OutputsAlong(TangentOf(pass_, base_.tape, direction, 1).rows, 1);
    result_.directional.assign(along.data(), along.data() + along.size());

    TaylorPolynomial taylor;
    const uint64_t degree = pass_.layout().degree();
    const size_t terms = static_cast<size_t>(degree) + 1;
    Matrix64 series = TaylorRows(pass_, at_, direction, pattern_.data(), static_cast<size_t>(degree));
    if (request_.outputs.head) series = TaylorHead(pass_, series, static_cast<size_t>(degree));
    const Index per_term = series.rows() / static_cast<Index>(terms);
    taylor.coefficients.resize(static_cast<Index>(outputs()), static_cast<Index>(terms));
    for (Index k = 0; k < static_cast<Index>(terms); ++k) {
      for (size_t o = 0; o < outputs(); ++o) {
        const OutputIndex& index = request_.outputs.indices[o];
        taylor.coefficients(static_cast<Index>(o), k) =
            series(k * per_term + static_cast<Index>(index.row), static_cast<Index>(index.col));
      }
    }
    if (!taylor.coefficients.allFinite())
      return absl::OutOfRangeError("direction: a number overflows float64");
    taylor.certified = true;
    SPLINESERVE_ASSIGN_OR_RETURN(taylor.upper, Reach(1, taylor.certified));
    SPLINESERVE_ASSIGN_OR_RETURN(const double behind, Reach(-1, taylor.certified));
    taylor.lower = -behind;
    taylor.certified = taylor.certified && std::isfinite(behind) && std::isfinite(taylor.upper);
    result_.taylor = std::move(taylor);
    return absl::OkStatus();
  }

  // How far along the direction (times `sign`) the piece goes.
  absl::StatusOr<double> Reach(double sign, bool& certified) {
    const InputRows64& direction = *request_.direction;
    const auto moves = [](const Matrix64& m) { return m.size() != 0 && !m.isZero(0); };
    if (!moves(direction.source) && !moves(direction.target)) return std::numeric_limits<double>::infinity();
    for (double reach = 1; reach <= kFarthest; reach *= 8) {
      SPLINESERVE_RETURN_IF_ERROR(check_());
      ContinuousInput to = at_;
      if (to.source.size() != 0) to.source += sign * reach * direction.source;
      if (to.target.size() != 0) to.target += sign * reach * direction.target;
      const Segment segment(pass_.weights(), at_, std::move(to));
      SegmentTrace trace(segment, {.outputs = {false, {{0, 0}}}});
      const absl::StatusOr<TracePiece> piece = trace.Next(check_);
      SPLINESERVE_RETURN_IF_ERROR(check_());
      if (!piece.ok()) {  // overflows beyond
        certified = false;
        return reach == 1 ? 0 : reach / 8;
      }
      // A gate that is tied here opens on this side: the polynomial is another one.
      if (trace.tied_at_begin()) return 0;
      certified = certified && piece->certified;
      if (piece->end < 1) return reach * std::max(0.0, piece->end - trace.knot_error());
    }
    certified = false;  // as far as float64 can tell
    return std::numeric_limits<double>::infinity();
  }

  // Of each gate's gradient with respect to all inputs.
  absl::StatusOr<Row64> GateGradientNorms(Index gates) {
    Row64 squares = Row64::Zero(gates);
    SPLINESERVE_RETURN_IF_ERROR(ForUnitDirections([&](const Tangent& tangent, size_t, size_t) {
      squares += tangent.arguments.cwiseAbs2().colwise().sum();
    }));
    Row64 norms = squares.cwiseSqrt();
    if (norms.allFinite()) return norms;
    // Squares overflow from 1e154 on. hypot does not, but takes many times longer.
    norms.setZero();
    SPLINESERVE_RETURN_IF_ERROR(ForUnitDirections([&](const Tangent& tangent, size_t, size_t) {
      for (Index r = 0; r < tangent.arguments.rows(); ++r) {
        norms = norms.binaryExpr(tangent.arguments.row(r),
                                 [](double norm, double part) { return std::hypot(norm, part); });
      }
    }));
    if (norms.allFinite()) return norms;
    return absl::OutOfRangeError("nearest_gates: a gate's gradient overflows float64");
  }

  absl::Status NearestGates() {
    const Index gates = static_cast<Index>(pass_.layout().gates());
    SPLINESERVE_ASSIGN_OR_RETURN(const Row64 norms, GateGradientNorms(gates));
    // Of each token of each stack.
    std::vector<std::vector<GateDistance>> tokens(static_cast<size_t>(at_.source.rows() + at_.target.rows()));
    for (const GateBlock& block : pass_.layout().blocks()) {
      for (size_t token = 0; token < block.tokens; ++token) {
        const size_t owner = token + (block.decoder ? static_cast<size_t>(at_.source.rows()) : 0);
        for (size_t head = 0; head < block.heads; ++head) {
          const size_t first = block.Group(token, head);
          for (size_t j = 0; j < block.Width(token); ++j) {
            const Index g = static_cast<Index>(first + j);
            const double argument = base_.arguments.value(0, g), norm = norms[g];
            tokens[owner].push_back(
                {{block.decoder, block.layer, block.site, token, head, j},
                 argument > 0,
                 argument,
                 norm > 0 ? std::abs(argument) / norm : std::numeric_limits<double>::infinity()});
          }
        }
      }
    }
    for (std::vector<GateDistance>& token : tokens) {
      const size_t count = std::min(request_.nearest_gates, token.size());
      std::partial_sort(token.begin(), token.begin() + static_cast<std::ptrdiff_t>(count), token.end(),
                        [](const GateDistance& a, const GateDistance& b) { return a.distance < b.distance; });
      token.resize(count);
      result_.nearest.insert(result_.nearest.end(), token.begin(), token.end());
    }
    return absl::OkStatus();
  }

  const CheckedDifferentiate& request_;
  const absl::FunctionRef<absl::Status()> check_;
  const ContinuousInput at_;
  const Float64Pass pass_;
  PassResult base_;
  std::vector<uint8_t> pattern_;
  Derivatives result_;
};

}  // namespace

absl::StatusOr<CheckedDifferentiate> CheckDifferentiate(const LoadedModel& model,
                                                        DifferentiateRequest request,
                                                        const EngineOptions& limits) {
  SPLINESERVE_RETURN_IF_ERROR(RequireExact(model, "Differentiate"));
  const ModelConfig& config = model.config();
  CheckedDifferentiate checked;
  SPLINESERVE_ASSIGN_OR_RETURN(checked.at, CheckModelInput(model, std::move(request.at), "at", limits));
  SPLINESERVE_ASSIGN_OR_RETURN(checked.outputs, CheckOutputs(model, checked.at, request.outputs));
  const size_t source = checked.at.source.length() * RowSize(config, config.input);
  const size_t target = checked.at.target.length() * RowSize(config, config.decoder_input());
  const size_t outputs = checked.outputs.indices.size();
  if (request.jacobian && outputs > kMaxJacobianNumbers / (source + target)) {
    return InvalidField("outputs.indices",
                        absl::StrCat("a Jacobian of at most ", kMaxJacobianNumbers, " numbers"),
                        absl::StrCat(outputs, " outputs times ", source + target, " inputs"));
  }
  if (!request.cotangent.empty()) {
    if (request.cotangent.size() != outputs) {
      return InvalidField("cotangent", absl::StrCat(outputs, " weights, one for each output"),
                          absl::StrCat(request.cotangent.size()));
    }
    for (size_t o = 0; o < outputs; ++o) {
      if (!std::isfinite(request.cotangent[o])) {
        return InvalidField(absl::StrCat("cotangent[", o, "]"), "a finite number",
                            absl::StrCat(request.cotangent[o]));
      }
    }
    checked.cotangent = Eigen::Map<const Row64>(request.cotangent.data(), static_cast<Index>(outputs));
  }
  if (request.direction.has_value()) {
    checked.direction = std::move(request.direction);
    SPLINESERVE_RETURN_IF_ERROR(CheckDirection(checked.direction->source, checked.at.source.length(),
                                               RowSize(config, config.input), "direction.source"));
    SPLINESERVE_RETURN_IF_ERROR(CheckDirection(checked.direction->target, checked.at.target.length(),
                                               RowSize(config, config.decoder_input()), "direction.target"));
  }
  if (request.nearest_gates > kMaxNearestGates) {
    return InvalidField("nearest_gates", absl::StrCat("at most ", kMaxNearestGates),
                        absl::StrCat(request.nearest_gates));
  }
  checked.jacobian = request.jacobian;
  checked.nearest_gates = request.nearest_gates;
  // Directions and weightings go in batches; a direction's reach is sampled, and its series has many terms.
  size_t points = kBatch;
  if (checked.direction.has_value()) {
    const uint64_t degree =
        GateLayout(config, {checked.at.source.length(), checked.at.target.length()}).degree();
    if (degree > kMaxTaylorDegree) {
      return InvalidField("direction",
                          absl::StrCat("a model of degree at most ", kMaxTaylorDegree,
                                       " for its Taylor polynomial to be the function"),
                          absl::StrCat(degree));
    }
    points =
        std::max({points, TraceSamples(degree, TraceOptions{}.max_samples), static_cast<size_t>(degree) + 1});
  }
  SPLINESERVE_RETURN_IF_ERROR(CheckAnalysisSize(model, checked.at, points, "at"));
  checked.bytes = AnalysisBytes(config, checked.at, points) +
                  sizeof(double) * (request.jacobian ? 2 : 1) * (source + target + 1) * outputs;
  return checked;
}

absl::StatusOr<Derivatives> Differentiate(const LoadedModel& model, const CheckedDifferentiate& request,
                                          absl::FunctionRef<absl::Status()> check) {
  SPLINESERVE_ASSIGN_OR_RETURN(const ModelWeights64* const weights, model.weights64());
  return Run(*weights, request, check).All();
}

}  // namespace splineserve
