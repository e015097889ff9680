// layer_norm and rms_norm against long double.
//
// Tolerance: all of it is float64 and one rounding to float32, so half a unit in the last place of the
// result; the sum with the bias may cancel, hence the bound is 2^-24 of the result plus 2^-40 of the two
// terms' magnitudes: the float64 part loses at most about 2 n 2^-53 of them, and n is at most 1000 here.
#include "core/kernels/norms.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using Real = long double;
using Norm = void (*)(const float*, const float*, const float*, float, size_t, float*);

struct Expected {
  Real value, magnitude;
};

std::vector<Expected> Reference(bool center, const std::vector<float>& x, const std::vector<float>& weight,
                                const float* bias, float eps) {
  const Real n = x.size();
  Real mean = 0, squares = 0;
  if (center) {
    for (float v : x) mean += v / n;
  }
  for (float v : x) squares += (v - mean) * (v - mean) / n;
  std::vector<Expected> out;
  for (size_t i = 0; i < x.size(); ++i) {
    const Real term = weight[i] * (x[i] - mean) / std::sqrt(squares + static_cast<Real>(eps));
    const Real shift = bias != nullptr ? bias[i] : 0;
    // The deviation from the mean is exact only to the magnitude of its two parts.
    const Real blur = std::abs(weight[i]) * (std::abs(x[i]) + std::abs(mean)) / std::sqrt(squares + eps);
    out.push_back({term + shift, blur + std::abs(shift)});
  }
  return out;
}

bool Near(float actual, const Expected& e) {
  return std::abs(actual - e.value) <= 0x1p-24L * std::abs(e.value) + 0x1p-40L * e.magnitude + 1e-45L;
}

void Check(Norm norm, bool center) {
  testing::RandomFloats random(testing::TestSeed());
  for (size_t n : {1, 2, 3, 8, 31, 128, 1000}) {
    for (float offset : {0.0f, 100.0f}) {
      for (float eps : {1e-5f, 1e-12f}) {
        std::vector<float> x = random.Vector(n, testing::Values::kNormal);
        for (float& v : x) v += offset;
        const std::vector<float> weight = random.Vector(n, testing::Values::kNormal);
        const std::vector<float> biases = random.Vector(n, testing::Values::kNormal);
        for (const float* bias : {biases.data(), static_cast<const float*>(nullptr)}) {
          const std::vector<Expected> expected = Reference(center, x, weight, bias, eps);
          std::vector<float> out(n), in_place = x;
          norm(x.data(), weight.data(), bias, eps, n, out.data());
          norm(in_place.data(), weight.data(), bias, eps, n, in_place.data());
          EXPECT_EQ(in_place, out);
          for (size_t i = 0; i < n; ++i) {
            ASSERT_TRUE(Near(out[i], expected[i]))
                << n << " " << i << ": " << out[i] << " " << expected[i].value;
            // Two units in the last place are too many.
            if (out[i] != 0 && std::abs(expected[i].value) > 1e-3L * expected[i].magnitude) {
              ASSERT_FALSE(Near(out[i] * (1 + 0x1p-22f), expected[i])) << "planted error at " << i;
            }
          }
        }
      }
    }
  }
  norm(nullptr, nullptr, nullptr, 1e-5f, 0, nullptr);
}

TEST(NormsTest, LayerNorm) { Check(LayerNorm, true); }
TEST(NormsTest, RmsNorm) { Check(RmsNorm, false); }

TEST(NormsTest, PlainNumbers) {
  const std::vector<float> x = {1, 3}, one = {1, 1}, bias = {10, 20};
  std::vector<float> out(2);
  LayerNorm(x.data(), one.data(), bias.data(), 0, 2, out.data());
  EXPECT_EQ(out, (std::vector<float>{9, 21}));
  const std::vector<float> same = {3, -3};
  RmsNorm(same.data(), one.data(), nullptr, 0, 2, out.data());
  EXPECT_EQ(out, (std::vector<float>{1, -1}));
}

}  // namespace
}  // namespace splineserve
