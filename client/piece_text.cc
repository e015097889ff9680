#include "client/piece_text.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/table.h"

namespace splineserve::client {
namespace {

using Group = v1::TokenPiece::Group;

constexpr std::array<v1::Site::Value, 3> kSites = {v1::Site::SELF_ATTENTION, v1::Site::CROSS_ATTENTION,
                                                   v1::Site::FEED_FORWARD};

std::string Label(const std::vector<std::string>& labels, size_t token) {
  return token < labels.size() ? labels[token] : "";
}

std::string MarginText(bool has_margin, float margin) {
  return has_margin ? absl::StrFormat("%.3g", margin) : "";
}

// "1 0 2 3 of 8": heads of one attention see the same keys, so their widths agree.
std::string CountsText(const v1::TokenPiece::Layer& layer, v1::Site::Value site) {
  std::vector<uint32_t> open;
  uint32_t width = 0;
  for (const Group& group : layer.groups()) {
    if (group.site() != site) continue;
    open.push_back(group.open());
    width = group.width();
  }
  return open.empty() ? "" : absl::StrCat(absl::StrJoin(open, " "), " of ", width);
}

// Smallest margin of a layer's listed groups.
std::string LayerMargin(const v1::TokenPiece::Layer& layer) {
  bool any = false;
  float margin = std::numeric_limits<float>::infinity();
  for (const Group& group : layer.groups()) {
    if (!group.has_margin()) continue;
    any = true;
    margin = std::min(margin, group.margin());
  }
  return MarginText(any, margin);
}

bool HasBits(const TokenPieces& pieces) {
  for (const v1::TokenPiece& piece : pieces) {
    for (const auto& layer : piece.layers()) {
      for (const Group& group : layer.groups()) {
        if (!group.bits().empty()) return true;
      }
    }
  }
  return false;
}

bool HasMargins(const TokenPieces& pieces) { return !pieces.empty() && pieces[0].has_margin(); }

std::string BitsTable(const TokenPieces& pieces, const std::vector<std::string>& labels,
                      std::string_view indent) {
  Table table({{"token", Align::kRight},
               {"", Align::kLeft},
               {"piece", Align::kLeft},
               {"layer", Align::kRight},
               {"site", Align::kLeft},
               {"head", Align::kRight},
               {"open", Align::kRight},
               {HasMargins(pieces) ? "margin" : "", Align::kRight},
               {"bits", Align::kLeft}});
  for (int token = 0; token < pieces.size(); ++token) {
    std::string number = absl::StrCat(token), label = Label(labels, token), id = Hex(pieces[token].id());
    for (const auto& layer : pieces[token].layers()) {
      for (const Group& group : layer.groups()) {
        table.AddRow({number, label, id, absl::StrCat(layer.layer()), SiteName(group.site()),
                      group.site() == v1::Site::FEED_FORWARD ? "" : absl::StrCat(group.head()),
                      absl::StrCat(group.open(), " of ", group.width()),
                      MarginText(group.has_margin(), group.margin()), Hex(group.bits())});
        number = label = id = "";
      }
    }
    if (!number.empty()) table.AddRow({number, label, id});
  }
  return table.ToString(indent);
}

std::string CountsTable(const TokenPieces& pieces, const std::vector<std::string>& labels,
                        std::string_view indent) {
  std::set<v1::Site::Value> present;
  bool any_layer = false;
  for (const v1::TokenPiece& piece : pieces) {
    for (const auto& layer : piece.layers()) {
      any_layer = true;
      for (const Group& group : layer.groups()) present.insert(group.site());
    }
  }
  std::vector<Table::Column> columns = {
      {"token", Align::kRight}, {"", Align::kLeft}, {"piece", Align::kLeft}};
  if (any_layer) columns.push_back({"layer", Align::kRight});
  for (v1::Site::Value site : kSites) {
    if (present.count(site) > 0) columns.push_back({SiteName(site), Align::kRight});
  }
  if (HasMargins(pieces)) columns.push_back({"margin", Align::kRight});
  Table table(columns);
  for (int token = 0; token < pieces.size(); ++token) {
    const v1::TokenPiece& piece = pieces[token];
    const std::string id = piece.id().empty() ? "(no gates)" : Hex(piece.id());
    std::vector<std::string> cells = {absl::StrCat(token), Label(labels, token), id};
    if (piece.layers().empty()) {
      cells.resize(columns.size() - (HasMargins(pieces) ? 1 : 0));
      if (HasMargins(pieces)) cells.push_back(MarginText(piece.has_margin(), piece.margin()));
      table.AddRow(cells);
      continue;
    }
    for (const auto& layer : piece.layers()) {
      cells.push_back(absl::StrCat(layer.layer()));
      for (v1::Site::Value site : kSites) {
        if (present.count(site) > 0) cells.push_back(CountsText(layer, site));
      }
      if (HasMargins(pieces)) cells.push_back(LayerMargin(layer));
      table.AddRow(cells);
      cells.assign(3, "");
    }
  }
  return table.ToString(indent);
}

}  // namespace

std::string SiteName(v1::Site::Value site) {
  switch (site) {
    case v1::Site::SELF_ATTENTION:
      return "self-attention";
    case v1::Site::CROSS_ATTENTION:
      return "cross-attention";
    case v1::Site::FEED_FORWARD:
      return "feed-forward";
    default:  // Protobuf's enums are open: a newer server may send more
      return absl::StrCat("site ", static_cast<int>(site));
  }
}

std::string Hex(std::string_view bytes) {
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}

std::string PieceTable(const TokenPieces& pieces, const std::vector<std::string>& labels,
                       std::string_view indent) {
  return HasBits(pieces) ? BitsTable(pieces, labels, indent) : CountsTable(pieces, labels, indent);
}

std::string OpenGatesLine(const TokenPieces& pieces) {
  struct Sum {
    uint64_t open = 0, width = 0;
  };
  std::array<Sum, kSites.size()> sums;
  for (const v1::TokenPiece& piece : pieces) {
    for (const auto& layer : piece.layers()) {
      for (const Group& group : layer.groups()) {
        for (size_t i = 0; i < kSites.size(); ++i) {
          if (group.site() != kSites[i]) continue;
          sums[i].open += group.open();
          sums[i].width += group.width();
        }
      }
    }
  }
  std::vector<std::string> parts;
  for (size_t i = 0; i < kSites.size(); ++i) {
    if (sums[i].width == 0) continue;
    parts.push_back(
        absl::StrFormat("%d of %d in %s (%.1f %%)", sums[i].open, sums[i].width, SiteName(kSites[i]),
                        100.0 * static_cast<double>(sums[i].open) / static_cast<double>(sums[i].width)));
  }
  return parts.empty() ? "" : absl::StrCat("open gates: ", absl::StrJoin(parts, ", "));
}

std::string PieceNote(v1::ModelInfo::SplineClass spline_class, uint64_t degree_bound) {
  std::string note =
      "A piece is the sign pattern of the gates that a token owns. The token's output also depends on other "
      "tokens' gates,\n"
      "which are parts of their own pieces.";
  switch (spline_class) {
    case v1::ModelInfo::EXACT:
      absl::StrAppend(&note,
                      " While all of them stay as they are, the model is one polynomial of degree at most ",
                      degree_bound == std::numeric_limits<uint64_t>::max() ? "2^64 - 1 (saturated)"
                                                                           : absl::StrCat(degree_bound),
                      ".");
      break;
    case v1::ModelInfo::REGIONAL:
      absl::StrAppend(&note,
                      " The model's norms are not polynomial, so that neither is the model on a piece.");
      break;
    case v1::ModelInfo::SMOOTH:
      absl::StrAppend(&note,
                      " The model has smooth activations, which have no gates: the model on a piece is not a "
                      "polynomial.");
      break;
    default:
      break;
  }
  return absl::StrCat(note, "\n");
}

}  // namespace splineserve::client
