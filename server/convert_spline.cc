#include "server/convert_spline.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/spline/chebyshev.h"
#include "server/convert_analysis.h"
#include "server/convert_request.h"
#include "server/convert_response.h"

namespace splineserve {
namespace {

absl::StatusOr<Matrix64> FromProto(const v1::Matrix64& matrix, const std::string& where) {
  SPLINESERVE_RETURN_IF_ERROR(CheckNumbers(matrix, where));
  return Matrix64(Eigen::Map<const Matrix64>(matrix.values().data(), static_cast<Eigen::Index>(matrix.rows()),
                                             static_cast<Eigen::Index>(matrix.cols())));
}

// [outputs, terms] coefficients in the wanted basis, row by row.
void AddCoefficients(const Matrix64& series, v1::PolynomialBasis::Value basis, v1::TracePiece* out) {
  out->set_degree(static_cast<uint32_t>(series.cols() - 1));
  for (Eigen::Index o = 0; o < series.rows(); ++o) {
    const absl::Span<const double> row(series.row(o).data(), static_cast<size_t>(series.cols()));
    if (basis == v1::PolynomialBasis::BERNSTEIN) {
      for (double value : ToBernstein(row)) out->add_coefficients(value);
    } else {
      for (double value : row) out->add_coefficients(value);
    }
  }
}

}  // namespace

absl::StatusOr<OutputSelection> FromProto(const v1::OutputSelection& selection) {
  OutputSelection result;
  SPLINESERVE_ASSIGN_OR_RETURN(result.output, ToOutputKind(selection.output(), "outputs.output"));
  for (const v1::OutputSelection::Index& index : selection.indices()) {
    result.indices.push_back({index.row(), index.col()});
  }
  return result;
}

absl::StatusOr<TraceRequest> FromProto(const v1::TraceRequest& request) {
  TraceRequest result;
  SPLINESERVE_ASSIGN_OR_RETURN(result.from, ToModelInput(request.from(), "from"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.to, ToModelInput(request.to(), "to"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.outputs, FromProto(request.outputs()));
  result.max_pieces = request.max_pieces();
  result.resume = request.resume();
  result.integrated_gradients = request.integrated_gradients();
  result.top_output = request.top_output();
  return result;
}

absl::StatusOr<DifferentiateRequest> FromProto(const v1::DifferentiateRequest& request) {
  DifferentiateRequest result;
  SPLINESERVE_ASSIGN_OR_RETURN(result.at, ToModelInput(request.at(), "at"));
  SPLINESERVE_ASSIGN_OR_RETURN(result.outputs, FromProto(request.outputs()));
  result.jacobian = request.jacobian();
  result.cotangent.assign(request.cotangent().begin(), request.cotangent().end());
  if (request.has_direction()) {
    InputRows64& direction = result.direction.emplace();
    SPLINESERVE_ASSIGN_OR_RETURN(direction.source,
                                 FromProto(request.direction().source(), "direction.source"));
    SPLINESERVE_ASSIGN_OR_RETURN(direction.target,
                                 FromProto(request.direction().target(), "direction.target"));
  }
  result.nearest_gates = request.nearest_gates();
  return result;
}

absl::StatusOr<v1::PolynomialBasis::Value> CheckBasis(int basis, uint64_t degree) {
  switch (basis) {
    case v1::PolynomialBasis::UNSPECIFIED:
    case v1::PolynomialBasis::CHEBYSHEV:
      return v1::PolynomialBasis::CHEBYSHEV;
    case v1::PolynomialBasis::BERNSTEIN:
      if (degree <= kMaxBernsteinDegree) return v1::PolynomialBasis::BERNSTEIN;
      return InvalidField("basis",
                          absl::StrCat("CHEBYSHEV, for the Bernstein form loses all accuracy above degree ",
                                       kMaxBernsteinDegree),
                          absl::StrCat("BERNSTEIN and a degree of up to ", degree));
  }
  return InvalidField("basis", "CHEBYSHEV or BERNSTEIN", absl::StrCat(basis));
}

void ToProto(const Matrix64& matrix, v1::Matrix64* out) {
  out->set_rows(static_cast<uint32_t>(matrix.rows()));
  out->set_cols(static_cast<uint32_t>(matrix.cols()));
  out->mutable_values()->Add(matrix.data(), matrix.data() + matrix.size());
}

void ToProto(const TracePiece& piece, const GateLayout& layout, v1::PolynomialBasis::Value basis,
             v1::TracePiece* out) {
  out->set_begin(piece.begin);
  out->set_end(piece.end);
  for (const GateFlip& flip : piece.flips) {
    v1::TracePiece::Flip* const added = out->add_flips();
    ToProto(layout.At(flip.gate), added->mutable_gate());
    added->set_opens(flip.opens);
  }
  out->set_knot_error(piece.knot_error);
  out->set_certified(piece.certified);
  AddCoefficients(piece.coefficients, basis, out);
  out->set_margin(piece.margin);
  if (layout.gates() != 0) ToProto(layout.At(piece.nearest), out->mutable_nearest());
  out->set_sequence_id(piece.sequence_id);
  for (const TopChange& change : piece.top_changes) {
    v1::TopChange* const added = out->add_top_changes();
    added->set_t(change.t);
    added->set_row(static_cast<uint32_t>(change.row));
    added->set_from(static_cast<uint32_t>(change.from));
    added->set_to(static_cast<uint32_t>(change.to));
  }
}

void ToProto(const TraceSummary& summary, v1::TraceSummary* out) {
  out->set_pieces(summary.pieces);
  out->set_certified(summary.certified);
  out->set_resolution(summary.resolution);
  out->set_reached(summary.reached);
  out->set_resume(summary.resume);
  for (const IntegratedGradient& gradient : summary.integrated_gradients) {
    v1::IntegratedGradient* const added = out->add_integrated_gradients();
    if (gradient.elements.source.size() != 0) ToProto(gradient.elements.source, added->mutable_source());
    if (gradient.elements.target.size() != 0) ToProto(gradient.elements.target, added->mutable_target());
    added->set_sum(gradient.sum);
    added->set_difference(gradient.difference);
  }
  out->set_evaluations(summary.evaluations);
}

void ToProto(const Derivatives& result, v1::DifferentiateResponse* out) {
  for (const OutputIndex& index : result.outputs) {
    v1::OutputSelection::Index* const added = out->add_outputs();
    added->set_row(static_cast<uint32_t>(index.row));
    added->set_col(static_cast<uint32_t>(index.col));
  }
  out->mutable_values()->Add(result.values.begin(), result.values.end());
  if (result.source_jacobian.size() != 0) ToProto(result.source_jacobian, out->mutable_source_jacobian());
  if (result.target_jacobian.size() != 0) ToProto(result.target_jacobian, out->mutable_target_jacobian());
  if (result.gradient.source.size() != 0) ToProto(result.gradient.source, out->mutable_source_gradient());
  if (result.gradient.target.size() != 0) ToProto(result.gradient.target, out->mutable_target_gradient());
  out->mutable_directional()->Add(result.directional.begin(), result.directional.end());
  if (result.taylor.has_value()) {
    v1::Taylor* const taylor = out->mutable_taylor();
    ToProto(result.taylor->coefficients, taylor->mutable_coefficients());
    taylor->set_lower(result.taylor->lower);
    taylor->set_upper(result.taylor->upper);
    taylor->set_certified(result.taylor->certified);
  }
  for (const GateDistance& distance : result.nearest) {
    v1::GateDistance* const added = out->add_nearest();
    ToProto(distance.gate, added->mutable_gate());
    added->set_open(distance.open);
    added->set_argument(distance.argument);
    added->set_distance(distance.distance);
  }
  out->set_sequence_id(result.sequence_id);
}

}  // namespace splineserve
