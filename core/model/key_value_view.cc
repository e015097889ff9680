#include "core/model/key_value_view.h"

#include <algorithm>
#include <cstring>

#include "core/kernels/packing.h"

namespace splineserve {
namespace {

size_t RoundUp(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

// Of the panels of an operand with `outer` columns and chains of `inner`.
size_t PackedSize(size_t inner, size_t outer) { return RoundUp(outer, PanelWidth(outer)) * inner; }

}  // namespace

KeyValueView::KeyValueView(const KeyValueShape& shape, KeyValueLayout layout, size_t capacity, float* data)
    : data(data), shape(shape), layout(layout), capacity(capacity) {
  if (layout == KeyValueLayout::kTokenBlocks) {
    layer_stride = token_blocks().Size(capacity);
    return;
  }
  key_width = PanelWidth(capacity);
  value_width = PanelWidth(shape.head_dim);
  keys_size = PackedSize(shape.head_dim, capacity);
  head_stride = keys_size + PackedSize(capacity, shape.head_dim);
  layer_stride = shape.heads * head_stride;
}

size_t KeyValueView::RoundedCapacity(const KeyValueShape& shape, KeyValueLayout layout, size_t tokens) {
  const size_t unit = layout == KeyValueLayout::kPanels
                          ? kLaneBlock
                          : TokenBlocks{shape.heads, shape.head_dim}.block_tokens();
  return RoundUp(std::max<size_t>(tokens, 1), unit);
}

KeyValueView::Place KeyValueView::At(size_t layer, size_t head, size_t token) const {
  const size_t head_dim = shape.head_dim;
  if (layout == KeyValueLayout::kTokenBlocks) {
    const TokenBlocks blocks = token_blocks();
    float* const base = Blocks(layer);
    return {base + blocks.KeyAt(token, head), kLaneBlock, base + blocks.ValueAt(token, head), head_dim, 0};
  }
  float* const base = Head(layer, head);
  return {base + token / key_width * head_dim * key_width + token % key_width, key_width,
          base + keys_size + token * value_width, value_width, capacity * value_width};
}

void KeyValueView::Store(size_t layer, size_t head, size_t token, const float* key,
                         const float* value) const {
  const size_t head_dim = shape.head_dim;
  const Place to = At(layer, head, token);
  for (size_t k = 0; k < head_dim; ++k) to.key[k * to.key_stride] = key[k];
  StoreValue(to, value);
}

void KeyValueView::StoreValue(const Place& to, const float* value) const {
  float* run = to.value;
  for (size_t n = 0; n < shape.head_dim; n += to.run, run += to.value_stride) {
    std::memcpy(run, value + n, std::min(to.run, shape.head_dim - n) * sizeof(float));
  }
}

void KeyValueView::Store(const KernelSet& kernels, size_t layer, size_t head, size_t token,
                         MatrixView<const float> keys, MatrixView<const float> values) const {
  if (layout == KeyValueLayout::kTokenBlocks) {
    for (size_t r = 0; r < keys.rows; ++r) Store(layer, head, token + r, keys.row(r), values.row(r));
    return;
  }
  // Panel by panel. Number by number, keys took 240 cycles a token of 64 numbers (Emerald Rapids).
  for (size_t r = 0, count; r < keys.rows; r += count) {
    count = std::min(keys.rows - r, key_width - (token + r) % key_width);
    Place to = At(layer, head, token + r);
    kernels.transpose(keys.row(r), keys.stride, count, shape.head_dim, to.key, to.key_stride);
    for (size_t i = r; i < r + count; ++i, to.value += value_width) StoreValue(to, values.row(i));
  }
}

void KeyValueView::StoreToken(size_t layer, size_t token, const float* keys, const float* values) const {
  for (size_t head = 0; head < shape.heads; ++head) {
    Store(layer, head, token, keys + head * shape.head_dim, values + head * shape.head_dim);
  }
}

void KeyValueView::CopyHead(size_t layer, size_t head, const KeyValueView& from, size_t from_layer,
                            size_t from_head, size_t tokens) const {
  for (size_t token = 0; token < tokens; ++token) {
    const Place to = At(layer, head, token), source = from.At(from_layer, from_head, token);
    for (size_t k = 0; k < shape.head_dim; ++k) {
      to.key[k * to.key_stride] = source.key[k * source.key_stride];
    }
    const size_t run = std::min(to.run, source.run);
    for (size_t n = 0; n < shape.head_dim; n += run) {
      std::memcpy(to.value + n / to.run * to.value_stride + n % to.run,
                  source.value + n / source.run * source.value_stride + n % source.run,
                  std::min(run, shape.head_dim - n) * sizeof(float));
    }
  }
}

void KeyValueView::CopyPanels(const KeyValueView& from, size_t layer, size_t head, size_t tokens) const {
  const size_t head_dim = shape.head_dim;
  float* const to_head = Head(layer, head);
  const float* const from_head = from.Head(layer, head);
  for (size_t first = 0; first < tokens; first += key_width) {
    const size_t count = std::min(key_width, tokens - first);
    for (size_t k = 0; k < head_dim; ++k) {
      const size_t at = first * head_dim + k * key_width;
      std::memcpy(to_head + at, from_head + at, count * sizeof(float));
    }
  }
  for (size_t n = 0; n < head_dim; n += value_width) {
    const size_t at = keys_size + n * capacity;
    std::memcpy(to_head + at, from_head + at, tokens * value_width * sizeof(float));
  }
}

void KeyValueView::CopyFirst(const KeyValueView& from, size_t tokens) const {
  for (size_t layer = 0; layer < shape.layers; ++layer) {
    if (layout == KeyValueLayout::kTokenBlocks && from.layout == layout) {
      std::memcpy(Blocks(layer), from.Blocks(layer), token_blocks().Size(tokens) * sizeof(float));
      continue;
    }
    for (size_t head = 0; head < shape.heads; ++head) {
      if (from.layout == layout && from.capacity == capacity) {
        CopyPanels(from, layer, head, tokens);
      } else {
        CopyHead(layer, head, from, layer, head, tokens);
      }
    }
  }
}

}  // namespace splineserve
