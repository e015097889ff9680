// Sums and products with their rounding errors: what float64 drops is kept in a second number, so that a sum
// of products comes out as if it were computed in twice the precision and then rounded to a pair.
//
// Source: Ogita, Rump, Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26 (2005). Exact unless a
// number overflows, or underflows where that is said. Relies on rounding to nearest and on a compiler that
// neither fuses nor reorders (-ffp-contract=off, no -ffast-math).
#ifndef SPLINESERVE_CORE_SPLINE_COMPENSATED_H_
#define SPLINESERVE_CORE_SPLINE_COMPENSATED_H_

#include <cmath>

namespace splineserve {

// high + low, with high the nearest float64 number to it.
struct Pair {
  double high = 0, low = 0;
};

// a + b exactly.
inline Pair TwoSum(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

// a b exactly, but for 2^-1075 where the low part underflows.
inline Pair TwoProduct(double a, double b) {
  const double product = a * b;
  return {product, std::fma(a, b, -product)};
}

// a = high + low, each with at most 26 bits: products of either with a float32 number are exact. |a| < 2^995.
inline Pair Split(double a) {
  const double shifted = (0x1p27 + 1) * a;
  const double high = shifted - (shifted - a);
  return {high, a - high};
}

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPENSATED_H_
