// Analyses (traces, derivatives, comparisons): their queue and the threads that run them, apart from the
// executor that evaluates, so that a long trace holds up no Encode.
#ifndef SPLINESERVE_CORE_ENGINE_ANALYSIS_QUEUE_H_
#define SPLINESERVE_CORE_ENGINE_ANALYSIS_QUEUE_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/cancellation.h"

namespace splineserve {

// An analysis is a chain of turns. Each turn is a function that computes for a few hundredths of a second,
// or longer where it cannot be divided, and then either ends the analysis or has its next turn queued with
// Continue: behind those of all others, so that analyses take turns whatever their length. Thread-safe.
class AnalysisQueue {
 public:
  using Turn = std::function<void()>;

  // At most `max_analyses` are under way at a time. RESOURCE_EXHAUSTED if a thread cannot be started.
  static absl::StatusOr<std::unique_ptr<AnalysisQueue>> Create(size_t threads, size_t max_analyses);
  ~AnalysisQueue();  // Drain(0)s; runs what is queued, then joins

  // One analysis's place in the queue's bound, until the last copy is gone.
  using Admission = std::shared_ptr<const void>;

  // RESOURCE_EXHAUSTED if as many analyses as may be are under way, UNAVAILABLE while draining.
  absl::StatusOr<Admission> Admit();
  // Queues a turn of an admitted analysis: it is called once, whatever happens.
  void Continue(Turn turn);

  // What turns ask before and while they compute: UNAVAILABLE once the drain's grace is over, else what the
  // caller's token says.
  absl::Status Check(const CancellationToken& token) const;

  // Refuses new analyses, waits until none is left or `grace` has passed, then has Check end what is left and
  // waits until no turn is queued or running. Blocks; idempotent.
  void Drain(absl::Duration grace);

  size_t analyses() const;  // under way

 private:
  struct Shared;  // outlives the queue in admissions
  AnalysisQueue();
  void Run();

  const std::shared_ptr<Shared> shared_;
  std::vector<std::thread> threads_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_ANALYSIS_QUEUE_H_
