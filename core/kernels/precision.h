// The arithmetic of affine maps: float32 as the specification asks, or, if the user chose so at load, rounded
// weights and activations.
#ifndef SPLINESERVE_CORE_KERNELS_PRECISION_H_
#define SPLINESERVE_CORE_KERNELS_PRECISION_H_

#include <string_view>

#include "absl/status/statusor.h"

namespace splineserve {

enum class Precision {
  kFloat32,   // one chain of fused multiply-adds a number
  kBfloat16,  // weights and inputs rounded to bfloat16, summed in float32
  kInt8,      // weights rounded to 8 bits with a scale an output, inputs with a scale a row; summed exactly
};

// "float32", "bfloat16", "int8".
const char* PrecisionName(Precision precision);

// INVALID_ARGUMENT, listing the names, for any other.
absl::StatusOr<Precision> ParsePrecision(std::string_view name);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_PRECISION_H_
