#include "core/spline/top_changes.h"

#include <algorithm>
#include <cmath>

#include "core/spline/chebyshev.h"
#include "core/spline/sign_change.h"

namespace splineserve {
namespace {

using Eigen::Index;

absl::Span<const double> RowOf(const Matrix64& m, size_t r) {
  return {m.row(static_cast<Index>(r)).data(), static_cast<size_t>(m.cols())};
}

// The changes among the outputs `row`.
void FindInRow(const Matrix64& series, const std::vector<size_t>& row,
               const std::vector<OutputIndex>& indices, double begin, double end,
               std::vector<TopChange>& changes) {
  size_t top = row.front();
  for (size_t o : row) {
    if (EvaluateSeries(RowOf(series, o), -1) > EvaluateSeries(RowOf(series, top), -1)) top = o;
  }
  double x = -1;
  std::vector<size_t> been;  // at this x: outputs that are nearly the same must not take turns
  while (x < 1) {
    double next = kNowhere;
    size_t winner = top;
    for (size_t o : row) {
      if (o == top) continue;
      const Matrix64 difference = series.row(static_cast<Index>(top)) - series.row(static_cast<Index>(o));
      const std::vector<double> rest = RestrictedTo(RowOf(difference, 0), x, 1);
      const double delta =
          0x1p-46 * (std::abs(rest[0]) + TailOf(rest) + series.row(static_cast<Index>(top)).lpNorm<1>());
      const SignChange change = FirstNegative(rest, {.delta = delta, .zero_at_begin = true});
      if (change.location == kNowhere) continue;
      const double at = x + (1 - x) * (change.location + 1) / 2;
      if (at <= x && std::find(been.begin(), been.end(), o) != been.end()) continue;
      if (at < next) {
        next = at;
        winner = o;
      }
    }
    if (winner == top) return;
    if (next > x) been.clear();
    been.push_back(top);
    changes.push_back(
        {begin + (end - begin) * (next + 1) / 2, indices[top].row, indices[top].col, indices[winner].col});
    top = winner;
    x = next;
  }
}

}  // namespace

std::vector<TopChange> FindTopChanges(const Matrix64& series, const std::vector<OutputIndex>& indices,
                                      double begin, double end) {
  std::vector<std::vector<size_t>> rows;  // outputs of each row
  for (size_t o = 0; o < indices.size(); ++o) {
    const auto same = std::find_if(rows.begin(), rows.end(), [&](const std::vector<size_t>& row) {
      return indices[row.front()].row == indices[o].row;
    });
    if (same == rows.end()) {
      rows.push_back({o});
    } else {
      same->push_back(o);
    }
  }
  std::vector<TopChange> changes;
  for (const std::vector<size_t>& row : rows) FindInRow(series, row, indices, begin, end, changes);
  std::stable_sort(changes.begin(), changes.end(),
                   [](const TopChange& a, const TopChange& b) { return a.t < b.t; });
  return changes;
}

}  // namespace splineserve
