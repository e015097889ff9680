// How a next token is chosen from the head's outputs. Pure functions of their arguments.
#ifndef SPLINESERVE_CORE_ENGINE_TOKEN_CHOICE_H_
#define SPLINESERVE_CORE_ENGINE_TOKEN_CHOICE_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/types/span.h"

namespace splineserve {

// Natural logarithm of softmax(logits), in float64, summed in ascending order. `logits` must be finite.
std::vector<double> LogSoftmax(absl::Span<const float> logits);

// The index of the largest; of equal ones the first.
int32_t ArgMax(absl::Span<const float> logits);

// The indices of the `count` largest (all if fewer), largest first; equal ones in index order.
std::vector<int32_t> TopIndices(absl::Span<const float> logits, size_t count);

// Draws from softmax(logits / temperature) restricted to the top_k largest (0: all). Takes exactly one number
// from `random`, whose sequence the C++ standard fixes.
int32_t SampleToken(absl::Span<const float> logits, double temperature, size_t top_k,
                    std::mt19937_64& random);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_TOKEN_CHOICE_H_
