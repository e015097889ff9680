// From a spline to an encoder that computes it: the face of this folder.
//
//   SPLINESERVE_ASSIGN_OR_RETURN(SplineSource source, ParseSplineFile(bytes, "census.npz"));
//   SPLINESERVE_ASSIGN_OR_RETURN(CompiledSpline compiled, CompileSpline(source, {}));
//   compiled.files["config.json"], compiled.files["model.safetensors"]
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_COMPILE_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_COMPILE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/format/safetensors.h"
#include "core/spline/compile/error_bound.h"
#include "core/spline/compile/expression.h"
#include "core/spline/compile/piecewise_polynomial.h"
#include "core/spline/compile/program.h"
#include "core/spline/compile/tensor_spline.h"

namespace splineserve {

using SplineSource = std::variant<PiecewisePolynomial, TensorSpline, ExpressionSpline>;

size_t Variables(const SplineSource& source);
size_t Outputs(const SplineSource& source);
// The spline itself, in float64. `source` must be valid, as CompileSpline found it.
std::vector<double> Evaluate(const SplineSource& source, Extrapolation extrapolation,
                             absl::Span<const double> point);

struct CompileOptions {
  Extrapolation extrapolation = Extrapolation::kPolynomial;  // of piecewise polynomials and tensor products
  double join_tolerance = -1;                                // CheckPiecewisePolynomial
  // For each variable where the error is bounded. Empty: between the first and the last knot, or [-1, 1] for
  // expressions.
  std::vector<Interval> domain;
  size_t max_bytes = size_t{512} << 20;  // of weights
  DType dtype = DType::kF32;             // F64 for tests
  BoundWork bound_work;
};

struct CompiledSpline {
  Program program{1};
  ProgramSizes sizes;
  std::map<std::string, std::string> files;
  size_t parameters = 0;                   // numbers in the files
  size_t degree = 0;                       // of the polynomials: none on a piece has a larger one
  uint64_t degree_bound = 0;               // DegreeBound: what the number of layers allows
  std::vector<std::vector<double>> knots;  // for each variable, each once; empty for expressions
  std::vector<Interval> domain;
  // For each output a number that the encoder in float32 and the spline in exact arithmetic do not differ by
  // more, for float32 inputs in the domain and one float32 beyond; and the largest absolute value.
  std::vector<double> error_bound, magnitude;
  double largest_jump = 0;  // of a piecewise polynomial at a knot; part of the bound
};

// INVALID_ARGUMENT for everything that the checks of the three kinds refuse, for a domain that has not an
// interval low < high of float32 numbers for each variable, and for encoders beyond the limits; OUT_OF_RANGE
// if float32 could overflow in the domain. Cost: the dense weights, and for the bound the terms of the
// program times the number of pieces.
absl::StatusOr<CompiledSpline> CompileSpline(const SplineSource& source, const CompileOptions& options);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_COMPILE_H_
