// Threads that turn results into messages, so that neither the engine's executor nor gRPC's threads wait for
// it.
#ifndef SPLINESERVE_SERVER_RESPONSE_WORKERS_H_
#define SPLINESERVE_SERVER_RESPONSE_WORKERS_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace splineserve {

// A queue of tasks and the threads that run them. The queue is as long as the engine's bounds let results
// wait. Thread-safe.
class ResponseWorkers {
 public:
  explicit ResponseWorkers(size_t threads);
  ~ResponseWorkers();  // runs what is queued, then joins; nothing may be posted any more

  // Never blocks for long. Tasks start in order.
  void Post(std::function<void()> task);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_RESPONSE_WORKERS_H_
