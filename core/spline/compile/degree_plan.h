// How layers of attention, each of which multiplies three numbers, reach a polynomial's degree.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_DEGREE_PLAN_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_DEGREE_PLAN_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"

namespace splineserve {

// One layer: the basis of degree `degree` from products of members of the bases of degrees `first`, `second`
// and `third`, which add up to it. Each of them is 0 (the constant 1), 1 (the variable itself) or the degree
// of the step before. A head multiplies a member of `first` with one of `second` in its score and with every
// member of `third` in its values.
struct DegreeStep {
  size_t degree = 0, first = 0, second = 0, third = 0;
};

constexpr size_t kMaxSplineDegree = 243;

// Steps to the smallest degree >= `degree` that as few layers as possible, ceil(log3 degree), reach; of those
// the ones with the smallest matrices. Empty for degrees 0 and 1. INVALID_ARGUMENT above kMaxSplineDegree.
absl::StatusOr<std::vector<DegreeStep>> PlanDegree(size_t degree);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_DEGREE_PLAN_H_
