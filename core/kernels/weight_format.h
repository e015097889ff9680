// How weights are stored: what the kernels read, and expand to float32 in registers.
#ifndef SPLINESERVE_CORE_KERNELS_WEIGHT_FORMAT_H_
#define SPLINESERVE_CORE_KERNELS_WEIGHT_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/base/half_float.h"

namespace splineserve {

// Unlike a Precision (precision.h), this changes no bit of any result: every bfloat16 and every float16 is a
// float32, and sums are taken in float32 whatever the format.
enum class WeightFormat : uint8_t { kFloat32, kBfloat16, kFloat16 };

constexpr size_t BytesPerNumber(WeightFormat format) { return format == WeightFormat::kFloat32 ? 4 : 2; }

// Number `i` of those at `data`.
inline float NumberAt(WeightFormat format, const void* data, size_t i) {
  const std::byte* const p = static_cast<const std::byte*>(data) + i * BytesPerNumber(format);
  if (format == WeightFormat::kFloat32) {
    float number;
    std::memcpy(&number, p, sizeof(number));
    return number;
  }
  uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return format == WeightFormat::kBfloat16 ? Bfloat16ToFloat(bits) : Float16ToFloat(bits);
}

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_WEIGHT_FORMAT_H_
