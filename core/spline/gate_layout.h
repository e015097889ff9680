// All gates of one evaluation in one order, so that an analysis can hold their arguments and their signs in
// flat arrays.
#ifndef SPLINESERVE_CORE_SPLINE_GATE_LAYOUT_H_
#define SPLINESERVE_CORE_SPLINE_GATE_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "core/format/model_config.h"
#include "core/model/gate_sink.h"

namespace splineserve {

// One gate: the token that owns it, and which of its gates it is.
struct GateId {
  bool decoder = false;  // of the decoder stack, else of the encoder
  size_t layer = 0;
  Site site = Site::kFeedForward;
  size_t token = 0;
  size_t head = 0;   // 0 for feed-forward
  size_t index = 0;  // key or unit
  friend bool operator==(const GateId&, const GateId&) = default;
};

// The gates of all tokens at one site of one layer. Token by token, each token's head by head.
struct GateBlock {
  bool decoder = false;
  size_t layer = 0;
  Site site = Site::kFeedForward;
  size_t tokens = 0;
  size_t heads = 1;
  size_t width = 0;     // units, or keys of the last token
  bool causal = false;  // token i has i + 1 keys
  size_t first = 0;     // flat index of the first gate
  size_t size = 0;      // gates
  uint64_t degree = 0;  // bound of the arguments' degree in what moves (see GateLayout)

  size_t Width(size_t token) const { return causal ? token + 1 : width; }
  // Flat index of gate 0 of a group.
  size_t Group(size_t token, size_t head) const {
    return causal ? first + heads * token * (token + 1) / 2 + head * (token + 1)
                  : first + (token * heads + head) * width;
  }
};

// What an evaluation runs through: sequences of so many tokens, 0 for a stack that does not run.
struct PassShape {
  size_t source_tokens = 0;  // of the encoder
  size_t target_tokens = 0;  // of the decoder
  // Degree of each stack's input in the variables of interest: 1 where it moves, 0 where it is constant.
  uint64_t source_degree = 1;
  uint64_t target_degree = 1;
};

// Blocks in the order of evaluation: a gate's argument depends on gates of earlier blocks only. The gates of
// an encoder whose input does not move are left out: they are constant. Immutable; thread-safe.
class GateLayout {
 public:
  GateLayout(const ModelConfig& config, const PassShape& shape);

  const PassShape& shape() const { return shape_; }
  const std::vector<GateBlock>& blocks() const { return blocks_; }
  size_t gates() const { return gates_; }
  // Bound of the degree of the last stack's final rows (and of every gate's argument) in what moves, with
  // relu self-attention a -> 3a, cross-attention a -> a + 2m and so on (DegreeBound). Saturates at 2^64 - 1.
  uint64_t degree() const { return degree_; }

  // The block of a site; null if the stack has none there or is left out.
  const GateBlock* Find(bool decoder, size_t layer, Site site) const;
  GateId At(size_t index) const;  // index < gates()

  // Ids of the pattern `open` (one byte a gate, 0 or 1), as Encode and Decode report them (SPEC 5): one id a
  // token of the last stack that runs; empty ids where it has no gates.
  std::vector<std::string> TokenIds(absl::Span<const uint8_t> open) const;
  std::string SequenceIdOf(absl::Span<const uint8_t> open) const;

 private:
  uint64_t AddStack(const ModelConfig& config, bool decoder, size_t layers, size_t tokens, size_t memory,
                    uint64_t degree, uint64_t memory_degree);

  PassShape shape_;
  std::vector<GateBlock> blocks_;
  size_t gates_ = 0;
  uint64_t degree_ = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_GATE_LAYOUT_H_
