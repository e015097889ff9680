// The first sign change of a polynomial on an interval, with a proof that there is no earlier one.
#ifndef SPLINESERVE_CORE_SPLINE_SIGN_CHANGE_H_
#define SPLINESERVE_CORE_SPLINE_SIGN_CHANGE_H_

#include <limits>

#include "absl/types/span.h"

namespace splineserve {

inline constexpr double kNowhere = std::numeric_limits<double>::infinity();

struct SignChange {
  // The leftmost x in [begin, limit] from which on the polynomial is negative, to within `error`; kNowhere if
  // it is nowhere negative. `begin` if it is negative from there.
  double location = kNowhere;
  double error = 0;
  // The leftmost x where a pair of sign changes may be that rounding hides, left of `location`; kNowhere if
  // it is proven that there is none.
  double uncertain = kNowhere;
};

struct SignSearch {
  double delta = 0;   // the polynomial that is meant differs from the series by no more than this, anywhere
  double begin = -1;  // look at nothing to the left
  double limit = 1;   // look no further to the right
  bool zero_at_begin = false;  // the polynomial that is meant vanishes at `begin`: only what follows counts
};

// Where sum_k c[k] T_k first becomes negative on [search.begin, search.limit].
//
// Subdivides: on a part whose enclosure c[0] +- sum |c[k]| excludes zero by more than delta, the sign is
// proven; where the derivative's does (its error is at most degree^2 delta by Markov's inequality), the
// polynomial is monotone and has at most one root, which bisection finds. Parts narrower than 2^-44 are left
// undecided, and so are all after 512 of them: both are reported as uncertain. Cost: most polynomials take
// one enclosure, those with a root some ten subdivisions of degree^2.
SignChange FirstNegative(absl::Span<const double> c, const SignSearch& search);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_SIGN_CHANGE_H_
