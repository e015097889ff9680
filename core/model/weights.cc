#include "core/model/weights.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve {
namespace {

// A sinusoidal table longer than this is computed row by row when a longer sequence comes: config.json may
// declare millions of positions without a byte of weights to show for it.
constexpr size_t kMaxTabulatedPositions = 4096;

class Packer {
 public:
  explicit Packer(const ModelDirectory& directory) : directory_(directory), config_(directory.config()) {}

  absl::StatusOr<ModelWeights> Pack() {
    ModelWeights weights;
    weights.config = config_;
    if (config_.has_encoder()) {
      SPLINESERVE_ASSIGN_OR_RETURN(weights.encoder,
                                   Stack("encoder", config_.input, config_.num_encoder_layers, false));
    }
    if (config_.has_decoder()) {
      SPLINESERVE_ASSIGN_OR_RETURN(weights.decoder,
                                   Stack("decoder", config_.decoder_input(), config_.num_decoder_layers,
                                         config_.architecture == Architecture::kEncoderDecoder));
    }
    if (config_.head.kind == HeadKind::kLinear) {
      SPLINESERVE_ASSIGN_OR_RETURN(weights.head, Affine("head"));
    }
    return weights;
  }

 private:
  // An absent optional tensor gives an empty buffer.
  absl::StatusOr<AlignedBuffer<float>> Floats(const std::string& name) {
    const TensorView* tensor = directory_.Find(name);
    if (tensor == nullptr) return AlignedBuffer<float>();
    AlignedBuffer<float> values(tensor->elements());
    SPLINESERVE_RETURN_IF_ERROR(ReadFloats(*tensor, absl::MakeSpan(values.data(), values.size())));
    return values;
  }

  absl::StatusOr<AffineMap> Affine(const std::string& prefix) {
    const std::string name = absl::StrCat(prefix, ".weight");
    const TensorView* tensor = directory_.Find(name);
    if (tensor == nullptr || tensor->shape.size() != 2) {
      return absl::InternalError(absl::StrCat(name, ": expected a checked matrix from the model directory"));
    }
    AffineMap map;
    SPLINESERVE_ASSIGN_OR_RETURN(const AlignedBuffer<float> values, Floats(name));
    map.weight = PackedMatrix::FromRows({values.data(), tensor->shape[0], tensor->shape[1]});
    SPLINESERVE_ASSIGN_OR_RETURN(map.bias, Floats(absl::StrCat(prefix, ".bias")));
    return map;
  }

  absl::StatusOr<NormWeights> Norm(const std::string& prefix) {
    NormWeights norm;
    SPLINESERVE_ASSIGN_OR_RETURN(norm.weight, Floats(absl::StrCat(prefix, ".weight")));
    SPLINESERVE_ASSIGN_OR_RETURN(norm.bias, Floats(absl::StrCat(prefix, ".bias")));
    return norm;
  }

  absl::StatusOr<AttentionWeights> Attention(const std::string& layer, const std::string& site) {
    const std::string prefix = absl::StrCat(layer, ".", site);
    AttentionWeights attention;
    SPLINESERVE_ASSIGN_OR_RETURN(attention.norm, Norm(absl::StrCat(prefix, "_norm")));
    SPLINESERVE_ASSIGN_OR_RETURN(attention.query, Affine(absl::StrCat(prefix, ".q_proj")));
    SPLINESERVE_ASSIGN_OR_RETURN(attention.key, Affine(absl::StrCat(prefix, ".k_proj")));
    SPLINESERVE_ASSIGN_OR_RETURN(attention.value, Affine(absl::StrCat(prefix, ".v_proj")));
    SPLINESERVE_ASSIGN_OR_RETURN(attention.output, Affine(absl::StrCat(prefix, ".o_proj")));
    return attention;
  }

  absl::StatusOr<StackWeights> Stack(const std::string& stack, const InputConfig& input, size_t layers,
                                     bool cross) {
    StackWeights weights;
    if (input.kind == InputKind::kTokens) {
      SPLINESERVE_ASSIGN_OR_RETURN(weights.token_embedding,
                                   Floats(absl::StrCat(stack, ".embed_tokens.weight")));
    } else {
      SPLINESERVE_ASSIGN_OR_RETURN(weights.input_projection, Affine(absl::StrCat(stack, ".input_proj")));
    }
    if (config_.positions == Positions::kLearned) {
      SPLINESERVE_ASSIGN_OR_RETURN(weights.positions, Floats(absl::StrCat(stack, ".embed_positions.weight")));
      weights.positions_rows = config_.max_positions;
    } else if (config_.positions == Positions::kSinusoidal) {
      weights.positions_rows = std::min(config_.max_positions, kMaxTabulatedPositions);
      weights.positions = AlignedBuffer<float>(weights.positions_rows * config_.hidden_size);
      for (size_t p = 0; p < weights.positions_rows; ++p) {
        SinusoidalPosition(p, config_.hidden_size, weights.positions.data() + p * config_.hidden_size);
      }
    }
    for (size_t l = 0; l < layers; ++l) {
      const std::string layer = absl::StrCat(stack, ".layers.", l);
      LayerWeights layer_weights;
      SPLINESERVE_ASSIGN_OR_RETURN(layer_weights.self_attention, Attention(layer, "self_attn"));
      if (cross) {
        SPLINESERVE_ASSIGN_OR_RETURN(layer_weights.cross_attention, Attention(layer, "cross_attn"));
      }
      SPLINESERVE_ASSIGN_OR_RETURN(layer_weights.feed_forward.norm, Norm(absl::StrCat(layer, ".ffn_norm")));
      SPLINESERVE_ASSIGN_OR_RETURN(layer_weights.feed_forward.up,
                                   Affine(absl::StrCat(layer, ".ffn.up_proj")));
      SPLINESERVE_ASSIGN_OR_RETURN(layer_weights.feed_forward.down,
                                   Affine(absl::StrCat(layer, ".ffn.down_proj")));
      weights.layers.push_back(std::move(layer_weights));
    }
    if (config_.final_norm) {
      SPLINESERVE_ASSIGN_OR_RETURN(weights.final_norm, Norm(absl::StrCat(stack, ".final_norm")));
    }
    return weights;
  }

  const ModelDirectory& directory_;
  const ModelConfig& config_;
};

}  // namespace

absl::StatusOr<ModelWeights> PackWeights(const ModelDirectory& directory) { return Packer(directory).Pack(); }

void SinusoidalPosition(size_t position, size_t d, float* row) {
  for (size_t c = 0; c < d; ++c) {
    const double i = static_cast<double>(c / 2);
    const double angle = static_cast<double>(position) / std::pow(10000.0, 2.0 * i / static_cast<double>(d));
    row[c] = static_cast<float>(c % 2 == 0 ? std::sin(angle) : std::cos(angle));
  }
}

}  // namespace splineserve
