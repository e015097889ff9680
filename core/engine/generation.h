// Generations in progress: every sequence advances one token a step, those of one model together.
#ifndef SPLINESERVE_CORE_ENGINE_GENERATION_H_
#define SPLINESERVE_CORE_ENGINE_GENERATION_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "core/engine/executor_context.h"
#include "core/engine/generation_task.h"
#include "core/model/decoder.h"

namespace splineserve {

// All generations that are being advanced. Runs on the executor thread. A steady step, in which no generation
// begins or ends and none wants pieces, allocates nothing: lists are members, so that they grow once. (But
// for a chunk of keys and values of a size that the pool does not keep: once in 64 to 512 tokens.)
class ActiveGenerations {
 public:
  ActiveGenerations(ExecutorContext& context, size_t max_batch_tokens)
      : context_(context), max_batch_tokens_(max_batch_tokens) {}
  ~ActiveGenerations();  // ends what is left with UNAVAILABLE

  void Add(std::unique_ptr<GenerationJob> job);
  bool empty() const { return waiting_.empty(); }
  size_t sequences() const;

  // One step of the generations of one model, those that have waited longest first; models take turns.
  void Step();

 private:
  using Tasks = std::vector<std::unique_ptr<GenerationTask>>;
  // Moves from waiting_ to turn_ those that step now.
  void TakeTurn();
  void End(std::unique_ptr<GenerationTask>& task, const absl::Status& status);
  // Each removes from turn_ (sets null) what failed or whose caller left.
  void DropDeparted();
  void EncodeSources();
  void Decode();
  // The outputs that choose the next token: one row of logits for each of inputs_.
  MatrixView<const float> Logits(Evaluation& evaluation, const ModelWeights& weights,
                                 MatrixView<const float> hidden);

  ExecutorContext& context_;
  const size_t max_batch_tokens_;
  Tasks waiting_;  // those that have waited longest first
  Tasks turn_;     // empty between steps

  // Scratch of a step.
  Tasks rest_;
  std::vector<size_t> fresh_;  // of turn_: those whose sources are being encoded
  std::vector<SequenceInput> sources_;
  std::vector<size_t> source_lengths_;
  std::vector<absl::Status> source_statuses_;
  std::vector<std::shared_ptr<const KeyValues>> memories_;
  std::vector<DecoderInput> inputs_;
  GenerationTask::Scratch choice_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_GENERATION_H_
