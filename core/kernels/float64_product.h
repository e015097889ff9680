// Products of float64 matrices together with bounds of their errors, for the analyses.
//
// Every number is one chain in ascending inner index, but with the product rounded before it is added: no
// target lacks that, so all return the same bits without std::fma. Lanes hold different outputs.
#ifndef SPLINESERVE_CORE_KERNELS_FLOAT64_PRODUCT_H_
#define SPLINESERVE_CORE_KERNELS_FLOAT64_PRODUCT_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace splineserve {

// With k over `open[0..inner)`, or over 0..inner where it is null:
//   y[r][n] = sum of x[r][k] w[k][n],  y_error[r][n] = sum of x_error[r][k] |w[k][n]|.
// All matrices are row-major, w's rows `outer` apart. Nothing overlaps. x_error and y_error may both be null.
// Sums of nothing are zero.
//
// Leaving out k where x is zero changes no bit, for finite w (-0 counts as 0).
struct Product64 {
  size_t rows = 0, inner = 0, outer = 0;
  const uint32_t* open = nullptr;
  const double* x = nullptr;
  const double* x_error = nullptr;
  size_t x_stride = 0;  // of both
  const double* w = nullptr;
  double* y = nullptr;
  double* y_error = nullptr;
  size_t y_stride = 0;  // of both
};

// One SIMD target's, named as KernelSet::name.
struct Float64Kernel {
  const char* name;
  void (*product)(const Product64&);
};

// Those that this processor can run, best first.
absl::Span<const Float64Kernel> AvailableFloat64Kernels();

// By the best. Thread-safe, no allocation, no failure. Cost: with errors, 8 to 16 multiply-adds a cycle where
// vectors have 512 bits, half of them the errors'.
void Multiply(const Product64& product);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_FLOAT64_PRODUCT_H_
