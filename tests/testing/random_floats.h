// Seeded random numbers for tests of exact arithmetic.
#ifndef SPLINESERVE_TESTS_TESTING_RANDOM_FLOATS_H_
#define SPLINESERVE_TESTS_TESTING_RANDOM_FLOATS_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace splineserve::testing {

enum class Values {
  kNormal,  // standard normal, a few zeros of either sign
  kWide,    // any finite float, all exponents alike: huge, tiny, subnormal, zeros; products and sums overflow
};

// Deterministic for a seed. Print the seed with SCOPED_TRACE.
class RandomFloats {
 public:
  explicit RandomFloats(uint64_t seed) : engine_(seed) {}

  float Next(Values values);
  void Fill(float* x, size_t n, Values values);
  std::vector<float> Vector(size_t n, Values values);

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<float> normal_;
};

// The seed of this run: SPLINESERVE_TEST_SEED, or else a fixed number.
uint64_t TestSeed();

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_RANDOM_FLOATS_H_
