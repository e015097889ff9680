// A sequence's piece as the gates of an evaluation: recorded before, or given by a caller.
#ifndef SPLINESERVE_CORE_SPLINE_FROZEN_PIECE_H_
#define SPLINESERVE_CORE_SPLINE_FROZEN_PIECE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/model/frozen_gates.h"
#include "core/spline/piece.h"
#include "core/spline/piece_layout.h"

namespace splineserve {

// The gates of one sequence, evaluated alone and from its first position on one stack. `pieces` has one a
// token, each with the bits of all its groups in order, as PieceRecorder takes them with kBits and without
// filters; they must outlive this. Thread-safe.
class FrozenPiece final : public FrozenGates {
 public:
  FrozenPiece(const PieceLayout& layout, absl::Span<const TokenPiece> pieces)
      : layout_(layout), pieces_(pieces) {}

  const uint8_t* Bits(const GateGroupRef& group) const override {
    return pieces_[group.position].groups[layout_.Index(group.layer, group.site, group.head)].bits.data();
  }

 private:
  const PieceLayout layout_;
  const absl::Span<const TokenPiece> pieces_;
};

// Checks pieces of a stranger's completely, so that FrozenPiece may take them: as many as `tokens`, in each
// all groups of all layers in order, of the widths that `tokens` and `memory` (tokens of the source, 0
// without cross-attention) ask for, with as many bytes of bits, padded with zeros. `open` must be 0 (not
// given) or the number of open gates, an id empty or the hash of the bits; both are then filled in.
// INVALID_ARGUMENT names the place: `where`[token], layer, site and head. Cost: one hash of all bits.
absl::Status CheckGivenPieces(const PieceLayout& layout, size_t tokens, size_t memory,
                              const std::string& where, std::vector<TokenPiece>& pieces);

// "layer 1, self-attention head 0".
std::string DescribeGroup(size_t layer, Site site, size_t head);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_FROZEN_PIECE_H_
