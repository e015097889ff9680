// Where skipping closed gates overtakes multiplying by them, measured on this machine.
#ifndef SPLINESERVE_CORE_MODEL_CROSSOVER_H_
#define SPLINESERVE_CORE_MODEL_CROSSOVER_H_

#include "core/kernels/kernel_set.h"
#include "core/kernels/packing.h"

namespace splineserve {

// The share of open gates below which a product by lists is faster than a dense one for weights of this
// shape: times both at two densities and takes the straight line between. In [0.3, 0.9], 1 for an empty
// matrix. Takes about a millisecond; allocates. It decides time only: results are the same either way.
double MeasureSparseBelow(const KernelSet& kernels, const PackedView& w);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_CROSSOVER_H_
