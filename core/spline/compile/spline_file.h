// Splines in files: JSON, or arrays of NumPy in .npz.
//
// The keys say what a file holds:
//   x, c        a piecewise polynomial in SciPy's PPoly layout: c has the shape [k + 1, pieces, ...]
//   t, k, c     a (tensor product of) B-splines in the layout of SciPy's BSpline and NdBSpline: t is a list
//   of
//               knots for each variable (or the knots of one), k their degrees (or one for all), c has the
//               shape [len(t[0]) - k[0] - 1, ..., ...]. In .npz, lists of different lengths are t0, t1 and
//               t2.
//   variables   a max-min expression, JSON only: {"variables": n, "outputs": [EXPRESSION, ...]}, where an
//               EXPRESSION is a number, {"polynomial": {"terms": [{"coefficient": c, "powers": [..n..]},
//               ...]}},
//               {"max": [EXPRESSION, ...]}, {"min": [...]}, {"sum": [...]} or {"scale": [c, EXPRESSION]}
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_SPLINE_FILE_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_SPLINE_FILE_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "core/spline/compile/compile.h"

namespace splineserve {

constexpr size_t kMaxSplineJsonBytes = size_t{256} << 20;

// A zip archive is read as .npz, everything else as JSON. INVALID_ARGUMENT names `file`, the field, what was
// expected and what was found, for malformed text or arrays, unknown or missing keys, wrong types and shapes
// that do not fit together. Numbers are checked by CompileSpline.
absl::StatusOr<SplineSource> ParseSplineFile(std::string_view bytes, std::string_view file);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_SPLINE_FILE_H_
