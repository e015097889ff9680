// Pieces: the sign pattern of the gates that a token owns, and its identity.
//
// On one piece a model of class EXACT is one polynomial (arXiv 2408.09624). A token's piece holds the gates
// of its query rows and of its feed-forward units at every layer; its output also depends on other tokens'
// gates, which their own pieces hold.
#ifndef SPLINESERVE_CORE_SPLINE_PIECE_H_
#define SPLINESERVE_CORE_SPLINE_PIECE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "core/model/gate_sink.h"

namespace splineserve {

enum class PieceDetail { kNone, kId, kCounts, kBits };

struct PieceOptions {
  PieceDetail detail = PieceDetail::kNone;
  std::vector<size_t>
      layers;               // groups listed: only these layers; empty for all. Ids always cover all groups.
  std::vector<Site> sites;  // likewise
  bool margins = false;     // compute min |argument| too

  bool Lists(size_t layer, Site site) const;
};

// Sign bits; most groups have few, and without an allocation for each an encoder of d = 128 with 8 tokens
// answers with BITS in 1/1.03 of the time.
using GateBits = absl::InlinedVector<uint8_t, 16>;

// The hash of a token's bits, 16 bytes, or empty. A string would be an allocation for every token.
class PieceId {
 public:
  static constexpr size_t kBytes = 16;

  PieceId() = default;
  // Of at most kBytes: what comes from outside is checked before.
  template <typename T, typename = std::enable_if_t<std::is_convertible_v<const T&, std::string_view>>>
  PieceId(const T& bytes) {  // NOLINT(google-explicit-constructor): any string of bytes is one
    size_ = static_cast<uint8_t>(std::string_view(bytes).copy(bytes_, kBytes));
  }
  operator std::string_view() const { return {bytes_, size_}; }  // NOLINT(google-explicit-constructor)

  bool empty() const { return size_ == 0; }
  const char* data() const { return bytes_; }
  size_t size() const { return size_; }
  void clear() { size_ = 0; }
  friend bool operator==(const PieceId& a, const PieceId& b) {
    return std::string_view(a) == std::string_view(b);
  }
  template <typename T, typename = std::enable_if_t<std::is_convertible_v<const T&, std::string_view>>>
  friend bool operator==(const PieceId& a, const T& b) {
    return std::string_view(a) == std::string_view(b);
  }

 private:
  char bytes_[kBytes] = {};
  uint8_t size_ = 0;
};

struct PieceGroup {
  size_t layer = 0;
  Site site = Site::kFeedForward;
  size_t head = 0;
  uint32_t width = 0;  // gates in the group
  uint32_t open = 0;   // gates whose argument is > 0
  GateBits bits;       // kBits only: bit j of the group is bit j % 8 of byte j / 8; padded with zeros
  float margin = 0;    // with margins only
};

struct TokenPiece {
  PieceId id;                      // empty if the token owns no groups
  std::vector<PieceGroup> groups;  // kCounts and kBits, filtered, in the order in which they are hashed
  float margin = 0;  // with margins only: min over all groups, filtered out or not; +inf without groups
};

// What `options` ask of a piece whose groups are all there, with their bits. Margins are kept as they are.
TokenPiece Described(const TokenPiece& whole, const PieceOptions& options);

// XXH3-128 (seed 0) of `bytes` as its 16 canonical (big-endian) bytes.
PieceId IdOf(absl::Span<const uint8_t> bytes);
std::string PieceHash(absl::Span<const uint8_t> bytes);

// XXH3-128 of the 16-byte ids of a sequence's tokens in order; empty if they are empty.
std::string SequenceId(absl::Span<const TokenPiece> tokens);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_PIECE_H_
