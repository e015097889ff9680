#include "core/spline/piece.h"

#include <xxhash.h>

namespace splineserve {

std::string PieceHash(absl::Span<const uint8_t> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  return std::string(reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest));
}

std::string SequenceId(absl::Span<const TokenPiece> tokens) {
  std::string ids;
  for (const TokenPiece& token : tokens) ids += token.id;
  if (ids.empty()) return "";
  return PieceHash({reinterpret_cast<const uint8_t*>(ids.data()), ids.size()});
}

}  // namespace splineserve
