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
  // From where on the sign is proven to be positive, if the polynomial is within delta of zero at `begin` and
  // rises; else `begin`.
  double settled = -1;
};

struct SignSearch {
  double delta = 0;   // the polynomial that is meant differs from the series by no more than this, anywhere
  double begin = -1;  // look at nothing to the left
  double limit = 1;   // look no further to the right
  // Numbers down to -8 delta at `begin` count as zero there: what follows decides, and `settled` says from
  // where on. Else what is not above delta there is uncertain.
  bool zero_at_begin = false;
};

// Where sum_k c[k] T_k first becomes negative on [search.begin, search.limit].
//
// Subdivides: on a part whose enclosure c[0] +- sum |c[k]| excludes zero by more than delta, the sign is
// proven; where the derivative's does (the error of which is at most degree^2 delta, by Markov's inequality),
// the polynomial is monotone and has at most one root, which bisection finds. Parts narrower than 2^-44 are
// left undecided, and so are all after 512 of them: both are reported as uncertain. Cost: most polynomials
// take one enclosure, those with a root some ten subdivisions of degree^2.
SignChange FirstNegative(absl::Span<const double> c, const SignSearch& search);

// Whether one enclosure proves that it is nowhere negative: what most searches come to, without copies.
bool ClearlyPositive(absl::Span<const double> c, double delta);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_SIGN_CHANGE_H_
