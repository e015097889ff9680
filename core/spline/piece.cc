#include "core/spline/piece.h"

#include <xxhash.h>

#include <algorithm>

namespace splineserve {
namespace {

template <typename T>
bool ListsOrIsEmpty(const std::vector<T>& filter, T value) {
  return filter.empty() || std::find(filter.begin(), filter.end(), value) != filter.end();
}

}  // namespace

bool PieceOptions::Lists(size_t layer, Site site) const {
  return ListsOrIsEmpty(layers, layer) && ListsOrIsEmpty(sites, site);
}

TokenPiece Described(const TokenPiece& whole, const PieceOptions& options) {
  TokenPiece piece;
  if (options.detail == PieceDetail::kNone) return piece;
  piece.id = whole.id;
  piece.margin = whole.margin;
  if (options.detail == PieceDetail::kId) return piece;
  for (const PieceGroup& group : whole.groups) {
    if (!options.Lists(group.layer, group.site)) continue;
    piece.groups.push_back(group);
    if (options.detail != PieceDetail::kBits) piece.groups.back().bits.clear();
  }
  return piece;
}

PieceId IdOf(absl::Span<const uint8_t> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  return std::string_view(reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest));
}

std::string PieceHash(absl::Span<const uint8_t> bytes) { return std::string(std::string_view(IdOf(bytes))); }

std::string SequenceId(absl::Span<const TokenPiece> tokens) {
  std::string ids;
  ids.reserve(PieceId::kBytes * tokens.size());
  for (const TokenPiece& token : tokens) ids += std::string_view(token.id);
  if (ids.empty()) return "";
  return PieceHash({reinterpret_cast<const uint8_t*>(ids.data()), ids.size()});
}

}  // namespace splineserve
