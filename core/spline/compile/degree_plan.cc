#include "core/spline/compile/degree_plan.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace splineserve {
namespace {

size_t CeilDiv(size_t a, size_t b) { return (a + b - 1) / b; }

// What a piece adds to the largest matrix, heads x head_dim x columns. The last step needs the members that
// vanish at both ends, the ones before it all of them, in a column each.
size_t Cost(const std::vector<DegreeStep>& steps) {
  size_t heads = 1, dim = 1, columns = 2;
  for (size_t i = 0; i < steps.size(); ++i) {
    const bool last = i + 1 == steps.size();
    heads = std::max(heads, CeilDiv(last ? steps[i].degree - 1 : steps[i].degree + 1, steps[i].third + 1));
    dim = std::max(dim, steps[i].third + 1);
    if (!last) columns += steps[i].degree + 1;
  }
  return heads * dim * columns;
}

// Tries every way to go on from a basis of degree `reached` in at most `layers` steps.
void Search(size_t degree, size_t reached, size_t layers, std::vector<DegreeStep>* steps,
            std::pair<size_t, std::vector<DegreeStep>>* best) {
  if (reached >= degree) {
    const size_t cost = Cost(*steps);
    if (cost < best->first) *best = {cost, *steps};
    return;
  }
  if (layers == 0) return;
  size_t furthest = reached;
  for (size_t l = 0; l < layers && furthest < degree; ++l) furthest *= 3;
  if (furthest < degree) return;
  const std::array<size_t, 3> factors = {0, 1, reached};
  for (const size_t first : factors) {
    for (const size_t second : factors) {
      if (second > first) continue;
      for (const size_t third : factors) {
        const size_t sum = first + second + third;
        // Without a `first` there is no product.
        if (first == 0 || sum <= reached) continue;
        steps->push_back({sum, first, second, third});
        Search(degree, sum, layers - 1, steps, best);
        steps->pop_back();
      }
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<DegreeStep>> PlanDegree(size_t degree) {
  if (degree > kMaxSplineDegree) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a degree of at most ", kMaxSplineDegree, ", found ", degree));
  }
  std::pair<size_t, std::vector<DegreeStep>> best = {std::numeric_limits<size_t>::max(), {}};
  if (degree <= 1) return best.second;
  size_t layers = 0;
  for (size_t reached = 1; reached < degree; reached *= 3) ++layers;
  std::vector<DegreeStep> steps;
  Search(degree, 1, layers, &steps, &best);
  return best.second;
}

}  // namespace splineserve
