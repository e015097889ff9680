#include "core/model/key_value_cache.h"

#include <algorithm>
#include <bit>

namespace splineserve {
namespace {

// The first chunk of a generation: most are short, and little is copied when the first beams part.
constexpr size_t kFirstTokens = 16;

size_t MaxChunkTokens(size_t beams) {
  return beams == 1 ? KeyValues::kMaxChunkTokens : KeyValues::kChunkTokens;
}

size_t FirstCapacity(size_t prompt_tokens) {
  return std::max(kFirstTokens, prompt_tokens / kLaneBlock * kLaneBlock);
}

// Short prompts: longer ones are multiplied in blocks of rows, and fill chunks that beams share.
KeyValueLayout OwnLayout(const ModelConfig& config, size_t prompt_tokens) {
  return IsGated(config.attention_activation) && prompt_tokens < kFirstTokens ? KeyValueLayout::kTokenBlocks
                                                                              : KeyValueLayout::kPanels;
}

size_t MemoryBytes(const KeyValueShape& shape, KeyValueLayout layout, size_t tokens) {
  return tokens == 0
             ? 0
             : KeyValueChunk::Bytes(shape, layout, KeyValueView::RoundedCapacity(shape, layout, tokens));
}

}  // namespace

KeyValueChunk::KeyValueChunk(KeyValuePool* pool, const KeyValueShape& shape, KeyValueLayout layout,
                             size_t capacity)
    : pool_(pool), buffer_(KeyValueView::Size(shape, layout, capacity)) {
  view_ = KeyValueView(shape, layout, capacity, buffer_.data());
}

KeyValueChunkRef::~KeyValueChunkRef() {
  if (chunk_ != nullptr && --chunk_->references_ == 0) chunk_->pool_->GiveBack(chunk_);
}

KeyValuePool::~KeyValuePool() = default;

KeyValueChunkRef KeyValuePool::Take(const KeyValueShape& shape, KeyValueLayout layout, size_t capacity) {
  const size_t bytes = KeyValueChunk::Bytes(shape, layout, capacity);
  used_bytes_ += bytes;
  // The youngest first: it is likeliest to be in the cache.
  for (size_t i = kept_.size(); i-- > 0;) {
    const KeyValueView& view = kept_[i]->view();
    if (view.capacity != capacity || view.layout != layout || !(view.shape == shape)) continue;
    KeyValueChunkRef taken(kept_[i].release());
    kept_.erase(kept_.begin() + static_cast<ptrdiff_t>(i));
    kept_bytes_ -= bytes;
    return taken;
  }
  return KeyValueChunkRef(new KeyValueChunk(this, shape, layout, capacity));
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

size_t KeyValues::NextChunk(size_t capacity, size_t max_chunk_tokens) {
  // Few sizes, so that the pool is likely to have one.
  return std::clamp(std::bit_floor(capacity), kChunkTokens, max_chunk_tokens);
}

KeyValues::KeyValues(KeyValuePool* pool, const KeyValueShape& shape, size_t first_tokens,
                     size_t max_chunk_tokens, KeyValueLayout layout)
    : pool_(pool),
      shape_(shape),
      layout_(layout),
      first_capacity_(KeyValueView::RoundedCapacity(shape, layout, first_tokens)),
      max_chunk_tokens_(max_chunk_tokens) {}

void KeyValues::Prepare(KeyValuePool* pool, const KeyValueShape& shape, size_t tokens) {
  const bool enough = chunks_.size() == 1 && pool_ == pool && shape_ == shape && capacity_ >= tokens &&
                      !chunks_.front().chunk.shared();
  if (!enough) {
    *this = KeyValues(pool, shape, tokens);
    Append(layout_, first_capacity_);
  }
  length_ = 0;
}

void KeyValues::ReserveList(size_t tokens) {
  chunks_.reserve(1 + (tokens + kChunkTokens - 1) / kChunkTokens);
}

void KeyValues::Clear() {
  chunks_.clear();
  length_ = capacity_ = largest_chunk_ = 0;
}

void KeyValues::Append(KeyValueLayout layout, size_t capacity) {
  chunks_.push_back({pool_->Take(shape_, layout, capacity), capacity_});
  capacity_ += capacity;
  largest_chunk_ = std::max(largest_chunk_, capacity);
}

void KeyValues::ReplaceLast(KeyValueLayout layout, size_t capacity, size_t kept) {
  Place& last = chunks_.back();
  KeyValueChunkRef chunk = pool_->Take(shape_, layout, capacity);
  chunk->view().CopyFirst(last.chunk->view(), kept - last.first);
  last.chunk = std::move(chunk);
  capacity_ = last.first + capacity;
  largest_chunk_ = std::max(largest_chunk_, capacity);
}

void KeyValues::Widen(size_t kept) {
  size_t capacity = capacity_;
  while (capacity < length_) capacity *= 2;
  if (capacity <= kMaxBlockTokens) {
    ReplaceLast(KeyValueLayout::kTokenBlocks, capacity, kept);
  } else {
    ReplaceLast(KeyValueLayout::kPanels,
                KeyValueView::RoundedCapacity(shape_, KeyValueLayout::kPanels, capacity_), kept);
  }
}

void KeyValues::Grow(size_t tokens) {
  const size_t kept = length_;
  length_ += tokens;
  if (chunks_.empty()) Append(layout_, first_capacity_);
  const KeyValueView& last = chunks_.back().chunk->view();
  if (last.layout == KeyValueLayout::kTokenBlocks && capacity_ < length_) {
    Widen(kept);
  } else if (kept < capacity_ && chunks_.back().chunk.shared()) {
    ReplaceLast(last.layout, last.capacity, kept);
  }
  while (capacity_ < length_) Append(KeyValueLayout::kPanels, NextChunk(capacity_, max_chunk_tokens_));
}

void KeyValues::Store(const KernelSet& kernels, size_t layer, size_t head, size_t token,
                      MatrixView<const float> keys, MatrixView<const float> values) const {
  const size_t column = head * shape_.head_dim;
  // From the back: only the first Grow of a sequence reaches into several chunks.
  size_t rows = keys.rows;
  for (size_t place = chunks_.size(); rows > 0;) {
    const size_t first = chunks_[--place].first;
    if (first >= token + rows) continue;
    const size_t row = std::max(first, token) - token;
    chunks_[place].chunk->view().Store(kernels, layer, head, token + row - first,
                                       keys.Rows(row, rows - row).Cols(column, shape_.head_dim),
                                       values.Rows(row, rows - row).Cols(column, shape_.head_dim));
    rows = row;
  }
}

KeyValueCache KeyValueCache::ForTokens(KeyValuePool* pool, const ModelConfig& config, size_t tokens,
                                       std::shared_ptr<const KeyValues> memory) {
  return {KeyValues(pool, KeyValueShape::OfDecoder(config), tokens), std::move(memory)};
}

size_t KeyValueCache::BytesForTokens(const ModelConfig& config, size_t tokens, size_t memory_tokens) {
  const KeyValueShape shape = KeyValueShape::OfDecoder(config);
  return MemoryBytes(shape, KeyValueLayout::kPanels, memory_tokens) +
         MemoryBytes(shape, KeyValueLayout::kPanels, std::max<size_t>(tokens, 1));
}

KeyValueLayout KeyValueCache::MemoryLayout(const ModelConfig& config, size_t tokens) {
  return IsGated(config.attention_activation) && tokens <= kMaxBlockTokens ? KeyValueLayout::kTokenBlocks
                                                                           : KeyValueLayout::kPanels;
}

KeyValueCache KeyValueCache::ForGeneration(KeyValuePool* pool, const ModelConfig& config,
                                           size_t prompt_tokens, size_t beams,
                                           std::shared_ptr<const KeyValues> memory) {
  return {KeyValues(pool, KeyValueShape::OfDecoder(config), FirstCapacity(prompt_tokens),
                    MaxChunkTokens(beams), OwnLayout(config, prompt_tokens)),
          std::move(memory)};
}

size_t KeyValueCache::BytesForGeneration(const ModelConfig& config, size_t prompt_tokens, size_t new_tokens,
                                         size_t memory_tokens, size_t beams) {
  const KeyValueShape shape = KeyValueShape::OfDecoder(config);
  const size_t tokens = prompt_tokens + new_tokens;
  KeyValueLayout layout = OwnLayout(config, prompt_tokens);
  size_t capacity = FirstCapacity(prompt_tokens);
  size_t bytes = MemoryBytes(shape, MemoryLayout(config, memory_tokens), memory_tokens);
  if (layout == KeyValueLayout::kTokenBlocks) {
    // Every beam has one chunk, and one of them, while it moves to a larger one, the smaller too.
    size_t smaller = 0;
    while (capacity < tokens && layout == KeyValueLayout::kTokenBlocks) {
      smaller = KeyValueChunk::Bytes(shape, layout, capacity);
      if (capacity == kMaxBlockTokens)
        layout = KeyValueLayout::kPanels;
      else
        capacity *= 2;
    }
    bytes += smaller;
  }
  // A first chunk that the prompt fills is shared; all others may come to belong to one beam each. A beam
  // whose tokens are copied is alive itself, so that there is never one chunk more.
  const size_t first = capacity;
  bytes += (prompt_tokens >= first ? 1 : beams) * KeyValueChunk::Bytes(shape, layout, first);
  for (size_t next = 0; capacity < tokens; capacity += next) {
    next = KeyValues::NextChunk(capacity, MaxChunkTokens(beams));
    bytes += beams * KeyValueChunk::Bytes(shape, KeyValueLayout::kPanels, next);
  }
  return bytes;
}

}  // namespace splineserve
