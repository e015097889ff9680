// The products of weights in 16 bits, for each SIMD target: as much code as all of simd_kernels.cc, and
// compiled beside it.
#include "core/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/simd_compact.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Above: includes this file again for every target. Below: for the current one.
#include "core/kernels/simd_product-inl.h"
#include "core/kernels/simd_sparse-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

SPLINESERVE_COMPACT_PRODUCTS(, hwy::bfloat16_t)
SPLINESERVE_COMPACT_PRODUCTS(, hwy::float16_t)
SPLINESERVE_COMPACT_SPARSE_PRODUCTS(, hwy::bfloat16_t)
SPLINESERVE_COMPACT_SPARSE_PRODUCTS(, hwy::float16_t)

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();
