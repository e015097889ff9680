// Tensor-product splines as layers of an encoder.
//
// The B-splines of every variable are columns, made as piecewise polynomials; they are not negative on their
// base interval. One more layer of attention multiplies them: a head has the score B_a(x), or B_a(x) B_b(y),
// and the values sum over the last variable's c B(z).
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_TENSOR_PROGRAM_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_TENSOR_PROGRAM_H_

#include "absl/status/statusor.h"
#include "core/spline/compile/piecewise_polynomial.h"
#include "core/spline/compile/program.h"
#include "core/spline/compile/tensor_spline.h"

namespace splineserve {

// `spline` must be valid. One variable: CompilePiecewise of it. INVALID_ARGUMENT as AddPiecewise has it.
absl::StatusOr<Program> CompileTensor(const TensorSpline& spline, Extrapolation extrapolation);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_TENSOR_PROGRAM_H_
