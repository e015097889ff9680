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
std::vector<std::unique_ptr<Job>> TakeDepartedFrom(std::deque<std::unique_ptr<Job>>& queue) {
  std::vector<std::unique_ptr<Job>> departed;
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
  return departed;
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
  evaluations_.push_back(std::move(job));
  return absl::OkStatus();
}

absl::Status RequestQueue::Push(std::unique_ptr<GenerationJob>& job) {
  SPLINESERVE_ASSIGN_OR_RETURN(job->charge, Admit(job->work.bytes));
  generations_.push_back(std::move(job));
  return absl::OkStatus();
}

RequestQueue::Departed RequestQueue::TakeDeparted() {
  return {TakeDepartedFrom(evaluations_), TakeDepartedFrom(generations_)};
}

std::vector<std::unique_ptr<EvaluationJob>> RequestQueue::TakeBatch() {
  std::vector<std::unique_ptr<EvaluationJob>> batch;
  if (evaluations_.empty()) return batch;  // asked in every step of generations, which allocate nothing
  std::deque<std::unique_ptr<EvaluationJob>> rest;
  size_t tokens = 0;
  bool full = false;
  for (std::unique_ptr<EvaluationJob>& job : evaluations_) {
    if (batch.empty()) {
      tokens = job->work.tokens;
      batch.push_back(std::move(job));
    } else if (!full && SameKind(*batch.front(), *job) &&
               tokens + job->work.tokens <= options_.max_batch_tokens) {
      tokens += job->work.tokens;
      batch.push_back(std::move(job));
    } else {
      // A later, smaller job of the same kind must not overtake one that did not fit.
      full = full || SameKind(*batch.front(), *job);
      rest.push_back(std::move(job));
    }
  }
  evaluations_ = std::move(rest);
  return batch;
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
