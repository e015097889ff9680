// How far two pieces are apart: the Hamming distance of their gates, over the whole sequence, for each layer,
// site and head, and for each token.
//
// Sequences need not be of the same length. Token is compared with token and key with key at the same
// position; gates that only one of the two has (those of further tokens, and of further keys at an
// attention) are counted apart, as unmatched. Two pieces, or two tokens', are the same if no gate differs and
// none is unmatched.
#ifndef SPLINESERVE_CORE_SPLINE_PIECE_DISTANCE_H_
#define SPLINESERVE_CORE_SPLINE_PIECE_DISTANCE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "core/spline/piece.h"

namespace splineserve {

struct HammingDistance {
  uint64_t differing = 0;  // open in one, closed in the other
  uint64_t compared = 0;   // gates that both have
  uint64_t unmatched = 0;  // gates that one of them has

  bool same() const { return differing == 0 && unmatched == 0; }
  HammingDistance& operator+=(const HammingDistance& other) {
    differing += other.differing;
    compared += other.compared;
    unmatched += other.unmatched;
    return *this;
  }
  bool operator==(const HammingDistance&) const = default;
};

// Of one layer, site and head, over all tokens.
struct GroupDistance {
  size_t layer = 0;
  Site site = Site::kFeedForward;
  size_t head = 0;
  HammingDistance distance;
};

struct PieceDistance {
  HammingDistance total;
  std::vector<GroupDistance> groups;    // in the order in which a token's groups are hashed
  std::vector<HammingDistance> tokens;  // as many as the longer sequence has
  size_t same_tokens = 0;
};

// Of two groups' packed bits (least significant first, padded with zeros to whole bytes). Cost: 64 gates at a
// time.
HammingDistance BitDistance(absl::Span<const uint8_t> a, size_t a_width, absl::Span<const uint8_t> b,
                            size_t b_width);

// Of one stack's pieces of two sequences, by one model: each token with all its groups in order and their
// bits, as PieceRecorder takes them with kBits and without filters.
PieceDistance DistanceBetween(absl::Span<const TokenPiece> a, absl::Span<const TokenPiece> b);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_PIECE_DISTANCE_H_
