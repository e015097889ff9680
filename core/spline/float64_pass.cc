#include "core/spline/float64_pass.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/kernels/float64_product.h"
#include "core/spline/rounding.h"

namespace splineserve {
namespace {

using Eigen::Index;

// The elementwise activations. `slope` is filled where not null (relu and relu2 only).
double Softplus(double x, double beta) {
  return std::max(x, 0.0) + std::log1p(std::exp(-beta * std::abs(x))) / beta;
}
double Smooth(HiddenAct act, double x, double beta) {
  switch (act) {
    case HiddenAct::kSoftplus:
      return Softplus(x, beta);
    case HiddenAct::kGelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case HiddenAct::kGeluTanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case HiddenAct::kSilu:
      return x / (1 + std::exp(-x));
    case HiddenAct::kRelu:
    case HiddenAct::kRelu2:
      break;  // gates: never asked
  }
  return x;
}

// One evaluation of one stack.
class StackRun {
 public:
  StackRun(const ModelConfig& config, const GateLayout& layout, const PassOptions& options, size_t points,
           PassResult& result)
      : config_(config), layout_(layout), options_(options), points_(points), result_(result) {}

  Bounded64 Embed(const Stack64& stack, const InputConfig& input, Bounded64 rows) const {
    Bounded64 x = std::move(rows);
    if (input.kind == InputKind::kVectors && stack.input_projection.has_value()) {
      x = Affine(*stack.input_projection, x);
    }
    if (config_.positions == Positions::kNone) return x;
    const Index tokens = x.value.rows() / static_cast<Index>(points_);
    for (Index t = 0; t < tokens; ++t) {
      const Row64 position = PositionRow(config_, stack, static_cast<size_t>(t));
      for (Index r = t; r < x.value.rows(); r += tokens) {
        x.value.row(r) += position;
        if (x.bounded()) x.error.row(r) += Unit() * (x.value.row(r).cwiseAbs() + x.error.row(r));
      }
    }
    return x;
  }

  Bounded64 Run(const Stack64& stack, bool decoder, Bounded64 x, const Bounded64* memory,
                std::vector<LayerTape>* tape) {
    for (size_t l = 0; l < stack.layers.size(); ++l) {
      const Layer64& layer = stack.layers[l];
      LayerTape* const layer_tape = tape == nullptr ? nullptr : &tape->emplace_back();
      SubLayer(layer.self_attention.norm, x, [&](const Bounded64& in) {
        return Attend(layer.self_attention, layout_.Find(decoder, l, Site::kSelfAttention), in, in, decoder,
                      layer_tape == nullptr ? nullptr : &layer_tape->self_attention);
      });
      if (layer.cross_attention.has_value()) {
        AttentionTape* const cross_tape =
            layer_tape == nullptr ? nullptr : &layer_tape->cross_attention.emplace();
        SubLayer(layer.cross_attention->norm, x, [&](const Bounded64& in) {
          return Attend(*layer.cross_attention, layout_.Find(decoder, l, Site::kCrossAttention), in, *memory,
                        false, cross_tape);
        });
      }
      SubLayer(layer.feed_forward.norm, x, [&](const Bounded64& in) {
        return FeedForward(layer.feed_forward, layout_.Find(decoder, l, Site::kFeedForward), in,
                           layer_tape == nullptr ? nullptr : &layer_tape->slopes);
      });
    }
    if (config_.final_norm) Normalize(stack.final_norm, x);
    return x;
  }

 private:
  double Unit() const { return options_.unit_roundoff; }
  double Lost(Index n) const { return static_cast<double>(n) * SmallestNumber(Unit()); }

  template <typename Branch>
  void SubLayer(const Norm64& norm, Bounded64& x, const Branch& branch) const {
    const bool pre = config_.norm_placement == NormPlacement::kPre && config_.norm != NormKind::kNone;
    Bounded64 out;
    if (pre) {
      Bounded64 in = x;
      Normalize(norm, in);
      out = branch(in);
    } else {
      out = branch(x);
    }
    if (config_.residual) {
      out.value += x.value;
      if (x.bounded()) {
        out.error += x.error;
        out.error += Unit() * (out.value.cwiseAbs() + out.error);
      }
    }
    if (!pre) Normalize(norm, out);  // nothing without norms
    x = std::move(out);
  }

  void Normalize(const Norm64& norm, Bounded64& x) const {
    if (config_.norm == NormKind::kNone) return;
    if (config_.norm == NormKind::kLayerNorm) x.value.colwise() -= x.value.rowwise().mean().eval();
    if (config_.norm == NormKind::kLayerNorm || config_.norm == NormKind::kRmsNorm) {
      for (Index r = 0; r < x.value.rows(); ++r) {
        x.value.row(r) /= std::sqrt(x.value.row(r).squaredNorm() / static_cast<double>(x.value.cols()) +
                                    static_cast<double>(config_.norm_eps));
      }
    }
    if (x.bounded()) {
      const Row64 weight = norm.weight.cwiseAbs(), bias = norm.bias.cwiseAbs();
      for (Index r = 0; r < x.value.rows(); ++r) {
        const Row64 carried = x.error.row(r).cwiseProduct(weight);
        x.error.row(r) = carried + RoundingGamma(Unit(), 3) *
                                       (x.value.row(r).cwiseAbs().cwiseProduct(weight) + carried + bias);
        x.error.row(r).array() += Lost(1);
      }
    }
    x.value.array().rowwise() *= norm.weight.array();
    x.value.rowwise() += norm.bias;
  }

  Bounded64 Affine(const AffineMap64& map, const Bounded64& x) const {
    return AffineOf(map, x, [](const Product64& all) { Multiply(all); });
  }

  // Of rows whose numbers are zero where the gates of `block` are frozen shut. A token's are the same at all
  // points, so that its rows share one list of those that are open.
  Bounded64 AffineOfOpen(const AffineMap64& map, const GateBlock& block, const Bounded64& x) const {
    return AffineOf(map, x, [&](const Product64& all) {
      std::vector<uint32_t> open;
      for (size_t token = 0; token < block.tokens; ++token) {
        const uint8_t* const pattern = options_.pattern + block.Group(token, 0);
        open.clear();
        for (size_t k = 0; k < all.inner; ++k) {
          if (pattern[k] != 0) open.push_back(static_cast<uint32_t>(k));
        }
        Product64 part = all;
        part.rows = points_;
        part.inner = open.size();
        part.open = open.data();
        part.x += token * all.x_stride;
        part.y += token * all.y_stride;
        if (all.y_error != nullptr) {
          part.x_error += token * all.x_stride;
          part.y_error += token * all.y_stride;
        }
        part.x_stride = block.tokens * all.x_stride;
        part.y_stride = block.tokens * all.y_stride;
        Multiply(part);
      }
    });
  }

  template <typename Products>
  Bounded64 AffineOf(const AffineMap64& map, const Bounded64& x, const Products& multiply) const {
    Bounded64 y;
    y.value.resize(x.value.rows(), map.weight.cols());
    Product64 product{.rows = static_cast<size_t>(x.value.rows()),
                      .inner = static_cast<size_t>(map.weight.rows()),
                      .outer = static_cast<size_t>(map.weight.cols()),
                      .x = x.value.data(),
                      .x_stride = static_cast<size_t>(x.value.cols()),
                      .w = map.weight.data(),
                      .y = y.value.data(),
                      .y_stride = static_cast<size_t>(map.weight.cols())};
    const double gamma = RoundingGamma(Unit(), static_cast<size_t>(map.weight.rows()) + 2);
    Matrix64 in;
    if (x.bounded()) {
      in = x.error + gamma * (x.value.cwiseAbs() + x.error);
      y.error.resize(y.value.rows(), y.value.cols());
      product.x_error = in.data();
      product.y_error = y.error.data();
    }
    multiply(product);
    y.value.rowwise() += map.bias;
    if (x.bounded()) {
      Row64 of_bias = gamma * map.bias.cwiseAbs();
      of_bias.array() += Lost(map.weight.rows());
      y.error.rowwise() += of_bias;
    }
    return y;
  }

  // sigma of a group's arguments, in place. `pattern` and `slope` may be null.
  void Gate(bool square, const uint8_t* pattern, Index n, double* argument, double* error,
            double* slope) const {
    for (Index j = 0; j < n; ++j) {
      const bool open = pattern != nullptr ? pattern[j] != 0 : argument[j] > 0;
      // Of a gate that is free, an argument within its error may be open in exact arithmetic: still off by no
      // more than the error. One that is closed beyond its error is exactly zero.
      if (error != nullptr) {
        if (pattern != nullptr ? !open : argument[j] <= -error[j]) error[j] = 0;
        if (square) {
          const double size = pattern != nullptr || open ? std::abs(argument[j]) : 0;
          error[j] =
              error[j] * (2 * size + error[j]) + 2 * Unit() * (size + error[j]) * (size + error[j]) + Lost(1);
        }
      }
      if (!open) argument[j] = 0;
      if (slope != nullptr) slope[j] = !open ? 0 : square ? 2 * argument[j] : 1;
      if (square) argument[j] *= argument[j];
    }
  }

  // Keeps the arguments of a group of point `p` and returns its frozen pattern, null if gates are free.
  const uint8_t* Keep(const GateBlock& block, Index p, size_t token, size_t head, const double* argument,
                      const double* error) const {
    const size_t first = block.Group(token, head), width = block.Width(token);
    std::copy_n(argument, width, &result_.arguments.value(p, static_cast<Index>(first)));
    if (error != nullptr) {
      std::copy_n(error, width, &result_.arguments.error(p, static_cast<Index>(first)));
    }
    return options_.pattern == nullptr ? nullptr : options_.pattern + first;
  }

  Bounded64 Attend(const Attention64& weights, const GateBlock* block, const Bounded64& x,
                   const Bounded64& memory, bool causal, AttentionTape* tape) const {
    const Bounded64 q = Affine(weights.query, x), k = Affine(weights.key, memory),
                    v = Affine(weights.value, memory);
    const Index points = static_cast<Index>(points_);
    const Index heads = static_cast<Index>(config_.num_attention_heads);
    const Index dim = static_cast<Index>(config_.head_dim);
    const Index queries = x.value.rows() / points, keys = memory.value.rows() / points;
    const bool bounded = x.bounded();
    const double scale = static_cast<double>(config_.attention_scale);
    const double score_gamma = RoundingGamma(Unit(), config_.head_dim + 2);
    const double value_gamma = RoundingGamma(Unit(), static_cast<size_t>(keys) + 3);
    Bounded64 attended;
    attended.value.resize(x.value.rows(), heads * dim);
    if (bounded) attended.error.resize(x.value.rows(), heads * dim);
    for (Index p = 0; p < points; ++p) {
      for (Index h = 0; h < heads; ++h) {
        const auto of = [&](const Matrix64& m, Index rows) { return m.block(p * rows, h * dim, rows, dim); };
        Matrix64 s = of(q.value, queries) * of(k.value, keys).transpose();
        s *= scale;
        Matrix64 e;
        if (bounded) {
          const Matrix64 q_size = of(q.value, queries).cwiseAbs() + of(q.error, queries);
          const Matrix64 k_size = of(k.value, keys).cwiseAbs() + of(k.error, keys);
          e = of(q.error, queries) * k_size.transpose();
          e.noalias() += of(q.value, queries).cwiseAbs() * of(k.error, keys).transpose();
          e.noalias() += score_gamma * (q_size * k_size.transpose());
          e *= std::abs(scale);
          e.array() += std::abs(scale) * Lost(dim) + Lost(1);
        }
        Matrix64 slope;
        if (tape != nullptr) slope.resize(queries, keys);
        for (Index i = 0; i < queries; ++i) {
          const Index visible = causal ? i + 1 : keys;
          Activate(block, p, i, h, visible, s, e, tape == nullptr ? nullptr : slope.row(i).data());
          s.row(i).tail(keys - visible).setZero();
          if (bounded) e.row(i).tail(keys - visible).setZero();
          if (tape != nullptr) slope.row(i).tail(keys - visible).setZero();
        }
        auto out = attended.value.block(p * queries, h * dim, queries, dim);
        out.noalias() = s * of(v.value, keys);
        if (bounded) {
          auto error = attended.error.block(p * queries, h * dim, queries, dim);
          const Matrix64 v_size = of(v.value, keys).cwiseAbs() + of(v.error, keys);
          error.noalias() = e * v_size;
          error.noalias() += s.cwiseAbs() * of(v.error, keys);
          error.noalias() += value_gamma * ((s.cwiseAbs() + e) * v_size);
          error.array() += Lost(keys + 1);
        }
        if (DividesByVisible()) {
          for (Index i = 0; i < queries; ++i) {
            const double visible = static_cast<double>(causal ? i + 1 : keys);
            out.row(i) /= visible;
            if (bounded) attended.error.row(p * queries + i).segment(h * dim, dim) /= visible;
          }
        }
        if (tape != nullptr) {
          tape->weights.push_back(std::move(s));
          tape->slopes.push_back(std::move(slope));
        }
      }
    }
    if (tape != nullptr) {
      tape->query = q.value;
      tape->key = k.value;
      tape->value = v.value;
    }
    return Affine(weights.output, attended);
  }

  bool DividesByVisible() const {
    return config_.attention_activation != AttentionActivation::kSoftmax &&
           config_.attention_normalizer == AttentionNormalizer::kVisible;
  }

  // Scores of one query row to weights.
  void Activate(const GateBlock* block, Index p, Index i, Index h, Index visible, Matrix64& s, Matrix64& e,
                double* slope) const {
    double* const score = s.row(i).data();
    double* const error = e.size() == 0 ? nullptr : e.row(i).data();
    switch (config_.attention_activation) {
      case AttentionActivation::kRelu:
      case AttentionActivation::kRelu2: {
        const uint8_t* const pattern =
            block == nullptr ? nullptr
                             : Keep(*block, p, static_cast<size_t>(i), static_cast<size_t>(h), score, error);
        Gate(config_.attention_activation == AttentionActivation::kRelu2, pattern, visible, score, error,
             slope);
        return;
      }
      case AttentionActivation::kSoftplus:
        for (Index j = 0; j < visible; ++j) score[j] = Softplus(score[j], config_.softplus_beta);
        return;
      case AttentionActivation::kSoftmax: {
        const double largest = *std::max_element(score, score + visible);
        double sum = 0;
        for (Index j = 0; j < visible; ++j) sum += score[j] = std::exp(score[j] - largest);
        for (Index j = 0; j < visible; ++j) score[j] /= sum;
        return;
      }
    }
  }

  Bounded64 FeedForward(const FeedForward64& weights, const GateBlock* block, const Bounded64& x,
                        Matrix64* slopes) const {
    Bounded64 units = Affine(weights.up, x);
    const Index points = static_cast<Index>(points_), tokens = x.value.rows() / points;
    const bool gated = config_.hidden_act == HiddenAct::kRelu || config_.hidden_act == HiddenAct::kRelu2;
    if (slopes != nullptr) slopes->resize(units.value.rows(), units.value.cols());
    for (Index r = 0; r < units.value.rows(); ++r) {
      double* const unit = units.value.row(r).data();
      if (!gated) {
        for (Index j = 0; j < units.value.cols(); ++j) {
          unit[j] = Smooth(config_.hidden_act, unit[j], config_.softplus_beta);
        }
        continue;
      }
      double* const error = units.bounded() ? units.error.row(r).data() : nullptr;
      const uint8_t* const pattern =
          block == nullptr ? nullptr
                           : Keep(*block, r / tokens, static_cast<size_t>(r % tokens), 0, unit, error);
      Gate(config_.hidden_act == HiddenAct::kRelu2, pattern, units.value.cols(), unit, error,
           slopes == nullptr ? nullptr : slopes->row(r).data());
    }
    if (options_.pattern != nullptr && block != nullptr) return AffineOfOpen(weights.down, *block, units);
    return Affine(weights.down, units);
  }

  const ModelConfig& config_;
  const GateLayout& layout_;
  const PassOptions& options_;
  const size_t points_;
  PassResult& result_;
};

// With bounds wanted, rows without errors are exact.
Bounded64 Prepared(Bounded64 rows, bool bounded) {
  if (!bounded) rows.error.resize(0, 0);
  if (bounded && !rows.bounded()) rows.error = Matrix64::Zero(rows.value.rows(), rows.value.cols());
  return rows;
}

}  // namespace

PassResult Float64Pass::Run(const PassInput& input, const PassOptions& options) const {
  const ModelConfig& config = weights_.config;
  const bool bounded = options.unit_roundoff != 0;
  PassResult result;
  const Index points = static_cast<Index>(input.points), gates = static_cast<Index>(layout_.gates());
  result.arguments.value.resize(points, gates);
  if (bounded) result.arguments.error.resize(points, gates);
  result.tape.points = input.points;
  StackRun run(config, layout_, options, input.points, result);
  Bounded64 memory = Prepared(input.memory, bounded);
  if (input.source.value.size() != 0) {
    memory = run.Run(*weights_.encoder, false,
                     run.Embed(*weights_.encoder, config.input, Prepared(input.source, bounded)), nullptr,
                     options.tape ? &result.tape.encoder : nullptr);
  }
  if (input.target.value.size() == 0) {
    result.rows = std::move(memory);
    return result;
  }
  result.rows = run.Run(*weights_.decoder, true,
                        run.Embed(*weights_.decoder, config.decoder_input(), Prepared(input.target, bounded)),
                        &memory, options.tape ? &result.tape.decoder : nullptr);
  return result;
}

std::vector<uint8_t> Float64Pass::Signs(const PassResult& result, size_t point) const {
  std::vector<uint8_t> open(layout_.gates());
  for (size_t g = 0; g < open.size(); ++g) {
    open[g] = result.arguments.value(static_cast<Index>(point), static_cast<Index>(g)) > 0 ? 1 : 0;
  }
  return open;
}

}  // namespace splineserve
