#include "core/spline/pattern.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/spline/spline_class.h"

namespace splineserve {
namespace {

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

// Appends bits at the end of a row of words.
class BitWriter {
 public:
  explicit BitWriter(std::vector<uint64_t>& words) : words_(words) {}

  // The bits after the last one are zero, as in every group.
  void Append(const uint8_t* bytes, size_t count) {
    for (size_t bit = 0; bit < count; bit += 8) Put(bytes[bit / 8], std::min<size_t>(8, count - bit));
  }
  void AppendBit(bool bit) { Put(bit ? 1 : 0, 1); }

 private:
  void Put(uint64_t value, size_t width) {
    const size_t shift = size_ % 64;
    words_[size_ / 64] |= value << shift;
    if (shift + width > 64) words_[size_ / 64 + 1] |= value >> (64 - shift);
    size_ += width;
  }

  std::vector<uint64_t>& words_;
  size_t size_ = 0;
};

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

Pattern PatternOf(const PatternSelection& selection, absl::Span<const TokenPiece> tokens) {
  Pattern pattern;
  pattern.shape.tokens = static_cast<uint32_t>(tokens.size());
  const auto chosen = [&](const PieceGroup& group) {
    return ListsOrIsEmpty(selection.layers, group.layer) && ListsOrIsEmpty(selection.sites, group.site);
  };
  const auto by_unit = [&](const PieceGroup& group) {
    return group.site == Site::kFeedForward && !selection.units.empty();
  };
  for (const TokenPiece& token : tokens) {
    for (const PieceGroup& group : token.groups) {
      if (!chosen(group)) continue;
      if (group.site == Site::kCrossAttention) pattern.shape.source_tokens = group.width;
      pattern.shape.gates += by_unit(group) ? static_cast<uint32_t>(selection.units.size()) : group.width;
    }
  }
  pattern.words.resize(PatternWords(pattern.shape.gates));
  BitWriter writer(pattern.words);
  for (const TokenPiece& token : tokens) {
    for (const PieceGroup& group : token.groups) {
      if (!chosen(group)) continue;
      if (!by_unit(group)) {
        writer.Append(group.bits.data(), group.width);
        continue;
      }
      for (const uint32_t unit : selection.units)
        writer.AppendBit((group.bits[unit / 8] >> (unit % 8) & 1) != 0);
    }
  }
  return pattern;
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
    if (mine.size() <= all.size()) {
      auto last = mine.begin();
      for (auto it = mine.begin(); it != mine.end(); ++it) {
        if (std::find(mine.begin(), last, *it) == last) *last++ = *it;
      }
      mine.erase(last, mine.end());
    }
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

void Narrow(const PieceOptions& asked, TokenPiece& piece) {
  if (asked.detail == PieceDetail::kId) {
    piece.groups.clear();
    return;
  }
  std::erase_if(piece.groups, [&](const PieceGroup& group) {
    return !ListsOrIsEmpty(asked.layers, group.layer) || !ListsOrIsEmpty(asked.sites, group.site);
  });
  if (asked.detail == PieceDetail::kBits) return;
  for (PieceGroup& group : piece.groups) group.bits.clear();
}

}  // namespace splineserve
