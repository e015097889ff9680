#include "client/table.h"

#include <algorithm>
#include <utility>

namespace splineserve::client {

size_t DisplayWidth(std::string_view text) {
  // Continuation bytes are 10xxxxxx.
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::AddRow(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::ToString(std::string_view indent) const {
  std::vector<size_t> widths;
  bool titled = false;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = DisplayWidth(columns_[c].title);
    titled |= width > 0;
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[c]));
    widths.push_back(width);
  }
  std::string text;
  auto append_line = [&](auto&& cell_of) {
    std::string line;
    bool first = true;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (widths[c] == 0) continue;
      if (!std::exchange(first, false)) line += "  ";
      const std::string& cell = cell_of(c);
      const std::string padding(widths[c] - DisplayWidth(cell), ' ');
      line += columns_[c].align == Align::kLeft ? cell + padding : padding + cell;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line.empty() ? "" : std::string(indent);
    text += line + "\n";
  };
  if (titled) append_line([&](size_t c) -> const std::string& { return columns_[c].title; });
  for (const auto& row : rows_) append_line([&](size_t c) -> const std::string& { return row[c]; });
  return text;
}

}  // namespace splineserve::client
