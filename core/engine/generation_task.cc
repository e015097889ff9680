#include "core/engine/generation_task.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/engine/token_choice.h"

namespace splineserve {

GenerationTask::GenerationTask(std::unique_ptr<GenerationJob> job, absl::Time started)
    : job_(std::move(job)), started_(started), random_(job_->work.options.seed) {}

void GenerationTask::Prepare(std::shared_ptr<const MemoryKeyValues> memory) {
  const CheckedGeneration& work = job_->work;
  // Room for what most generations need; longer ones grow by doubling.
  constexpr size_t kFirstTokens = 64;
  const size_t tokens =
      std::min(work.prompt.size() + work.options.max_new_tokens, work.prompt.size() + kFirstTokens);
  Beam beam;
  beam.cache = KeyValueCache(config(), tokens, std::move(memory));
  beam.pending = work.prompt;
  beams_.push_back(std::move(beam));
}

size_t GenerationTask::PendingRows() const {
  if (!prepared()) return job_->work.prompt.size() + job_->work.source.length();
  size_t rows = 0;
  for (const Beam& beam : beams_) rows += beam.pending.size();
  return rows;
}

std::optional<FinishReason> GenerationTask::Ends(int32_t id) const {
  if (config().eos_token_id == id) return FinishReason::kEndOfSequence;
  const std::vector<int32_t>& stops = job_->work.options.stop_ids;
  if (std::binary_search(stops.begin(), stops.end(), id)) return FinishReason::kStopId;
  return std::nullopt;
}

GenerationTask::StepPiece GenerationTask::RecordPieces(Beam& beam, const PieceRecorder& recorder,
                                                       size_t index) {
  StepPiece step;
  if (job_->work.options.pieces.detail == PieceDetail::kNone) return step;
  const size_t count = recorder.tokens(index);
  for (size_t t = 0; t < count; ++t) {
    TokenPiece piece = recorder.Take(index, t);
    beam.position_ids.push_back({piece.id, {}, 0});
    if (t + 1 < count) {
      prompt_pieces_.push_back(std::move(piece));  // only the first step has several positions, and one beam
    } else {
      step.last = std::move(piece);
    }
  }
  return step;
}

GeneratedToken GenerationTask::MakeToken(int32_t id, double log_probability,
                                         std::optional<TokenPiece> piece) const {
  const std::optional<Vocabulary>& vocabulary = job_->model->decoder_vocabulary();
  return {id, vocabulary.has_value() ? vocabulary->entry(id) : std::string(),
          static_cast<float>(log_probability), std::move(piece)};
}

Hypothesis GenerationTask::Finish(const Beam& beam, FinishReason reason, double log_probability,
                                  std::optional<TokenPiece> end_piece, size_t scored_tokens,
                                  bool with_pieces) const {
  Hypothesis hypothesis;
  std::vector<int32_t> ids;
  for (const GeneratedToken& token : beam.tokens) {
    ids.push_back(token.id);
    hypothesis.tokens.push_back({token.id, token.text, token.log_probability, {}});
    if (with_pieces) hypothesis.tokens.back().piece = token.piece;
  }
  if (const auto& vocabulary = job_->model->decoder_vocabulary(); vocabulary.has_value()) {
    hypothesis.text = vocabulary->Decode(ids);
  }
  const GenerateRequest& options = job_->work.options;
  const double length = static_cast<double>(std::max<size_t>(scored_tokens, 1));
  hypothesis.score = static_cast<float>(options.strategy == GenerationStrategy::kBeam
                                            ? log_probability / std::pow(length, options.length_penalty)
                                            : log_probability);
  hypothesis.finish_reason = reason;
  hypothesis.end_piece = std::move(end_piece);
  hypothesis.sequence_id = SequenceId(beam.position_ids);
  return hypothesis;
}

bool GenerationTask::SendToken(GeneratedToken token) {
  GenerateEvent event;
  event.prompt_pieces = std::exchange(prompt_pieces_, {});
  event.token = std::move(token);
  event.charge = job_->charge;
  return job_->sink(std::move(event));
}

bool GenerationTask::SendFinal(std::vector<Hypothesis> hypotheses, absl::Time now) {
  GenerateEvent event;
  event.prompt_pieces = std::exchange(prompt_pieces_, {});
  event.hypotheses = std::move(hypotheses);
  event.final = true;
  event.timing = {absl::ToInt64Microseconds(started_ - job_->admitted),
                  absl::ToInt64Microseconds(now - started_), rows_};
  event.charge = job_->charge;
  job_->sink(std::move(event));
  return true;
}

bool GenerationTask::Advance(MatrixView<const float> logits, const PieceRecorder& recorder, size_t first,
                             absl::Time now) {
  ++steps_;
  std::vector<StepPiece> pieces;
  for (size_t b = 0; b < beams_.size(); ++b) pieces.push_back(RecordPieces(beams_[b], recorder, first + b));
  if (job_->work.options.strategy == GenerationStrategy::kBeam)
    return AdvanceBeams(logits, std::move(pieces), now);
  return AdvanceSingle({logits.row(0), logits.cols}, std::move(pieces[0]), now);
}

bool GenerationTask::AdvanceSingle(absl::Span<const float> logits, StepPiece piece, absl::Time now) {
  const GenerateRequest& options = job_->work.options;
  Beam& beam = beams_[0];
  const int32_t id = options.strategy == GenerationStrategy::kSample
                         ? SampleToken(logits, options.temperature, options.top_k, random_)
                         : ArgMax(logits);
  const double log_probability = LogSoftmax(logits)[id];
  beam.log_probability += log_probability;
  if (const std::optional<FinishReason> reason = Ends(id)) {
    return SendFinal({Finish(beam, *reason, beam.log_probability, std::move(piece.last), steps_, false)},
                     now);
  }
  GeneratedToken token = MakeToken(id, log_probability, std::move(piece.last));
  beam.tokens.push_back({token.id, token.text, token.log_probability, {}});
  beam.pending = {id};
  if (!SendToken(std::move(token))) return true;
  if (steps_ < options.max_new_tokens) return false;
  return SendFinal({Finish(beam, FinishReason::kLength, beam.log_probability, std::nullopt, steps_, false)},
                   now);
}

bool GenerationTask::AdvanceBeams(MatrixView<const float> logits, std::vector<StepPiece> pieces,
                                  absl::Time now) {
  const GenerateRequest& options = job_->work.options;
  const size_t width = options.beam_width;
  struct Candidate {
    size_t beam;
    int32_t id;
    double log_probability, sum;
  };
  // Twice the width: even if half of the best candidates end their sequences, enough remain to go on with.
  std::vector<Candidate> candidates;
  for (size_t b = 0; b < beams_.size(); ++b) {
    const absl::Span<const float> row(logits.row(b), logits.cols);
    const std::vector<double> log_probabilities = LogSoftmax(row);
    for (int32_t id : TopIndices(row, 2 * width)) {
      candidates.push_back({b, id, log_probabilities[id], beams_[b].log_probability + log_probabilities[id]});
    }
  }
  // Stable: of equal sums, the better beam's, then the smaller id's, comes first.
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.sum > b.sum; });

  std::vector<Candidate> alive;
  for (size_t rank = 0; rank < candidates.size() && alive.size() < width && ended_.size() < width; ++rank) {
    const Candidate& candidate = candidates[rank];
    if (const std::optional<FinishReason> reason = Ends(candidate.id)) {
      if (rank < width) {
        ended_.push_back(Finish(beams_[candidate.beam], *reason, candidate.sum, pieces[candidate.beam].last,
                                steps_, true));
      }
    } else {
      alive.push_back(candidate);
    }
  }

  std::vector<size_t> children(beams_.size(), 0);
  for (const Candidate& candidate : alive) ++children[candidate.beam];
  std::vector<Beam> next;
  for (const Candidate& candidate : alive) {
    Beam& parent = beams_[candidate.beam];
    const bool last_child = --children[candidate.beam] == 0;
    Beam child;
    if (last_child) {
      child = std::move(parent);
    } else {
      child = {parent.cache.Clone(), {}, parent.tokens, parent.position_ids, 0};
    }
    child.tokens.push_back(MakeToken(candidate.id, candidate.log_probability, pieces[candidate.beam].last));
    child.pending = {candidate.id};
    child.log_probability = candidate.sum;
    next.push_back(std::move(child));
  }
  beams_ = std::move(next);

  const bool out_of_tokens = steps_ >= options.max_new_tokens;
  if (ended_.size() < width && !out_of_tokens && !beams_.empty()) return false;
  if (ended_.size() < width) {
    for (const Beam& beam : beams_) {
      ended_.push_back(Finish(beam, FinishReason::kLength, beam.log_probability, std::nullopt, steps_, true));
    }
  }
  std::stable_sort(ended_.begin(), ended_.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  ended_.resize(std::min(ended_.size(), options.num_hypotheses));
  for (const GeneratedToken& token : ended_.front().tokens) {
    if (!SendToken({token.id, token.text, token.log_probability, {}})) return true;
  }
  return SendFinal(std::move(ended_), now);
}

}  // namespace splineserve
