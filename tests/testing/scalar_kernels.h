// The specification of the kernels: plain scalar loops with std::fma, one chain a number, easy to read and
// slow. Every KernelSet must return the same bits (minus zero counts as zero). See core/kernels/kernel_set.h
// for the contracts.
#ifndef SPLINESERVE_TESTS_TESTING_SCALAR_KERNELS_H_
#define SPLINESERVE_TESTS_TESTING_SCALAR_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "core/base/matrix_view.h"
#include "core/kernels/kernel_set.h"

namespace splineserve::testing {

// out[r][n] = scale * chain over k of fma(x[r][k], w[n][k], .) from bias[n] (or 0). w is not packed: one row
// an output.
void ScalarProduct(MatrixView<const float> x, MatrixView<const float> w, const float* bias, float scale,
                   MatrixView<float> out);

GateRow ScalarGate(float* x, size_t n, bool square, uint8_t* bits, bool want_margin);

bool ScalarAllFinite(const float* x, size_t n);

// out[i] = fma(x[i], weight[i], bias ? bias[i] : 0).
void ScalarScaleShift(const float* x, const float* weight, const float* bias, size_t n, float* out);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_SCALAR_KERNELS_H_
