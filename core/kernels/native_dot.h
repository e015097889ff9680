// Private to core/kernels: products of bfloat16 and 8-bit numbers with the processor's own dot products
// (AVX-512 BF16 and VNNI), which Highway 1.0.3 does not offer.
#ifndef SPLINESERVE_CORE_KERNELS_NATIVE_DOT_H_
#define SPLINESERVE_CORE_KERNELS_NATIVE_DOT_H_

#include "core/kernels/kernel_set.h"

namespace splineserve {

// `set` with low_precision_product replaced where this processor has such instructions. `set` must be the
// AVX-512 one.
KernelSet WithNativeDot(const KernelSet& set);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_NATIVE_DOT_H_
