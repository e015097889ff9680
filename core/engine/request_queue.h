// The queue of admitted requests and the policy that joins them into batches. No threads, no clock of its
// own, no model evaluation: a data structure that tests drive by hand. The engine guards it with its mutex.
#ifndef SPLINESERVE_CORE_ENGINE_REQUEST_QUEUE_H_
#define SPLINESERVE_CORE_ENGINE_REQUEST_QUEUE_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "core/base/cancellation.h"
#include "core/engine/engine.h"
#include "core/engine/validation.h"

namespace splineserve {

// An admitted Encode or Decode. Whoever holds it must call `done` exactly once.
struct EvaluationJob {
  std::shared_ptr<const LoadedModel> model;
  CheckedEvaluation work;
  std::shared_ptr<CancellationToken> token;
  Engine::EvaluationDone done;
  absl::Time admitted;
};

// An admitted Generate.
struct GenerationJob {
  std::shared_ptr<const LoadedModel> model;
  CheckedGeneration work;
  std::shared_ptr<CancellationToken> token;
  Engine::GenerateEventSink sink;
  absl::Time admitted;
};

class RequestQueue {
 public:
  explicit RequestQueue(const EngineOptions& options) : options_(options) {}

  // RESOURCE_EXHAUSTED if the request bound or the byte bound is reached; the job is then untouched. On
  // success the job is moved from, and its bytes are charged until Release.
  absl::Status Push(std::unique_ptr<EvaluationJob>& job);
  absl::Status Push(std::unique_ptr<GenerationJob>& job);

  // A job of `bytes` has been answered.
  void Release(size_t bytes) { bytes_ -= bytes; }

  // The oldest evaluation and, in order of arrival, further ones that fit into its batch: the same model and
  // kind (Encode or Decode), at most max_batch_tokens together. Others keep their order. A job larger than
  // the limit makes a batch of its own. Empty if nothing waits.
  std::vector<std::unique_ptr<EvaluationJob>> TakeBatch();

  // The oldest generation if its sequences fit beside `active_sequences`, else null. One that is alone too
  // large is taken when nothing is active.
  std::unique_ptr<GenerationJob> TakeGeneration(size_t active_sequences);

  // Everything that waits, for shutting down. Their bytes stay charged until Release.
  std::vector<std::unique_ptr<EvaluationJob>> TakeAllEvaluations();
  std::vector<std::unique_ptr<GenerationJob>> TakeAllGenerations();

  size_t waiting() const { return evaluations_.size() + generations_.size(); }
  bool has_evaluations() const { return !evaluations_.empty(); }
  bool has_generations() const { return !generations_.empty(); }
  size_t bytes() const { return bytes_; }

 private:
  absl::Status Charge(size_t bytes);

  const EngineOptions options_;
  std::deque<std::unique_ptr<EvaluationJob>> evaluations_;
  std::deque<std::unique_ptr<GenerationJob>> generations_;
  size_t bytes_ = 0;  // of waiting and running jobs
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_REQUEST_QUEUE_H_
