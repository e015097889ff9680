#include "core/engine/active_evaluations.h"

#include <utility>

namespace splineserve {

void ActiveEvaluations::RunSmall(std::vector<std::unique_ptr<EvaluationJob>> jobs) {
  if (jobs.empty()) return;
  EvaluationBatch batch(context_, std::move(jobs), limits_);
  while (!batch.finished()) batch.RunChunk();  // once
}

void ActiveEvaluations::AddLarge(std::unique_ptr<EvaluationJob> job) {
  std::vector<std::unique_ptr<EvaluationJob>> jobs;
  jobs.push_back(std::move(job));
  large_.push_back(std::make_unique<EvaluationBatch>(context_, std::move(jobs), limits_));
}

void ActiveEvaluations::RunLarge() {
  if (large_.empty()) return;
  std::unique_ptr<EvaluationBatch> batch = std::move(large_.front());
  large_.pop_front();
  batch->RunChunk();
  if (!batch->finished()) large_.push_back(std::move(batch));
}

}  // namespace splineserve
