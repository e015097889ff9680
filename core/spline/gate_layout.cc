#include "core/spline/gate_layout.h"

#include <algorithm>
#include <optional>

#include "core/spline/piece.h"
#include "core/spline/spline_class.h"

namespace splineserve {

GateLayout::GateLayout(const ModelConfig& config, const PassShape& shape) : shape_(shape) {
  uint64_t memory_degree = 0;
  if (shape.source_tokens != 0) {
    memory_degree =
        AddStack(config, false, config.num_encoder_layers, shape.source_tokens, 0, shape.source_degree, 0);
    degree_ = memory_degree;
  }
  if (shape.target_tokens != 0) {
    degree_ = std::max(degree_, AddStack(config, true, config.num_decoder_layers, shape.target_tokens,
                                         shape.source_tokens, shape.target_degree, memory_degree));
  }
}

uint64_t GateLayout::AddStack(const ModelConfig& config, bool decoder, size_t layers, size_t tokens,
                              size_t memory, uint64_t degree, uint64_t memory_degree) {
  // A constant encoder below a decoder: its gates never flip.
  const bool left_out = !decoder && degree == 0 && shape_.target_tokens != 0;
  const auto add = [&](size_t layer, Site site, size_t heads, size_t width, bool causal, uint64_t of) {
    if (left_out) return;
    GateBlock block{decoder, layer, site, tokens, heads, width, causal, gates_, 0, of};
    block.size = causal ? heads * tokens * (tokens + 1) / 2 : heads * tokens * width;
    gates_ += block.size;
    blocks_.push_back(block);
  };
  for (size_t l = 0; l < layers; ++l) {
    const LayerDegrees degrees =
        DegreesOf(config, degree, memory != 0 ? std::optional(memory_degree) : std::nullopt);
    if (AttentionHasGates(config)) {
      add(l, Site::kSelfAttention, config.num_attention_heads, tokens, decoder, degrees.self_score);
      if (memory != 0) {
        add(l, Site::kCrossAttention, config.num_attention_heads, memory, false, degrees.cross_score);
      }
    }
    if (FeedForwardHasGates(config)) {
      add(l, Site::kFeedForward, 1, config.intermediate_size, false, degrees.hidden);
    }
    degree = degrees.output;
  }
  return degree;
}

const GateBlock* GateLayout::Find(bool decoder, size_t layer, Site site) const {
  for (const GateBlock& block : blocks_) {
    if (block.decoder == decoder && block.layer == layer && block.site == site) return &block;
  }
  return nullptr;
}

GateId GateLayout::At(size_t index) const {
  const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), index,
                                      [](size_t i, const GateBlock& block) { return i < block.first; });
  const GateBlock& block = *(after - 1);
  size_t token = 0;
  if (block.causal) {
    while (block.Group(token + 1, 0) <= index) ++token;
  } else {
    token = (index - block.first) / (block.heads * block.width);
  }
  const size_t within = index - block.Group(token, 0);
  const size_t width = block.Width(token);
  return {block.decoder, block.layer, block.site, token, within / width, within % width};
}

std::vector<std::string> GateLayout::TokenIds(absl::Span<const uint8_t> open) const {
  const bool decoder = shape_.target_tokens != 0;
  std::vector<std::string> ids;
  std::vector<uint8_t> bytes;
  for (size_t token = 0; token < (decoder ? shape_.target_tokens : shape_.source_tokens); ++token) {
    bytes.clear();
    for (const GateBlock& block : blocks_) {
      if (block.decoder != decoder) continue;
      for (size_t head = 0; head < block.heads; ++head) {
        const size_t begin = bytes.size(), first = block.Group(token, head), width = block.Width(token);
        bytes.resize(begin + (width + 7) / 8);
        for (size_t j = 0; j < width; ++j) {
          bytes[begin + j / 8] = static_cast<uint8_t>(bytes[begin + j / 8] | open[first + j] << (j % 8));
        }
      }
    }
    ids.push_back(bytes.empty() ? std::string() : PieceHash(bytes));
  }
  return ids;
}

std::string GateLayout::SequenceIdOf(absl::Span<const uint8_t> open) const {
  std::vector<TokenPiece> tokens;
  for (std::string& id : TokenIds(open)) tokens.push_back({std::move(id), {}, 0});
  return SequenceId(tokens);
}

}  // namespace splineserve
