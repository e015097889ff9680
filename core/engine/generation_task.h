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
#include "core/engine/token_choice.h"
#include "core/engine/token_tree.h"
#include "core/model/key_value_cache.h"
#include "core/spline/piece_recorder.h"

namespace splineserve {

// Used by the executor thread only. A step allocates nothing but what its event carries (pieces, and
// vocabulary entries that std::string does not hold in itself): what grows with the tokens is reserved by
// Prepare, the tree of tokens up to 16,384 nodes.
class GenerationTask {
 public:
  // One partial hypothesis; greedy search and sampling have one.
  struct Beam {
    KeyValueCache cache;
    int32_t last = TokenTree::kRoot;  // its last token
    double log_probability = 0;       // sum over tokens
  };
  // What a step compares, in memory that all generations share.
  struct Candidate {
    size_t beam;
    int32_t id;
    double log_probability, sum;
    size_t order;  // of equal sums the first wins
  };
  struct Scratch {
    ChoiceScratch choice;
    std::vector<Candidate> candidates;
  };

  GenerationTask(std::unique_ptr<GenerationJob> job, absl::Time started);

  const GenerationJob& job() const { return *job_; }
  const ModelConfig& config() const { return job_->model->config(); }
  bool wants_pieces() const { return job_->work.options.pieces.detail != PieceDetail::kNone; }
  bool prepared() const { return alive_ != 0; }
  // Makes the first beam; memory is null for a decoder without encoder.
  void Prepare(KeyValuePool& pool, std::shared_ptr<const KeyValues> memory);
  absl::Span<Beam> beams() { return absl::MakeSpan(beams_.data(), alive_); }
  // What a beam is to evaluate next: the prompt, then its last token. Valid until the next Advance.
  absl::Span<const int32_t> Pending(const Beam& beam) const;
  size_t PendingRows() const;
  // Sequences that this generation may come to advance at a time.
  size_t sequences() const { return job_->work.beams; }
  void CountRows(size_t rows) { rows_ += static_cast<int64_t>(rows); }

  // Takes the head's outputs, one row of logits a beam, and their pieces (`first` is the recorder's index of
  // the first beam; null if no generation wants pieces), extends the beams and sends the events that this
  // makes certain. True when the generation is over: its final event was sent, or nobody listens any more.
  bool Advance(MatrixView<const float> logits, const PieceRecorder* recorder, size_t first, absl::Time now,
               Scratch& scratch);

  // Ends it with an error.
  void Fail(const absl::Status& status) { job_->sink(status); }

 private:
  static constexpr int32_t kNoPiece = -1;

  void RecordPieces(const PieceRecorder& recorder, size_t first);
  // The piece that chose this step's token of a beam, as an index of pieces_.
  int32_t StepPiece(size_t beam) const;
  std::optional<TokenPiece> SendablePiece(int32_t piece);
  std::optional<FinishReason> Ends(int32_t id) const;
  GeneratedToken MakeToken(int32_t id, float log_probability, std::optional<TokenPiece> piece) const;
  // `end_piece` belongs to the ending token, kNoPiece where the length ended it.
  Hypothesis Finish(int32_t last, FinishReason reason, double log_probability, int32_t end_piece);
  bool AdvanceSingle(absl::Span<const float> logits, absl::Time now, Scratch& scratch);
  bool AdvanceBeams(MatrixView<const float> logits, absl::Time now, Scratch& scratch);
  // The best `width` continuations that do not end, best first, to the front of `candidates`; those that end
  // go to ended_. Returns how many there are.
  size_t ChooseContinuations(MatrixView<const float> logits, Scratch& scratch);
  bool SendToken(GeneratedToken token);
  bool SendFinal(std::vector<Hypothesis> hypotheses, absl::Time now);

  const std::unique_ptr<GenerationJob> job_;
  const absl::Time started_;
  TokenTree tokens_;
  // As many as the search may have, so that their lists of chunks are reused; the first alive_ are advanced.
  std::vector<Beam> beams_;
  std::vector<Beam> next_beams_;  // beam search: swapped with beams_ in every step
  size_t alive_ = 0;
  std::vector<Hypothesis> ended_;  // beam search: hypotheses that met their ending token
  // Of evaluated positions: the prompt's but the last, and then one a beam and step. Beam search keeps whole
  // pieces; the others send them at once and keep the ids.
  std::vector<TokenPiece> prompt_ids_, pieces_;
  std::vector<TokenPiece> prompt_pieces_;  // until the first event has carried them away
  std::mt19937_64 random_;
  size_t steps_ = 0;
  int64_t rows_ = 0;  // evaluated for this request
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_ENGINE_GENERATION_TASK_H_
