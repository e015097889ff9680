#include "core/spline/piece_recorder.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/spline/spline_class.h"

namespace splineserve {
namespace {

size_t BytesFor(size_t width) { return (width + 7) / 8; }

template <typename T>
bool ListsOrIsEmpty(const std::vector<T>& filter, T value) {
  return filter.empty() || std::find(filter.begin(), filter.end(), value) != filter.end();
}

}  // namespace

PieceRecorder::PieceRecorder(const ModelConfig& config, Stack stack)
    : stack_(stack),
      layers_(stack == Stack::kEncoder ? config.num_encoder_layers : config.num_decoder_layers),
      heads_(AttentionHasGates(config) ? config.num_attention_heads : 0),
      cross_heads_(stack == Stack::kDecoder && config.architecture == Architecture::kEncoderDecoder ? heads_
                                                                                                    : 0),
      units_(FeedForwardHasGates(config) ? config.intermediate_size : 0),
      groups_per_layer_(heads_ + cross_heads_ + (units_ > 0 ? 1 : 0)) {}

void PieceRecorder::AddSequence(const PieceOptions& options, size_t position, size_t count, size_t keys,
                                size_t memory) {
  Sequence sequence;
  sequence.count = count;
  if (options.detail == PieceDetail::kNone) {
    sequences_.push_back(std::move(sequence));
    return;
  }
  sequence.options = options;
  wanted_ = true;
  sequence.position = position;
  sequence.keys = keys;
  sequence.memory = memory;
  size_t bytes = 0;
  for (size_t token = 0; token < count; ++token) {
    sequence.offsets.push_back(bytes);
    bytes += layers_ * WidthsOf(sequence, token).layer_bytes;
  }
  sequence.offsets.push_back(bytes);
  sequence.bits.resize(bytes);
  sequence.stats.resize(count * layers_ * groups_per_layer_);
  sequences_.push_back(std::move(sequence));
}

PieceRecorder::Widths PieceRecorder::WidthsOf(const Sequence& sequence, size_t token) const {
  Widths widths;
  widths.self = stack_ == Stack::kEncoder ? sequence.keys : sequence.position + token + 1;
  widths.cross = sequence.memory;
  widths.feed_forward = units_;
  widths.layer_bytes =
      heads_ * BytesFor(widths.self) + cross_heads_ * BytesFor(widths.cross) + BytesFor(units_);
  return widths;
}

size_t PieceRecorder::GroupIndex(size_t layer, Site site, size_t head) const {
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

size_t PieceRecorder::GroupOffset(const Widths& widths, size_t layer, Site site, size_t head) const {
  const size_t first = layer * widths.layer_bytes;
  switch (site) {
    case Site::kSelfAttention:
      return first + head * BytesFor(widths.self);
    case Site::kCrossAttention:
      return first + heads_ * BytesFor(widths.self) + head * BytesFor(widths.cross);
    case Site::kFeedForward:
      return first + heads_ * BytesFor(widths.self) + cross_heads_ * BytesFor(widths.cross);
  }
  return first;
}

uint8_t* PieceRecorder::Bits(const GateGroupRef& group) {
  Sequence& sequence = sequences_[group.sequence];
  if (sequence.options.detail == PieceDetail::kNone) return nullptr;
  const size_t token = group.position - sequence.position;
  return sequence.bits.data() + sequence.offsets[token] +
         GroupOffset(WidthsOf(sequence, token), group.layer, group.site, group.head);
}

void PieceRecorder::Record(const GateGroupRef& group, const GateRow& row) {
  Sequence& sequence = sequences_[group.sequence];
  const size_t token = group.position - sequence.position;
  sequence.stats[token * layers_ * groups_per_layer_ + GroupIndex(group.layer, group.site, group.head)] = {
      row.open, row.margin};
}

TokenPiece PieceRecorder::Take(size_t sequence_index, size_t token) const {
  const Sequence& sequence = sequences_[sequence_index];
  const uint8_t* const bits = sequence.bits.data() + sequence.offsets[token];
  const GroupStats* const stats = sequence.stats.data() + token * layers_ * groups_per_layer_;
  TokenPiece piece;
  if (layers_ * groups_per_layer_ > 0) {
    piece.id = PieceHash({bits, sequence.offsets[token + 1] - sequence.offsets[token]});
  }
  if (sequence.options.margins) {
    piece.margin = std::numeric_limits<float>::infinity();
    for (size_t g = 0; g < layers_ * groups_per_layer_; ++g)
      piece.margin = std::min(piece.margin, stats[g].margin);
  }
  if (sequence.options.detail == PieceDetail::kId) return piece;

  const Widths widths = WidthsOf(sequence, token);
  const struct {
    Site site;
    size_t heads, width;
  } sites[] = {{Site::kSelfAttention, heads_, widths.self},
               {Site::kCrossAttention, cross_heads_, widths.cross},
               {Site::kFeedForward, units_ > 0 ? size_t{1} : size_t{0}, units_}};
  piece.groups.reserve((sequence.options.layers.empty() ? layers_ : sequence.options.layers.size()) *
                       groups_per_layer_);
  for (size_t layer = 0; layer < layers_; ++layer) {
    if (!ListsOrIsEmpty(sequence.options.layers, layer)) continue;
    for (const auto& [site, heads, width] : sites) {
      if (!ListsOrIsEmpty(sequence.options.sites, site)) continue;
      for (size_t head = 0; head < heads; ++head) {
        const GroupStats& group = stats[GroupIndex(layer, site, head)];
        PieceGroup result{layer, site, head, static_cast<uint32_t>(width), group.open, {}, group.margin};
        if (sequence.options.detail == PieceDetail::kBits) {
          const uint8_t* const first = bits + GroupOffset(widths, layer, site, head);
          result.bits.assign(first, first + BytesFor(width));
        }
        piece.groups.push_back(std::move(result));
      }
    }
  }
  return piece;
}

}  // namespace splineserve
