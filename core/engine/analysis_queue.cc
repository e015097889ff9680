#include "core/engine/analysis_queue.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/thread.h"

namespace splineserve {

struct AnalysisQueue::Shared {
  std::mutex mutex;
  std::condition_variable changed;  // a turn was queued, or the queue closes
  std::condition_variable idle;     // an analysis ended, or a turn
  std::deque<Turn> turns;
  size_t running = 0;  // turns
  size_t analyses = 0;
  size_t max_analyses = 0;
  bool draining = false;
  bool aborting = false;
  bool closed = false;
};

AnalysisQueue::AnalysisQueue() : shared_(std::make_shared<Shared>()) {}

absl::StatusOr<std::unique_ptr<AnalysisQueue>> AnalysisQueue::Create(size_t threads, size_t max_analyses) {
  std::unique_ptr<AnalysisQueue> queue(new AnalysisQueue);
  queue->shared_->max_analyses = max_analyses;
  for (size_t i = 0; i < threads; ++i) {
    SPLINESERVE_ASSIGN_OR_RETURN(std::thread thread, StartThread([q = queue.get()] { q->Run(); }));
    queue->threads_.push_back(std::move(thread));
  }
  return queue;
}

AnalysisQueue::~AnalysisQueue() {
  Drain(absl::ZeroDuration());
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->closed = true;
  }
  shared_->changed.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

absl::StatusOr<AnalysisQueue::Admission> AnalysisQueue::Admit() {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->draining) return absl::UnavailableError("the server is shutting down; retry elsewhere");
  if (shared_->analyses == shared_->max_analyses) {
    return absl::ResourceExhaustedError(
        absl::StrCat("too many analyses: expected at most ", shared_->max_analyses,
                     " under way, found as many; try again later, or start the server with a larger "
                     "--max-analyses"));
  }
  ++shared_->analyses;
  return Admission(nullptr, [shared = shared_](const void*) {
    const std::lock_guard end(shared->mutex);
    --shared->analyses;
    shared->idle.notify_all();
  });
}

void AnalysisQueue::Continue(Turn turn) {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->turns.push_back(std::move(turn));
  }
  shared_->changed.notify_one();
}

absl::Status AnalysisQueue::Check(const CancellationToken& token) const {
  {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->aborting) return absl::UnavailableError("the server is shutting down; retry elsewhere");
  }
  return token.Check();
}

void AnalysisQueue::Drain(absl::Duration grace) {
  std::unique_lock lock(shared_->mutex);
  shared_->draining = true;
  const auto idle = [this] { return shared_->analyses == 0; };
  const auto wait = std::chrono::milliseconds(
      std::clamp<int64_t>(absl::ToInt64Milliseconds(grace), 0, int64_t{24} * 3600 * 1000));
  if (shared_->idle.wait_for(lock, wait, idle)) return;
  shared_->aborting = true;
  // Not for analyses between turns, which may wait for a client that does not read: their next turn fails.
  shared_->idle.wait(lock, [this] { return shared_->turns.empty() && shared_->running == 0; });
}

size_t AnalysisQueue::analyses() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->analyses;
}

void AnalysisQueue::Run() {
  std::unique_lock lock(shared_->mutex);
  while (true) {
    shared_->changed.wait(lock, [this] { return shared_->closed || !shared_->turns.empty(); });
    if (shared_->turns.empty()) return;
    Turn turn = std::move(shared_->turns.front());
    shared_->turns.pop_front();
    ++shared_->running;
    lock.unlock();
    turn();
    turn = nullptr;  // what it holds ends outside of the lock
    lock.lock();
    --shared_->running;
    shared_->idle.notify_all();
  }
}

}  // namespace splineserve
