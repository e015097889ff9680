// Keys and values in the layouts that attention streams: what a decoder keeps between steps, what it reads of
// the encoder's memory, and what an encoder layer reads of its longer sequences.
//
// A sequence keeps them in chunks. A full chunk of panels never changes again and is shared by every copy of
// the sequence, so that the beams of a search hold their common beginning once; of the last chunk, whoever
// writes to it first while it is shared copies the tokens that are in it. Growing moves no token but those of
// a chunk of token blocks: each copy of the sequence replaces it by a larger one of its own when it is full,
// and by one of panels after kMaxBlockTokens.
#ifndef SPLINESERVE_CORE_MODEL_KEY_VALUE_CACHE_H_
#define SPLINESERVE_CORE_MODEL_KEY_VALUE_CACHE_H_

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/aligned_buffer.h"
#include "core/base/matrix_view.h"
#include "core/format/model_config.h"
#include "core/model/key_value_view.h"

namespace splineserve {

class KeyValuePool;

// The keys and values of a run of tokens, all layers and heads in one piece of memory.
class KeyValueChunk {
 public:
  KeyValueChunk(KeyValuePool* pool, const KeyValueShape& shape, KeyValueLayout layout, size_t capacity);

  size_t capacity() const { return view_.capacity; }
  size_t bytes() const { return buffer_.size() * sizeof(float); }
  static size_t Bytes(const KeyValueShape& shape, KeyValueLayout layout, size_t capacity) {
    return KeyValueView::Size(shape, layout, capacity) * sizeof(float);
  }

  const KeyValueView& view() const { return view_; }

 private:
  friend class KeyValueChunkRef;

  KeyValuePool* const pool_;
  KeyValueView view_;
  size_t references_ = 0;
  AlignedBuffer<float> buffer_;
};

// Shared ownership of a chunk, counted without atomics: used by the executor only, one thread at a
// time. The last reference gives the chunk back to its pool.
class KeyValueChunkRef {
 public:
  explicit KeyValueChunkRef(KeyValueChunk* chunk) : chunk_(chunk) { ++chunk_->references_; }
  KeyValueChunkRef(const KeyValueChunkRef& other) : chunk_(other.chunk_) {
    if (chunk_ != nullptr) ++chunk_->references_;
  }
  KeyValueChunkRef(KeyValueChunkRef&& other) noexcept : chunk_(std::exchange(other.chunk_, nullptr)) {}
  KeyValueChunkRef& operator=(KeyValueChunkRef other) noexcept {
    std::swap(chunk_, other.chunk_);
    return *this;
  }
  ~KeyValueChunkRef();

  bool shared() const { return chunk_->references_ > 1; }
  KeyValueChunk* operator->() const { return chunk_; }
  KeyValueChunk& operator*() const { return *chunk_; }

 private:
  KeyValueChunk* chunk_;
};

// Makes chunks and keeps some that nobody uses any more for whoever next needs one of the same size: a
// steady load of generations allocates nothing. Executor only, one thread at a time.
class KeyValuePool {
 public:
  KeyValuePool() { kept_.reserve(kMaxKept); }
  ~KeyValuePool();  // no chunk may be in use
  KeyValuePool(const KeyValuePool&) = delete;
  KeyValuePool& operator=(const KeyValuePool&) = delete;

  // Zeros, or what the last user left: finite or not, no result depends on it.
  KeyValueChunkRef Take(const KeyValueShape& shape, KeyValueLayout layout, size_t capacity);
  void GiveBack(KeyValueChunk* chunk);

  size_t used_bytes() const { return used_bytes_; }  // of chunks in use
  size_t kept_bytes() const { return kept_bytes_; }  // of the others

  // 220 generations of g2p with their sources, or two chunks of a decoder of 12 layers of 1,024.
  static constexpr size_t kMaxKeptBytes = size_t{16} << 20;
  static constexpr size_t kMaxKept = 512;  // chunks

 private:
  std::vector<std::unique_ptr<KeyValueChunk>> kept_;  // the oldest first
  size_t kept_bytes_ = 0;
  size_t used_bytes_ = 0;
};

// The keys and values of one sequence. A copy shares the chunks. Executor only, one thread at a time, but
// Store.
class KeyValues {
 public:
  // Tokens of a chunk after the first: a whole panel of keys, and a multiple of 8, so that the sign bits of a
  // chunk's scores start at a byte. A sequence that is not copied has nothing to lose by larger ones, about
  // as large as what is before them: long generations stream memory, and 16 of 1,000 tokens take 1.3 times as
  // long in chunks of 64.
  static constexpr size_t kChunkTokens = 64;
  static constexpr size_t kMaxChunkTokens = 512;

  // Empty, in no pool: to be Prepared.
  KeyValues() = default;
  // Empty; the first chunk will hold `first_tokens`, rounded up, in `layout`, later ones, always panels, at
  // most `max_chunk_tokens`. Token blocks stay alone up to kMaxBlockTokens.
  KeyValues(KeyValuePool* pool, const KeyValueShape& shape, size_t first_tokens,
            size_t max_chunk_tokens = kChunkTokens, KeyValueLayout layout = KeyValueLayout::kPanels);

  // Makes it empty, with one chunk of its own for `tokens` tokens; keeps its memory where that is enough.
  void Prepare(KeyValuePool* pool, const KeyValueShape& shape, size_t tokens);
  // So that growing to so many tokens does not make the list of chunks allocate.
  void ReserveList(size_t tokens);
  // Forgets the tokens and gives the chunks back; keeps the list's memory.
  void Clear();

  // Makes it `tokens` longer. The new tokens are undefined until every head of every layer has had its Store.
  void Grow(size_t tokens);
  // Stores tokens [token, token + keys.rows) of one head, out of rows [n, heads * head_dim]. They must be
  // among those that the last Grow added. Different tokens or heads may be stored from different threads.
  void Store(const KernelSet& kernels, size_t layer, size_t head, size_t token, MatrixView<const float> keys,
             MatrixView<const float> values) const;

  size_t length() const { return length_; }
  size_t capacity() const { return capacity_; }
  size_t largest_chunk() const { return largest_chunk_; }

  // The tokens of chunk `index`, in ascending order from chunk to chunk.
  size_t chunks() const { return chunks_.size(); }
  size_t first_token(size_t index) const { return chunks_[index].first; }
  const KeyValueView& chunk(size_t index) const { return chunks_[index].chunk->view(); }

  // Tokens of the chunk that follows `capacity` tokens.
  static size_t NextChunk(size_t capacity, size_t max_chunk_tokens);

 private:
  struct Place {
    KeyValueChunkRef chunk;
    size_t first;  // token
  };
  void Append(KeyValueLayout layout, size_t capacity);
  // Moves the first `kept` tokens, all there are, to a chunk of their own, so that there is room for
  // length_, in token blocks or before chunks to come.
  void Widen(size_t kept);
  void ReplaceLast(KeyValueLayout layout, size_t capacity, size_t kept);

  KeyValuePool* pool_ = nullptr;
  KeyValueShape shape_;
  KeyValueLayout layout_ = KeyValueLayout::kPanels;  // of the first chunk
  size_t first_capacity_ = 0, max_chunk_tokens_ = kChunkTokens;
  std::vector<Place> chunks_;
  size_t length_ = 0, capacity_ = 0, largest_chunk_ = 0;
};

// What one decoder sequence keeps between steps; a copy, for a beam, shares all of it.
struct KeyValueCache {
  KeyValues own;
  // Of the encoder's final rows, by the cross-attention of every layer; null for a decoder without encoder.
  std::shared_ptr<const KeyValues> memory;

  size_t length() const { return own.length(); }
  size_t memory_tokens() const { return memory == nullptr ? 0 : memory->length(); }

  // For teacher forcing: one chunk for all tokens.
  static KeyValueCache ForTokens(KeyValuePool* pool, const ModelConfig& config, size_t tokens,
                                 std::shared_ptr<const KeyValues> memory);
  static size_t BytesForTokens(const ModelConfig& config, size_t tokens, size_t memory_tokens);

  // What a generation's memory of so many tokens is best kept in.
  static KeyValueLayout MemoryLayout(const ModelConfig& config, size_t tokens);
  // For generation by `beams` copies: a long prompt fills the first chunk, which all then share.
  static KeyValueCache ForGeneration(KeyValuePool* pool, const ModelConfig& config, size_t prompt_tokens,
                                     size_t beams, std::shared_ptr<const KeyValues> memory);
  // Upper bound for `beams` of them that have grown by new_tokens: what admission charges.
  static size_t BytesForGeneration(const ModelConfig& config, size_t prompt_tokens, size_t new_tokens,
                                   size_t memory_tokens, size_t beams);
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_KEY_VALUE_CACHE_H_
