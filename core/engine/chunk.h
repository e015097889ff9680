// How much is evaluated at a time: a chunk is a few whole sequences, bounded so that others soon get their
// turn.
#ifndef SPLINESERVE_CORE_ENGINE_CHUNK_H_
#define SPLINESERVE_CORE_ENGINE_CHUNK_H_

#include <cstddef>

#include "core/format/model_config.h"

namespace splineserve {

// What a sequence, a request or a chunk takes.
struct Work {
  size_t tokens = 0;
  // Estimated, closed gates counted as computed. A double: integers are exact up to 2^53, far above any
  // bound, and beyond that it does not overflow.
  double multiply_adds = 0;

  Work& operator+=(const Work& other) {
    tokens += other.tokens;
    multiply_adds += other.multiply_adds;
    return *this;
  }
  friend Work operator+(Work a, const Work& b) { return a += b; }
};

// Of a sequence of `source` tokens through the encoder (0: it does not run) and `target` through the decoder
// (0 likewise), with the head over every row of the last stack if `head`. Linear in tokens, but for
// attention.
Work WorkOf(const ModelConfig& config, size_t source, size_t target, bool head);

// Up to so many tokens may run together whatever their work: products with fewer rows wait for their weights
// from memory (24 GB/s, so 6 G weights/s, against 50 G multiply-adds/s: the same at 8 rows), and one by one
// they would take longer than together.
inline constexpr size_t kMinChunkTokens = 16;

struct ChunkLimits {
  size_t tokens = 0;         // bounds scratch memory
  double multiply_adds = 0;  // bounds how long others wait

  // Whether so much makes one chunk. If it does, every part of it does. A single sequence is never split,
  // whatever it takes.
  bool Allow(const Work& work) const {
    return work.tokens <= tokens && (work.multiply_adds <= multiply_adds || work.tokens <= kMinChunkTokens);
  }
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_CHUNK_H_
