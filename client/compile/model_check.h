// Whether a compiled model, as the engine evaluates it, is the spline that it was made of.
#ifndef SPLINESERVE_CLIENT_COMPILE_MODEL_CHECK_H_
#define SPLINESERVE_CLIENT_COMPILE_MODEL_CHECK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/spline/compile/compile.h"

namespace splineserve::client {

struct CheckOptions {
  size_t random_points = 1000;
  uint64_t seed = 1;
};

struct ModelCheck {
  size_t random_points = 0;
  size_t knots = 0;        // in the domain; each was checked at, just below and just above
  size_t knot_points = 0;  // how many points those were
  std::string digest;
  // Where the error is largest in proportion to its bound.
  std::vector<float> point;
  size_t output = 0;
  double expected = 0;  // the spline in float64
  float found = 0;      // the model in float32
  double error = 0;
  double bound = 0;
  std::vector<double> largest_error;  // [outputs]

  bool passed() const { return error <= bound; }
};

// Loads `directory` as a server would and evaluates it in float32, a sequence of one token for each point:
// random ones in the domain; every knot in it, the float32 numbers below and above, with random other
// variables; for expressions the corners of the domain. Errors are those of loading and evaluating; a model
// that is wrong is no error here but a check that has not passed.
absl::StatusOr<ModelCheck> CheckModel(const std::string& directory, const SplineSource& source,
                                      Extrapolation extrapolation, const CompiledSpline& compiled,
                                      const CheckOptions& options);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMPILE_MODEL_CHECK_H_
