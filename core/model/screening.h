// Which feed-forward networks of a model are screened, and up to how many candidates that pays.
#ifndef SPLINESERVE_CORE_MODEL_SCREENING_H_
#define SPLINESERVE_CORE_MODEL_SCREENING_H_

#include <cstddef>

#include "core/base/thread_pool.h"
#include "core/kernels/kernel_set.h"
#include "core/model/weights.h"

namespace splineserve {

// Memory that screening may take beside weights of so many bytes: within the fourth of the weights and 40 MB
// that a model may occupy beyond its file, most of the rest of which belongs to requests.
constexpr size_t DefaultScreenBytes(size_t weight_bytes) {
  return weight_bytes * 3 / 16 + (size_t{20} << 20);
}

struct ScreenOptions {
  size_t bytes = 0;     // for all screens together; 0: none
  bool always = false;  // of every network whether it pays or not, up to any share of candidates: for tests
};

// Makes screens of the feed-forward networks behind gates, of a decoder first, one token of which reads all
// its weights, as many as fit, and of encoders those that fit the second-level cache; none where `kernels`
// (null: unknown) would gain nothing, which it measures for each shape. Results do not change. Takes some 2
// ns a weight, spread over `pool` (null: this thread), and the measurement some milliseconds. After
// LowerPrecision.
void AddScreens(const KernelSet* kernels, ThreadPool* pool, const ScreenOptions& options,
                ModelWeights& weights);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_SCREENING_H_
