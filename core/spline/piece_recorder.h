// Collects the gates of an evaluation and turns them into pieces.
#ifndef SPLINESERVE_CORE_SPLINE_PIECE_RECORDER_H_
#define SPLINESERVE_CORE_SPLINE_PIECE_RECORDER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "core/format/model_config.h"
#include "core/model/gate_sink.h"
#include "core/spline/piece.h"
#include "core/spline/piece_layout.h"

namespace splineserve {

// The GateSink of a batch on one stack. Add every sequence in batch order before the evaluation, Take pieces
// after it. Kernels write sign bits straight into the place that is hashed: recording copies nothing. Memory
// per recorded token: its bits, plus 8 bytes a group.
//
// Bits, WantsMargin and Record, and those of all heads, are safe from several threads for different groups,
// as GateSink asks; the rest is not thread-safe.
class PieceRecorder : public GateSink {
 public:
  using Stack = PieceLayout::Stack;
  PieceRecorder(const ModelConfig& config, Stack stack) : layout_(config, stack) {}

  // `count` tokens from absolute position `position`. `keys` is the number of keys that the encoder's
  // self-attention sees (all tokens of the sequence; unused for decoders), `memory` that of cross-attention
  // (0 without). With options.detail kNone nothing is recorded for the sequence.
  void AddSequence(const PieceOptions& options, size_t position, size_t count, size_t keys, size_t memory);

  // True if any sequence wants pieces: if not, pass no sink to the evaluation at all.
  bool wanted() const { return wanted_; }

  // How many tokens were added for a sequence, wanted or not.
  size_t tokens(size_t sequence) const { return sequences_[sequence].count; }

  // The piece of the sequence's `token`-th added token. Only for sequences that want pieces.
  TokenPiece Take(size_t sequence, size_t token) const;
  std::vector<TokenPiece> TakeAll(size_t sequence) const;

  uint8_t* Bits(const GateGroupRef& group) override;
  bool BitsOfHeads(const GateGroupRef& first, absl::Span<uint8_t*> bits) override;
  bool WantsMargin(size_t sequence) const override { return sequences_[sequence].options.margins; }
  void Record(const GateGroupRef& group, const GateRow& row) override;
  void RecordHeads(const GateGroupRef& first, absl::Span<const GateRow> rows) override;

 private:
  struct GroupStats {
    uint32_t open = 0;
    float margin = 0;
  };
  struct Sequence {
    PieceOptions options;
    size_t position = 0, count = 0, keys = 0, memory = 0;
    // Of each token's bytes in `bits`; one more at the end. Short sequences are many: without an allocation.
    absl::InlinedVector<size_t, 17> offsets;
    std::vector<uint8_t> bits;      // all groups of all tokens, in hash order
    std::vector<GroupStats> stats;  // [tokens, groups of a token]
  };
  PieceLayout::Widths WidthsOf(const Sequence& sequence, size_t token) const {
    return layout_.WidthsOf(sequence.position + token, sequence.keys, sequence.memory);
  }

  const PieceLayout layout_;
  bool wanted_ = false;
  absl::InlinedVector<Sequence, 1> sequences_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_PIECE_RECORDER_H_
