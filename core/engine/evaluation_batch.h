// A batch of Encode or Decode requests of one model and kind, evaluated chunk by chunk.
#ifndef SPLINESERVE_CORE_ENGINE_EVALUATION_BATCH_H_
#define SPLINESERVE_CORE_ENGINE_EVALUATION_BATCH_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/engine/chunk.h"
#include "core/engine/executor_context.h"
#include "core/engine/request_queue.h"

namespace splineserve {

// Runs on the executor thread, or on a caller's that evaluates in its place. A chunk holds whole sequences
// within the limits (one sequence may exceed them alone), so scratch memory is bounded however large a
// request is, and other work gets its turn between chunks.
class EvaluationBatch {
 public:
  // `jobs` as RequestQueue::TakeBatch gives them, or one of any size.
  EvaluationBatch(ExecutorContext& context, std::vector<std::unique_ptr<EvaluationJob>> jobs,
                  const ChunkLimits& limits);
  ~EvaluationBatch();  // answers what is unanswered with UNAVAILABLE

  bool finished() const { return next_ == items_.size(); }

  // Evaluates the next chunk and answers the requests that it completes or that have failed.
  void RunChunk();

 private:
  // One sequence of one job.
  struct Item {
    size_t job, index;
  };
  struct JobState {
    std::unique_ptr<EvaluationJob> job;  // null once answered
    EvaluationResult result;
    size_t remaining = 0;  // sequences to evaluate
    absl::Time started;
  };

  Work WorkOfItem(const Item& item) const;
  const CheckedEvaluation& work(const Item& item) const { return states_[item.job].job->work; }
  // Answers a job with `status`, or with its result if OK.
  void Answer(size_t job, const absl::Status& status);
  // Answers jobs whose callers have left; false if no job of `items` is left.
  bool SomeoneWaits(const std::vector<Item>& items);
  void Evaluate(const std::vector<Item>& items);
  void StoreResults(const ModelConfig& config, const std::vector<Item>& items,
                    absl::Span<const absl::Status> statuses, const ForwardResult& forward,
                    const class PieceRecorder& recorder);

  ExecutorContext& context_;
  const ChunkLimits limits_;
  std::vector<JobState> states_;
  std::vector<Item> items_;
  size_t next_ = 0;
  int64_t batch_tokens_ = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_EVALUATION_BATCH_H_
