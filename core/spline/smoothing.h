// A spline's smoothing: the same weights with SoftPlus_beta in place of ReLU.
//
// SoftPlus_beta(x) = ln(1 + exp(beta x)) / beta lies above ReLU(x) by at most ln 2 / beta, at x = 0, and by
// exp(-beta |x|) / beta far from it. As beta grows, the smoothed model converges to the spline; how near it
// is at a given input, smoothing_bound.h tells.
#ifndef SPLINESERVE_CORE_SPLINE_SMOOTHING_H_
#define SPLINESERVE_CORE_SPLINE_SMOOTHING_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/format/model_config.h"

namespace splineserve {

struct Smoothing {
  std::string spline;  // name of the model whose weights these are
  float beta = 1;      // > 0 and finite
};

// OK if the model is of class EXACT and all its gates are relu. INVALID_ARGUMENT otherwise, naming the class
// and the field that stands against it. relu2 is refused, too: the format has no word for the square of
// SoftPlus.
absl::Status CheckSmoothable(const ModelConfig& config);

// The configuration with softplus for relu at every gate. INVALID_ARGUMENT as CheckSmoothable, and for a beta
// that is not a finite number above 0.
absl::StatusOr<ModelConfig> Smoothed(ModelConfig config, float beta);

// The shortest decimal that float32 rounds to this beta: "20", "0.1", "1000000", "1e+12".
std::string BetaText(float beta);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_SMOOTHING_H_
