#include "core/engine/request_queue.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace splineserve {
namespace {

bool SameKind(const EvaluationJob& a, const EvaluationJob& b) {
  return a.model == b.model && a.work.targets.empty() == b.work.targets.empty();
}

template <typename T>
std::vector<std::unique_ptr<T>> TakeAll(std::deque<std::unique_ptr<T>>& queue) {
  std::vector<std::unique_ptr<T>> all;
  for (std::unique_ptr<T>& job : queue) all.push_back(std::move(job));
  queue.clear();
  return all;
}

}  // namespace

absl::Status RequestQueue::Charge(size_t bytes) {
  if (waiting() >= options_.max_queue_requests) {
    return absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", waiting(),
                                                     " requests wait, the limit is ",
                                                     options_.max_queue_requests, "; retry later"));
  }
  if (bytes > options_.max_queue_bytes - bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the byte budget is full: this request needs about ", bytes, " bytes, ", bytes_, " of ",
                     options_.max_queue_bytes, " are in use; retry later or ask for less"));
  }
  bytes_ += bytes;
  return absl::OkStatus();
}

absl::Status RequestQueue::Push(std::unique_ptr<EvaluationJob>& job) {
  if (absl::Status status = Charge(job->work.bytes); !status.ok()) return status;
  evaluations_.push_back(std::move(job));
  return absl::OkStatus();
}

absl::Status RequestQueue::Push(std::unique_ptr<GenerationJob>& job) {
  if (absl::Status status = Charge(job->work.bytes); !status.ok()) return status;
  generations_.push_back(std::move(job));
  return absl::OkStatus();
}

std::vector<std::unique_ptr<EvaluationJob>> RequestQueue::TakeBatch() {
  std::vector<std::unique_ptr<EvaluationJob>> batch;
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

std::vector<std::unique_ptr<EvaluationJob>> RequestQueue::TakeAllEvaluations() {
  return TakeAll(evaluations_);
}
std::vector<std::unique_ptr<GenerationJob>> RequestQueue::TakeAllGenerations() {
  return TakeAll(generations_);
}

}  // namespace splineserve
