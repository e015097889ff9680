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

void HeadKeyValues::Prepare(size_t heads, size_t head_dim, size_t capacity) {
  if (keys_.size() != heads || head_dim_ != head_dim || capacity_ < capacity) {
    *this = HeadKeyValues(heads, head_dim, capacity);
  }
  length_ = 0;
}

void HeadKeyValues::Grow(size_t tokens) {
  length_ += tokens;
  if (length_ <= capacity_) return;
  capacity_ = std::max(length_, 2 * capacity_);
  for (PackedMatrix& head : keys_) head = head.Resized(head_dim_, capacity_);
  for (PackedMatrix& head : values_) head = head.Resized(capacity_, head_dim_);
}

void HeadKeyValues::Store(size_t head, MatrixView<const float> keys, MatrixView<const float> values) {
  const size_t first = length_ - keys.rows;
  for (size_t r = 0; r < keys.rows; ++r) {
    keys_[head].SetColumn(first + r, keys.row(r) + head * head_dim_);
    values_[head].SetRow(first + r, values.row(r) + head * head_dim_);
  }
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
