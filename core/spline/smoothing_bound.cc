#include "core/spline/smoothing_bound.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/spline/paired_rows.h"

namespace splineserve {
namespace {

using Eigen::Index;

// Queries that share one pass over the keys: bounds the memory of the scores.
constexpr Index kQueryBlock = 64;

// Walks one model at one input.
class Comparison {
 public:
  Comparison(const ModelWeights& weights, float beta, absl::FunctionRef<absl::Status()> check)
      : weights_(weights), config_(weights.config), beta_(beta), check_(check) {}

  absl::Status CheckWeights() const {
    if (weights_.precision != Precision::kFloat32) {
      return absl::FailedPreconditionError(
          absl::StrCat("expected weights in float32, found ", PrecisionName(weights_.precision)));
    }
    if (config_.norm != NormKind::kNone && config_.norm != NormKind::kAffine) {
      return absl::FailedPreconditionError(
          absl::StrCat("expected norm none or affine, found ", std::string(Name(config_.norm))));
    }
    return absl::OkStatus();
  }

  // Final rows of a stack; `memory` is null without cross-attention.
  absl::StatusOr<PairedRows> Stack(const StackWeights& stack, const InputConfig& input,
                                   const SequenceInput& sequence, bool causal,
                                   const PairedRows* memory) const {
    PairedRows x = Embed(stack, input, sequence);
    for (const LayerWeights& layer : stack.layers) {
      SPLINESERVE_RETURN_IF_ERROR(check_());
      x = SubLayer(layer.self_attention.norm, std::move(x),
                   [&](const PairedRows& in) { return Attend(layer.self_attention, in, in, causal); });
      if (layer.cross_attention.has_value()) {
        SPLINESERVE_RETURN_IF_ERROR(check_());
        x = SubLayer(layer.cross_attention->norm, std::move(x), [&](const PairedRows& in) {
          return Attend(*layer.cross_attention, in, *memory, false);
        });
      }
      SPLINESERVE_RETURN_IF_ERROR(check_());
      x = SubLayer(layer.feed_forward.norm, std::move(x), [&](const PairedRows& in) {
        return Apply(layer.feed_forward.down, Gated(beta_, Apply(layer.feed_forward.up, in)));
      });
    }
    if (config_.final_norm) x = Norm(stack.final_norm, x);
    return x;
  }

  PairedRows Head(const PairedRows& hidden) const {
    switch (config_.head.pooling) {
      case Pooling::kNone:
        break;
      case Pooling::kFirst:
        return Apply(*weights_.head, hidden.Block(0, 1, 0, hidden.cols()));
      case Pooling::kMean: {
        const Eigen::ArrayXd tokens = Eigen::ArrayXd::Constant(1, static_cast<double>(hidden.rows()));
        return Apply(*weights_.head, Divided(ColumnSums(hidden), tokens));
      }
    }
    return Apply(*weights_.head, hidden);
  }

  static absl::StatusOr<SmoothingComparison> Result(const PairedRows& rows) {
    if (!rows.spline.allFinite() || !rows.smoothed.allFinite()) {
      return absl::OutOfRangeError("a number of the spline or of its smoothing overflows float64");
    }
    const auto copy = [](const Numbers& m) { return std::vector<double>(m.data(), m.data() + m.size()); };
    SmoothingComparison result = {static_cast<size_t>(rows.rows()),
                                  static_cast<size_t>(rows.cols()),
                                  copy(rows.spline),
                                  copy(rows.smoothed),
                                  copy(rows.bound[kUniform]),
                                  copy(rows.bound[kAtGates])};
    // Infinity times a zero weight.
    for (std::vector<double>* const bound : {&result.proven, &result.proven_at_gates}) {
      for (double& each : *bound) {
        if (std::isnan(each)) each = std::numeric_limits<double>::infinity();
      }
    }
    return result;
  }

 private:
  PairedRows Embed(const StackWeights& stack, const InputConfig& input, const SequenceInput& sequence) const {
    const auto tokens = static_cast<Index>(sequence.length());
    const auto d = static_cast<Index>(config_.hidden_size);
    Numbers position = Numbers::Zero(tokens, d),
            own(tokens, input.kind == InputKind::kTokens ? d : static_cast<Index>(input.size));
    std::vector<float> scratch;
    const auto widened = [](const float* row, Index size) {
      return Eigen::Map<const Eigen::RowVectorXf>(row, size).cast<double>();
    };
    for (Index t = 0; t < tokens; ++t) {
      const auto index = static_cast<size_t>(t);
      if (config_.positions != Positions::kNone)
        position.row(t) = widened(Position(stack, index, scratch), d);
      if (input.kind == InputKind::kTokens) {
        const auto id = static_cast<size_t>(sequence.ids[index]);
        // Exact: the product of two float32 numbers has 48 bits.
        own.row(t) = widened(stack.token_embedding.Row(id, scratch), d) * double{input.scale};
      } else {
        own.row(t) = widened(sequence.vectors.row(index), own.cols());
      }
    }
    PairedRows x = PairedRows::Common(std::move(own));
    if (input.kind == InputKind::kVectors) x = Apply(*stack.input_projection, x);
    return config_.positions == Positions::kNone ? x : Sum(x, PairedRows::Common(std::move(position)));
  }

  const float* Position(const StackWeights& stack, size_t position, std::vector<float>& scratch) const {
    if (position < stack.positions.rows()) return stack.positions.Row(position, scratch);
    scratch.resize(config_.hidden_size);
    SinusoidalPosition(position, config_.hidden_size, scratch.data());
    return scratch.data();
  }

  PairedRows Norm(const NormWeights& norm, const PairedRows& x) const {
    return config_.norm == NormKind::kNone ? x : Apply(norm, x);
  }

  template <typename Branch>
  PairedRows SubLayer(const NormWeights& norm, PairedRows x, const Branch& branch) const {
    const bool pre = config_.norm_placement == NormPlacement::kPre;
    PairedRows out = branch(pre ? Norm(norm, x) : x);
    if (config_.residual) out = Sum(x, out);
    return pre ? out : Norm(norm, out);
  }

  // Query i sees all keys, or with `causal` those up to its own.
  PairedRows Attend(const AttentionWeights& weights, const PairedRows& x, const PairedRows& memory,
                    bool causal) const {
    const PairedRows query = Apply(weights.query, x), key = Apply(weights.key, memory),
                     value = Apply(weights.value, memory);
    const auto width = static_cast<Index>(config_.head_dim);
    PairedRows attended = PairedRows::Zero(x.rows(), query.cols());
    for (Index column = 0; column < query.cols(); column += width) {
      for (Index first = 0; first < x.rows(); first += kQueryBlock) {
        const Index count = std::min(kQueryBlock, x.rows() - first);
        const Index keys = causal ? first + count : memory.rows();
        attended.SetBlock(
            first, column,
            AttendBlock(query.Block(first, count, column, width), key.Block(0, keys, column, width),
                        value.Block(0, keys, column, width), first, causal));
      }
    }
    return Apply(weights.output, attended);
  }

  PairedRows AttendBlock(const PairedRows& query, const PairedRows& key, const PairedRows& value, Index first,
                         bool causal) const {
    PairedRows weight = Gated(beta_, Scaled(config_.attention_scale, Product(query, key.Transposed())));
    Eigen::ArrayXd visible = Eigen::ArrayXd::Constant(weight.rows(), static_cast<double>(weight.cols()));
    if (causal) {
      for (Index r = 0; r < weight.rows(); ++r) {
        const Index seen = first + r + 1;
        visible[r] = static_cast<double>(seen);
        weight.ClearTail(r, weight.cols() - seen);
      }
    }
    PairedRows out = Product(weight, value);
    const bool divided = config_.attention_normalizer == AttentionNormalizer::kVisible;
    return divided ? Divided(std::move(out), visible) : out;
  }

  const ModelWeights& weights_;
  const ModelConfig& config_;
  const double beta_;
  const absl::FunctionRef<absl::Status()> check_;
};

}  // namespace

absl::StatusOr<SmoothingComparison> CompareEncoder(const ModelWeights& weights, float beta,
                                                   const SequenceInput& input, bool head,
                                                   absl::FunctionRef<absl::Status()> check) {
  const Comparison comparison(weights, beta, check);
  SPLINESERVE_RETURN_IF_ERROR(comparison.CheckWeights());
  SPLINESERVE_ASSIGN_OR_RETURN(
      const PairedRows hidden,
      comparison.Stack(*weights.encoder, weights.config.input, input, /*causal=*/false, nullptr));
  return Comparison::Result(head ? comparison.Head(hidden) : hidden);
}

absl::StatusOr<SmoothingComparison> CompareDecoder(const ModelWeights& weights, float beta,
                                                   const SequenceInput& source, const SequenceInput& target,
                                                   bool head, absl::FunctionRef<absl::Status()> check) {
  const Comparison comparison(weights, beta, check);
  SPLINESERVE_RETURN_IF_ERROR(comparison.CheckWeights());
  PairedRows memory;
  if (weights.encoder.has_value()) {
    SPLINESERVE_ASSIGN_OR_RETURN(
        memory, comparison.Stack(*weights.encoder, weights.config.input, source, /*causal=*/false, nullptr));
  }
  SPLINESERVE_ASSIGN_OR_RETURN(const PairedRows hidden,
                               comparison.Stack(*weights.decoder, weights.config.decoder_input(), target,
                                                /*causal=*/true, &memory));
  return Comparison::Result(head ? comparison.Head(hidden) : hidden);
}

size_t ComparisonBytes(const ModelConfig& config, size_t source, size_t target) {
  const size_t tokens = source + target;
  constexpr size_t kMembers = 6;  // of PairedRows
  // Input, branch and sum; query, key, value and what is attended; units, twice.
  const size_t row = 4 * config.hidden_size + 4 * config.attention_size() + 2 * config.intermediate_size;
  const size_t widest = std::max({config.hidden_size, config.attention_size(), config.head.size});
  const size_t weight = 2 * widest * std::max(config.intermediate_size, widest);
  return sizeof(double) *
         (kMembers * tokens * row + 2 * kMembers * static_cast<size_t>(kQueryBlock) * tokens + weight);
}

}  // namespace splineserve
