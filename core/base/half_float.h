// The two 16-bit floating-point formats as float32. Every number of either is a float32, so nothing is
// rounded.
#ifndef SPLINESERVE_CORE_BASE_HALF_FLOAT_H_
#define SPLINESERVE_CORE_BASE_HALF_FLOAT_H_

#include <bit>
#include <cstdint>

namespace splineserve {

// IEEE binary16 ("F16"). Without a branch, so that loops over it become SIMD.
inline float Float16ToFloat(uint16_t half) {
  // Exponent biases are 15 and 127: 2^112 makes up for the difference, exactly, subnormal numbers included.
  const float magnitude = std::bit_cast<float>(uint32_t{half & 0x7fffu} << 13) * 0x1p112f;
  // Infinity's and NaN's exponent goes from all ones to all ones.
  const uint32_t special = (half & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | special | uint32_t{half & 0x8000u} << 16);
}

// The upper half of a float32 ("BF16").
inline float Bfloat16ToFloat(uint16_t half) { return std::bit_cast<float>(uint32_t{half} << 16); }

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_HALF_FLOAT_H_
