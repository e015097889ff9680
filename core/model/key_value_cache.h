// Keys and values in the layout that attention streams: what a decoder keeps between steps, and what it reads
// of the encoder's memory.
#ifndef SPLINESERVE_CORE_MODEL_KEY_VALUE_CACHE_H_
#define SPLINESERVE_CORE_MODEL_KEY_VALUE_CACHE_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "core/base/matrix_view.h"
#include "core/format/model_config.h"
#include "core/kernels/packing.h"

namespace splineserve {

// The keys and values of one attention of one sequence, per head: keys packed as columns [head_dim, tokens],
// values as rows [tokens, head_dim]. Copyable by Clone (beams).
class HeadKeyValues {
 public:
  HeadKeyValues() = default;
  HeadKeyValues(size_t heads, size_t head_dim, size_t capacity);

  // Makes the cache `tokens` longer; allocates, by doubling, when it is full. The new tokens are undefined
  // until every head has had its Store.
  void Grow(size_t tokens);
  // Stores the last keys.rows tokens of one head, out of rows [n, heads * head_dim]. Different heads may be
  // stored from different threads.
  void Store(size_t head, MatrixView<const float> keys, MatrixView<const float> values);

  // Empty, with room for `capacity` tokens; keeps its memory where that is enough.
  void Prepare(size_t heads, size_t head_dim, size_t capacity);
  // Forgets the tokens, keeps the memory.
  void Clear() { length_ = 0; }

  size_t length() const { return length_; }
  size_t capacity() const { return capacity_; }
  // The first `tokens` keys of a head, as right operand of q . k; and values, as right operand of weights .
  // v.
  PackedView Keys(size_t head, size_t tokens) const { return keys_[head].view(head_dim_, tokens); }
  PackedView Values(size_t head, size_t tokens) const { return values_[head].view(tokens, head_dim_); }

  HeadKeyValues Clone() const;

 private:
  size_t head_dim_ = 0;
  size_t capacity_ = 0;
  size_t length_ = 0;
  std::vector<PackedMatrix> keys_, values_;  // one a head
};

// One HeadKeyValues a decoder layer, over the encoder's memory. Immutable once made: all beams of a source
// share it.
struct MemoryKeyValues {
  std::vector<HeadKeyValues> layers;
  size_t tokens = 0;
};

// What one decoder sequence keeps between steps. Not thread-safe.
struct KeyValueCache {
  KeyValueCache() = default;
  // `expected_tokens` sizes the first allocation. `memory` is null for a decoder without encoder.
  KeyValueCache(const ModelConfig& config, size_t expected_tokens,
                std::shared_ptr<const MemoryKeyValues> memory);

  size_t length() const { return layers.empty() ? 0 : layers.front().length(); }
  KeyValueCache Clone() const;  // shares memory, copies the rest

  // Upper bound of the bytes of a cache of `tokens` tokens: what admission charges.
  static size_t BytesFor(const ModelConfig& config, size_t tokens, size_t memory_tokens);

  std::vector<HeadKeyValues> layers;
  std::shared_ptr<const MemoryKeyValues> memory;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_KEY_VALUE_CACHE_H_
