// Smooth activations, for SMOOTH models only. Not dispatched: scalar float64 formulas rounded to float32,
// hence the same bits whatever SIMD target the products run on.
#ifndef SPLINESERVE_CORE_KERNELS_ACTIVATIONS_H_
#define SPLINESERVE_CORE_KERNELS_ACTIVATIONS_H_

#include <cstddef>

namespace splineserve {

// In place over n numbers; thread-safe, no allocation.
void Softplus(float* x, size_t n, float beta);  // ln(1 + exp(beta x)) / beta, without overflow for large x
void Gelu(float* x, size_t n);                  // x/2 (1 + erf(x / sqrt 2))
void GeluTanh(float* x, size_t n);              // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
void Silu(float* x, size_t n);                  // x / (1 + exp(-x))

// x[i] = exp(x[i] - max x) / sum of the same, the sum in float64 in ascending order. The exponentials wait in
// x, so each is rounded twice (2^-23 of the result at most). n = 0 does nothing.
void Softmax(float* x, size_t n);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_ACTIVATIONS_H_
