#include "core/engine/generation.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/model/encoder.h"

namespace splineserve {

ActiveGenerations::~ActiveGenerations() {
  for (std::unique_ptr<GenerationTask>& task : waiting_)
    End(task, absl::UnavailableError("the server is shutting down"));
}

void ActiveGenerations::Add(std::unique_ptr<GenerationJob> job) {
  waiting_.push_back(std::make_unique<GenerationTask>(std::move(job), context_.clock.Now()));
}

size_t ActiveGenerations::sequences() const {
  size_t sequences = 0;
  for (const auto& task : waiting_) sequences += task->sequences();
  return sequences;
}

// Ends a task: with an error, or after its last event if OK.
void ActiveGenerations::End(std::unique_ptr<GenerationTask>& task, const absl::Status& status) {
  if (!status.ok()) task->Fail(status);
  task = nullptr;
}

void ActiveGenerations::TakeTurn() {
  size_t rows = 0;
  for (std::unique_ptr<GenerationTask>& task : waiting_) {
    const size_t task_rows = task->PendingRows();
    const bool fits = turn_.empty() || (turn_.front()->job().model == task->job().model &&
                                        rows + task_rows <= max_batch_tokens_);
    if (fits) rows += task_rows;
    (fits ? turn_ : rest_).push_back(std::move(task));
  }
  waiting_.swap(rest_);
  rest_.clear();
}

void ActiveGenerations::DropDeparted() {
  for (std::unique_ptr<GenerationTask>& task : turn_) {
    if (task == nullptr) continue;
    if (const absl::Status status = context_.Check(*task->job().token); !status.ok()) End(task, status);
  }
}

void ActiveGenerations::Step() {
  TakeTurn();
  DropDeparted();
  EncodeSources();
  Decode();
  // To the back: those that did not fit into this turn come first in the next.
  for (std::unique_ptr<GenerationTask>& task : turn_) {
    if (task != nullptr) waiting_.push_back(std::move(task));
  }
  turn_.clear();
}

void ActiveGenerations::EncodeSources() {
  fresh_.clear();
  sources_.clear();
  source_lengths_.clear();
  size_t rows = 0;
  for (size_t i = 0; i < turn_.size(); ++i) {
    if (turn_[i] == nullptr || turn_[i]->prepared()) continue;
    if (!turn_[i]->config().has_encoder()) {
      turn_[i]->Prepare(context_.workspace.key_value_pool, nullptr);
      continue;
    }
    const CheckedSequence& source = turn_[i]->job().work.source;
    fresh_.push_back(i);
    sources_.push_back(source.input());
    source_lengths_.push_back(source.length());
    rows += source.length();
    turn_[i]->CountRows(source.length());
  }
  if (fresh_.empty()) return;
  context_.tokens.fetch_add(rows, std::memory_order_relaxed);
  const std::shared_ptr<const LoadedModel> model = turn_[fresh_.front()]->job().model;
  const auto keep_going = [&] {
    return std::any_of(fresh_.begin(), fresh_.end(),
                       [&](size_t i) { return context_.Check(*turn_[i]->job().token).ok(); });
  };
  Evaluation evaluation(model->config(), context_.kernels, *context_.pool, context_.workspace, nullptr,
                        keep_going);
  const MatrixView<float> memory_rows =
      ExecutorContext::Rows(context_.rows.memory, rows, model->config().hidden_size);
  source_statuses_ = RunEncoder(evaluation, model->weights(), sources_, memory_rows);
  const std::vector<absl::Status>& projected = ProjectMemory(
      evaluation, model->weights(), source_lengths_, memory_rows, KeyValueLayout::kTokenBlocks, memories_);
  for (size_t f = 0; f < fresh_.size(); ++f) {
    std::unique_ptr<GenerationTask>& task = turn_[fresh_[f]];
    absl::Status status = context_.Check(*task->job().token);
    if (const absl::Status& fault = source_statuses_[f].ok() ? projected[f] : source_statuses_[f];
        status.ok() && !fault.ok()) {
      status = absl::Status(fault.code(), absl::StrCat("source: ", fault.message()));
    }
    if (status.ok()) {
      task->Prepare(context_.workspace.key_value_pool, std::move(memories_[f]));
    } else {
      End(task, status);
    }
  }
  memories_.clear();
}

MatrixView<const float> ActiveGenerations::Logits(Evaluation& evaluation, const ModelWeights& weights,
                                                  MatrixView<const float> hidden) {
  const ModelConfig& config = weights.config;
  const absl::Span<const RowRange> sequences = evaluation.sequences();
  // Only the last position of each sequence chooses a token.
  const MatrixView<float> last =
      context_.workspace.Rows(Workspace::kNormed, sequences.size(), config.hidden_size);
  for (size_t s = 0; s < sequences.size(); ++s) {
    std::copy_n(hidden.row(sequences[s].first + sequences[s].count - 1), config.hidden_size, last.row(s));
  }
  const MatrixView<float> logits =
      ExecutorContext::Rows(context_.rows.head, sequences.size(), config.head.size);
  evaluation.Apply(*weights.head, last, logits);
  evaluation.NextStage();
  for (size_t s = 0; s < sequences.size(); ++s) {
    if (!context_.kernels.all_finite(logits.row(s), logits.cols)) {
      evaluation.Fail(s, sequences[s].position + sequences[s].count - 1, "a head output", -1);
    }
  }
  return logits;
}

void ActiveGenerations::Decode() {
  turn_.erase(std::remove(turn_.begin(), turn_.end(), nullptr), turn_.end());
  if (turn_.empty()) return;
  const std::shared_ptr<const LoadedModel> model = turn_.front()->job().model;
  const ModelConfig& config = model->config();
  std::optional<PieceRecorder> recorder;
  if (std::any_of(turn_.begin(), turn_.end(), [](const auto& task) { return task->wants_pieces(); })) {
    recorder.emplace(config, PieceRecorder::Stack::kDecoder);
  }
  inputs_.clear();
  size_t rows = 0;
  for (const std::unique_ptr<GenerationTask>& task : turn_) {
    task->CountRows(task->PendingRows());
    for (GenerationTask::Beam& beam : task->beams()) {
      const absl::Span<const int32_t> pending = task->Pending(beam);
      if (recorder.has_value()) {
        recorder->AddSequence(task->job().work.options.pieces, beam.cache.length(), pending.size(), 0,
                              beam.cache.memory_tokens());
      }
      inputs_.push_back({{pending, {}}, &beam.cache});
      rows += pending.size();
    }
  }
  context_.batches.fetch_add(1, std::memory_order_relaxed);
  context_.tokens.fetch_add(rows, std::memory_order_relaxed);
  const auto keep_going = [&] {
    return std::any_of(turn_.begin(), turn_.end(),
                       [&](const auto& task) { return context_.Check(*task->job().token).ok(); });
  };
  Evaluation evaluation(config, context_.kernels, *context_.pool, context_.workspace,
                        recorder.has_value() ? &*recorder : nullptr, keep_going);
  const MatrixView<float> hidden = ExecutorContext::Rows(context_.rows.hidden, rows, config.hidden_size);
  RunDecoder(evaluation, model->weights(), inputs_, hidden);
  const MatrixView<const float> logits = Logits(evaluation, model->weights(), hidden);

  size_t first = 0;
  const absl::Time now = context_.clock.Now();
  for (std::unique_ptr<GenerationTask>& task : turn_) {
    const size_t beams = task->beams().size();
    absl::Status status = context_.Check(*task->job().token);
    for (size_t s = first; s < first + beams && status.ok(); ++s) status = evaluation.statuses()[s];
    const PieceRecorder* const pieces = recorder.has_value() ? &*recorder : nullptr;
    if (!status.ok()) {
      End(task, status);
    } else if (task->Advance(logits.Rows(first, beams), pieces, first, now, choice_)) {
      End(task, absl::OkStatus());
    }
    first += beams;
  }
}

}  // namespace splineserve
