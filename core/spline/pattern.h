// Patterns: the signs of chosen gates of a whole sequence, as one row of bits that a monitor compares.
#ifndef SPLINESERVE_CORE_SPLINE_PATTERN_H_
#define SPLINESERVE_CORE_SPLINE_PATTERN_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/format/model_config.h"
#include "core/model/gate_sink.h"
#include "core/spline/piece.h"
#include "core/spline/piece_recorder.h"

namespace splineserve {

// Which gates of a sequence make its pattern: those of the tokens of one stack, at the chosen layers, sites
// and units. Empty lists choose all; else they are strictly ascending (Normalize).
struct PatternSelection {
  PieceRecorder::Stack stack = PieceRecorder::Stack::kEncoder;
  std::vector<uint32_t> layers;
  std::vector<Site> sites;
  std::vector<uint32_t> units;  // of feed-forward networks; attention is not affected

  void Normalize();
  bool operator==(const PatternSelection&) const = default;
};

// INVALID_ARGUMENT, naming "selection.layers" and so on, for a stack that the model lacks, layers or units
// past its last, a site that has no gates (a smooth one, cross-attention without a source, units where no
// feed-forward network is chosen), or if nothing is chosen at all. `selection` is normalized.
absl::Status CheckSelection(const PatternSelection& selection, const ModelConfig& config);

// Patterns compare if their shapes are equal: attention has a gate for every visible key, so that the number
// of gates depends on the lengths, and every token has its own.
struct PatternShape {
  uint32_t tokens = 0;         // of the stack
  uint32_t source_tokens = 0;  // that cross-attention sees; 0 unless it is chosen
  uint32_t gates = 0;          // bits

  auto operator<=>(const PatternShape&) const = default;
};

// The chosen gates of all tokens in order, of each token in the order in which its piece is hashed, without
// padding between groups: gate i is bit i % 64 (least significant first) of word i / 64; 1 is open. Bits past
// the last gate are 0.
struct Pattern {
  PatternShape shape;
  std::vector<uint64_t> words;

  bool operator==(const Pattern&) const = default;
};

// 64-bit words of a pattern of so many gates.
inline size_t PatternWords(uint32_t gates) { return (size_t{gates} + 63) / 64; }

// A pattern that grows token by token, where pieces come one after another. Past 2^32 - 1 gates no more are
// kept: no monitor records as many, so that such a pattern compares with none.
class PatternBuilder {
 public:
  // `selection` must outlive it.
  explicit PatternBuilder(const PatternSelection& selection) : selection_(&selection) {}

  // Makes room for a sequence's gates at once.
  void Reserve(absl::Span<const TokenPiece> tokens);
  // The piece of the next token, with its bits, and no fewer groups than the selection has. Cost: about a
  // nanosecond for every eight gates.
  void Add(const TokenPiece& token);

  // Of all tokens so far.
  const Pattern& pattern() const { return pattern_; }
  Pattern Take() && { return std::move(pattern_); }

 private:
  size_t GatesOf(const PieceGroup& group) const;  // that are chosen
  bool ChoosesUnits(const PieceGroup& group) const;
  void Append(uint64_t value, size_t width);

  const PatternSelection* selection_;
  Pattern pattern_;
};

// That of a whole sequence, as PatternBuilder makes it; one allocation.
Pattern PatternOf(const PatternSelection& selection, absl::Span<const TokenPiece> tokens);

// What to ask the engine for so that a monitor has its bits, too: `asked` with BITS, and the selection's
// layers and sites behind the ones that were asked for, so that what the engine says of a wrong entry names
// the right place. `layers` is the number of the stack's layers.
PieceOptions Widen(const PieceOptions& asked, const PatternSelection& selection, size_t layers);

// Whether `asked` names the group's layer and site, as empty lists do all.
bool Lists(const PieceOptions& asked, const PieceGroup& group);

// The inverse, on a piece that was recorded with Widen(asked, ...): takes away what was not asked for.
// `asked.detail` is not kNone.
void Narrow(const PieceOptions& asked, TokenPiece& piece);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_PATTERN_H_
