// Transposition on every SIMD target against a loop: every number in its place, nothing else touched.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/kernels/kernel_set.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using testing::BitsEqual;
using testing::RandomFloats;
using testing::Values;

TEST(TransposeTest, EveryNumberGoesToItsPlaceAndNothingElseIsTouched) {
  constexpr float kGuard = -77.5f;
  const uint64_t seed = testing::TestSeed();
  RandomFloats random(seed);
  for (const KernelSet* set : AvailableKernelSets()) {
    for (size_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 8, 64}) {
      for (size_t cols : {0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 33, 64}) {
        SCOPED_TRACE(std::string(set->name) + ", " + std::to_string(rows) + " rows of " +
                     std::to_string(cols) + ", seed " + std::to_string(seed));
        // The last row ends with the array, so that AddressSanitizer sees reads past it.
        const size_t x_stride = cols + 3, out_stride = rows + 2;
        const std::vector<float> x =
            random.Vector(rows == 0 ? 0 : (rows - 1) * x_stride + cols, Values::kWide);
        std::vector<float> out(cols * out_stride + 1, kGuard), expected = out;
        for (size_t r = 0; r < rows; ++r) {
          for (size_t c = 0; c < cols; ++c) expected[1 + c * out_stride + r] = x[r * x_stride + c];
        }
        set->transpose(x.data(), x_stride, rows, cols, out.data() + 1, out_stride);
        ASSERT_TRUE(BitsEqual(out.data(), expected.data(), out.size()));
      }
    }
  }
}

}  // namespace
}  // namespace splineserve
