// Constants of rounding error analysis (Higham, Accuracy and Stability of Numerical Algorithms, chapter 3).
#ifndef SPLINESERVE_CORE_SPLINE_ROUNDING_H_
#define SPLINESERVE_CORE_SPLINE_ROUNDING_H_

#include <cstddef>

namespace splineserve {

// gamma_n = n u / (1 - n u): the relative error of a chain of n operations with unit roundoff u is no larger.
// Needs n u < 1.
inline double RoundingGamma(double unit, size_t n) {
  const double nu = static_cast<double>(n) * unit;
  return nu / (1 - nu);
}

// The smallest positive number of the arithmetic with this unit roundoff (float32's or float64's): what an
// underflow may lose.
inline double SmallestNumber(double unit) { return unit > 0x1p-50 ? 0x1p-149 : 0x1p-1074; }

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_ROUNDING_H_
