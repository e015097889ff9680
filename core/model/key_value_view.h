// Where the keys and values of a run of tokens lie.
#ifndef SPLINESERVE_CORE_MODEL_KEY_VALUE_VIEW_H_
#define SPLINESERVE_CORE_MODEL_KEY_VALUE_VIEW_H_

#include <cstddef>

#include "core/base/matrix_view.h"
#include "core/format/model_config.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/token_blocks.h"

namespace splineserve {

// What one token's keys and values consist of.
struct KeyValueShape {
  size_t layers = 0, heads = 0, head_dim = 0;
  bool operator==(const KeyValueShape&) const = default;
  static KeyValueShape OfDecoder(const ModelConfig& config) {
    return {config.num_decoder_layers, config.num_attention_heads, config.head_dim};
  }
};

enum class KeyValueLayout {
  // Of each layer and head, keys packed as columns [head_dim, capacity] and values as rows [capacity,
  // head_dim]: for blocks of query rows, which take a head at a time.
  kPanels,
  // Of each layer, blocks of tokens with all heads (token_blocks.h): for one query row, up to
  // kMaxBlockTokens.
  kTokenBlocks,
};

// The layers follow one another; within one of panels, the heads. Does not own the memory. Cheap to copy.
struct KeyValueView {
  float* data = nullptr;
  KeyValueShape shape;
  KeyValueLayout layout = KeyValueLayout::kPanels;
  size_t capacity = 0;                    // tokens
  size_t key_width = 0, value_width = 0;  // of the panels
  size_t keys_size = 0;                   // floats of one head's keys, in panels
  size_t head_stride = 0;                 // floats from one head to the next, in panels
  size_t layer_stride = 0;                // floats

  KeyValueView() = default;
  // `data` has room for size() floats.
  KeyValueView(const KeyValueShape& shape, KeyValueLayout layout, size_t capacity, float* data);

  size_t size() const { return shape.layers * layer_stride; }
  static size_t Size(const KeyValueShape& shape, KeyValueLayout layout, size_t capacity) {
    return KeyValueView(shape, layout, capacity, nullptr).size();
  }
  // Tokens that are no waste in chunks of this layout: `tokens` rounded up.
  static size_t RoundedCapacity(const KeyValueShape& shape, KeyValueLayout layout, size_t tokens);

  // Panels: the first `tokens` keys of a head, as right operand of q . k; and values, as right operand of
  // weights . v.
  PackedView Keys(size_t layer, size_t head, size_t tokens) const {
    return {Head(layer, head), shape.head_dim, tokens, key_width, shape.head_dim * key_width};
  }
  PackedView Values(size_t layer, size_t head, size_t tokens) const {
    return {Head(layer, head) + keys_size, tokens, shape.head_dim, value_width, capacity * value_width};
  }

  // Token blocks: those of one layer.
  TokenBlocks token_blocks() const { return {shape.heads, shape.head_dim}; }
  float* Blocks(size_t layer) const { return data + layer * layer_stride; }

  // Stores token `token` of one head of one layer, in either layout. The memory must not be shared:
  // KeyValues::Grow sees to that.
  void Store(size_t layer, size_t head, size_t token, const float* key, const float* value) const;
  // The same of tokens [token, token + keys.rows), out of rows [head_dim].
  void Store(const KernelSet& kernels, size_t layer, size_t head, size_t token, MatrixView<const float> keys,
             MatrixView<const float> values) const;
  // One token of all heads, out of rows [heads * head_dim].
  void StoreToken(size_t layer, size_t token, const float* keys, const float* values) const;
  // Takes the first `tokens` of one head of `from`, which may have the other layout.
  void CopyHead(size_t layer, size_t head, const KeyValueView& from, size_t from_layer, size_t from_head,
                size_t tokens) const;
  // Panels of one layer and head with room for those of `this`, for CopyHead.
  KeyValueView OneHead(float* memory) const {
    return {{1, 1, shape.head_dim}, KeyValueLayout::kPanels, capacity, memory};
  }
  // Takes the first `tokens` of a view of the same shape.
  void CopyFirst(const KeyValueView& from, size_t tokens) const;

 private:
  // One token of one head: number k of its key at key[k * key_stride], n of its value at
  // value[n / run * value_stride + n % run].
  struct Place {
    float* key;
    size_t key_stride;
    float* value;
    size_t run, value_stride;
  };
  void CopyPanels(const KeyValueView& from, size_t layer, size_t head, size_t tokens) const;
  Place At(size_t layer, size_t head, size_t token) const;
  void StoreValue(const Place& to, const float* value) const;
  float* Head(size_t layer, size_t head) const { return data + layer * layer_stride + head * head_stride; }
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_KEY_VALUE_VIEW_H_
