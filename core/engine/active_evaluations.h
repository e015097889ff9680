// Encode and Decode requests in progress: who gets the next turn.
#ifndef SPLINESERVE_CORE_ENGINE_ACTIVE_EVALUATIONS_H_
#define SPLINESERVE_CORE_ENGINE_ACTIVE_EVALUATIONS_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "core/engine/chunk.h"
#include "core/engine/evaluation_batch.h"
#include "core/engine/executor_context.h"

namespace splineserve {

// Runs on the executor thread, or on a caller's that evaluates in its place. Small requests, which make one
// chunk, come and go within a turn. Larger ones stay for as many turns as they have chunks and take them in
// rotation, so that a request of a few chunks passes one of hundreds, and none starves.
class ActiveEvaluations {
 public:
  ActiveEvaluations(ExecutorContext& context, const ChunkLimits& limits)
      : context_(context), limits_(limits) {}

  // Evaluates and answers small requests, as RequestQueue::TakeBatch gives them.
  void RunSmall(std::vector<std::unique_ptr<EvaluationJob>> jobs);

  // Larger ones in the rotation, all unfinished. The memory of their inputs and results is in the byte budget
  // since admission; scratch memory is shared by all.
  bool empty() const { return large_.empty(); }
  // Of k in rotation each takes k times as long as alone, and gives its memory back as much later: few.
  static constexpr size_t kMaxLarge = 4;
  bool HasRoom() const { return large_.size() < kMaxLarge; }
  void AddLarge(std::unique_ptr<EvaluationJob> job);

  // A chunk of the larger one whose turn it is.
  void RunLarge();

 private:
  ExecutorContext& context_;
  const ChunkLimits limits_;
  std::deque<std::unique_ptr<EvaluationBatch>> large_;  // the next turn's first
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_ACTIVE_EVALUATIONS_H_
