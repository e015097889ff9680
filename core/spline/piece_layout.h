// Which groups of gates a token owns, and their order: the one in which they are hashed. For each layer of
// the stack that the token runs through: self-attention heads, cross-attention heads, feed-forward units.
// Sites without ReLU have no groups.
#ifndef SPLINESERVE_CORE_SPLINE_PIECE_LAYOUT_H_
#define SPLINESERVE_CORE_SPLINE_PIECE_LAYOUT_H_

#include <cstddef>

#include "core/format/model_config.h"
#include "core/model/gate_sink.h"

namespace splineserve {

// Bytes of a group's bits.
constexpr size_t BytesForGates(size_t width) { return (width + 7) / 8; }

// A value; thread-safe.
class PieceLayout {
 public:
  enum class Stack { kEncoder, kDecoder };
  PieceLayout(const ModelConfig& config, Stack stack);

  // Gates of one group of each site, for one token; meaningless for a site without groups.
  struct Widths {
    size_t self = 0, cross = 0, feed_forward = 0;
    size_t layer_bytes = 0;  // of all groups of one layer
  };
  // Of the token at `position`. `keys` is what the encoder's self-attention sees: all tokens of the sequence
  // (unused for decoders); `memory` is what cross-attention sees (0 without).
  Widths WidthsOf(size_t position, size_t keys, size_t memory) const;

  struct Group {
    size_t layer = 0;
    Site site = Site::kFeedForward;
    size_t head = 0;
    size_t width = 0;
  };
  // A token's group number `index`, of groups().
  Group At(size_t index, const Widths& widths) const;
  // Calls body(group) for each of a token's groups, in order.
  template <typename Body>
  void ForGroups(const Widths& widths, const Body& body) const {
    for (size_t layer = 0; layer < layers_; ++layer) {
      for (size_t head = 0; head < heads_; ++head) {
        body(Group{layer, Site::kSelfAttention, head, widths.self});
      }
      for (size_t head = 0; head < cross_heads_; ++head) {
        body(Group{layer, Site::kCrossAttention, head, widths.cross});
      }
      if (units_ > 0) body(Group{layer, Site::kFeedForward, 0, widths.feed_forward});
    }
  }
  size_t Index(size_t layer, Site site, size_t head) const;
  // Where its bytes begin among the token's.
  size_t Offset(const Widths& widths, size_t layer, Site site, size_t head) const;

  Stack stack() const { return stack_; }
  size_t layers() const { return layers_; }
  size_t groups_per_layer() const { return groups_per_layer_; }
  size_t groups() const { return layers_ * groups_per_layer_; }  // of a token

  // About the memory of all gates of a sequence of `tokens` tokens (and `memory` ones of its source), from
  // their recording to whole TokenPieces. Saturates far above any memory there is.
  size_t WholePieceBytes(size_t tokens, size_t memory) const;

 private:
  Stack stack_;
  size_t layers_;
  size_t heads_;        // of attention sites that have gates, else 0
  size_t cross_heads_;  // likewise of cross-attention
  size_t units_;        // of feed-forward networks that have gates, else 0
  size_t groups_per_layer_;
};

// Asked of every group of every token: inline, ids cost a call of 0.09 ms 2.5 instead of 2.8 % (Zen 4).
inline PieceLayout::Widths PieceLayout::WidthsOf(size_t position, size_t keys, size_t memory) const {
  Widths widths;
  widths.self = stack_ == Stack::kEncoder ? keys : position + 1;
  widths.cross = memory;
  widths.feed_forward = units_;
  widths.layer_bytes = heads_ * BytesForGates(widths.self) + cross_heads_ * BytesForGates(widths.cross) +
                       BytesForGates(units_);
  return widths;
}

inline size_t PieceLayout::Index(size_t layer, Site site, size_t head) const {
  const size_t first = layer * groups_per_layer_;
  switch (site) {
    case Site::kSelfAttention:
      return first + head;
    case Site::kCrossAttention:
      return first + heads_ + head;
    case Site::kFeedForward:
      return first + heads_ + cross_heads_;
  }
  return first;
}

inline size_t PieceLayout::Offset(const Widths& widths, size_t layer, Site site, size_t head) const {
  const size_t first = layer * widths.layer_bytes;
  switch (site) {
    case Site::kSelfAttention:
      return first + head * BytesForGates(widths.self);
    case Site::kCrossAttention:
      return first + heads_ * BytesForGates(widths.self) + head * BytesForGates(widths.cross);
    case Site::kFeedForward:
      return first + heads_ * BytesForGates(widths.self) + cross_heads_ * BytesForGates(widths.cross);
  }
  return first;
}

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_PIECE_LAYOUT_H_
