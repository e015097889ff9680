// Errors of maxima, seen as a whole. Private to this folder: a part of the error bound.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_VALUE_BOUNDS_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_VALUE_BOUNDS_H_

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "core/spline/compile/error_bound.h"
#include "core/spline/compile/program.h"

namespace splineserve {

// A value's form with exact weights of what the columns are in float32 is at most `error` from the value
// itself. For a + relu(b - a) that is max(error a, error b) and what the chain of b - a adds by itself: with
// that, relu's argument is the difference of two numbers whose larger one results, whatever their errors.
class ValueBounds {
 public:
  explicit ValueBounds(const Program& program) : program_(program) {}

  // For another box.
  void Reset();
  // Once the row has this layer's feed-forward network: bounds the layer's maxima and narrows their columns.
  // `units` are the network's units.
  void AfterLayer(size_t layer, absl::Span<const Bounded> units, std::vector<Bounded>* row);
  // Narrows the outputs that are values.
  void Narrow(absl::Span<const Bounded> row, std::vector<Bounded>* outputs);

 private:
  Bounded Of(size_t value, absl::Span<const Bounded> row);

  const Program& program_;
  std::vector<Bounded> bounds_;  // of the values
  std::vector<bool> known_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_VALUE_BOUNDS_H_
