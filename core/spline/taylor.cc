#include "core/spline/taylor.h"

#include <utility>

namespace splineserve {
namespace {

using Eigen::Index;

// Rows of a series: block k of `tokens` rows holds the coefficients of s^k.
class SeriesRun {
 public:
  SeriesRun(const Float64Pass& pass, const uint8_t* pattern, size_t degree)
      : config_(pass.config()),
        layout_(pass.layout()),
        pattern_(pattern),
        terms_(static_cast<Index>(degree) + 1) {}

  Matrix64 Embed(const Stack64& stack, const InputConfig& input, const Matrix64& at,
                 const Matrix64& direction) const {
    const Index tokens = at.rows();
    Matrix64 x = Matrix64::Zero(terms_ * tokens, at.cols());
    x.topRows(tokens) = at;
    if (terms_ > 1 && direction.size() != 0) x.middleRows(tokens, tokens) = direction;
    if (input.kind == InputKind::kVectors && stack.input_projection.has_value()) {
      x = Affine(*stack.input_projection, x);
    }
    for (Index t = 0; t < tokens; ++t) x.row(t) += PositionRow(config_, stack, static_cast<size_t>(t));
    return x;
  }

  Matrix64 Run(const Stack64& stack, bool decoder, Matrix64 x, const Matrix64& memory) const {
    for (size_t l = 0; l < stack.layers.size(); ++l) {
      const Layer64& layer = stack.layers[l];
      SubLayer(layer.self_attention.norm, x, [&](const Matrix64& in) {
        return Attend(layer.self_attention, layout_.Find(decoder, l, Site::kSelfAttention), in, in, decoder);
      });
      if (layer.cross_attention.has_value()) {
        SubLayer(layer.cross_attention->norm, x, [&](const Matrix64& in) {
          return Attend(*layer.cross_attention, layout_.Find(decoder, l, Site::kCrossAttention), in, memory,
                        false);
        });
      }
      SubLayer(layer.feed_forward.norm, x, [&](const Matrix64& in) {
        return FeedForward(layer.feed_forward, *layout_.Find(decoder, l, Site::kFeedForward), in);
      });
    }
    if (config_.final_norm) Normalize(stack.final_norm, x);
    return x;
  }

  // The bias is a constant: of the first block alone.
  Matrix64 Affine(const AffineMap64& map, const Matrix64& x) const {
    Matrix64 y = x * map.weight;
    y.topRows(x.rows() / terms_).rowwise() += map.bias;
    return y;
  }

 private:
  template <typename Branch>
  void SubLayer(const Norm64& norm, Matrix64& x, const Branch& branch) const {
    const bool pre = config_.norm_placement == NormPlacement::kPre;
    Matrix64 in = x;
    if (pre) Normalize(norm, in);
    Matrix64 out = branch(in);
    if (config_.residual) out += x;
    if (!pre) Normalize(norm, out);
    x = std::move(out);
  }

  void Normalize(const Norm64& norm, Matrix64& x) const {
    if (config_.norm == NormKind::kNone) return;
    x.array().rowwise() *= norm.weight.array();
    x.topRows(x.rows() / terms_).rowwise() += norm.bias;
  }

  // One head's coefficients s[k], and their square where asked for.
  void Square(std::vector<Matrix64>& s) const {
    std::vector<Matrix64> squared(s.size(), Matrix64::Zero(s[0].rows(), s[0].cols()));
    for (size_t a = 0; a < s.size(); ++a) {
      for (size_t b = 0; a + b < s.size(); ++b) squared[a + b] += s[a].cwiseProduct(s[b]);
    }
    s = std::move(squared);
  }

  Matrix64 Attend(const Attention64& weights, const GateBlock* block, const Matrix64& x,
                  const Matrix64& memory, bool causal) const {
    const Matrix64 q = Affine(weights.query, x), k = Affine(weights.key, memory),
                   v = Affine(weights.value, memory);
    const Index queries = x.rows() / terms_, keys = memory.rows() / terms_;
    const Index dim = static_cast<Index>(config_.head_dim);
    Matrix64 attended = Matrix64::Zero(x.rows(), static_cast<Index>(config_.attention_size()));
    for (Index h = 0; h < static_cast<Index>(config_.num_attention_heads); ++h) {
      const auto of = [&](const Matrix64& m, Index term, Index rows) {
        return m.block(term * rows, h * dim, rows, dim);
      };
      std::vector<Matrix64> s(static_cast<size_t>(terms_), Matrix64::Zero(queries, keys));
      for (Index a = 0; a < terms_; ++a) {
        if (of(q, a, queries).isZero(0)) continue;  // terms above the layer's degree
        for (Index b = 0; a + b < terms_; ++b) {
          s[static_cast<size_t>(a + b)].noalias() += of(q, a, queries) * of(k, b, keys).transpose();
        }
      }
      // A causal layer's later keys, and closed gates.
      Matrix64 open = Matrix64::Zero(queries, keys);
      for (Index i = 0; i < queries; ++i) {
        const size_t first = block->Group(static_cast<size_t>(i), static_cast<size_t>(h));
        for (Index j = 0; j < (causal ? i + 1 : keys); ++j) {
          open(i, j) = pattern_[first + static_cast<size_t>(j)];
        }
      }
      for (Matrix64& term : s) {
        term = static_cast<double>(config_.attention_scale) * term.cwiseProduct(open);
      }
      if (config_.attention_activation == AttentionActivation::kRelu2) Square(s);
      for (Index a = 0; a < terms_; ++a) {
        if (s[static_cast<size_t>(a)].isZero(0)) continue;
        for (Index b = 0; a + b < terms_; ++b) {
          attended.block((a + b) * queries, h * dim, queries, dim).noalias() +=
              s[static_cast<size_t>(a)] * of(v, b, keys);
        }
      }
    }
    if (config_.attention_normalizer == AttentionNormalizer::kVisible) {
      for (Index r = 0; r < attended.rows(); ++r) {
        attended.row(r) /= static_cast<double>(causal ? r % queries + 1 : keys);
      }
    }
    return Affine(weights.output, attended);
  }

  Matrix64 FeedForward(const FeedForward64& weights, const GateBlock& block, const Matrix64& x) const {
    Matrix64 units = Affine(weights.up, x);
    const Index tokens = x.rows() / terms_;
    Matrix64 open(tokens, units.cols());
    for (Index t = 0; t < tokens; ++t) {
      const size_t first = block.Group(static_cast<size_t>(t), 0);
      for (Index j = 0; j < units.cols(); ++j) open(t, j) = pattern_[first + static_cast<size_t>(j)];
    }
    std::vector<Matrix64> terms;
    for (Index k = 0; k < terms_; ++k) {
      terms.push_back(units.middleRows(k * tokens, tokens).cwiseProduct(open));
    }
    if (config_.hidden_act == HiddenAct::kRelu2) Square(terms);
    for (Index k = 0; k < terms_; ++k) units.middleRows(k * tokens, tokens) = terms[static_cast<size_t>(k)];
    return Affine(weights.down, units);
  }

  const ModelConfig& config_;
  const GateLayout& layout_;
  const uint8_t* const pattern_;
  const Index terms_;
};

}  // namespace

Matrix64 TaylorRows(const Float64Pass& pass, const ContinuousInput& at, const InputRows64& direction,
                    const uint8_t* pattern, size_t degree) {
  const ModelWeights64& weights = pass.weights();
  const SeriesRun run(pass, pattern, degree);
  Matrix64 rows;
  if (at.source.size() != 0) {
    rows = run.Run(*weights.encoder, false,
                   run.Embed(*weights.encoder, weights.config.input, at.source, direction.source), {});
  }
  if (at.target.size() == 0) return rows;
  return run.Run(*weights.decoder, true,
                 run.Embed(*weights.decoder, weights.config.decoder_input(), at.target, direction.target),
                 rows);
}

Matrix64 HeadOfDerivatives(const Float64Pass& pass, const Matrix64& rows, size_t count) {
  const Index terms = static_cast<Index>(count), tokens = rows.rows() / terms;
  if (pass.config().head.pooling == Pooling::kNone) return rows * pass.weights().head->weight;
  const Index used = pass.config().head.pooling == Pooling::kMean ? tokens : 1;
  Matrix64 in(terms, rows.cols());
  for (Index k = 0; k < terms; ++k) {
    in.row(k) = rows.middleRows(k * tokens, used).colwise().sum() / static_cast<double>(used);
  }
  return in * pass.weights().head->weight;
}

Matrix64 TaylorHead(const Float64Pass& pass, const Matrix64& rows, size_t degree) {
  Matrix64 out = HeadOfDerivatives(pass, rows, degree + 1);
  out.topRows(out.rows() / static_cast<Index>(degree + 1)).rowwise() += pass.weights().head->bias;
  return out;
}

}  // namespace splineserve
