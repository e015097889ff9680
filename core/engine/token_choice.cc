#include "core/engine/token_choice.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace splineserve {

double LogSumExp(absl::Span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - max);
  return max + std::log(sum);
}

int32_t ArgMax(absl::Span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

absl::Span<const int32_t> TopIndices(absl::Span<const float> logits, size_t count, ChoiceScratch& scratch) {
  std::vector<int32_t>& order = scratch.order;
  order.resize(logits.size());
  std::iota(order.begin(), order.end(), 0);
  count = std::min(count, order.size());
  std::partial_sort(
      order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(),
      [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  return {order.data(), count};
}

int32_t SampleToken(absl::Span<const float> logits, double temperature, size_t top_k, std::mt19937_64& random,
                    ChoiceScratch& scratch) {
  const absl::Span<const int32_t> order = TopIndices(logits, top_k == 0 ? logits.size() : top_k, scratch);
  const double max = logits[order.front()];
  std::vector<double>& cumulative = scratch.cumulative;
  cumulative.clear();
  double sum = 0;
  for (int32_t id : order) cumulative.push_back(sum += std::exp((logits[id] - max) / temperature));
  // 53 random bits in [0, 1). std::uniform_real_distribution would differ between standard libraries.
  const double uniform = static_cast<double>(random() >> 11) * 0x1p-53;
  const auto chosen = std::upper_bound(cumulative.begin(), cumulative.end(), uniform * sum);
  return order[std::min<size_t>(chosen - cumulative.begin(), order.size() - 1)];
}

}  // namespace splineserve
