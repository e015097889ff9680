#include "core/model/smooth_units.h"

#include "core/kernels/activations.h"

namespace splineserve {

void ActivateSmooth(const ModelConfig& config, float* units, size_t n) {
  switch (config.hidden_act) {
    case HiddenAct::kRelu:
    case HiddenAct::kRelu2:
      break;  // gates, not smooth: never asked
    case HiddenAct::kSoftplus:
      Softplus(units, n, config.softplus_beta);
      break;
    case HiddenAct::kGelu:
      Gelu(units, n);
      break;
    case HiddenAct::kGeluTanh:
      GeluTanh(units, n);
      break;
    case HiddenAct::kSilu:
      Silu(units, n);
      break;
  }
}

}  // namespace splineserve
