#include "core/spline/segment.h"

#include <utility>

namespace splineserve {
namespace {

using Eigen::Index;

PassShape ShapeOf(const ContinuousInput& from, const ContinuousInput& to) {
  return {static_cast<size_t>(from.source.rows()), static_cast<size_t>(from.target.rows()),
          from.source == to.source ? uint64_t{0} : uint64_t{1},
          from.target == to.target ? uint64_t{0} : uint64_t{1}};
}

size_t LastTokens(const Float64Pass& pass) {
  const PassShape& shape = pass.layout().shape();
  return shape.target_tokens != 0 ? shape.target_tokens : shape.source_tokens;
}

size_t OutputRows(const Float64Pass& pass, bool head) {
  return head && pass.config().head.pooling != Pooling::kNone ? 1 : LastTokens(pass);
}

}  // namespace

Segment::Segment(const ModelWeights64& weights, ContinuousInput from, ContinuousInput to)
    : from_(std::move(from)),
      to_(std::move(to)),
      source_moves_(from_.source != to_.source),
      target_moves_(from_.target != to_.target),
      pass_(weights, ShapeOf(from_, to_)) {
  if (source_moves_) direction_.source = to_.source - from_.source;
  if (target_moves_) direction_.target = to_.target - from_.target;
  if (from_.source.size() != 0 && from_.target.size() != 0 && !source_moves_) {
    const Float64Pass encoder(weights, {static_cast<size_t>(from_.source.rows()), 0});
    PassInput input;
    input.source.value = from_.source;
    memory_ = encoder.Run(input, {.unit_roundoff = 0x1p-53}).rows;
  }
}

PassInput Segment::At(absl::Span<const double> t) const {
  PassInput input;
  input.points = t.size();
  const auto stacked = [&](const Matrix64& from, const Matrix64& to) {
    Bounded64 rows;
    rows.value.resize(static_cast<Index>(t.size()) * from.rows(), from.cols());
    rows.error.resize(rows.value.rows(), rows.value.cols());
    const Matrix64 difference = to - from;
    for (size_t p = 0; p < t.size(); ++p) {
      const Index first = static_cast<Index>(p) * from.rows();
      rows.value.middleRows(first, from.rows()) = from + t[p] * difference;
      // Of t itself (2.6), the difference and the product: less than 8 rounding errors of what is added; and
      // of the sum.
      rows.error.middleRows(first, from.rows()) =
          0x1p-50 * t[p] * difference.cwiseAbs() +
          0x1p-52 * rows.value.middleRows(first, from.rows()).cwiseAbs();
    }
    return rows;
  };
  if (memory_.value.size() != 0) {
    input.memory.value = memory_.value.replicate(static_cast<Index>(t.size()), 1);
    input.memory.error = memory_.error.replicate(static_cast<Index>(t.size()), 1);
  } else if (from_.source.size() != 0) {
    input.source = stacked(from_.source, to_.source);
  }
  if (from_.target.size() != 0) input.target = stacked(from_.target, to_.target);
  return input;
}

Matrix64 ContinuousRows(const Stack64& stack, const InputConfig& input, const SequenceInput& sequence) {
  if (sequence.vectors.data != nullptr) {
    Matrix64 rows(static_cast<Index>(sequence.vectors.rows), static_cast<Index>(sequence.vectors.cols));
    for (size_t r = 0; r < sequence.vectors.rows; ++r) {
      for (size_t c = 0; c < sequence.vectors.cols; ++c) {
        rows(static_cast<Index>(r), static_cast<Index>(c)) = static_cast<double>(sequence.vectors(r, c));
      }
    }
    return rows;
  }
  Matrix64 rows(static_cast<Index>(sequence.ids.size()), stack.token_embedding.cols());
  for (size_t r = 0; r < sequence.ids.size(); ++r) {
    rows.row(static_cast<Index>(r)) =
        static_cast<double>(input.scale) * stack.token_embedding.row(sequence.ids[r]);
  }
  return rows;
}

Bounded64 ChooseOutputs(const Float64Pass& pass, const OutputChoice& choice, const Bounded64& rows,
                        size_t points, double unit_roundoff) {
  const Bounded64 head = choice.head ? pass.Head(rows, points, unit_roundoff) : Bounded64{};
  const Bounded64& from = choice.head ? head : rows;
  const Index per_point = from.value.rows() / static_cast<Index>(points);
  Bounded64 out;
  const Index outputs = static_cast<Index>(choice.indices.size());
  out.value.resize(static_cast<Index>(points), outputs);
  if (from.bounded()) out.error.resize(out.value.rows(), outputs);
  for (Index p = 0; p < static_cast<Index>(points); ++p) {
    for (Index o = 0; o < outputs; ++o) {
      const OutputIndex& index = choice.indices[static_cast<size_t>(o)];
      const Index row = p * per_point + static_cast<Index>(index.row);
      out.value(p, o) = from.value(row, static_cast<Index>(index.col));
      if (from.bounded()) out.error(p, o) = from.error(row, static_cast<Index>(index.col));
    }
  }
  return out;
}

Matrix64 OutputWeightsToRows(const Float64Pass& pass, const OutputChoice& choice, const Matrix64& weights) {
  const size_t count = static_cast<size_t>(weights.rows());
  const Index per_point = static_cast<Index>(OutputRows(pass, choice.head));
  const ModelConfig& config = pass.config();
  Matrix64 rows = Matrix64::Zero(weights.rows() * per_point,
                                 static_cast<Index>(choice.head ? config.head.size : config.hidden_size));
  for (Index c = 0; c < weights.rows(); ++c) {
    for (Index o = 0; o < weights.cols(); ++o) {
      const OutputIndex& index = choice.indices[static_cast<size_t>(o)];
      rows(c * per_point + static_cast<Index>(index.row), static_cast<Index>(index.col)) += weights(c, o);
    }
  }
  return choice.head ? HeadAdjoint(pass, rows, count, LastTokens(pass)) : rows;
}

}  // namespace splineserve
