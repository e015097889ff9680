// Random matrices in every format that weights are stored in.
#ifndef SPLINESERVE_TESTS_TESTING_RANDOM_WEIGHTS_H_
#define SPLINESERVE_TESTS_TESTING_RANDOM_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/kernels/packing.h"
#include "core/kernels/weight_format.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {

inline constexpr WeightFormat kWeightFormats[] = {WeightFormat::kFloat32, WeightFormat::kBfloat16,
                                                  WeightFormat::kFloat16};
const char* Name(WeightFormat format);

// What 16 bits of a finite number mean, by arithmetic, slowly.
float Expanded(WeightFormat format, uint16_t bits);

// A matrix [outer, inner] as float32 and packed in its format.
struct RandomWeights {
  // kNormal: about standard normal; kWide: any finite number of the format, subnormal and huge ones too.
  RandomWeights(RandomFloats& random, size_t outer, size_t inner, Values values, WeightFormat format);
  std::vector<float> numbers;
  PackedMatrix packed;
};

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_RANDOM_WEIGHTS_H_
