// What the executor thread, or a caller that evaluates in its place, lends to the work it runs: one thread at
// a time.
#ifndef SPLINESERVE_CORE_ENGINE_EXECUTOR_CONTEXT_H_
#define SPLINESERVE_CORE_ENGINE_EXECUTOR_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/base/aligned_buffer.h"
#include "core/base/cancellation.h"
#include "core/base/thread_pool.h"
#include "core/kernels/kernel_set.h"
#include "core/model/evaluation.h"
#include "core/model/forward.h"

namespace splineserve {

struct ExecutorContext {
  const KernelSet& kernels;
  const Clock& clock;
  const std::unique_ptr<ThreadPool> pool;
  Workspace workspace;
  ForwardRows rows;                   // reused from batch to batch
  std::atomic<bool> aborting{false};  // the drain's grace is over: stop between layers
  std::atomic<uint64_t> batches{0}, tokens{0};

  ExecutorContext(const KernelSet& kernels, const Clock& clock, std::unique_ptr<ThreadPool> pool)
      : kernels(kernels), clock(clock), pool(std::move(pool)) {}

  ForwardMeans means() { return {kernels, *pool, workspace, rows}; }

  static MatrixView<float> Rows(AlignedBuffer<float>& buffer, size_t rows, size_t cols) {
    buffer.EnsureSize(rows * cols);
    return {buffer.data(), rows, cols};
  }

  // UNAVAILABLE once aborting, else what the request's token says.
  absl::Status Check(const CancellationToken& token) const {
    if (aborting.load(std::memory_order_relaxed)) {
      return absl::UnavailableError("the server is shutting down; retry elsewhere");
    }
    return token.Check();
  }
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_EXECUTOR_CONTEXT_H_
