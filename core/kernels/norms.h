// layer_norm and rms_norm: scalar, statistics in float64 in ascending index order, so the same on every SIMD
// target. (The affine norm is KernelSet::scale_shift.)
#ifndef SPLINESERVE_CORE_KERNELS_NORMS_H_
#define SPLINESERVE_CORE_KERNELS_NORMS_H_

#include <cstddef>

namespace splineserve {

// out = weight * (x - mean) / sqrt(var + eps) + bias over one row of n numbers, biased variance. bias may be
// null. out may equal x.
void LayerNorm(const float* x, const float* weight, const float* bias, float eps, size_t n, float* out);

// out = weight * x / sqrt(mean square + eps) + bias.
void RmsNorm(const float* x, const float* weight, const float* bias, float eps, size_t n, float* out);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_NORMS_H_
