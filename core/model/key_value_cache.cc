#include "core/model/key_value_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/kernels/packing.h"

namespace splineserve {
namespace {

// The first chunk of a generation: most are short, and little is copied when the first beams part.
constexpr size_t kFirstTokens = 16;

size_t RoundUp(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

size_t MaxChunkTokens(size_t beams) {
  return beams == 1 ? KeyValues::kMaxChunkTokens : KeyValues::kChunkTokens;
}

size_t FirstCapacity(size_t prompt_tokens) {
  return std::max(kFirstTokens, prompt_tokens / kLaneBlock * kLaneBlock);
}

size_t MemoryBytes(const KeyValueShape& shape, size_t tokens) {
  return tokens == 0 ? 0 : KeyValueChunk::Bytes(shape, KeyValues::RoundedCapacity(tokens));
}

// Of the panels of an operand with `outer` columns and chains of `inner`.
size_t PackedSize(size_t inner, size_t outer) { return RoundUp(outer, PanelWidth(outer)) * inner; }

}  // namespace

void KeyValueView::Store(size_t layer, size_t head, size_t token, const float* key,
                         const float* value) const {
  const size_t head_dim = shape.head_dim;
  float* const column = Head(layer, head) + token / key_width * head_dim * key_width + token % key_width;
  for (size_t k = 0; k < head_dim; ++k) column[k * key_width] = key[k];
  float* row = Head(layer, head) + keys_size + token * value_width;
  for (size_t n = 0; n < head_dim; n += value_width, row += capacity * value_width) {
    std::memcpy(row, value + n, std::min(value_width, head_dim - n) * sizeof(float));
  }
}

KeyValueChunk::KeyValueChunk(KeyValuePool* pool, const KeyValueShape& shape, size_t capacity) : pool_(pool) {
  view_.shape = shape;
  view_.capacity = capacity;
  view_.key_width = PanelWidth(capacity);
  view_.value_width = PanelWidth(shape.head_dim);
  view_.keys_size = PackedSize(shape.head_dim, capacity);
  view_.head_stride = view_.keys_size + PackedSize(capacity, shape.head_dim);
  buffer_ = AlignedBuffer<float>(shape.layers * shape.heads * view_.head_stride);
  view_.data = buffer_.data();
}

size_t KeyValueChunk::Bytes(const KeyValueShape& shape, size_t capacity) {
  return shape.layers * shape.heads *
         (PackedSize(shape.head_dim, capacity) + PackedSize(capacity, shape.head_dim)) * sizeof(float);
}

void KeyValueChunk::CopyFirst(const KeyValueChunk& from, size_t tokens) {
  const size_t head_dim = view_.shape.head_dim;
  for (size_t i = 0; i < view_.shape.layers * view_.shape.heads; ++i) {
    float* to_head = view_.Head(0, i);
    const float* from_head = from.view_.Head(0, i);
    for (size_t first = 0; first < tokens; first += view_.key_width) {
      const size_t count = std::min(view_.key_width, tokens - first);
      for (size_t k = 0; k < head_dim; ++k) {
        const size_t at = first * head_dim + k * view_.key_width;
        std::memcpy(to_head + at, from_head + at, count * sizeof(float));
      }
    }
    for (size_t n = 0; n < head_dim; n += view_.value_width) {
      const size_t at = view_.keys_size + n * view_.capacity;
      std::memcpy(to_head + at, from_head + at, tokens * view_.value_width * sizeof(float));
    }
  }
}

KeyValueChunkRef::~KeyValueChunkRef() {
  if (chunk_ != nullptr && --chunk_->references_ == 0) chunk_->pool_->GiveBack(chunk_);
}

KeyValuePool::~KeyValuePool() = default;

KeyValueChunkRef KeyValuePool::Take(const KeyValueShape& shape, size_t capacity) {
  const size_t bytes = KeyValueChunk::Bytes(shape, capacity);
  used_bytes_ += bytes;
  // The youngest first: it is likeliest to be in the cache.
  for (size_t i = kept_.size(); i-- > 0;) {
    if (kept_[i]->capacity() != capacity || !(kept_[i]->shape() == shape)) continue;
    KeyValueChunkRef taken(kept_[i].release());
    kept_.erase(kept_.begin() + static_cast<ptrdiff_t>(i));
    kept_bytes_ -= bytes;
    return taken;
  }
  return KeyValueChunkRef(new KeyValueChunk(this, shape, capacity));
}

void KeyValuePool::GiveBack(KeyValueChunk* chunk) {
  std::unique_ptr<KeyValueChunk> owned(chunk);
  const size_t bytes = chunk->bytes();
  used_bytes_ -= bytes;
  if (bytes > kMaxKeptBytes) return;
  size_t dropped = 0;
  for (; kept_bytes_ + bytes > kMaxKeptBytes || kept_.size() - dropped == kMaxKept; ++dropped) {
    kept_bytes_ -= kept_[dropped]->bytes();
  }
  kept_.erase(kept_.begin(), kept_.begin() + static_cast<ptrdiff_t>(dropped));
  kept_bytes_ += bytes;
  kept_.push_back(std::move(owned));
}

size_t KeyValues::RoundedCapacity(size_t tokens) { return RoundUp(std::max<size_t>(tokens, 1), kLaneBlock); }

size_t KeyValues::NextChunk(size_t capacity, size_t max_chunk_tokens) {
  // Few sizes, so that the pool is likely to have one.
  return std::clamp(std::bit_floor(capacity), kChunkTokens, max_chunk_tokens);
}

KeyValues::KeyValues(KeyValuePool* pool, const KeyValueShape& shape, size_t first_tokens,
                     size_t max_chunk_tokens)
    : pool_(pool),
      shape_(shape),
      first_capacity_(RoundedCapacity(first_tokens)),
      max_chunk_tokens_(max_chunk_tokens) {}

void KeyValues::Prepare(KeyValuePool* pool, const KeyValueShape& shape, size_t tokens) {
  const bool enough = chunks_.size() == 1 && pool_ == pool && shape_ == shape && capacity_ >= tokens &&
                      !chunks_.front().chunk.shared();
  if (!enough) {
    *this = KeyValues(pool, shape, tokens);
    Append(first_capacity_);
  }
  length_ = 0;
}

void KeyValues::ReserveList(size_t tokens) {
  chunks_.reserve(1 + RoundUp(tokens, kChunkTokens) / kChunkTokens);
}

void KeyValues::Clear() {
  chunks_.clear();
  length_ = capacity_ = largest_chunk_ = 0;
}

void KeyValues::Append(size_t capacity) {
  chunks_.push_back({pool_->Take(shape_, capacity), capacity_});
  capacity_ += capacity;
  largest_chunk_ = std::max(largest_chunk_, capacity);
}

void KeyValues::Grow(size_t tokens) {
  if (length_ < capacity_ && chunks_.back().chunk.shared()) {
    Place& last = chunks_.back();
    KeyValueChunkRef copy = pool_->Take(shape_, last.chunk->capacity());
    copy->CopyFirst(*last.chunk, length_ - last.first);
    last.chunk = std::move(copy);
  }
  length_ += tokens;
  while (capacity_ < length_) {
    Append(chunks_.empty() ? first_capacity_ : NextChunk(capacity_, max_chunk_tokens_));
  }
}

void KeyValues::Store(size_t layer, size_t head, MatrixView<const float> keys,
                      MatrixView<const float> values) const {
  const size_t column = head * shape_.head_dim;
  // From the back: only the first Grow of a sequence reaches into several chunks.
  size_t place = chunks_.size();
  for (size_t r = keys.rows; r-- > 0;) {
    const size_t token = length_ - keys.rows + r;
    while (place == chunks_.size() || chunks_[place].first > token) --place;
    chunks_[place].chunk->view().Store(layer, head, token - chunks_[place].first, keys.row(r) + column,
                                       values.row(r) + column);
  }
}

KeyValueCache KeyValueCache::ForTokens(KeyValuePool* pool, const ModelConfig& config, size_t tokens,
                                       std::shared_ptr<const KeyValues> memory) {
  return {KeyValues(pool, KeyValueShape::OfDecoder(config), tokens), std::move(memory)};
}

size_t KeyValueCache::BytesForTokens(const ModelConfig& config, size_t tokens, size_t memory_tokens) {
  const KeyValueShape shape = KeyValueShape::OfDecoder(config);
  return MemoryBytes(shape, memory_tokens) + KeyValueChunk::Bytes(shape, KeyValues::RoundedCapacity(tokens));
}

KeyValueCache KeyValueCache::ForGeneration(KeyValuePool* pool, const ModelConfig& config,
                                           size_t prompt_tokens, size_t beams,
                                           std::shared_ptr<const KeyValues> memory) {
  return {
      KeyValues(pool, KeyValueShape::OfDecoder(config), FirstCapacity(prompt_tokens), MaxChunkTokens(beams)),
      std::move(memory)};
}

size_t KeyValueCache::BytesForGeneration(const ModelConfig& config, size_t prompt_tokens, size_t new_tokens,
                                         size_t memory_tokens, size_t beams) {
  const KeyValueShape shape = KeyValueShape::OfDecoder(config);
  const size_t first = FirstCapacity(prompt_tokens);
  // A first chunk that the prompt fills is shared; all others may come to belong to one beam each. A beam
  // whose tokens are copied is alive itself, so that there is never one chunk more.
  size_t bytes = MemoryBytes(shape, memory_tokens) +
                 (prompt_tokens >= first ? 1 : beams) * KeyValueChunk::Bytes(shape, first);
  for (size_t capacity = first, next = 0; capacity < prompt_tokens + new_tokens; capacity += next) {
    next = KeyValues::NextChunk(capacity, MaxChunkTokens(beams));
    bytes += beams * KeyValueChunk::Bytes(shape, next);
  }
  return bytes;
}

}  // namespace splineserve
