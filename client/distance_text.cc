#include "client/distance_text.h"

#include <algorithm>
#include <array>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/piece_text.h"
#include "client/table.h"

namespace splineserve::client {
namespace {

constexpr std::array<v1::Site::Value, 3> kSites = {v1::Site::SELF_ATTENTION, v1::Site::CROSS_ATTENTION,
                                                   v1::Site::FEED_FORWARD};

// Tokens of a pair that are listed one by one.
constexpr int kListedTokens = 16;

bool IsSquare(int size, int rows) { return int64_t{size} == int64_t{rows} * rows; }

bool Same(const v1::HammingDistance& distance) {
  return distance.differing() == 0 && distance.unmatched() == 0;
}

// "0, 2 and 5".
std::string Listed(const std::vector<int>& numbers) {
  const std::string first = absl::StrJoin(numbers.begin(), numbers.end() - 1, ", ");
  return absl::StrCat(first, first.empty() ? "" : " and ", numbers.back());
}

std::string SharedText(const v1::StackComparison& stack) {
  std::map<uint32_t, std::vector<int>> sharing;
  for (int i = 0; i < stack.same_as_size(); ++i) sharing[stack.same_as(i)].push_back(i);
  std::string text;
  for (const auto& [first, inputs] : sharing) {
    if (inputs.size() > 1) absl::StrAppend(&text, "; ", Listed(inputs), " share one");
  }
  return absl::StrFormat("%d inputs on %d %s%s", stack.same_as_size(), stack.distinct_pieces(),
                         stack.distinct_pieces() == 1 ? "piece" : "pieces", text);
}

std::string MatrixTable(const v1::StackComparison& stack) {
  const int count = stack.tokens_size();
  std::vector<Table::Column> columns = {
      {"input", Align::kRight}, {"tokens", Align::kRight}, {"piece", Align::kLeft}};
  for (int i = 0; i < count; ++i) columns.push_back({absl::StrCat(i), Align::kRight});
  Table table(columns);
  for (int i = 0; i < count; ++i) {
    std::vector<std::string> cells = {
        absl::StrCat(i), absl::StrCat(stack.tokens(i)),
        stack.sequence_ids(i).empty() ? "(no gates)" : Hex(stack.sequence_ids(i))};
    for (int j = 0; j < count; ++j) {
      const uint64_t unmatched = stack.unmatched(i * count + j);
      cells.push_back(i == j ? "."
                             : absl::StrCat(stack.differing(i * count + j),
                                            unmatched == 0 ? "" : absl::StrCat("+", unmatched)));
    }
    table.AddRow(std::move(cells));
  }
  return table.ToString("  ");
}

std::string TokenText(const v1::PairComparison& pair, const std::vector<std::vector<std::string>>& labels) {
  const auto label = [&](uint32_t input, int token) -> std::string {
    const auto i = static_cast<size_t>(input), t = static_cast<size_t>(token);
    return i < labels.size() && t < labels[i].size() ? labels[i][t] : "";
  };
  int same = 0;
  for (const v1::HammingDistance& token : pair.tokens()) same += Same(token);
  std::string text = absl::StrFormat("    the same piece at %d of %d tokens\n", same, pair.tokens_size());
  Table table({{"token", Align::kRight},
               {"", Align::kLeft},
               {"", Align::kLeft},
               {"differing", Align::kRight},
               {"of", Align::kRight},
               {"unmatched", Align::kRight}});
  for (int t = 0; t < std::min(pair.tokens_size(), kListedTokens); ++t) {
    const v1::HammingDistance& token = pair.tokens(t);
    table.AddRow({absl::StrCat(t), label(pair.first(), t), label(pair.second(), t),
                  absl::StrCat(token.differing()), absl::StrCat(token.compared()),
                  absl::StrCat(token.unmatched())});
  }
  absl::StrAppend(&text, table.ToString("    "));
  if (pair.tokens_size() > kListedTokens) {
    absl::StrAppend(&text, "    … and ", pair.tokens_size() - kListedTokens, " more\n");
  }
  return text;
}

}  // namespace

std::string DistanceText(const v1::HammingDistance& distance) {
  std::string text = absl::StrFormat("%d of %d gates differ", distance.differing(), distance.compared());
  if (distance.compared() != 0) {
    absl::StrAppendFormat(
        &text, " (%.2g %%)",
        100.0 * static_cast<double>(distance.differing()) / static_cast<double>(distance.compared()));
  }
  if (distance.unmatched() != 0) absl::StrAppend(&text, ", ", distance.unmatched(), " have no counterpart");
  return text;
}

std::string DistanceTable(const google::protobuf::RepeatedPtrField<v1::GroupDistance>& groups,
                          std::string_view indent) {
  struct Cell {
    std::vector<uint64_t> differing;  // of each head
    uint64_t compared = 0;            // of one head: heads of one attention see the same keys
  };
  std::map<uint32_t, std::array<Cell, kSites.size()>> layers;
  std::array<bool, kSites.size()> present = {};
  for (const v1::GroupDistance& group : groups) {
    for (size_t s = 0; s < kSites.size(); ++s) {
      if (group.site() != kSites[s]) continue;
      Cell& cell = layers[group.layer()][s];
      cell.differing.push_back(group.distance().differing());
      cell.compared = group.distance().compared();
      present[s] = true;
    }
  }
  if (layers.empty()) return "";
  std::vector<Table::Column> columns = {{"layer", Align::kRight}};
  for (size_t s = 0; s < kSites.size(); ++s) {
    if (present[s]) columns.push_back({SiteName(kSites[s]), Align::kRight});
  }
  Table table(columns);
  for (const auto& [layer, cells] : layers) {
    std::vector<std::string> row = {absl::StrCat(layer)};
    for (size_t s = 0; s < kSites.size(); ++s) {
      if (present[s])
        row.push_back(absl::StrCat(absl::StrJoin(cells[s].differing, " "), " of ", cells[s].compared));
    }
    table.AddRow(std::move(row));
  }
  return table.ToString(indent);
}

std::string ComparisonText(const v1::StackComparison& stack,
                           const std::vector<std::vector<std::string>>& labels) {
  const int count = stack.tokens_size();
  std::string text = absl::StrCat(
      stack.stack() == v1::GateRef::ENCODER ? "encoder: " : "decoder: ", SharedText(stack), "\n");
  if (!IsSquare(stack.differing_size(), count) || !IsSquare(stack.unmatched_size(), count) ||
      stack.sequence_ids_size() != count) {
    return absl::StrCat(text, "  a damaged answer: the matrices are not those of ", count, " inputs\n");
  }
  absl::StrAppend(&text, "  gates that differ, + those that only one of the two has:\n", MatrixTable(stack));
  for (const v1::PairComparison& pair : stack.pairs()) {
    absl::StrAppend(&text, "\n  ", pair.first(), " and ", pair.second(), ": ");
    if (Same(pair.total())) {
      absl::StrAppend(&text, "the same piece\n");
      continue;
    }
    absl::StrAppend(&text, DistanceText(pair.total()), "\n", DistanceTable(pair.groups(), "    "),
                    TokenText(pair, labels));
  }
  return text;
}

}  // namespace splineserve::client
