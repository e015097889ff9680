// Where the evaluator reports gates: the seam between evaluating a model (core/model) and describing its
// piece (core/spline).
#ifndef SPLINESERVE_CORE_MODEL_GATE_SINK_H_
#define SPLINESERVE_CORE_MODEL_GATE_SINK_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "core/kernels/kernel_set.h"

namespace splineserve {

enum class Site : uint8_t { kSelfAttention, kCrossAttention, kFeedForward };

// One group of gates of one token: its query row at one head of an attention, or its units in a feed-forward
// network.
struct GateGroupRef {
  size_t sequence = 0;  // index in the evaluated batch
  size_t position = 0;  // absolute position of the token in its sequence
  size_t layer = 0;
  Site site = Site::kFeedForward;
  size_t head = 0;   // 0 for feed-forward
  size_t width = 0;  // number of gates
};

// Receives every group of a stack's ReLU sites, each exactly once per evaluated token, from several threads
// at a time. Implementations must allow concurrent calls for different groups.
class GateSink {
 public:
  virtual ~GateSink() = default;
  // Where the sign bits of the group go, (width + 7) / 8 bytes, or null if nobody wants this group. Called
  // before any of them is written; the memory must stay valid until the evaluation returns.
  virtual uint8_t* Bits(const GateGroupRef& group) = 0;
  // The same of all heads of an attention, head 0's `first` and those that follow it, of the same width:
  // false if nobody wants any, else where the bits of each go.
  virtual bool BitsOfHeads(const GateGroupRef& first, absl::Span<uint8_t*> bits) = 0;
  // Whether GateRow::margin is to be computed for this sequence's groups. The same answer from an
  // evaluation's beginning to its end.
  virtual bool WantsMargin(size_t sequence) const = 0;
  // Called after the bits are written.
  virtual void Record(const GateGroupRef& group, const GateRow& row) = 0;
  // The same after BitsOfHeads said true.
  virtual void RecordHeads(const GateGroupRef& first, absl::Span<const GateRow> rows) = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_GATE_SINK_H_
