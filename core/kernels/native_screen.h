// Private to core/kernels: screening with the processor's own products of bytes (AVX-512 VNNI and VBMI2),
// which Highway 1.0.3 does not offer.
#ifndef SPLINESERVE_CORE_KERNELS_NATIVE_SCREEN_H_
#define SPLINESERVE_CORE_KERNELS_NATIVE_SCREEN_H_

#include "core/kernels/kernel_set.h"

namespace splineserve {

// `set` with screening replaced where this processor has such instructions. `set` must be the AVX-512 one.
KernelSet WithNativeScreen(const KernelSet& set);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_NATIVE_SCREEN_H_
