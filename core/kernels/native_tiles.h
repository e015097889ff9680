// Private to core/kernels: the kernels of tiles (screen.h), for native_screen.cc.
#ifndef SPLINESERVE_CORE_KERNELS_NATIVE_TILES_H_
#define SPLINESERVE_CORE_KERNELS_NATIVE_TILES_H_

#include "core/kernels/kernel_set.h"

namespace splineserve {

// Puts them into `set`. Only where the processor has their instructions, which the caller has asked.
void SetNativeTiles(KernelSet* set);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_NATIVE_TILES_H_
