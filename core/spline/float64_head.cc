#include <cstddef>

#include "core/spline/float64_pass.h"
#include "core/spline/rounding.h"

namespace splineserve {

using Eigen::Index;

Bounded64 Float64Pass::Head(const Bounded64& rows, size_t points, double unit_roundoff) const {
  const ModelConfig& config = weights_.config;
  Bounded64 in = rows;
  const Index count = static_cast<Index>(points), tokens = rows.value.rows() / count;
  if (config.head.pooling != Pooling::kNone) {
    const Index used = config.head.pooling == Pooling::kMean ? tokens : 1;
    in.value.resize(count, rows.value.cols());
    if (rows.bounded()) in.error.resize(count, rows.value.cols());
    const double gamma = RoundingGamma(unit_roundoff, static_cast<size_t>(used) + 1);
    for (Index p = 0; p < count; ++p) {
      const auto block = rows.value.middleRows(p * tokens, used);
      in.value.row(p) = block.colwise().sum() / static_cast<double>(used);
      if (!rows.bounded()) continue;
      const auto error = rows.error.middleRows(p * tokens, used);
      in.error.row(p) =
          (error + gamma * (block.cwiseAbs() + error)).colwise().sum() / static_cast<double>(used);
      in.error.row(p).array() += SmallestNumber(unit_roundoff);
    }
  }
  Bounded64 out;
  out.value.noalias() = in.value * weights_.head->weight;
  out.value.rowwise() += weights_.head->bias;
  if (in.bounded()) {
    const double gamma = RoundingGamma(unit_roundoff, static_cast<size_t>(in.value.cols()) + 2);
    out.error = (in.error + gamma * (in.value.cwiseAbs() + in.error)) * weights_.head->weight.cwiseAbs();
    out.error.rowwise() += gamma * weights_.head->bias.cwiseAbs();
    out.error.array() += static_cast<double>(in.value.cols()) * SmallestNumber(unit_roundoff);
  }
  return out;
}

}  // namespace splineserve
