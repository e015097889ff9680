#include "core/base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"
#include "core/base/thread.h"

namespace splineserve {

using Body = absl::FunctionRef<void(size_t, size_t)>;

class ThreadPool::Workers {
 public:
  // Before the first Run. After a failure the destructor stops those that were started.
  absl::Status Start(size_t count) {
    threads_.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      SPLINESERVE_ASSIGN_OR_RETURN(std::thread thread, StartThread([this, i] { Serve(i + 1); }));
      threads_.push_back(std::move(thread));
    }
    return absl::OkStatus();
  }

  ~Workers() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void Run(size_t tasks, Body body) {
    std::lock_guard<std::mutex> one_loop_at_a_time(loop_mutex_);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      body_ = &body;
      tasks_ = tasks;
      next_.store(0, std::memory_order_relaxed);
      active_ = threads_.size();
      ++generation_;
    }
    wake_.notify_all();
    Take(body, tasks, 0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return active_ == 0; });
    body_ = nullptr;
  }

 private:
  void Take(Body body, size_t tasks, size_t worker) {
    for (size_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks;) body(task, worker);
  }

  void Serve(size_t worker) {
    size_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
      const Body body = *body_;
      const size_t tasks = tasks_;
      lock.unlock();
      Take(body, tasks, worker);
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::mutex loop_mutex_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const Body* body_ = nullptr;
  size_t tasks_ = 0;
  size_t active_ = 0;      // workers that have not finished the current loop
  size_t generation_ = 0;  // counts loops, so that a worker joins each exactly once
  bool stopping_ = false;
  std::atomic<size_t> next_{0};
  std::vector<std::thread> threads_;
};

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(size_t threads) {
  std::unique_ptr<Workers> workers;
  if (threads > 1) {
    workers = std::make_unique<Workers>();
    SPLINESERVE_RETURN_IF_ERROR(workers->Start(threads - 1));
  }
  return std::unique_ptr<ThreadPool>(new ThreadPool(std::max<size_t>(threads, 1), std::move(workers)));
}

ThreadPool::ThreadPool(size_t threads, std::unique_ptr<Workers> workers)
    : threads_(threads), workers_(std::move(workers)) {}

ThreadPool::~ThreadPool() = default;

void ThreadPool::ParallelFor(size_t tasks, Body body) {
  if (tasks == 0) return;
  if (workers_ == nullptr || tasks == 1) {
    for (size_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  workers_->Run(tasks, body);
}

size_t ThreadPool::AvailableCores() {
  size_t cores = std::max(1u, std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cores = std::max(1, CPU_COUNT(&set));
  // cgroup v2: "<quota> <period>" in microseconds, or "max <period>". v1 spells the same in two files.
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period) {
    if (quota == "max") return cores;
  } else {
    std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(v1_quota >> quota) || !(v1_period >> period)) return cores;
  }
  char* end = nullptr;
  const double limit = std::strtod(quota.c_str(), &end);
  if (end == quota.c_str() || limit <= 0 || period <= 0) return cores;
  return std::clamp<size_t>(static_cast<size_t>(std::ceil(limit / period)), 1, cores);
}

}  // namespace splineserve
