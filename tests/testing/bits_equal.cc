#include "tests/testing/bits_equal.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"

namespace splineserve::testing {
namespace {

std::string Describe(float x) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.9g (0x%08x)", x, std::bit_cast<uint32_t>(x));
  return text;
}

}  // namespace

bool SameNumber(float a, float b) {
  if (std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b)) return true;
  return (a == 0 && b == 0) || (std::isnan(a) && std::isnan(b));
}

::testing::AssertionResult BitsEqual(MatrixView<const float> actual, MatrixView<const float> expected) {
  if (actual.rows != expected.rows || actual.cols != expected.cols) {
    return ::testing::AssertionFailure() << "shape [" << actual.rows << ", " << actual.cols << "], expected ["
                                         << expected.rows << ", " << expected.cols << "]";
  }
  size_t differences = 0;
  std::string first;
  for (size_t r = 0; r < actual.rows; ++r) {
    for (size_t c = 0; c < actual.cols; ++c) {
      if (SameNumber(actual(r, c), expected(r, c))) continue;
      if (differences++ == 0) {
        first = absl::StrCat("[", r, ", ", c, "] is ", Describe(actual(r, c)), ", expected ",
                             Describe(expected(r, c)));
      }
    }
  }
  if (differences == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << first << "; " << differences << " of " << actual.rows * actual.cols << " numbers differ";
}

::testing::AssertionResult BitsEqual(const float* actual, const float* expected, size_t n) {
  return BitsEqual({actual, 1, n}, {expected, 1, n});
}

}  // namespace splineserve::testing
