// The queue of admitted requests and the policy that joins small ones into batches. No threads, no clock of
// its own, no model evaluation: a data structure that tests drive by hand. The engine guards it with its
// mutex.
#ifndef SPLINESERVE_CORE_ENGINE_REQUEST_QUEUE_H_
#define SPLINESERVE_CORE_ENGINE_REQUEST_QUEUE_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/cancellation.h"
#include "core/engine/byte_budget.h"
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
  MemoryCharge charge;  // of work.bytes, from Push on
};

// An admitted Generate.
struct GenerationJob {
  std::shared_ptr<const LoadedModel> model;
  CheckedGeneration work;
  std::shared_ptr<CancellationToken> token;
  Engine::GenerateEventSink sink;
  absl::Time admitted;
  MemoryCharge charge;  // of work.bytes, from Push on
};

class RequestQueue {
 public:
  // An evaluation is small if `limits` allow all of it in one chunk, else large.
  RequestQueue(const EngineOptions& options, const ChunkLimits& limits)
      : options_(options), limits_(limits), budget_(options.max_queue_bytes) {}

  // RESOURCE_EXHAUSTED if the request bound or the byte bound is reached; the job is then untouched. On
  // success the job is moved from; its bytes are charged as long as its charge lives.
  absl::Status Push(std::unique_ptr<EvaluationJob>& job);
  absl::Status Push(std::unique_ptr<GenerationJob>& job);

  // The oldest small evaluation and, in order of arrival, further small ones that fit into its batch: the
  // same model and kind (Encode or Decode), one chunk together. Others keep their order. Empty if none waits.
  std::vector<std::unique_ptr<EvaluationJob>> TakeBatch();

  // The oldest large evaluation; null if none waits. It is overtaken by small ones: large ones run in turns
  // with them, so that those do not wait for all of its chunks.
  std::unique_ptr<EvaluationJob> TakeLarge();

  // The oldest generation if its sequences fit beside `active_sequences`, else null. One that is alone too
  // large is taken when nothing is active.
  std::unique_ptr<GenerationJob> TakeGeneration(size_t active_sequences);

  // Waiting jobs whose callers have left or whose deadlines have passed. They still have to be answered, but
  // hold no place and no bytes any more. Cost: a look at every waiting job.
  struct Departed {
    std::vector<std::unique_ptr<EvaluationJob>> evaluations;
    std::vector<std::unique_ptr<GenerationJob>> generations;
    bool empty() const { return evaluations.empty() && generations.empty(); }
  };
  Departed TakeDeparted();

  size_t waiting() const { return small_.size() + large_.size() + generations_.size(); }
  size_t bytes() const { return budget_.used(); }  // of waiting and running jobs, and of results in use

 private:
  absl::StatusOr<MemoryCharge> Admit(size_t bytes);

  const EngineOptions options_;
  const ChunkLimits limits_;
  std::deque<std::unique_ptr<EvaluationJob>> small_, large_;
  std::deque<std::unique_ptr<GenerationJob>> generations_;
  ByteBudget budget_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_REQUEST_QUEUE_H_
