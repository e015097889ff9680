// Gates that are given instead of found: a model evaluated on a piece that its input need not lie on.
//
// A ReLU gate lets its argument through if the argument is greater than zero. A frozen one lets it through if
// the piece says so, whatever the argument's sign. On one piece a model of class EXACT is one polynomial
// (arXiv 2408.09624): with all gates frozen it is that polynomial everywhere.
#ifndef SPLINESERVE_CORE_MODEL_FROZEN_GATES_H_
#define SPLINESERVE_CORE_MODEL_FROZEN_GATES_H_

#include <cstddef>
#include <cstdint>

#include "core/kernels/kernel_set.h"
#include "core/model/gate_sink.h"

namespace splineserve {

// Where an evaluation reads which gates are open. Asked for every group of a stack's ReLU sites, from several
// threads at a time.
class FrozenGates {
 public:
  virtual ~FrozenGates() = default;
  // (width + 7) / 8 bytes: gate j is bit j % 8 of byte j / 8, 1 is open. Never null; valid until the
  // evaluation returns.
  virtual const uint8_t* Bits(const GateGroupRef& group) const = 0;
};

// One row of gates, from arguments to what is let through, in place: x[i] = bit i of `open` ? x[i] : +0, then
// x[i] = x[i] * x[i] if `square`. Where every bit is the argument's own sign, the numbers are those of
// KernelSet::gate, bit for bit. Returns what the arguments themselves say, and writes their own signs to
// `own_bits` unless it is null, as KernelSet::gate does. `copy` is scratch memory of n floats.
GateRow FreezeRow(const KernelSet& kernels, const uint8_t* open, bool square, float* x, size_t n,
                  uint8_t* own_bits, bool want_margin, float* copy);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_FROZEN_GATES_H_
