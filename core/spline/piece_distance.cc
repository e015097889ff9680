#include "core/spline/piece_distance.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace splineserve {
namespace {

// The next 64 bits, or the last `bytes` of them.
uint64_t Load(const uint8_t* bits, size_t bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bits, bytes);
  return word;
}

}  // namespace

HammingDistance BitDistance(absl::Span<const uint8_t> a, size_t a_width, absl::Span<const uint8_t> b,
                            size_t b_width) {
  const size_t compared = std::min(a_width, b_width);
  HammingDistance distance;
  distance.compared = compared;
  distance.unmatched = std::max(a_width, b_width) - compared;
  const size_t whole = compared / 8;  // bytes in which every gate counts
  size_t byte = 0;
  for (; byte + 8 <= whole; byte += 8) {
    distance.differing +=
        static_cast<uint64_t>(std::popcount(Load(a.data() + byte, 8) ^ Load(b.data() + byte, 8)));
  }
  if (byte != whole) {
    distance.differing += static_cast<uint64_t>(
        std::popcount(Load(a.data() + byte, whole - byte) ^ Load(b.data() + byte, whole - byte)));
  }
  if (compared % 8 != 0) {
    const uint32_t mask = (1u << compared % 8) - 1;
    distance.differing += static_cast<uint64_t>(std::popcount((uint32_t{a[whole]} ^ b[whole]) & mask));
  }
  return distance;
}

PieceDistance DistanceBetween(absl::Span<const TokenPiece> a, absl::Span<const TokenPiece> b) {
  PieceDistance result;
  const absl::Span<const TokenPiece> longer = a.size() >= b.size() ? a : b;
  if (longer.empty()) return result;
  for (const PieceGroup& group : longer.front().groups) {
    result.groups.push_back({group.layer, group.site, group.head, {}});
  }
  const size_t common = std::min(a.size(), b.size());
  for (size_t t = 0; t < longer.size(); ++t) {
    HammingDistance token;
    for (size_t g = 0; g < result.groups.size(); ++g) {
      const PieceGroup& group = longer[t].groups[g];
      HammingDistance distance;
      if (t < common) {
        const PieceGroup &x = a[t].groups[g], &y = b[t].groups[g];
        distance = BitDistance(x.bits, x.width, y.bits, y.width);
      } else {
        distance.unmatched = group.width;
      }
      result.groups[g].distance += distance;
      token += distance;
    }
    // A token that the other sequence lacks is not the same, even where tokens have no gates.
    if (t < common && token.same()) ++result.same_tokens;
    result.total += token;
    result.tokens.push_back(token);
  }
  return result;
}

}  // namespace splineserve
