// Comparison of float arrays bit for bit, for results that are promised to be exact.
#ifndef SPLINESERVE_TESTS_TESTING_BITS_EQUAL_H_
#define SPLINESERVE_TESTS_TESTING_BITS_EQUAL_H_

#include <cstddef>

#include "core/base/matrix_view.h"
#include "gtest/gtest.h"

namespace splineserve::testing {

// Same bits, or both zero (of either sign), or both NaN (of any payload: which NaN an invalid operation
// returns is the processor's business).
bool SameNumber(float a, float b);

// Success if all numbers are the same; else names the first difference, its values in decimal and as bits,
// and how many numbers differ. Shapes must agree as well.
::testing::AssertionResult BitsEqual(const float* actual, const float* expected, size_t n);
::testing::AssertionResult BitsEqual(MatrixView<const float> actual, MatrixView<const float> expected);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_BITS_EQUAL_H_
