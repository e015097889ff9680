#include "server/response_workers.h"

#include <utility>

#include "core/base/status_macros.h"
#include "core/base/thread.h"

namespace splineserve {

absl::StatusOr<std::unique_ptr<ResponseWorkers>> ResponseWorkers::Create(size_t threads) {
  std::unique_ptr<ResponseWorkers> workers(new ResponseWorkers);
  for (size_t i = 0; i < threads; ++i) {
    SPLINESERVE_ASSIGN_OR_RETURN(std::thread thread, StartThread([w = workers.get()] { w->Run(); }));
    workers->threads_.push_back(std::move(thread));
  }
  return workers;
}

ResponseWorkers::~ResponseWorkers() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ResponseWorkers::Post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
}

void ResponseWorkers::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

}  // namespace splineserve
