// A fixed set of worker threads for data-parallel loops inside one request.
#ifndef SPLINESERVE_CORE_BASE_THREAD_POOL_H_
#define SPLINESERVE_CORE_BASE_THREAD_POOL_H_

#include <cstddef>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace splineserve {

// `threads` counts the calling thread: a pool of one starts no thread and runs every loop inline.
class ThreadPool {
 public:
  // RESOURCE_EXHAUSTED if a thread cannot be started; 0 is taken as 1.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(size_t threads);
  ~ThreadPool();  // joins the workers; no loop may be running
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return threads_; }

  // Calls body(task, worker) once for every task in [0, tasks), on the caller and the workers, and returns
  // when all are done. `worker` in [0, threads()) names the executing thread, so that it can index scratch
  // memory. As a rule each thread begins with a share of its own of consecutive tasks, the same in
  // every loop of as many, and then helps the others: results must not depend on who runs what. `body` must
  // not throw and must not call ParallelFor on the same pool. Calls from several threads are safe; loops of
  // two or more tasks on a pool of two or more threads run one after another, others inline and at once:
  // there, callers must not share scratch memory by `worker`.
  void ParallelFor(size_t tasks, absl::FunctionRef<void(size_t task, size_t worker)> body);

  // Cores this process may really use: the smaller of its CPU affinity and its cgroup quota (rounded up), at
  // least 1.
  static size_t AvailableCores();

 private:
  class Workers;
  ThreadPool(size_t threads, std::unique_ptr<Workers> workers);
  const size_t threads_;
  const std::unique_ptr<Workers> workers_;  // null when threads_ is 1
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_THREAD_POOL_H_
