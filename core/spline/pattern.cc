#include "core/spline/pattern.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/spline/spline_class.h"

namespace splineserve {
namespace {

// Of a pattern's shape.
constexpr size_t kMaxGates = std::numeric_limits<uint32_t>::max();

using Stack = PieceRecorder::Stack;

template <typename T>
void SortUniquely(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

template <typename List, typename T>
bool ListsOrIsEmpty(const List& filter, T value) {
  return filter.empty() || std::find(filter.begin(), filter.end(), value) != filter.end();
}

absl::Status Invalid(const std::string& where, const std::string& expected, const std::string& found) {
  return absl::InvalidArgumentError(
      absl::StrCat("selection.", where, ": expected ", expected, ", found ", found));
}

const char* NameOf(Site site) {
  switch (site) {
    case Site::kSelfAttention:
      return "SELF_ATTENTION";
    case Site::kCrossAttention:
      return "CROSS_ATTENTION";
    case Site::kFeedForward:
      return "FEED_FORWARD";
  }
  return "?";
}

bool HasGates(Site site, Stack stack, const ModelConfig& config) {
  switch (site) {
    case Site::kSelfAttention:
      return AttentionHasGates(config);
    case Site::kCrossAttention:
      return AttentionHasGates(config) && stack == Stack::kDecoder &&
             config.architecture == Architecture::kEncoderDecoder;
    case Site::kFeedForward:
      return FeedForwardHasGates(config);
  }
  return false;
}

// The last of an ascending list must be below `bound`.
absl::Status CheckBelow(const std::vector<uint32_t>& values, size_t bound, const char* where,
                        const char* what) {
  if (values.empty() || values.back() < bound) return absl::OkStatus();
  return Invalid(where, absl::StrCat(what, " in [0, ", bound, ")"), absl::StrCat(values.back()));
}

}  // namespace

void PatternSelection::Normalize() {
  SortUniquely(layers);
  SortUniquely(sites);
  SortUniquely(units);
}

absl::Status CheckSelection(const PatternSelection& selection, const ModelConfig& config) {
  const bool encoder = selection.stack == Stack::kEncoder;
  const size_t layers = encoder ? config.num_encoder_layers : config.num_decoder_layers;
  if (layers == 0) {
    return Invalid("stack", encoder ? "DECODER, the model's only stack" : "ENCODER, the model's only stack",
                   encoder ? "ENCODER" : "DECODER");
  }
  SPLINESERVE_RETURN_IF_ERROR(CheckBelow(selection.layers, layers, "layers", "layers"));
  SPLINESERVE_RETURN_IF_ERROR(CheckBelow(selection.units, config.intermediate_size, "units", "units"));
  for (const Site site : selection.sites) {
    if (!HasGates(site, selection.stack, config)) {
      return Invalid("sites", "sites that have gates in this stack", NameOf(site));
    }
  }
  if (!selection.units.empty() && (!ListsOrIsEmpty(selection.sites, Site::kFeedForward) ||
                                   !HasGates(Site::kFeedForward, selection.stack, config))) {
    return Invalid("units", "none where no feed-forward gates are chosen",
                   absl::StrCat(selection.units.size()));
  }
  if (selection.sites.empty() && !HasGates(Site::kSelfAttention, selection.stack, config) &&
      !HasGates(Site::kFeedForward, selection.stack, config)) {
    return Invalid("sites", "a model with ReLU gates", "one whose activations are all smooth");
  }
  return absl::OkStatus();
}

bool PatternBuilder::ChoosesUnits(const PieceGroup& group) const {
  return group.site == Site::kFeedForward && !selection_->units.empty();
}

size_t PatternBuilder::GatesOf(const PieceGroup& group) const {
  if (!ListsOrIsEmpty(selection_->layers, group.layer) || !ListsOrIsEmpty(selection_->sites, group.site))
    return 0;
  return ChoosesUnits(group) ? selection_->units.size() : group.width;
}

void PatternBuilder::Reserve(absl::Span<const TokenPiece> tokens) {
  size_t gates = pattern_.shape.gates;
  for (const TokenPiece& token : tokens) {
    for (const PieceGroup& group : token.groups) gates += GatesOf(group);
  }
  pattern_.words.reserve((std::min(gates, kMaxGates) + 63) / 64);
}

void PatternBuilder::Append(uint64_t value, size_t width) {
  const size_t gates = pattern_.shape.gates, shift = gates % 64;
  if (gates + width > kMaxGates) {
    pattern_.shape.gates = kMaxGates;
    return;
  }
  pattern_.shape.gates += static_cast<uint32_t>(width);
  if (shift == 0) {
    pattern_.words.push_back(value);
    return;
  }
  pattern_.words.back() |= value << shift;
  if (shift + width > 64) pattern_.words.push_back(value >> (64 - shift));
}

void PatternBuilder::Add(const TokenPiece& token) {
  ++pattern_.shape.tokens;
  for (const PieceGroup& group : token.groups) {
    if (GatesOf(group) == 0) continue;
    if (group.site == Site::kCrossAttention) pattern_.shape.source_tokens = group.width;
    if (ChoosesUnits(group)) {
      for (const uint32_t unit : selection_->units) Append(group.bits[unit / 8] >> (unit % 8) & 1, 1);
      continue;
    }
    // The bits after a group's last one are zero.
    for (size_t bit = 0; bit < group.width; bit += 8)
      Append(group.bits[bit / 8], std::min<size_t>(8, group.width - bit));
  }
}

Pattern PatternOf(const PatternSelection& selection, absl::Span<const TokenPiece> tokens) {
  PatternBuilder builder(selection);
  builder.Reserve(tokens);
  for (const TokenPiece& token : tokens) builder.Add(token);
  return std::move(builder).Take();
}

PieceOptions Widen(const PieceOptions& asked, const PatternSelection& selection, size_t layers) {
  PieceOptions wide = asked;
  wide.detail = PieceDetail::kBits;
  const bool lists_all = asked.detail > PieceDetail::kId;
  // Names in `mine` everything that `theirs` does. An entry that stands there twice must not make the list
  // longer than the engine lets it be; a list that is too long as it is, and what is wrong in it, stay for
  // the engine to refuse.
  const auto join = [&](auto& mine, const auto& theirs, const auto& all) {
    if (mine.empty()) {
      if (!lists_all) mine.assign(theirs.begin(), theirs.end());
      return;
    }
    if (mine.size() > all.size()) return;
    auto last = mine.begin();
    for (auto it = mine.begin(); it != mine.end(); ++it) {
      if (std::find(mine.begin(), last, *it) == last) *last++ = *it;
    }
    mine.erase(last, mine.end());
    const auto add = [&](const auto& values) {
      for (const auto& value : values) {
        if (std::find(mine.begin(), mine.end(), value) == mine.end()) mine.push_back(value);
      }
    };
    theirs.empty() ? add(all) : add(theirs);
  };
  std::vector<size_t> all_layers(layers);
  std::iota(all_layers.begin(), all_layers.end(), size_t{0});
  join(wide.layers, selection.layers, all_layers);
  join(wide.sites, selection.sites,
       std::vector<Site>{Site::kSelfAttention, Site::kCrossAttention, Site::kFeedForward});
  return wide;
}

bool Lists(const PieceOptions& asked, const PieceGroup& group) {
  return ListsOrIsEmpty(asked.layers, group.layer) && ListsOrIsEmpty(asked.sites, group.site);
}

void Narrow(const PieceOptions& asked, TokenPiece& piece) {
  if (asked.detail == PieceDetail::kId) {
    piece.groups.clear();
    return;
  }
  std::erase_if(piece.groups, [&](const PieceGroup& group) { return !Lists(asked, group); });
  if (asked.detail == PieceDetail::kBits) return;
  for (PieceGroup& group : piece.groups) group.bits.clear();
}

}  // namespace splineserve
