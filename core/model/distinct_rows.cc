#include "core/model/distinct_rows.h"

#include <algorithm>
#include <bit>

#include "core/model/evaluation.h"

namespace splineserve {
namespace {

// Fewer rows are multiplied about as fast as one.
constexpr size_t kLeastRows = 24;

// Copying a row takes a twentieth of three products of 160 by 128 with it, of wider ones less.
size_t MostDistinct(size_t rows) { return rows / 4 * 3; }

size_t Hash(int32_t id, size_t position) {
  const uint64_t mixed =
      (static_cast<uint64_t>(position) << 32 ^ static_cast<uint32_t>(id)) * 0x9E3779B97F4A7C15;
  return mixed >> 32;
}

}  // namespace

void DistinctRows::Find(const Evaluation& evaluation, const InputConfig& input,
                        absl::Span<const SequenceInput> inputs) {
  first_.clear();
  const size_t rows = evaluation.rows();
  if (input.kind != InputKind::kTokens || inputs.size() == 1 || rows < kLeastRows) return;
  const bool by_position = evaluation.config.positions != Positions::kNone;
  const size_t mask = std::bit_ceil(2 * rows) - 1;
  table_.assign(mask + 1, 0);
  of_row_.clear();
  of_row_.reserve(rows);
  first_.reserve(rows);
  const auto id = [&](size_t row) {
    const RowToken token = evaluation.token(row);
    return inputs[token.sequence].ids[token.position - evaluation.sequences()[token.sequence].position];
  };
  const auto position = [&](size_t row) { return by_position ? evaluation.token(row).position : 0; };
  for (size_t row = 0; row < rows; ++row) {
    if (inputs[evaluation.token(row).sequence].vectors.data != nullptr ||
        first_.size() > MostDistinct(rows)) {
      first_.clear();
      return;
    }
    size_t slot = Hash(id(row), position(row)) & mask;
    while (table_[slot] != 0) {
      const uint32_t other = first_[table_[slot] - 1];
      if (id(other) == id(row) && position(other) == position(row)) break;
      slot = (slot + 1) & mask;
    }
    if (table_[slot] == 0) {
      first_.push_back(static_cast<uint32_t>(row));
      table_[slot] = static_cast<uint32_t>(first_.size());
    }
    of_row_.push_back(table_[slot] - 1);
  }
  if (first_.size() > MostDistinct(rows)) first_.clear();
}

void DistinctRows::Apply(Evaluation& evaluation, const AffineMap& map, MatrixView<const float> x,
                         MatrixView<float> out) {
  // For as many as any batch of these rows has: how many are distinct changes from step to step.
  in_.EnsureSize(MostDistinct(x.rows) * x.cols);
  out_.EnsureSize(MostDistinct(x.rows) * out.cols);
  const MatrixView<float> distinct(in_.data(), size(), x.cols), mapped(out_.data(), size(), out.cols);
  for (size_t i = 0; i < size(); ++i) std::copy_n(x.row(first_[i]), x.cols, distinct.row(i));
  evaluation.Apply(map, distinct, mapped);
  evaluation.ForRows(out.rows, out.cols, [&](size_t first, size_t count, size_t) {
    for (size_t r = first; r < first + count; ++r) std::copy_n(mapped.row(of_row_[r]), out.cols, out.row(r));
  });
}

}  // namespace splineserve
