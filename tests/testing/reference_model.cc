#include "tests/testing/reference_model.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "core/format/safetensors.h"
#include "core/format/tensor_spec.h"

namespace splineserve::testing {
namespace {

// The one operation that sums are chains of.
float MulAdd(float a, float b, float c) { return std::fma(a, b, c); }
double MulAdd(double a, double b, double c) { return a * b + c; }

template <typename T>
T Dot(const T* a, const T* b, size_t n, T start) {
  T sum = start;
  for (size_t k = 0; k < n; ++k) sum = MulAdd(a[k], b[k], sum);
  return sum;
}

template <typename T>
T Softplus(T x, T beta) {
  return std::max(x, T{0}) + std::log1p(std::exp(-beta * std::abs(x))) / beta;
}

template <typename T>
T GeluTanh(T x) {
  const T inner = std::sqrt(T(2 / M_PI)) * (x + T(0.044715) * x * x * x);
  return x / 2 * (1 + std::tanh(inner));
}

template <typename T>
void Softmax(std::vector<T>* x) {
  const T largest = *std::max_element(x->begin(), x->end());
  T sum = 0;
  for (T& value : *x) sum += value = std::exp(value - largest);
  for (T& value : *x) value /= sum;
}

template <typename T>
bool Finite(const std::vector<T>& row) {
  return std::all_of(row.begin(), row.end(), [](T value) { return std::isfinite(value); });
}

template <typename T>
bool Finite(const Rows<T>& rows) {
  return std::all_of(rows.begin(), rows.end(), [](const std::vector<T>& row) { return Finite(row); });
}

// Appends the group of these gate arguments to the token that owns them.
template <typename T>
void RecordGates(const std::vector<T>& arguments, size_t layer, Site site, size_t head, size_t token,
                 ReferenceResult<T>* result) {
  if (!Finite(arguments)) result->overflowed = true;
  ReferenceGroup group = {.layer = layer, .site = site, .head = head, .width = arguments.size()};
  group.bits.resize((arguments.size() + 7) / 8, 0);
  group.margin = std::numeric_limits<double>::infinity();
  group.arguments.assign(arguments.begin(), arguments.end());
  for (size_t i = 0; i < arguments.size(); ++i) {
    group.margin = std::min<double>(group.margin, std::abs(arguments[i]));
    if (!(arguments[i] > 0)) continue;
    ++group.open;
    group.bits[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
  }
  result->tokens[token].groups.push_back(std::move(group));
}

// `x` are the arguments of the token's last group, of which each is open as its own sign says, or as that
// group of `frozen` does.
template <typename T>
void Gate(bool square, const std::vector<ReferenceToken>* frozen, size_t token,
          const ReferenceResult<T>& result, std::vector<T>* x) {
  const size_t group = result.tokens[token].groups.size() - 1;
  for (size_t i = 0; i < x->size(); ++i) {
    T& value = (*x)[i];
    const bool open =
        frozen == nullptr ? value > 0 : (*frozen)[token].groups[group].bits[i / 8] >> (i % 8) & 1;
    value = open ? value : T{0};
    if (square) value = value * value;
  }
}

void NameTokens(std::vector<ReferenceToken>* tokens, std::string* sequence_id) {
  std::string ids;
  for (ReferenceToken& token : *tokens) {
    std::string bytes;
    for (const ReferenceGroup& group : token.groups) bytes.append(group.bits.begin(), group.bits.end());
    if (!token.groups.empty()) token.id = ReferenceHash(bytes);
    ids += token.id;
  }
  if (!ids.empty()) *sequence_id = ReferenceHash(ids);
}

}  // namespace

std::string ReferenceHash(const std::string& bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  return std::string(reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest));
}

template <typename T>
ReferenceModel<T>::ReferenceModel(const ModelDirectory& directory, ReferenceWeights weights)
    : config_(directory.config()) {
  for (const TensorSpec& spec : ExpectedTensors(config_)) {
    const TensorView* view = directory.Find(spec.name);
    if (view == nullptr) continue;
    if (weights == ReferenceWeights::kAsStored && view->dtype == DType::kF64) {
      std::vector<double> stored(view->elements());
      std::memcpy(stored.data(), view->data.data(), view->data.size());
      tensors_[spec.name] = Tensor(stored.begin(), stored.end());
      continue;
    }
    std::vector<float> values(view->elements());
    const absl::Status status = ReadFloats(*view, absl::MakeSpan(values));
    if (!status.ok()) throw std::runtime_error(status.ToString());
    tensors_[spec.name] = Tensor(values.begin(), values.end());
  }
}

template <typename T>
T ReferenceModel<T>::BiasOrZero(const std::string& name, size_t i) const {
  const auto found = tensors_.find(name + ".bias");
  return found == tensors_.end() ? T{0} : found->second[i];
}

// Row by row: out[n] = bias[n] + sum_k x[k] weight[n][k].
template <typename T>
Rows<T> ReferenceModel<T>::Linear(const std::string& name, const Rows<T>& x) const {
  const Tensor& weight = Get(name + ".weight");
  const size_t inner = x[0].size();
  Rows<T> out(x.size(), std::vector<T>(weight.size() / inner));
  for (size_t row = 0; row < x.size(); ++row) {
    for (size_t n = 0; n < out[row].size(); ++n) {
      out[row][n] = Dot(x[row].data(), &weight[n * inner], inner, BiasOrZero(name, n));
    }
  }
  return out;
}

template <typename T>
T ReferenceModel<T>::PositionValue(const std::string& stack, size_t position, size_t column) const {
  if (config_.positions == Positions::kNone) return 0;
  if (config_.positions == Positions::kLearned) {
    return Get(stack + ".embed_positions.weight")[position * config_.hidden_size + column];
  }
  const size_t i = column / 2;
  const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config_.hidden_size);
  const double angle = static_cast<double>(position) / std::pow(10000.0, exponent);
  // Float32 in either precision: these numbers are the model's, like its weights.
  return static_cast<T>(static_cast<float>(column % 2 == 0 ? std::sin(angle) : std::cos(angle)));
}

template <typename T>
Rows<T> ReferenceModel<T>::Embed(const std::string& stack, const InputConfig& input,
                                 const ReferenceInput& sequence) const {
  const size_t d = config_.hidden_size;
  Rows<T> x(sequence.size(), std::vector<T>(d));
  if (input.kind == InputKind::kTokens && !sequence.continuous.empty()) {
    for (size_t p = 0; p < x.size(); ++p) {
      for (size_t c = 0; c < d; ++c) {
        x[p][c] = static_cast<T>(sequence.continuous[p][c]) + PositionValue(stack, p, c);
      }
    }
    return x;
  }
  if (input.kind == InputKind::kTokens) {
    const Tensor& embedding = Get(stack + ".embed_tokens.weight");
    for (size_t p = 0; p < x.size(); ++p) {
      for (size_t c = 0; c < d; ++c) {
        x[p][c] = MulAdd(embedding[sequence.ids[p] * d + c], T{input.scale}, PositionValue(stack, p, c));
      }
    }
    return x;
  }
  Rows<T> vectors;
  for (const std::vector<float>& vector : sequence.vectors)
    vectors.emplace_back(vector.begin(), vector.end());
  for (const std::vector<double>& vector : sequence.continuous)
    vectors.emplace_back(vector.begin(), vector.end());
  x = Linear(stack + ".input_proj", vectors);
  for (size_t p = 0; p < x.size(); ++p) {
    for (size_t c = 0; c < d; ++c) x[p][c] = x[p][c] + PositionValue(stack, p, c);
  }
  return x;
}

template <typename T>
Rows<T> ReferenceModel<T>::Norm(const std::string& name, const Rows<T>& x) const {
  if (config_.norm == NormKind::kNone) return x;
  const Tensor& weight = Get(name + ".weight");
  Rows<T> out = x;
  for (std::vector<T>& row : out) {
    const T size = static_cast<T>(row.size());
    T mean = 0, scale = 1;
    if (config_.norm == NormKind::kLayerNorm) {
      for (const T value : row) mean += value;
      mean /= size;
    }
    if (config_.norm != NormKind::kAffine) {
      T squares = 0;
      for (const T value : row) squares += (value - mean) * (value - mean);
      scale = 1 / std::sqrt(squares / size + T{config_.norm_eps});
    }
    for (size_t c = 0; c < row.size(); ++c) {
      row[c] = MulAdd(weight[c], (row[c] - mean) * scale, BiasOrZero(name, c));
    }
  }
  return out;
}

// Query i sees all keys, or with `causal` those up to its own position.
template <typename T>
Rows<T> ReferenceModel<T>::Attention(const std::string& name, size_t layer, Site site, const Rows<T>& queries,
                                     const Rows<T>& keys_and_values, bool causal, const Gates* frozen,
                                     ReferenceResult<T>* result) const {
  const Rows<T> q = Linear(name + ".q_proj", queries);
  const Rows<T> k = Linear(name + ".k_proj", keys_and_values);
  const Rows<T> v = Linear(name + ".v_proj", keys_and_values);
  if (!Finite(q) || !Finite(k) || !Finite(v)) result->overflowed = true;
  const AttentionActivation activation = config_.attention_activation;
  const bool gated = activation == AttentionActivation::kRelu || activation == AttentionActivation::kRelu2;
  const bool divided = config_.attention_normalizer == AttentionNormalizer::kVisible &&
                       activation != AttentionActivation::kSoftmax;

  Rows<T> concatenated(q.size(), std::vector<T>(config_.attention_size()));
  for (size_t i = 0; i < q.size(); ++i) {
    const size_t visible = causal ? i + 1 : k.size();
    for (size_t head = 0; head < config_.num_attention_heads; ++head) {
      const size_t first = head * config_.head_dim;
      std::vector<T> weights(visible);
      for (size_t j = 0; j < visible; ++j) {
        weights[j] = Dot(&q[i][first], &k[j][first], config_.head_dim, T{0}) * T{config_.attention_scale};
      }
      if (gated) {
        RecordGates(weights, layer, site, head, i, result);
        Gate(activation == AttentionActivation::kRelu2, frozen, i, *result, &weights);
      } else if (activation == AttentionActivation::kSoftplus) {
        for (T& weight : weights) weight = Softplus(weight, T{config_.softplus_beta});
      } else {
        Softmax(&weights);
      }
      for (size_t c = first; c < first + config_.head_dim; ++c) {
        T sum = 0;
        for (size_t j = 0; j < visible; ++j) sum = MulAdd(weights[j], v[j][c], sum);
        concatenated[i][c] = divided ? sum / static_cast<T>(visible) : sum;
      }
    }
  }
  return Linear(name + ".o_proj", concatenated);
}

template <typename T>
Rows<T> ReferenceModel<T>::FeedForward(const std::string& name, size_t layer, const Rows<T>& x,
                                       const Gates* frozen, ReferenceResult<T>* result) const {
  Rows<T> units = Linear(name + ".up_proj", x);
  for (size_t i = 0; i < units.size(); ++i) {
    switch (config_.hidden_act) {
      case HiddenAct::kRelu:
      case HiddenAct::kRelu2:
        RecordGates(units[i], layer, Site::kFeedForward, 0, i, result);
        Gate(config_.hidden_act == HiddenAct::kRelu2, frozen, i, *result, &units[i]);
        break;
      case HiddenAct::kSoftplus:
        for (T& unit : units[i]) unit = Softplus(unit, T{config_.softplus_beta});
        break;
      case HiddenAct::kGelu:
        for (T& unit : units[i]) unit = unit / 2 * (1 + std::erf(unit / T(M_SQRT2)));
        break;
      case HiddenAct::kGeluTanh:
        for (T& unit : units[i]) unit = GeluTanh(unit);
        break;
      case HiddenAct::kSilu:
        for (T& unit : units[i]) unit = unit / (1 + std::exp(-unit));
        break;
    }
  }
  return Linear(name + ".down_proj", units);
}

// Pre-norm: x + f(norm(x)). Post-norm: norm(x + f(x)). Without residual the "x +" is dropped.
template <typename T>
template <typename Function>
Rows<T> ReferenceModel<T>::Sublayer(const Rows<T>& x, const std::string& norm_name,
                                    const Function& function) const {
  const bool pre = config_.norm_placement == NormPlacement::kPre;
  Rows<T> out = function(pre ? Norm(norm_name, x) : x);
  if (config_.residual) {
    for (size_t i = 0; i < x.size(); ++i) {
      for (size_t c = 0; c < x[i].size(); ++c) out[i][c] = x[i][c] + out[i][c];
    }
  }
  return pre ? out : Norm(norm_name, out);
}

// Runs the layers over the embedded rows `x`; `memory` is null without cross-attention.
template <typename T>
ReferenceResult<T> ReferenceModel<T>::Stack(const std::string& stack, size_t layers, Rows<T> x, bool causal,
                                            const Rows<T>* memory, const Gates* frozen) const {
  ReferenceResult<T> result;
  result.tokens.resize(x.size());
  for (size_t layer = 0; layer < layers; ++layer) {
    const std::string name = stack + ".layers." + std::to_string(layer);
    x = Sublayer(x, name + ".self_attn_norm", [&](const Rows<T>& in) {
      return Attention(name + ".self_attn", layer, Site::kSelfAttention, in, in, causal, frozen, &result);
    });
    if (memory != nullptr) {
      x = Sublayer(x, name + ".cross_attn_norm", [&](const Rows<T>& in) {
        return Attention(name + ".cross_attn", layer, Site::kCrossAttention, in, *memory, false, frozen,
                         &result);
      });
    }
    x = Sublayer(x, name + ".ffn_norm",
                 [&](const Rows<T>& in) { return FeedForward(name + ".ffn", layer, in, frozen, &result); });
  }
  result.hidden = config_.final_norm ? Norm(stack + ".final_norm", x) : std::move(x);
  if (!Finite(result.hidden)) result.overflowed = true;
  NameTokens(&result.tokens, &result.sequence_id);
  return result;
}

template <typename T>
Rows<T> ReferenceModel<T>::Head(const Rows<T>& hidden) const {
  if (config_.head.kind == HeadKind::kNone) return {};
  Rows<T> pooled = hidden;
  if (config_.head.pooling != Pooling::kNone) pooled.resize(1);
  if (config_.head.pooling == Pooling::kMean) {
    for (size_t c = 0; c < pooled[0].size(); ++c) {
      for (size_t i = 1; i < hidden.size(); ++i) pooled[0][c] = pooled[0][c] + hidden[i][c];
      pooled[0][c] = pooled[0][c] / static_cast<T>(hidden.size());
    }
  }
  return Linear("head", pooled);
}

template <typename T>
ReferenceResult<T> ReferenceModel<T>::Encode(const ReferenceInput& input, const Gates* frozen) const {
  ReferenceResult<T> result =
      Stack("encoder", config_.num_encoder_layers, Embed("encoder", config_.input, input),
            /*causal=*/false, /*memory=*/nullptr, frozen);
  if (!config_.has_decoder()) result.head = Head(result.hidden);
  return result;
}

template <typename T>
ReferenceResult<T> ReferenceModel<T>::Decode(const ReferenceInput& source, const ReferenceInput& target,
                                             const Gates* encoder, const Gates* decoder) const {
  ReferenceResult<T> encoded;
  if (config_.has_encoder()) encoded = Encode(source, encoder);
  ReferenceResult<T> result =
      Stack("decoder", config_.num_decoder_layers, Embed("decoder", config_.decoder_input(), target),
            /*causal=*/true, config_.has_encoder() ? &encoded.hidden : nullptr, decoder);
  result.overflowed = result.overflowed || encoded.overflowed;
  result.head = Head(result.hidden);
  return result;
}

template <typename T>
ReferenceResult<T> ReferenceModel<T>::Encode(const ReferenceInput& input) const {
  return Encode(input, nullptr);
}

template <typename T>
ReferenceResult<T> ReferenceModel<T>::Decode(const ReferenceInput& source,
                                             const ReferenceInput& target) const {
  return Decode(source, target, nullptr, nullptr);
}

template <typename T>
ReferenceResult<T> ReferenceModel<T>::EncodeOnPiece(const ReferenceInput& input, const Gates& encoder) const {
  return Encode(input, &encoder);
}

template <typename T>
ReferenceResult<T> ReferenceModel<T>::DecodeOnPiece(const ReferenceInput& source,
                                                    const ReferenceInput& target, const Gates& encoder,
                                                    const Gates& decoder) const {
  return Decode(source, target, &encoder, &decoder);
}

template class ReferenceModel<float>;
template class ReferenceModel<double>;

}  // namespace splineserve::testing
