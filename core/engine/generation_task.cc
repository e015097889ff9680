#include "core/engine/generation_task.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace splineserve {

GenerationTask::GenerationTask(std::unique_ptr<GenerationJob> job, absl::Time started)
    : job_(std::move(job)), started_(started), random_(job_->work.options.seed) {}

void GenerationTask::Prepare(KeyValuePool& pool, std::shared_ptr<const KeyValues> memory) {
  const CheckedGeneration& work = job_->work;
  // 256 KB of tokens are enough for 16 beams of 1,024; longer searches grow by doubling.
  constexpr size_t kMaxReservedNodes = 16384;
  tokens_.Reserve(std::min(work.beams * work.options.max_new_tokens, kMaxReservedNodes));
  beams_.resize(work.beams);
  if (work.options.strategy == GenerationStrategy::kBeam) next_beams_.resize(work.beams);
  for (std::vector<Beam>* beams : {&beams_, &next_beams_}) {
    for (Beam& beam : *beams) {
      beam.cache = KeyValueCache::ForGeneration(&pool, config(), work.prompt.size(), work.beams, memory);
      beam.cache.own.ReserveList(work.prompt.size() + work.options.max_new_tokens);
    }
  }
  alive_ = 1;
}

absl::Span<const int32_t> GenerationTask::Pending(const Beam& beam) const {
  if (beam.last == TokenTree::kRoot) return job_->work.prompt;
  return {&tokens_[beam.last].id, 1};
}

size_t GenerationTask::PendingRows() const {
  if (!prepared()) return job_->work.prompt.size() + job_->work.source.length();
  size_t rows = 0;
  for (size_t b = 0; b < alive_; ++b) rows += Pending(beams_[b]).size();
  return rows;
}

std::optional<FinishReason> GenerationTask::Ends(int32_t id) const {
  if (config().eos_token_id == id) return FinishReason::kEndOfSequence;
  const std::vector<int32_t>& stops = job_->work.options.stop_ids;
  if (std::binary_search(stops.begin(), stops.end(), id)) return FinishReason::kStopId;
  return std::nullopt;
}

void GenerationTask::RecordPieces(const PieceRecorder& recorder, size_t first) {
  for (size_t b = 0; b < alive_; ++b) {
    // Only the first step has several positions, and one beam.
    const size_t last = recorder.tokens(first + b) - 1;
    for (size_t t = 0; t < last; ++t) {
      prompt_pieces_.push_back(recorder.Take(first + b, t));
      prompt_ids_.push_back({prompt_pieces_.back().id, {}, 0});
    }
    pieces_.push_back(recorder.Take(first + b, last));
  }
}

int32_t GenerationTask::StepPiece(size_t beam) const {
  return wants_pieces() ? static_cast<int32_t>(pieces_.size() - alive_ + beam) : kNoPiece;
}

std::optional<TokenPiece> GenerationTask::SendablePiece(int32_t piece) {
  if (piece == kNoPiece) return std::nullopt;
  TokenPiece& kept = pieces_[static_cast<size_t>(piece)];
  if (job_->work.options.strategy == GenerationStrategy::kBeam) return kept;
  TokenPiece whole = std::move(kept);
  kept = {whole.id, {}, 0};
  return whole;
}

GeneratedToken GenerationTask::MakeToken(int32_t id, float log_probability,
                                         std::optional<TokenPiece> piece) const {
  const std::optional<Vocabulary>& vocabulary = job_->model->decoder_vocabulary();
  return {id, vocabulary.has_value() ? vocabulary->entry(id) : std::string(), log_probability,
          std::move(piece)};
}

Hypothesis GenerationTask::Finish(int32_t last, FinishReason reason, double log_probability,
                                  int32_t end_piece) {
  const GenerateRequest& options = job_->work.options;
  const bool beam_search = options.strategy == GenerationStrategy::kBeam;
  Hypothesis hypothesis;
  std::vector<int32_t> ids;
  std::vector<TokenPiece> position_ids = prompt_ids_;
  for (const TokenTree::Node& node : tokens_.Path(last)) {
    ids.push_back(node.id);
    // The token events of the other strategies have carried their pieces.
    hypothesis.tokens.push_back(
        MakeToken(node.id, node.log_probability, beam_search ? SendablePiece(node.piece) : std::nullopt));
    if (node.piece != kNoPiece) position_ids.push_back({pieces_[static_cast<size_t>(node.piece)].id, {}, 0});
  }
  hypothesis.end_piece = SendablePiece(end_piece);
  if (hypothesis.end_piece.has_value()) position_ids.push_back({hypothesis.end_piece->id, {}, 0});
  hypothesis.sequence_id = SequenceId(position_ids);
  if (const auto& vocabulary = job_->model->decoder_vocabulary(); vocabulary.has_value()) {
    hypothesis.text = vocabulary->Decode(ids);
  }
  hypothesis.score = static_cast<float>(
      beam_search ? log_probability / std::pow(static_cast<double>(steps_), options.length_penalty)
                  : log_probability);
  hypothesis.finish_reason = reason;
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

bool GenerationTask::Advance(MatrixView<const float> logits, const PieceRecorder* recorder, size_t first,
                             absl::Time now, Scratch& scratch) {
  ++steps_;
  if (wants_pieces()) RecordPieces(*recorder, first);
  if (job_->work.options.strategy == GenerationStrategy::kBeam) return AdvanceBeams(logits, now, scratch);
  return AdvanceSingle({logits.row(0), logits.cols}, now, scratch);
}

bool GenerationTask::AdvanceSingle(absl::Span<const float> logits, absl::Time now, Scratch& scratch) {
  const GenerateRequest& options = job_->work.options;
  Beam& beam = beams_[0];
  const int32_t id = options.strategy == GenerationStrategy::kSample
                         ? SampleToken(logits, options.temperature, options.top_k, random_, scratch.choice)
                         : ArgMax(logits);
  const double log_probability = logits[id] - LogSumExp(logits);
  beam.log_probability += log_probability;
  const auto finish = [&](FinishReason reason, int32_t end_piece) {
    std::vector<Hypothesis> hypotheses;
    hypotheses.push_back(Finish(beam.last, reason, beam.log_probability, end_piece));
    return SendFinal(std::move(hypotheses), now);
  };
  if (const std::optional<FinishReason> reason = Ends(id)) return finish(*reason, StepPiece(0));
  beam.last = tokens_.Add({beam.last, id, static_cast<float>(log_probability), StepPiece(0)});
  if (!SendToken(MakeToken(id, static_cast<float>(log_probability), SendablePiece(StepPiece(0)))))
    return true;
  return steps_ >= options.max_new_tokens && finish(FinishReason::kLength, kNoPiece);
}

size_t GenerationTask::ChooseContinuations(MatrixView<const float> logits, Scratch& scratch) {
  const size_t width = job_->work.options.beam_width;
  std::vector<Candidate>& candidates = scratch.candidates;
  candidates.clear();
  // Twice the width: even if half of the best candidates end their sequences, enough remain to go on with.
  for (size_t b = 0; b < alive_; ++b) {
    const absl::Span<const float> row(logits.row(b), logits.cols);
    const double log_sum = LogSumExp(row);
    for (int32_t id : TopIndices(row, 2 * width, scratch.choice)) {
      const double log_probability = row[id] - log_sum;
      candidates.push_back(
          {b, id, log_probability, beams_[b].log_probability + log_probability, candidates.size()});
    }
  }
  // Of equal sums, the better beam's, then the smaller id's, comes first. (std::stable_sort would allocate.)
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.sum != b.sum ? a.sum > b.sum : a.order < b.order;
  });

  size_t alive = 0;
  for (size_t rank = 0; rank < candidates.size() && alive < width && ended_.size() < width; ++rank) {
    const Candidate& candidate = candidates[rank];
    if (const std::optional<FinishReason> reason = Ends(candidate.id)) {
      if (rank < width) {
        ended_.push_back(
            Finish(beams_[candidate.beam].last, *reason, candidate.sum, StepPiece(candidate.beam)));
      }
    } else {
      candidates[alive++] = candidate;
    }
  }
  return alive;
}

bool GenerationTask::AdvanceBeams(MatrixView<const float> logits, absl::Time now, Scratch& scratch) {
  const GenerateRequest& options = job_->work.options;
  const size_t width = options.beam_width;
  const size_t alive = ChooseContinuations(logits, scratch);

  for (size_t i = 0; i < alive; ++i) {
    const Candidate& candidate = scratch.candidates[i];
    const Beam& parent = beams_[candidate.beam];
    Beam& child = next_beams_[i];
    child.cache = parent.cache;
    child.last = tokens_.Add({parent.last, candidate.id, static_cast<float>(candidate.log_probability),
                              StepPiece(candidate.beam)});
    child.log_probability = candidate.sum;
  }
  beams_.swap(next_beams_);
  // Whoever is now alone with a chunk goes on writing to it; the others copy what is in it.
  for (size_t b = 0; b < alive_; ++b) next_beams_[b].cache.own.Clear();
  alive_ = alive;

  const bool out_of_tokens = steps_ >= options.max_new_tokens;
  if (ended_.size() < width && !out_of_tokens && alive_ != 0) return false;
  if (ended_.size() < width) {
    for (size_t b = 0; b < alive_; ++b) {
      ended_.push_back(Finish(beams_[b].last, FinishReason::kLength, beams_[b].log_probability, kNoPiece));
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
