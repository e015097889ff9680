#include "core/engine/request_queue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve {
namespace {

bool SameKind(const EvaluationJob& a, const EvaluationJob& b) {
  return a.model == b.model && a.work.targets.empty() == b.work.targets.empty();
}

template <typename Job>
void TakeDepartedFrom(std::deque<std::unique_ptr<Job>>& queue, std::vector<std::unique_ptr<Job>>& departed) {
  std::deque<std::unique_ptr<Job>> rest;
  for (std::unique_ptr<Job>& job : queue) {
    if (job->token->Check().ok()) {
      rest.push_back(std::move(job));
    } else {
      job->charge = nullptr;
      departed.push_back(std::move(job));
    }
  }
  queue = std::move(rest);
}

}  // namespace

absl::StatusOr<MemoryCharge> RequestQueue::Admit(size_t bytes) {
  if (waiting() >= options_.max_queue_requests) {
    return absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", waiting(),
                                                     " requests wait, the limit is ",
                                                     options_.max_queue_requests, "; retry later"));
  }
  if (MemoryCharge charge = budget_.TryCharge(bytes)) return charge;
  return absl::ResourceExhaustedError(
      absl::StrCat("the byte budget is full: this request needs about ", bytes, " bytes, ", budget_.used(),
                   " of ", budget_.limit(), " are in use; ",
                   bytes > budget_.limit() ? "ask for less" : "retry later or ask for less"));
}

absl::Status RequestQueue::Push(std::unique_ptr<EvaluationJob>& job) {
  SPLINESERVE_ASSIGN_OR_RETURN(job->charge, Admit(job->work.bytes));
  (limits_.Allow(job->work.total) ? small_ : large_).push_back(std::move(job));
  return absl::OkStatus();
}

absl::Status RequestQueue::Push(std::unique_ptr<GenerationJob>& job) {
  SPLINESERVE_ASSIGN_OR_RETURN(job->charge, Admit(job->work.bytes));
  generations_.push_back(std::move(job));
  return absl::OkStatus();
}

RequestQueue::Departed RequestQueue::TakeDeparted() {
  Departed departed;
  TakeDepartedFrom(small_, departed.evaluations);
  TakeDepartedFrom(large_, departed.evaluations);
  TakeDepartedFrom(generations_, departed.generations);
  return departed;
}

std::vector<std::unique_ptr<EvaluationJob>> RequestQueue::TakeBatch() {
  std::vector<std::unique_ptr<EvaluationJob>> batch;
  if (small_.empty()) return batch;  // asked in every step of generations, which allocate nothing
  std::deque<std::unique_ptr<EvaluationJob>> rest;
  Work work;
  bool full = false;
  for (std::unique_ptr<EvaluationJob>& job : small_) {
    const Work with_job = work + job->work.total;
    if (batch.empty() || (!full && SameKind(*batch.front(), *job) && limits_.Allow(with_job))) {
      work = with_job;
      batch.push_back(std::move(job));
    } else {
      // A later, smaller job of the same kind must not overtake one that did not fit.
      full = full || SameKind(*batch.front(), *job);
      rest.push_back(std::move(job));
    }
  }
  small_ = std::move(rest);
  return batch;
}

std::unique_ptr<EvaluationJob> RequestQueue::TakeLarge() {
  if (large_.empty()) return nullptr;
  std::unique_ptr<EvaluationJob> job = std::move(large_.front());
  large_.pop_front();
  return job;
}

std::unique_ptr<GenerationJob> RequestQueue::TakeGeneration(size_t active_sequences) {
  if (generations_.empty()) return nullptr;
  const size_t sequences = generations_.front()->work.beams;
  if (active_sequences != 0 && active_sequences + sequences > options_.max_active_generations) return nullptr;
  std::unique_ptr<GenerationJob> job = std::move(generations_.front());
  generations_.pop_front();
  return job;
}

}  // namespace splineserve
