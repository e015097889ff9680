// How far the encoder in float32 can be from the function that its program means.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_ERROR_BOUND_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_ERROR_BOUND_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/spline/compile/program.h"

namespace splineserve {

// A number of the program for all inputs in a box: what it is without rounding lies in [low, high], and what
// float32 arithmetic makes of it is at most `error` away.
struct Bounded {
  double low = 0;
  double high = 0;
  double error = 0;
  // Of a chain: how far its result can be from the sum of its exact weights times what its terms are in
  // float32, the part of the error that is its own.
  double own = 0;

  double magnitude() const;
  bool exactly_zero() const { return low == 0 && high == 0 && error == 0; }
};

// The outputs for inputs in `box`: interval arithmetic and a running error analysis of every chain of fused
// multiply-adds in the engine's order, with the weights rounded to float32 as ToModelFiles writes them. A
// gate that is closed for all of the box is exactly zero, and what is multiplied by it adds no error;
// therefore the bound is good where the box lies within one piece. Inputs are float32 numbers, so they have
// no error themselves. Without directed rounding, but each rounding of float32 is counted a millionth too
// high, and one of float64 is 2^-29 of it. OUT_OF_RANGE if a number might overflow float32. Linear in the
// program's terms.
absl::StatusOr<std::vector<Bounded>> BoundOutputs(const Program& program, absl::Span<const Interval> box);

struct DomainBound {
  std::vector<double> error;      // [outputs]: the largest over all boxes
  std::vector<double> magnitude;  // [outputs]: no output is larger in the domain
};

// How many terms a bound may look at, boxes times terms of the program; one takes some nanoseconds.
struct BoundWork {
  // Beyond it, some inner breaks are left out: the bound then is a valid, but a larger one.
  double most = 1e9;
  // Up to it, boxes are halved, four times at most. In small boxes intervals forget less of what depends on
  // what: t (1 - t) is at most 1 on a whole piece, and nearly 1/4 on sixteenths of it.
  double worthwhile = 4e7;
};

// BoundOutputs of every box of the grid that `breaks` cut out of the domain: for each variable its limits and
// what is to lie on boxes' borders, increasing.
absl::StatusOr<DomainBound> BoundOverDomain(const Program& program, std::vector<std::vector<double>> breaks,
                                            const BoundWork& work = {});

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_ERROR_BOUND_H_
