// How a next token is chosen from the head's outputs. Pure functions of their arguments, but for scratch
// memory.
#ifndef SPLINESERVE_CORE_ENGINE_TOKEN_CHOICE_H_
#define SPLINESERVE_CORE_ENGINE_TOKEN_CHOICE_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/types/span.h"

namespace splineserve {

// Lists as long as a vocabulary, kept from choice to choice: they grow once.
struct ChoiceScratch {
  std::vector<int32_t> order;
  std::vector<double> cumulative;
};

// Natural logarithm of the sum of exp(logits), in float64, summed in ascending order: logits[i] minus it is
// the logarithm of softmax(logits)[i]. `logits` must be finite.
double LogSumExp(absl::Span<const float> logits);

// The index of the largest; of equal ones the first.
int32_t ArgMax(absl::Span<const float> logits);

// The indices of the `count` largest (all if fewer), largest first; equal ones in index order. They lie in
// `scratch`.
absl::Span<const int32_t> TopIndices(absl::Span<const float> logits, size_t count, ChoiceScratch& scratch);

// Draws from softmax(logits / temperature) restricted to the top_k largest (0: all). Takes exactly one number
// from `random`, whose sequence the C++ standard fixes.
int32_t SampleToken(absl::Span<const float> logits, double temperature, size_t top_k, std::mt19937_64& random,
                    ChoiceScratch& scratch);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_TOKEN_CHOICE_H_
