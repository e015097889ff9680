// Which tensors a configuration calls for: the model format's tensor table as data.
#ifndef SPLINESERVE_CORE_FORMAT_TENSOR_SPEC_H_
#define SPLINESERVE_CORE_FORMAT_TENSOR_SPEC_H_

#include <cstddef>
#include <string>
#include <vector>

#include "core/format/model_config.h"

namespace splineserve {

struct TensorSpec {
  std::string name;           // "encoder.layers.0.self_attn.q_proj.weight"
  std::vector<size_t> shape;  // weights are [out, in]
  bool optional = false;      // biases: absent means zero
};

// Every tensor that may be in the files of a model with this configuration, in the order of evaluation. A
// file with any other tensor is refused. Norm biases are optional too.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_TENSOR_SPEC_H_
