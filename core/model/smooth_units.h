// Activations of feed-forward units that have no gates.
#ifndef SPLINESERVE_CORE_MODEL_SMOOTH_UNITS_H_
#define SPLINESERVE_CORE_MODEL_SMOOTH_UNITS_H_

#include <cstddef>

#include "core/format/model_config.h"

namespace splineserve {

// units[0, n) = config.hidden_act of them, which must be none of the gates relu and relu2.
void ActivateSmooth(const ModelConfig& config, float* units, size_t n);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_SMOOTH_UNITS_H_
