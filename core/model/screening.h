// Which feed-forward networks and scores of a model are screened, and up to how many candidates that pays.
#ifndef SPLINESERVE_CORE_MODEL_SCREENING_H_
#define SPLINESERVE_CORE_MODEL_SCREENING_H_

#include <cstddef>

#include "core/base/thread_pool.h"
#include "core/kernels/kernel_set.h"
#include "core/model/weights.h"

namespace splineserve {

// Memory that screening may take beside weights of so many bytes: within the fourth of the weights and 40 MB
// that a server may occupy beyond its files, the rest of which belongs to requests. All layers of a decoder
// need up to 0.42 of its weights, so that only decoders above some 34 MB are bounded by it; those of an
// encoder, whose weights need not lie column by column, 0.08.
constexpr size_t DefaultScreenBytes(size_t weight_bytes) { return weight_bytes * 3 / 16 + (size_t{8} << 20); }

struct ScreenOptions {
  size_t bytes = 0;  // for all screens together; 0: none
  // All networks and scores, whether it pays or not, up to any share of candidates: for tests.
  bool always = false;
};

// Makes screens of the feed-forward networks behind gates that fit: of decoders, one token of which reads all
// its weights, with columns for few rows; of encoders, unless their layers fit the second-level cache,
// without. None where `kernels` (null: unknown) would gain nothing, which it measures for each shape: that
// takes as long as some twelve evaluations of the layer with 80 tokens on this thread, making them some 2 ns
// a weight, spread over `pool` (null: this thread). Says, too, up to what share of candidates scores are
// screened. Results do not change. After LowerPrecision. Without memory for a screen the layer goes without.
void AddScreens(const KernelSet* kernels, ThreadPool* pool, const ScreenOptions& options,
                ModelWeights& weights);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_SCREENING_H_
