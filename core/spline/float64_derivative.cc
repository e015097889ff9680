#include "core/spline/float64_derivative.h"

#include <utility>

namespace splineserve {
namespace {

using Eigen::Index;

// What both modes know of one evaluation.
class TapeReader {
 public:
  TapeReader(const Float64Pass& pass, const PassTape& tape, size_t count)
      : config_(pass.config()),
        layout_(pass.layout()),
        count_(static_cast<Index>(count)),
        shared_(tape.points == 1),
        heads_(static_cast<Index>(config_.num_attention_heads)),
        dim_(static_cast<Index>(config_.head_dim)),
        scale_(static_cast<double>(config_.attention_scale)) {}

 protected:
  // The point of the tape that direction `c` belongs to.
  Index Point(Index c) const { return shared_ ? 0 : c; }
  Index Rows(const Matrix64& x) const { return x.rows() / count_; }
  // 1 / visible keys, or 1.
  double Share(Index query, Index keys, bool causal) const {
    if (config_.attention_normalizer != AttentionNormalizer::kVisible) return 1;
    return 1.0 / static_cast<double>(causal ? query + 1 : keys);
  }
  auto Head(const Matrix64& x, Index c, Index rows, Index h) const {
    return x.block(c * rows, h * dim_, rows, dim_);
  }
  void ScaleByNorm(const Norm64& norm, Matrix64& x) const {
    if (config_.norm == NormKind::kAffine) x.array().rowwise() *= norm.weight.array();
  }
  // x = slopes * x, elementwise; the slopes of the tape's points.
  void ScaleBySlopes(const Matrix64& slopes, Matrix64& x) const {
    const Index rows = Rows(x);
    for (Index c = 0; c < count_; ++c) {
      x.middleRows(c * rows, rows).array() *= slopes.middleRows(Point(c) * rows, rows).array();
    }
  }
  bool Pre() const { return config_.norm_placement == NormPlacement::kPre; }

  const ModelConfig& config_;
  const GateLayout& layout_;
  const Index count_;
  const bool shared_;
  const Index heads_, dim_;
  const double scale_;
};

class ForwardMode : TapeReader {
 public:
  ForwardMode(const Float64Pass& pass, const PassTape& tape, size_t count, Matrix64& arguments)
      : TapeReader(pass, tape, count), arguments_(arguments) {}

  static Matrix64 Embed(const Stack64& stack, const InputConfig& input, const Matrix64& x) {
    if (input.kind == InputKind::kVectors) return x * stack.input_projection->weight;
    return x;
  }

  Matrix64 Run(const Stack64& stack, const std::vector<LayerTape>& tape, bool decoder, Matrix64 x,
               const Matrix64& memory) {
    for (size_t l = 0; l < tape.size(); ++l) {
      const Layer64& layer = stack.layers[l];
      SubLayer(layer.self_attention.norm, x, [&](const Matrix64& in) {
        return Attend(layer.self_attention, tape[l].self_attention,
                      layout_.Find(decoder, l, Site::kSelfAttention), in, in, decoder);
      });
      if (layer.cross_attention.has_value()) {
        SubLayer(layer.cross_attention->norm, x, [&](const Matrix64& in) {
          return Attend(*layer.cross_attention, *tape[l].cross_attention,
                        layout_.Find(decoder, l, Site::kCrossAttention), in, memory, false);
        });
      }
      SubLayer(layer.feed_forward.norm, x, [&](const Matrix64& in) {
        Matrix64 units = in * layer.feed_forward.up.weight;
        if (const GateBlock* const block = layout_.Find(decoder, l, Site::kFeedForward)) {
          const Index rows = Rows(units);
          for (Index r = 0; r < units.rows(); ++r) {
            const size_t first = block->Group(static_cast<size_t>(r % rows), 0);
            arguments_.row(r / rows).segment(static_cast<Index>(first), units.cols()) = units.row(r);
          }
        }
        ScaleBySlopes(tape[l].slopes, units);
        return Matrix64(units * layer.feed_forward.down.weight);
      });
    }
    if (config_.final_norm) ScaleByNorm(stack.final_norm, x);
    return x;
  }

 private:
  template <typename Branch>
  void SubLayer(const Norm64& norm, Matrix64& x, const Branch& branch) const {
    Matrix64 in = x;
    if (Pre()) ScaleByNorm(norm, in);
    Matrix64 out = branch(in);
    if (config_.residual) out += x;
    if (!Pre()) ScaleByNorm(norm, out);
    x = std::move(out);
  }

  Matrix64 Attend(const Attention64& weights, const AttentionTape& tape, const GateBlock* block,
                  const Matrix64& x, const Matrix64& memory, bool causal) const {
    const Matrix64 q = x * weights.query.weight, k = memory * weights.key.weight,
                   v = memory * weights.value.weight;
    const Index queries = Rows(x), keys = Rows(memory);
    Matrix64 attended(x.rows(), heads_ * dim_);
    for (Index c = 0; c < count_; ++c) {
      const Index p = Point(c);
      for (Index h = 0; h < heads_; ++h) {
        Matrix64 s = Head(q, c, queries, h) * Head(tape.key, p, keys, h).transpose();
        s.noalias() += Head(tape.query, p, queries, h) * Head(k, c, keys, h).transpose();
        s *= scale_;
        if (block != nullptr) {
          for (Index i = 0; i < queries; ++i) {
            const size_t token = static_cast<size_t>(i);
            const Index first = static_cast<Index>(block->Group(token, static_cast<size_t>(h)));
            const Index width = static_cast<Index>(block->Width(token));
            arguments_.row(c).segment(first, width) = s.row(i).head(width);
          }
        }
        const size_t at = static_cast<size_t>(p * heads_ + h);
        s.array() *= tape.slopes[at].array();
        auto out = attended.block(c * queries, h * dim_, queries, dim_);
        out.noalias() = s * Head(tape.value, p, keys, h);
        out.noalias() += tape.weights[at] * Head(v, c, keys, h);
        for (Index i = 0; i < queries; ++i) out.row(i) *= Share(i, keys, causal);
      }
    }
    return attended * weights.output.weight;
  }

  Matrix64& arguments_;
};

class ReverseMode : TapeReader {
 public:
  using TapeReader::TapeReader;

  static Matrix64 Embed(const Stack64& stack, const InputConfig& input, const Matrix64& x) {
    if (input.kind == InputKind::kVectors) return x * stack.input_projection->weight.transpose();
    return x;
  }

  // From weights of the final rows to weights of the embedded rows; adds the memory's to `memory`.
  Matrix64 Run(const Stack64& stack, const std::vector<LayerTape>& tape, bool decoder, Matrix64 x,
               Matrix64* memory) const {
    if (config_.final_norm) ScaleByNorm(stack.final_norm, x);
    for (size_t l = tape.size(); l-- > 0;) {
      const Layer64& layer = stack.layers[l];
      SubLayer(layer.feed_forward.norm, x, [&](const Matrix64& out) {
        Matrix64 units = out * layer.feed_forward.down.weight.transpose();
        ScaleBySlopes(tape[l].slopes, units);
        return Matrix64(units * layer.feed_forward.up.weight.transpose());
      });
      if (layer.cross_attention.has_value()) {
        SubLayer(layer.cross_attention->norm, x, [&](const Matrix64& out) {
          return Attend(*layer.cross_attention, *tape[l].cross_attention, out, false, memory);
        });
      }
      SubLayer(layer.self_attention.norm, x, [&](const Matrix64& out) {
        Matrix64 keys = Matrix64::Zero(out.rows(), out.cols());
        Matrix64 queries = Attend(layer.self_attention, tape[l].self_attention, out, decoder, &keys);
        return Matrix64(queries + keys);
      });
    }
    return x;
  }

 private:
  template <typename Branch>
  void SubLayer(const Norm64& norm, Matrix64& x, const Branch& branch) const {
    if (!Pre()) ScaleByNorm(norm, x);
    Matrix64 in = branch(x);
    if (Pre()) ScaleByNorm(norm, in);
    if (config_.residual) in += x;
    x = std::move(in);
  }

  // Returns the weights of the query side's rows; adds those of the key side's.
  Matrix64 Attend(const Attention64& weights, const AttentionTape& tape, const Matrix64& out, bool causal,
                  Matrix64* memory) const {
    Matrix64 attended = out * weights.output.weight.transpose();
    const Index queries = Rows(out), keys = Rows(*memory);
    Matrix64 q(count_ * queries, heads_ * dim_), k(count_ * keys, heads_ * dim_),
        v(count_ * keys, heads_ * dim_);
    for (Index c = 0; c < count_; ++c) {
      const Index p = Point(c);
      for (Index i = 0; i < queries; ++i) attended.row(c * queries + i) *= Share(i, keys, causal);
      for (Index h = 0; h < heads_; ++h) {
        const size_t at = static_cast<size_t>(p * heads_ + h);
        const auto gradient = Head(attended, c, queries, h);
        v.block(c * keys, h * dim_, keys, dim_).noalias() = tape.weights[at].transpose() * gradient;
        Matrix64 s = gradient * Head(tape.value, p, keys, h).transpose();
        s.array() *= tape.slopes[at].array();
        s *= scale_;
        q.block(c * queries, h * dim_, queries, dim_).noalias() = s * Head(tape.key, p, keys, h);
        k.block(c * keys, h * dim_, keys, dim_).noalias() = s.transpose() * Head(tape.query, p, queries, h);
      }
    }
    memory->noalias() += k * weights.key.weight.transpose();
    memory->noalias() += v * weights.value.weight.transpose();
    return q * weights.query.weight.transpose();
  }
};

Matrix64 Zeros(size_t count, size_t tokens, size_t cols) {
  return Matrix64::Zero(static_cast<Index>(count * tokens), static_cast<Index>(cols));
}

}  // namespace

Tangent TangentOf(const Float64Pass& pass, const PassTape& tape, const InputRows64& directions,
                  size_t count) {
  const ModelWeights64& weights = pass.weights();
  const ModelConfig& config = weights.config;
  const PassShape& shape = pass.layout().shape();
  Tangent result;
  result.arguments = Zeros(count, 1, pass.layout().gates());
  ForwardMode mode(pass, tape, count, result.arguments);
  Matrix64 memory;
  if (shape.source_tokens != 0) {
    memory = directions.source.size() == 0 || tape.encoder.empty()
                 ? Zeros(count, shape.source_tokens, config.hidden_size)
                 : mode.Run(*weights.encoder, tape.encoder, false,
                            mode.Embed(*weights.encoder, config.input, directions.source), memory);
  }
  if (shape.target_tokens == 0) {
    result.rows = std::move(memory);
    return result;
  }
  Matrix64 rows = directions.target.size() == 0
                      ? Zeros(count, shape.target_tokens, config.hidden_size)
                      : mode.Embed(*weights.decoder, config.decoder_input(), directions.target);
  result.rows = mode.Run(*weights.decoder, tape.decoder, true, std::move(rows), memory);
  return result;
}

InputRows64 AdjointOf(const Float64Pass& pass, const PassTape& tape, const Matrix64& weights, size_t count) {
  const ModelWeights64& model = pass.weights();
  const ModelConfig& config = model.config;
  const PassShape& shape = pass.layout().shape();
  const ReverseMode mode(pass, tape, count);
  InputRows64 result;
  Matrix64 memory = weights;
  if (shape.target_tokens != 0) {
    memory = Zeros(count, shape.source_tokens, config.hidden_size);
    result.target = mode.Embed(*model.decoder, config.decoder_input(),
                               mode.Run(*model.decoder, tape.decoder, true, weights, &memory));
  }
  if (shape.source_tokens != 0 && !tape.encoder.empty()) {
    result.source = mode.Embed(*model.encoder, config.input,
                               mode.Run(*model.encoder, tape.encoder, false, std::move(memory), nullptr));
  }
  return result;
}

Matrix64 HeadAdjoint(const Float64Pass& pass, const Matrix64& weights, size_t count, size_t tokens) {
  const Matrix64 in = weights * pass.weights().head->weight.transpose();
  if (pass.config().head.pooling == Pooling::kNone) return in;
  const bool mean = pass.config().head.pooling == Pooling::kMean;
  Matrix64 rows = Zeros(count, tokens, static_cast<size_t>(in.cols()));
  for (Index c = 0; c < static_cast<Index>(count); ++c) {
    const Index first = c * static_cast<Index>(tokens);
    if (!mean) {
      rows.row(first) = in.row(c);
      continue;
    }
    for (Index t = 0; t < static_cast<Index>(tokens); ++t) {
      rows.row(first + t) = in.row(c) / static_cast<double>(tokens);
    }
  }
  return rows;
}

}  // namespace splineserve
