#include "tests/testing/random_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace splineserve::testing {
namespace {

// Some finite bits of a format, made of a random float's.
uint16_t Halve(float number, Values values, WeightFormat format) {
  const uint32_t bits = std::bit_cast<uint32_t>(number);
  if (format == WeightFormat::kBfloat16) return static_cast<uint16_t>(bits >> 16);
  // The float's mantissa is random in either case.
  const uint16_t low = static_cast<uint16_t>(bits);
  if (values == Values::kNormal) return static_cast<uint16_t>((low & 0x83FF) | (12 + (bits >> 16) % 4) << 10);
  return (low & 0x7C00) == 0x7C00 ? static_cast<uint16_t>(low & 0xBFFF) : low;
}

}  // namespace

const char* Name(WeightFormat format) {
  return format == WeightFormat::kFloat32    ? "float32"
         : format == WeightFormat::kBfloat16 ? "bfloat16"
                                             : "float16";
}

float Expanded(WeightFormat format, uint16_t bits) {
  const int mantissa_bits = format == WeightFormat::kFloat16 ? 10 : 7;
  const int bias = format == WeightFormat::kFloat16 ? 15 : 127;
  const int exponent = (bits & 0x7FFF) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int significand = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  const double magnitude = std::ldexp(significand, std::max(exponent, 1) - bias - mantissa_bits);
  return static_cast<float>((bits & 0x8000) != 0 ? -magnitude : magnitude);
}

RandomWeights::RandomWeights(RandomFloats& random, size_t outer, size_t inner, Values values,
                             WeightFormat format)
    : numbers(random.Vector(outer * inner, values)) {
  if (format == WeightFormat::kFloat32) {
    packed = PackedMatrix::FromRows({numbers.data(), outer, inner});
    return;
  }
  std::vector<uint16_t> halves;
  for (float& number : numbers) {
    halves.push_back(Halve(number, values, format));
    number = Expanded(format, halves.back());
  }
  packed = PackedMatrix::FromRows({halves.data(), outer, inner}, format);
}

}  // namespace splineserve::testing
