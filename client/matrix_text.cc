#include "client/matrix_text.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/table.h"

namespace splineserve::client {
namespace {

constexpr size_t kGap = static_cast<size_t>(-1);  // stands for the indices left out

// All of 0..size-1, or the first and last ones around a gap if there are more than `most`.
std::vector<size_t> Shown(size_t size, size_t most, size_t last) {
  std::vector<size_t> shown;
  if (size <= most) {
    shown.resize(size);
    std::iota(shown.begin(), shown.end(), size_t{0});
    return shown;
  }
  for (size_t i = 0; i + last + 1 < most; ++i) shown.push_back(i);
  shown.push_back(kGap);
  for (size_t i = size - last; i < size; ++i) shown.push_back(i);
  return shown;
}

bool IsFilled(const v1::Matrix& matrix) {
  return uint64_t{matrix.rows()} * matrix.cols() == static_cast<uint64_t>(matrix.values_size());
}

std::string Damaged(const v1::Matrix& matrix) {
  return absl::StrCat("a damaged answer: ", matrix.values_size(), " values for ", matrix.rows(), " x ",
                      matrix.cols(), "\n");
}

absl::Span<const float> Row(const v1::Matrix& matrix, size_t row) {
  return absl::MakeConstSpan(matrix.values().data() + row * matrix.cols(), matrix.cols());
}

std::string Label(const std::vector<std::string>& labels, size_t row) {
  return row < labels.size() ? labels[row] : "";
}

}  // namespace

std::string MatrixText(const v1::Matrix& matrix, const std::vector<std::string>& labels, bool full) {
  if (!IsFilled(matrix)) return Damaged(matrix);
  constexpr size_t kAll = static_cast<size_t>(-1);
  const std::vector<size_t> rows = Shown(matrix.rows(), full ? kAll : 16, 3);
  const std::vector<size_t> cols = Shown(matrix.cols(), full ? kAll : 10, 2);
  std::vector<Table::Column> columns = {{"", Align::kRight}, {"", Align::kLeft}};
  columns.resize(2 + cols.size(), {"", Align::kRight});
  Table table(columns);
  for (size_t row : rows) {
    if (row == kGap) {
      table.AddRow({"…"});
      continue;
    }
    std::vector<std::string> cells = {absl::StrCat(row), Label(labels, row)};
    for (size_t col : cols) {
      if (col == kGap) {
        cells.push_back("…");
      } else if (full) {
        cells.push_back(absl::StrFormat("%.9g", Row(matrix, row)[col]));
      } else {
        cells.push_back(absl::StrFormat("%.6g", Row(matrix, row)[col]));
      }
    }
    table.AddRow(std::move(cells));
  }
  return table.ToString("  ");
}

size_t ArgMax(absl::Span<const float> row) {
  return static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

std::string TopClassesText(const v1::Matrix& matrix, const std::vector<std::string>& labels) {
  if (!IsFilled(matrix)) return Damaged(matrix);
  if (matrix.cols() == 0) return "";
  Table table({{"", Align::kRight},
               {"", Align::kLeft},
               {"class", Align::kRight},
               {"output", Align::kRight},
               {"next"}});
  for (size_t r = 0; r < matrix.rows(); ++r) {
    const absl::Span<const float> row = Row(matrix, r);
    std::vector<size_t> order(row.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const size_t top = std::min<size_t>(4, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(top), order.end(),
                      [&](size_t a, size_t b) { return row[a] != row[b] ? row[a] > row[b] : a < b; });
    std::vector<std::string> next;
    for (size_t i = 1; i < top; ++i) next.push_back(absl::StrFormat("%d: %.4g", order[i], row[order[i]]));
    table.AddRow({matrix.rows() > 1 ? absl::StrCat(r) : "", Label(labels, r), absl::StrCat(order[0]),
                  absl::StrFormat("%.4g", row[order[0]]), absl::StrJoin(next, ", ")});
  }
  return table.ToString("  ");
}

}  // namespace splineserve::client
