// The processor's own limit: a loop of fused multiply-adds that touches no memory.
#ifndef SPLINESERVE_TESTS_BENCH_FMA_PEAK_H_
#define SPLINESERVE_TESTS_BENCH_FMA_PEAK_H_

#include <cstdint>

namespace splineserve::bench {

// Runs 12 independent chains of `steps` vector multiply-adds with the widest vectors here; returns the
// floating-point operations done (2 a lane). Use the result of time and this for GFLOP/s.
int64_t RunFmaPeak(int64_t steps);

}  // namespace splineserve::bench

#endif  // SPLINESERVE_TESTS_BENCH_FMA_PEAK_H_
