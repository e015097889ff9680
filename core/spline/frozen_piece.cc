#include "core/spline/frozen_piece.h"

#include <bit>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve {
namespace {

absl::Status Invalid(const std::string& where, const std::string& expected, const std::string& found) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": expected ", expected, ", found ", found));
}

// Appends the group's bytes to `bytes`.
absl::Status CheckGroup(const PieceLayout::Group& expected, const std::string& where, PieceGroup& group,
                        std::vector<uint8_t>& bytes) {
  const std::string name = DescribeGroup(expected.layer, expected.site, expected.head);
  if (group.layer != expected.layer || group.site != expected.site || group.head != expected.head) {
    return Invalid(where, absl::StrCat(name, " next: all groups in the order of Encode and Decode"),
                   DescribeGroup(group.layer, group.site, group.head));
  }
  const std::string place = absl::StrCat(where, ", ", name);
  if (group.width != expected.width) {
    return Invalid(absl::StrCat(place, ", width"), absl::StrCat(expected.width, " gates"),
                   absl::StrCat(group.width));
  }
  if (group.bits.size() != BytesForGates(expected.width)) {
    return Invalid(absl::StrCat(place, ", bits"),
                   absl::StrCat(BytesForGates(expected.width), " bytes for ", expected.width, " gates"),
                   absl::StrCat(group.bits.size()));
  }
  if (expected.width % 8 != 0 && group.bits.back() >> (expected.width % 8) != 0) {
    return Invalid(absl::StrCat(place, ", bits"),
                   absl::StrCat("zeros after the last of ", expected.width, " gates"), "ones");
  }
  uint32_t open = 0;
  for (const uint8_t byte : group.bits) open += static_cast<uint32_t>(std::popcount(byte));
  if (group.open != 0 && group.open != open) {
    return Invalid(absl::StrCat(place, ", open"), absl::StrCat("0 or ", open, ", the open gates in bits"),
                   absl::StrCat(group.open));
  }
  group.open = open;
  bytes.insert(bytes.end(), group.bits.begin(), group.bits.end());
  return absl::OkStatus();
}

std::string Hex(std::string_view bytes) {
  return bytes.size() == PieceId::kBytes ? absl::BytesToHexString(std::string(bytes))
                                         : absl::StrCat(bytes.size(), " bytes");
}

}  // namespace

std::string DescribeGroup(size_t layer, Site site, size_t head) {
  switch (site) {
    case Site::kSelfAttention:
      return absl::StrCat("layer ", layer, ", self-attention head ", head);
    case Site::kCrossAttention:
      return absl::StrCat("layer ", layer, ", cross-attention head ", head);
    case Site::kFeedForward:
      return absl::StrCat("layer ", layer, ", feed-forward", head == 0 ? "" : absl::StrCat(" head ", head));
  }
  return "";
}

absl::Status CheckGivenPieces(const PieceLayout& layout, size_t tokens, size_t memory,
                              const std::string& where, std::vector<TokenPiece>& pieces) {
  if (pieces.size() != tokens) {
    return Invalid(where, absl::StrCat("a piece for each of the input's ", tokens, " tokens"),
                   absl::StrCat(pieces.size()));
  }
  std::vector<uint8_t> bytes;
  for (size_t token = 0; token < tokens; ++token) {
    TokenPiece& piece = pieces[token];
    const std::string place = absl::StrCat(where, "[", token, "]");
    if (piece.groups.size() != layout.groups()) {
      return Invalid(place,
                     absl::StrCat("all groups of all layers, ", layout.groups(),
                                  ", as Encode and Decode list them with BITS and without filters"),
                     absl::StrCat(piece.groups.size()));
    }
    bytes.clear();
    const PieceLayout::Widths widths = layout.WidthsOf(token, tokens, memory);
    for (size_t g = 0; g < piece.groups.size(); ++g) {
      SPLINESERVE_RETURN_IF_ERROR(CheckGroup(layout.At(g, widths), place, piece.groups[g], bytes));
    }
    const PieceId id = piece.groups.empty() ? PieceId() : IdOf(bytes);
    if (!piece.id.empty() && piece.id != id) {
      return Invalid(absl::StrCat(place, ".id"),
                     id.empty() ? "none, for the token has no gates"
                                : absl::StrCat("none or ", Hex(id), ", the hash of the bits"),
                     Hex(piece.id));
    }
    piece.id = id;
  }
  return absl::OkStatus();
}

}  // namespace splineserve
