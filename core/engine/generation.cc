#include "core/engine/generation.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/model/decoder.h"
#include "core/model/encoder.h"

namespace splineserve {

ActiveGenerations::~ActiveGenerations() {
  for (std::unique_ptr<GenerationTask>& task : tasks_)
    End(task, absl::UnavailableError("the server is shutting down"));
}

void ActiveGenerations::Add(std::unique_ptr<GenerationJob> job) {
  tasks_.push_back(std::make_unique<GenerationTask>(std::move(job), context_.clock.Now()));
}

size_t ActiveGenerations::sequences() const {
  size_t sequences = 0;
  for (const auto& task : tasks_) sequences += task->sequences();
  return sequences;
}

// Ends a task: with an error, or after its last event if OK.
void ActiveGenerations::End(std::unique_ptr<GenerationTask>& task, const absl::Status& status) {
  if (!status.ok()) task->Fail(status);
  task = nullptr;
}

ActiveGenerations::Tasks ActiveGenerations::TakeTurn() {
  Tasks turn;
  std::deque<std::unique_ptr<GenerationTask>> rest;
  size_t rows = 0;
  for (std::unique_ptr<GenerationTask>& task : tasks_) {
    const size_t task_rows = task->PendingRows();
    const bool fits = turn.empty() || (turn.front()->job().model == task->job().model &&
                                       rows + task_rows <= max_batch_tokens_);
    if (fits) {
      rows += task_rows;
      turn.push_back(std::move(task));
    } else {
      rest.push_back(std::move(task));
    }
  }
  tasks_ = std::move(rest);
  return turn;
}

void ActiveGenerations::DropDeparted(Tasks& tasks) {
  for (std::unique_ptr<GenerationTask>& task : tasks) {
    if (task == nullptr) continue;
    if (const absl::Status status = context_.Check(*task->job().token); !status.ok()) End(task, status);
  }
}

void ActiveGenerations::Step() {
  Tasks tasks = TakeTurn();
  DropDeparted(tasks);
  EncodeSources(tasks);
  Decode(tasks);
  // To the back: those that did not fit into this turn come first in the next.
  for (std::unique_ptr<GenerationTask>& task : tasks) {
    if (task != nullptr) tasks_.push_back(std::move(task));
  }
}

void ActiveGenerations::EncodeSources(Tasks& tasks) {
  std::vector<size_t> fresh;  // indices into tasks
  std::vector<SequenceInput> inputs;
  std::vector<size_t> lengths;
  size_t rows = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i] == nullptr || tasks[i]->prepared()) continue;
    if (!tasks[i]->config().has_encoder()) {
      tasks[i]->Prepare(nullptr);
      continue;
    }
    const CheckedSequence& source = tasks[i]->job().work.source;
    fresh.push_back(i);
    inputs.push_back(source.input());
    lengths.push_back(source.length());
    rows += source.length();
    tasks[i]->CountRows(source.length());
  }
  if (fresh.empty()) return;
  context_.tokens.fetch_add(rows, std::memory_order_relaxed);
  const std::shared_ptr<const LoadedModel> model = tasks[fresh.front()]->job().model;
  const auto keep_going = [&] {
    return std::any_of(fresh.begin(), fresh.end(),
                       [&](size_t i) { return context_.Check(*tasks[i]->job().token).ok(); });
  };
  Evaluation evaluation(model->config(), context_.kernels, *context_.pool, context_.workspace, nullptr,
                        keep_going);
  const MatrixView<float> memory_rows =
      ExecutorContext::Rows(context_.memory_rows, rows, model->config().hidden_size);
  const std::vector<absl::Status> encoded = RunEncoder(evaluation, model->weights(), inputs, memory_rows);
  std::vector<absl::Status> projected;
  const auto memory = ProjectMemory(evaluation, model->weights(), lengths, memory_rows, projected);
  for (size_t f = 0; f < fresh.size(); ++f) {
    std::unique_ptr<GenerationTask>& task = tasks[fresh[f]];
    absl::Status status = context_.Check(*task->job().token);
    for (const absl::Status& fault : {encoded[f], projected[f]}) {
      if (status.ok() && !fault.ok())
        status = absl::Status(fault.code(), absl::StrCat("source: ", fault.message()));
    }
    if (status.ok()) {
      task->Prepare(memory[f]);
    } else {
      End(task, status);
    }
  }
}

void ActiveGenerations::Decode(Tasks& tasks) {
  tasks.erase(std::remove(tasks.begin(), tasks.end(), nullptr), tasks.end());
  if (tasks.empty()) return;
  const std::shared_ptr<const LoadedModel> model = tasks.front()->job().model;
  const ModelConfig& config = model->config();
  PieceRecorder recorder(config, PieceRecorder::Stack::kDecoder);
  std::vector<DecoderInput> inputs;
  size_t rows = 0;
  for (const std::unique_ptr<GenerationTask>& task : tasks) {
    task->CountRows(task->PendingRows());
    for (GenerationTask::Beam& beam : task->beams()) {
      const size_t memory = beam.cache.memory == nullptr ? 0 : beam.cache.memory->tokens;
      recorder.AddSequence(task->job().work.options.pieces, beam.cache.length(), beam.pending.size(), 0,
                           memory);
      inputs.push_back({{beam.pending, {}}, &beam.cache});
      rows += beam.pending.size();
    }
  }
  context_.batches.fetch_add(1, std::memory_order_relaxed);
  context_.tokens.fetch_add(rows, std::memory_order_relaxed);
  const auto keep_going = [&] {
    return std::any_of(tasks.begin(), tasks.end(),
                       [&](const auto& task) { return context_.Check(*task->job().token).ok(); });
  };
  Evaluation evaluation(config, context_.kernels, *context_.pool, context_.workspace,
                        recorder.wanted() ? &recorder : nullptr, keep_going);
  const MatrixView<float> hidden = ExecutorContext::Rows(context_.hidden_rows, rows, config.hidden_size);
  RunDecoder(evaluation, model->weights(), inputs, hidden);

  // Only the last position of each sequence chooses a token.
  const MatrixView<float> last =
      context_.workspace.Rows(Workspace::kNormed, inputs.size(), config.hidden_size);
  for (size_t s = 0; s < inputs.size(); ++s) {
    const RowRange range = evaluation.sequences()[s];
    std::copy_n(hidden.row(range.first + range.count - 1), config.hidden_size, last.row(s));
  }
  const MatrixView<float> logits = ExecutorContext::Rows(context_.head_rows, inputs.size(), config.head.size);
  evaluation.Apply(*model->weights().head, last, logits);
  evaluation.NextStage();
  for (size_t s = 0; s < inputs.size(); ++s) {
    const RowRange range = evaluation.sequences()[s];
    if (!context_.kernels.all_finite(logits.row(s), logits.cols)) {
      evaluation.Fail(s, range.position + range.count - 1, "a head output", -1);
    }
  }

  size_t first = 0;
  const absl::Time now = context_.clock.Now();
  for (std::unique_ptr<GenerationTask>& task : tasks) {
    const size_t beams = task->beams().size();
    absl::Status status = context_.Check(*task->job().token);
    for (size_t s = first; s < first + beams && status.ok(); ++s) status = evaluation.statuses()[s];
    if (!status.ok()) {
      End(task, status);
    } else if (task->Advance(logits.Rows(first, beams), recorder, first, now)) {
      End(task, absl::OkStatus());
    }
    first += beams;
  }
}

}  // namespace splineserve
