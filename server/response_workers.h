// Threads that turn results into messages, so that neither the engine's executor nor gRPC's threads wait for
// it.
#ifndef SPLINESERVE_SERVER_RESPONSE_WORKERS_H_
#define SPLINESERVE_SERVER_RESPONSE_WORKERS_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace splineserve {

// A queue of tasks and the threads that run them. The queue is as long as the engine's bounds let results
// wait: a task that holds a result holds its MemoryCharge. Thread-safe.
class ResponseWorkers {
 public:
  // RESOURCE_EXHAUSTED if a thread cannot be started.
  static absl::StatusOr<std::unique_ptr<ResponseWorkers>> Create(size_t threads);
  ~ResponseWorkers();  // runs what is queued, then joins; nothing may be posted any more

  // Never blocks for long. Tasks start in order.
  void Post(std::function<void()> task);

 private:
  ResponseWorkers() = default;
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_RESPONSE_WORKERS_H_
