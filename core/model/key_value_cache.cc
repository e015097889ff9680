#include "core/model/key_value_cache.h"

#include <algorithm>
#include <utility>

namespace splineserve {

HeadKeyValues::HeadKeyValues(size_t heads, size_t head_dim, size_t capacity)
    : head_dim_(head_dim), capacity_(std::max<size_t>(capacity, 1)) {
  keys_.reserve(heads);
  values_.reserve(heads);
  for (size_t h = 0; h < heads; ++h) {
    keys_.emplace_back(head_dim, capacity_);
    values_.emplace_back(capacity_, head_dim);
  }
}

void HeadKeyValues::Append(MatrixView<const float> keys, MatrixView<const float> values) {
  if (length_ + keys.rows > capacity_) {
    capacity_ = std::max(length_ + keys.rows, 2 * capacity_);
    for (PackedMatrix& head : keys_) head = head.Resized(head_dim_, capacity_);
    for (PackedMatrix& head : values_) head = head.Resized(capacity_, head_dim_);
  }
  for (size_t h = 0; h < keys_.size(); ++h) {
    for (size_t r = 0; r < keys.rows; ++r) {
      keys_[h].SetColumn(length_ + r, keys.row(r) + h * head_dim_);
      values_[h].SetRow(length_ + r, values.row(r) + h * head_dim_);
    }
  }
  length_ += keys.rows;
}

HeadKeyValues HeadKeyValues::Clone() const {
  HeadKeyValues copy;
  copy.head_dim_ = head_dim_;
  copy.capacity_ = capacity_;
  copy.length_ = length_;
  for (const PackedMatrix& head : keys_) copy.keys_.push_back(head.Resized(head_dim_, capacity_));
  for (const PackedMatrix& head : values_) copy.values_.push_back(head.Resized(capacity_, head_dim_));
  return copy;
}

KeyValueCache::KeyValueCache(const ModelConfig& config, size_t expected_tokens,
                             std::shared_ptr<const MemoryKeyValues> memory)
    : memory(std::move(memory)) {
  layers.reserve(config.num_decoder_layers);
  for (size_t l = 0; l < config.num_decoder_layers; ++l) {
    layers.emplace_back(config.num_attention_heads, config.head_dim, expected_tokens);
  }
}

KeyValueCache KeyValueCache::Clone() const {
  KeyValueCache copy;
  copy.memory = memory;
  copy.layers.reserve(layers.size());
  for (const HeadKeyValues& layer : layers) copy.layers.push_back(layer.Clone());
  return copy;
}

size_t KeyValueCache::BytesFor(const ModelConfig& config, size_t tokens, size_t memory_tokens) {
  // Numbers of a head and tokens of a panel are padded to whole blocks of 16 (of 64 above that); growth by
  // doubling at most doubles the decoder's own part.
  const auto padded = [](size_t n) { return n <= kMaxPanelWidth ? (n + 15) / 16 * 16 : (n + 63) / 64 * 64; };
  const size_t per_token =
      config.num_attention_heads * 2 * padded(config.head_dim) * sizeof(float) * config.num_decoder_layers;
  return per_token * (2 * padded(tokens) + padded(memory_tokens));
}

}  // namespace splineserve
