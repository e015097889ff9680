#include "core/spline/piece_recorder.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace splineserve {

void PieceRecorder::AddSequence(const PieceOptions& options, size_t position, size_t count, size_t keys,
                                size_t memory) {
  Sequence& sequence = sequences_.emplace_back();
  sequence.count = count;
  if (options.detail == PieceDetail::kNone) return;
  sequence.options = options;
  wanted_ = true;
  sequence.position = position;
  sequence.keys = keys;
  sequence.memory = memory;
  size_t bytes = 0;
  sequence.offsets.reserve(count + 1);
  for (size_t token = 0; token < count; ++token) {
    sequence.offsets.push_back(bytes);
    bytes += layout_.layers() * WidthsOf(sequence, token).layer_bytes;
  }
  sequence.offsets.push_back(bytes);
  sequence.bits.resize(bytes);
  sequence.stats.resize(count * layout_.groups());
}

uint8_t* PieceRecorder::Bits(const GateGroupRef& group) {
  Sequence& sequence = sequences_[group.sequence];
  if (sequence.options.detail == PieceDetail::kNone) return nullptr;
  const size_t token = group.position - sequence.position;
  return sequence.bits.data() + sequence.offsets[token] +
         layout_.Offset(WidthsOf(sequence, token), group.layer, group.site, group.head);
}

bool PieceRecorder::BitsOfHeads(const GateGroupRef& first, absl::Span<uint8_t*> bits) {
  uint8_t* next = Bits(first);
  if (next == nullptr) return false;
  for (uint8_t*& head : bits) {
    head = next;
    next += BytesForGates(first.width);
  }
  return true;
}

void PieceRecorder::RecordHeads(const GateGroupRef& first, absl::Span<const GateRow> rows) {
  Sequence& sequence = sequences_[first.sequence];
  GroupStats* next = sequence.stats.data() + (first.position - sequence.position) * layout_.groups() +
                     layout_.Index(first.layer, first.site, 0);
  for (const GateRow& row : rows) *next++ = {row.open, row.margin};
}

void PieceRecorder::Record(const GateGroupRef& group, const GateRow& row) {
  Sequence& sequence = sequences_[group.sequence];
  const size_t token = group.position - sequence.position;
  sequence.stats[token * layout_.groups() + layout_.Index(group.layer, group.site, group.head)] = {
      row.open, row.margin};
}

TokenPiece PieceRecorder::Take(size_t sequence_index, size_t token) const {
  const Sequence& sequence = sequences_[sequence_index];
  const PieceOptions& options = sequence.options;
  const uint8_t* bits = sequence.bits.data() + sequence.offsets[token];
  const GroupStats* const stats = sequence.stats.data() + token * layout_.groups();
  TokenPiece piece;
  if (layout_.groups() > 0) {
    piece.id = IdOf({bits, sequence.offsets[token + 1] - sequence.offsets[token]});
  }
  if (options.margins) {
    piece.margin = std::numeric_limits<float>::infinity();
    for (size_t g = 0; g < layout_.groups(); ++g) piece.margin = std::min(piece.margin, stats[g].margin);
  }
  if (options.detail == PieceDetail::kId) return piece;

  piece.groups.reserve((options.layers.empty() ? layout_.layers() : options.layers.size()) *
                       layout_.groups_per_layer());
  const GroupStats* next = stats;
  const bool lists_all = options.layers.empty() && options.sites.empty();
  layout_.ForGroups(WidthsOf(sequence, token), [&](const PieceLayout::Group& group) {
    const uint8_t* const first = bits;
    bits += BytesForGates(group.width);
    const GroupStats& seen = *next++;
    if (!lists_all && !options.Lists(group.layer, group.site)) return;
    PieceGroup& result = piece.groups.emplace_back();
    result.layer = group.layer;
    result.site = group.site;
    result.head = group.head;
    result.width = static_cast<uint32_t>(group.width);
    result.open = seen.open;
    if (options.detail == PieceDetail::kBits) result.bits.assign(first, bits);
    result.margin = seen.margin;
  });
  return piece;
}

std::vector<TokenPiece> PieceRecorder::TakeAll(size_t sequence) const {
  std::vector<TokenPiece> pieces;
  pieces.reserve(sequences_[sequence].count);
  for (size_t token = 0; token < sequences_[sequence].count; ++token) pieces.push_back(Take(sequence, token));
  return pieces;
}

}  // namespace splineserve
