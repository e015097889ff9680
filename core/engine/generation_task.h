// One generation between its steps: what it has chosen so far and what it feeds next. The search strategies
// live here.
#ifndef SPLINESERVE_CORE_ENGINE_GENERATION_TASK_H_
#define SPLINESERVE_CORE_ENGINE_GENERATION_TASK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "core/engine/request_queue.h"
#include "core/model/key_value_cache.h"
#include "core/spline/piece_recorder.h"

namespace splineserve {

// Used by the executor thread only.
class GenerationTask {
 public:
  // One partial hypothesis; greedy search and sampling have one.
  struct Beam {
    KeyValueCache cache;
    std::vector<int32_t> pending;  // to be evaluated next: the prompt, then the last token
    std::vector<GeneratedToken> tokens;
    std::vector<TokenPiece> position_ids;  // ids of the evaluated positions, without groups
    double log_probability = 0;            // sum over tokens
  };

  GenerationTask(std::unique_ptr<GenerationJob> job, absl::Time started);

  const GenerationJob& job() const { return *job_; }
  const ModelConfig& config() const { return job_->model->config(); }
  bool prepared() const { return !beams_.empty(); }
  // Makes the first beam; memory is null for a decoder without encoder.
  void Prepare(std::shared_ptr<const MemoryKeyValues> memory);
  std::vector<Beam>& beams() { return beams_; }
  size_t PendingRows() const;
  // Sequences that this generation may come to advance at a time.
  size_t sequences() const { return job_->work.beams; }
  void CountRows(size_t rows) { rows_ += static_cast<int64_t>(rows); }

  // Takes the head's outputs, one row of logits a beam, and their pieces (`first` is the recorder's index of
  // the first beam), extends the beams and sends the events that this makes certain. True when the generation
  // is over: its final event was sent, or nobody listens any more.
  bool Advance(MatrixView<const float> logits, const PieceRecorder& recorder, size_t first, absl::Time now);

  // Ends it with an error.
  void Fail(const absl::Status& status) { job_->sink(status); }

 private:
  struct StepPiece {
    std::optional<TokenPiece> last;  // of the position whose output was just computed
  };
  StepPiece RecordPieces(Beam& beam, const PieceRecorder& recorder, size_t index);
  std::optional<FinishReason> Ends(int32_t id) const;
  GeneratedToken MakeToken(int32_t id, double log_probability, std::optional<TokenPiece> piece) const;
  Hypothesis Finish(const Beam& beam, FinishReason reason, double log_probability,
                    std::optional<TokenPiece> end_piece, size_t scored_tokens, bool with_pieces) const;
  bool AdvanceSingle(absl::Span<const float> logits, StepPiece piece, absl::Time now);
  bool AdvanceBeams(MatrixView<const float> logits, std::vector<StepPiece> pieces, absl::Time now);
  bool SendToken(GeneratedToken token);
  bool SendFinal(std::vector<Hypothesis> hypotheses, absl::Time now);

  const std::unique_ptr<GenerationJob> job_;
  const absl::Time started_;
  std::vector<Beam> beams_;
  std::vector<Hypothesis> ended_;          // beam search: hypotheses that met their ending token
  std::vector<TokenPiece> prompt_pieces_;  // until the first event has carried them away
  std::mt19937_64 random_;
  size_t steps_ = 0;
  int64_t rows_ = 0;  // evaluated for this request
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_GENERATION_TASK_H_
