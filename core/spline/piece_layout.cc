#include "core/spline/piece_layout.h"

#include <algorithm>
#include <limits>

#include "core/spline/piece.h"
#include "core/spline/spline_class.h"

namespace splineserve {

PieceLayout::PieceLayout(const ModelConfig& config, Stack stack)
    : stack_(stack),
      layers_(stack == Stack::kEncoder ? config.num_encoder_layers : config.num_decoder_layers),
      heads_(AttentionHasGates(config) ? config.num_attention_heads : 0),
      cross_heads_(stack == Stack::kDecoder && config.architecture == Architecture::kEncoderDecoder ? heads_
                                                                                                    : 0),
      units_(FeedForwardHasGates(config) ? config.intermediate_size : 0),
      groups_per_layer_(heads_ + cross_heads_ + (units_ > 0 ? 1 : 0)) {}

PieceLayout::Group PieceLayout::At(size_t index, const Widths& widths) const {
  const size_t layer = index / groups_per_layer_, place = index % groups_per_layer_;
  if (place < heads_) return {layer, Site::kSelfAttention, place, widths.self};
  if (place < heads_ + cross_heads_) return {layer, Site::kCrossAttention, place - heads_, widths.cross};
  return {layer, Site::kFeedForward, 0, widths.feed_forward};
}

size_t PieceLayout::WholePieceBytes(size_t tokens, size_t memory) const {
  // More bits than GateBits holds are an allocation of their own, of 32 bytes at least; they are in the
  // recorder, too, with 8 bytes of what they add up to.
  constexpr double kGroup = sizeof(PieceGroup) + 32 + 8;
  double bytes = 0;
  for (size_t token = 0; token < tokens; ++token) {
    const Widths widths = WidthsOf(token, tokens, memory);
    bytes += sizeof(TokenPiece) + kGroup * static_cast<double>(groups()) +
             2 * static_cast<double>(layers_) * static_cast<double>(widths.layer_bytes);
  }
  constexpr double kMost = static_cast<double>(std::numeric_limits<size_t>::max() / 1024);
  return static_cast<size_t>(std::min(bytes, kMost));
}

}  // namespace splineserve
