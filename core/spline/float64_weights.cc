#include "core/spline/float64_weights.h"

namespace splineserve {
namespace {

Row64 ToRow(const float* numbers, size_t n) {
  return Eigen::Map<const Eigen::RowVectorXf>(numbers, static_cast<Eigen::Index>(n)).cast<double>();
}

AffineMap64 ToAffine(const AffineMap& map) {
  const size_t inner = map.weight.inner(), outer = map.weight.outer();
  AffineMap64 out;
  out.weight.resize(static_cast<Eigen::Index>(inner), static_cast<Eigen::Index>(outer));
  std::vector<float> column(inner);
  for (size_t n = 0; n < outer; ++n) {
    map.weight.Column(n, column.data());
    out.weight.col(static_cast<Eigen::Index>(n)) = ToRow(column.data(), inner).transpose();
  }
  const float* const bias = map.bias_or_null();
  out.bias = bias == nullptr ? Row64(Row64::Zero(static_cast<Eigen::Index>(outer))) : ToRow(bias, outer);
  return out;
}

Norm64 ToNorm(const NormWeights& norm) {
  const size_t d = norm.weight.size();
  if (d == 0) return {};
  const float* const bias = norm.bias_or_null();
  return {ToRow(norm.weight.data(), d),
          bias == nullptr ? Row64(Row64::Zero(static_cast<Eigen::Index>(d))) : ToRow(bias, d)};
}

Attention64 ToAttention(const AttentionWeights& weights) {
  return {ToNorm(weights.norm), ToAffine(weights.query), ToAffine(weights.key), ToAffine(weights.value),
          ToAffine(weights.output)};
}

Matrix64 ToMatrix(const RowTable& table) {
  Matrix64 out(static_cast<Eigen::Index>(table.rows()), static_cast<Eigen::Index>(table.width()));
  std::vector<float> scratch;
  for (size_t r = 0; r < table.rows(); ++r) {
    out.row(static_cast<Eigen::Index>(r)) = ToRow(table.Row(r, scratch), table.width());
  }
  return out;
}

Stack64 ToStack(const StackWeights& weights) {
  Stack64 out;
  out.token_embedding = ToMatrix(weights.token_embedding);
  if (weights.input_projection.has_value()) out.input_projection = ToAffine(*weights.input_projection);
  out.positions = ToMatrix(weights.positions);
  for (const LayerWeights& layer : weights.layers) {
    Layer64 converted;
    converted.self_attention = ToAttention(layer.self_attention);
    if (layer.cross_attention.has_value()) converted.cross_attention = ToAttention(*layer.cross_attention);
    converted.feed_forward = {ToNorm(layer.feed_forward.norm), ToAffine(layer.feed_forward.up),
                              ToAffine(layer.feed_forward.down)};
    out.layers.push_back(std::move(converted));
  }
  out.final_norm = ToNorm(weights.final_norm);
  return out;
}

}  // namespace

ModelWeights64 MakeWeights64(const ModelWeights& weights) {
  ModelWeights64 out;
  out.config = weights.config;
  if (weights.encoder.has_value()) out.encoder = ToStack(*weights.encoder);
  if (weights.decoder.has_value()) out.decoder = ToStack(*weights.decoder);
  if (weights.head.has_value()) out.head = ToAffine(*weights.head);
  return out;
}

Row64 PositionRow(const ModelConfig& config, const Stack64& stack, size_t position) {
  const size_t d = config.hidden_size;
  if (config.positions == Positions::kNone) return Row64::Zero(static_cast<Eigen::Index>(d));
  if (position < static_cast<size_t>(stack.positions.rows())) {
    return stack.positions.row(static_cast<Eigen::Index>(position));
  }
  std::vector<float> row(d);
  SinusoidalPosition(position, d, row.data());
  return ToRow(row.data(), d);
}

}  // namespace splineserve
