// Private to core/kernels: the sets that simd_kernels.cc compiles from Highway.
#ifndef SPLINESERVE_CORE_KERNELS_SIMD_KERNELS_H_
#define SPLINESERVE_CORE_KERNELS_SIMD_KERNELS_H_

#include <vector>

#include "core/kernels/kernel_set.h"

namespace splineserve {

// The compiled sets whose instructions this processor has, best first, "portable" last. Asks the processor
// each time.
std::vector<const KernelSet*> RunnableSimdKernels();

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_SIMD_KERNELS_H_
