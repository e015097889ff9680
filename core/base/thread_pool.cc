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

namespace {

// How often a thread that has nothing to do looks again before it sleeps: some 30 us. Loops of one evaluation
// follow one another within a few; waking a sleeper takes 5 to 50.
constexpr int kSpins = 1000;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

class ThreadPool::Workers {
 public:
  // Spinning only pays where every thread can have a core.
  Workers(size_t threads, bool spin) : spins_(spin ? kSpins : 0), shares_(threads) {}

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
      stopping_.store(true);
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void Run(size_t tasks, Body body) {
    std::lock_guard<std::mutex> one_loop_at_a_time(loop_mutex_);
    body_ = &body;
    tasks_ = tasks;
    done_.store(0, std::memory_order_relaxed);
    for (size_t i = 0; i < shares_.size(); ++i) shares_[i].left.store(EndOf(i) - EndOf(i - 1));
    loop_.fetch_add(1);
    if (sleeping_.load() != 0) {
      // With the lock, so that a worker between its last look and its sleep does not miss the call.
      { std::lock_guard<std::mutex> lock(mutex_); }
      wake_.notify_all();
    }
    while (TakeOne(0)) {
    }
    for (int i = 0; i < spins_ && done_.load(std::memory_order_acquire) != tasks; ++i) Pause();
    if (done_.load(std::memory_order_acquire) == tasks) return;
    std::unique_lock<std::mutex> lock(mutex_);
    waiting_.store(true);
    finished_.wait(lock, [&] { return done_.load() == tasks; });
    waiting_.store(false);
  }

 private:
  // Of each thread: the tasks of its share that nobody has taken, the last ones.
  struct alignas(64) Share {
    std::atomic<size_t> left{0};
  };

  // Of the current loop. Share -1 ends at 0.
  size_t EndOf(size_t share) const { return tasks_ * (share + 1) / shares_.size(); }

  // Runs one task of the current loop; false if none is left. Threads begin with their own shares, so that in
  // loop after loop the same rows stay in the same core's caches, and then help the others. Whoever has taken
  // a task keeps its loop from ending, so the loop's body and size are valid until the task is counted as
  // done; a worker that comes late finds nothing left, and nobody waits for it.
  bool TakeOne(size_t worker) {
    for (size_t i = 0; i < shares_.size(); ++i) {
      const size_t share = (worker + i) % shares_.size();
      std::atomic<size_t>& of_share = shares_[share].left;
      size_t left = of_share.load(std::memory_order_acquire);
      while (left != 0) {
        if (!of_share.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel)) continue;
        const size_t tasks = tasks_;
        (*body_)(EndOf(share) - left, worker);
        if (done_.fetch_add(1) + 1 == tasks && waiting_.load()) {
          { std::lock_guard<std::mutex> lock(mutex_); }
          finished_.notify_one();
        }
        return true;
      }
    }
    return false;
  }

  void Serve(size_t worker) {
    size_t seen = 0;  // no task of this loop is left, nor of those before
    while (true) {
      // Read before looking for tasks: those of a later loop are looked for again.
      const size_t loop = loop_.load(std::memory_order_acquire);
      if (loop != seen) {
        while (TakeOne(worker)) {
        }
        seen = loop;
      }
      const auto nothing_new = [&] { return loop_.load() == seen && !stopping_.load(); };
      for (int i = 0; i < spins_ && nothing_new(); ++i) Pause();
      if (nothing_new()) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, [&] { return !nothing_new(); });
        sleeping_.fetch_sub(1);
      }
      if (stopping_.load()) return;
    }
  }

  const int spins_;
  std::mutex loop_mutex_;
  // Of the current loop: written before the shares open it, read by those who have taken a task.
  const Body* body_ = nullptr;
  size_t tasks_ = 0;
  std::vector<Share> shares_;
  std::atomic<size_t> loop_{0};  // counted: what an idle thread looks at
  std::atomic<size_t> done_{0};
  std::atomic<size_t> sleeping_{0};   // workers
  std::atomic<bool> waiting_{false};  // the caller, asleep
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  // for falling asleep
  std::condition_variable wake_, finished_;
  std::vector<std::thread> threads_;
};

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(size_t threads) {
  std::unique_ptr<Workers> workers;
  if (threads > 1) {
    workers = std::make_unique<Workers>(threads, /*spin=*/threads <= AvailableCores());
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
