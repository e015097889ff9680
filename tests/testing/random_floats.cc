#include "tests/testing/random_floats.h"

#include <bit>
#include <cmath>
#include <cstdlib>

namespace splineserve::testing {

float RandomFloats::Next(Values values) {
  const uint64_t random = engine_();
  if (random % 32 == 0) return 0.0f;
  if (random % 32 == 1) return -0.0f;
  if (values == Values::kNormal) return normal_(engine_);
  for (;;) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(engine_() >> 32));
    if (std::isfinite(x)) return x;
  }
}

void RandomFloats::Fill(float* x, size_t n, Values values) {
  for (size_t i = 0; i < n; ++i) x[i] = Next(values);
}

std::vector<float> RandomFloats::Vector(size_t n, Values values) {
  std::vector<float> x(n);
  Fill(x.data(), n, values);
  return x;
}

uint64_t TestSeed() {
  const char* text = std::getenv("SPLINESERVE_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 20240924;
}

}  // namespace splineserve::testing
