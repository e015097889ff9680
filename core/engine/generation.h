// Generations in progress: every sequence advances one token a step, those of one model together.
#ifndef SPLINESERVE_CORE_ENGINE_GENERATION_H_
#define SPLINESERVE_CORE_ENGINE_GENERATION_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "core/engine/executor_context.h"
#include "core/engine/generation_task.h"

namespace splineserve {

// All generations that are being advanced. Runs on the executor thread.
class ActiveGenerations {
 public:
  ActiveGenerations(ExecutorContext& context, size_t max_batch_tokens)
      : context_(context), max_batch_tokens_(max_batch_tokens) {}
  ~ActiveGenerations();  // ends what is left with UNAVAILABLE

  void Add(std::unique_ptr<GenerationJob> job);
  bool empty() const { return tasks_.empty(); }
  size_t sequences() const;

  // One step of the generations of one model, those that have waited longest first; models take turns.
  void Step();

 private:
  using Tasks = std::vector<std::unique_ptr<GenerationTask>>;
  Tasks TakeTurn();
  void End(std::unique_ptr<GenerationTask>& task, const absl::Status& status);
  // Each removes from `tasks` (sets null) what failed or whose caller left.
  void DropDeparted(Tasks& tasks);
  void EncodeSources(Tasks& tasks);
  void Decode(Tasks& tasks);

  ExecutorContext& context_;
  const size_t max_batch_tokens_;
  std::deque<std::unique_ptr<GenerationTask>> tasks_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_GENERATION_H_
