// Where the largest of several outputs changes along a piece of a trace.
#ifndef SPLINESERVE_CORE_SPLINE_TOP_CHANGES_H_
#define SPLINESERVE_CORE_SPLINE_TOP_CHANGES_H_

#include <cstddef>
#include <vector>

#include "core/spline/float64_weights.h"
#include "core/spline/segment.h"

namespace splineserve {

struct TopChange {
  double t = 0;
  size_t row = 0;
  size_t from = 0, to = 0;  // columns: of the largest chosen output of the row before and after
};

// `series` [outputs, terms]: Chebyshev coefficients on [begin, end] of the outputs `indices`; those of a row
// are compared with each other. In ascending order of t. Differences within 2^-46 of the outputs' sizes count
// as ties, and a tie changes nothing.
std::vector<TopChange> FindTopChanges(const Matrix64& series, const std::vector<OutputIndex>& indices,
                                      double begin, double end);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_TOP_CHANGES_H_
