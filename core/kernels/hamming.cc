#include "core/kernels/hamming.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace splineserve {
namespace {

// Words between two looks at whether a row can still win: a branch costs as much as four words.
constexpr size_t kRun = 16;

inline __attribute__((always_inline)) NearestRow Search(const uint64_t* rows, size_t count, size_t words,
                                                        const uint64_t* query) {
  NearestRow best{0, std::numeric_limits<uint64_t>::max()};
  for (size_t r = 0; r < count && best.distance > 0; ++r) {
    const uint64_t* const row = rows + r * words;
    uint64_t distance = 0;
    for (size_t first = 0; first < words && distance < best.distance; first += kRun) {
      const size_t end = std::min(words, first + kRun);
      for (size_t w = first; w < end; ++w) distance += std::popcount(row[w] ^ query[w]);
    }
    if (distance < best.distance) best = {r, distance};
  }
  return best;
}

#if defined(__x86_64__)
// For this function alone: the file's other code must run anywhere.
__attribute__((target("popcnt"))) NearestRow SearchWithPopcnt(const uint64_t* rows, size_t count,
                                                              size_t words, const uint64_t* query) {
  return Search(rows, count, words, query);
}
#endif

}  // namespace

NearestRow FindNearestRowPortably(const uint64_t* rows, size_t count, size_t words, const uint64_t* query) {
  return Search(rows, count, words, query);
}

NearestRow FindNearestRow(const uint64_t* rows, size_t count, size_t words, const uint64_t* query) {
#if defined(__x86_64__)
  static const bool has_popcnt = __builtin_cpu_supports("popcnt");
  if (has_popcnt) return SearchWithPopcnt(rows, count, words, query);
#endif
  return FindNearestRowPortably(rows, count, words, query);
}

}  // namespace splineserve
