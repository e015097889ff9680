#include "core/engine/evaluation_batch.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "core/model/forward.h"
#include "core/model/head.h"
#include "core/spline/piece_recorder.h"

namespace splineserve {
namespace {

absl::Status Prefixed(const absl::Status& status, const std::string& field, size_t index) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(field, "[", index, "]: ", status.message()));
}

}  // namespace

EvaluationBatch::EvaluationBatch(ExecutorContext& context, std::vector<std::unique_ptr<EvaluationJob>> jobs,
                                 const ChunkLimits& limits)
    : context_(context), limits_(limits) {
  const absl::Time now = context_.clock.Now();
  for (std::unique_ptr<EvaluationJob>& job : jobs) {
    const CheckedEvaluation& work = job->work;
    const size_t sequences = work.targets.empty() ? work.sources.size() : work.targets.size();
    for (size_t i = 0; i < sequences; ++i) items_.push_back({states_.size(), i});
    batch_tokens_ += static_cast<int64_t>(work.total.tokens);
    JobState state;
    state.result.results.resize(sequences);
    state.remaining = sequences;
    state.started = now;
    state.job = std::move(job);
    states_.push_back(std::move(state));
  }
}

EvaluationBatch::~EvaluationBatch() {
  for (size_t j = 0; j < states_.size(); ++j) {
    // Asked here, too: the status allocates its message.
    if (states_[j].job != nullptr) Answer(j, absl::UnavailableError("the server is shutting down"));
  }
}

Work EvaluationBatch::WorkOfItem(const Item& item) const {
  const CheckedEvaluation& checked = work(item);
  return WorkOf(states_[item.job].job->model->config(),
                checked.sources.empty() ? 0 : checked.sources[item.index].length(),
                checked.targets.empty() ? 0 : checked.targets[item.index].length(), checked.head);
}

void EvaluationBatch::Answer(size_t index, const absl::Status& status) {
  JobState& state = states_[index];
  if (state.job == nullptr) return;
  const std::unique_ptr<EvaluationJob> job = std::move(state.job);
  if (!status.ok()) {
    state.result = {};
    job->charge = nullptr;
    job->done(status);
    return;
  }
  state.result.timing = {absl::ToInt64Microseconds(state.started - job->admitted),
                         absl::ToInt64Microseconds(context_.clock.Now() - state.started), batch_tokens_};
  state.result.charge = std::move(job->charge);
  job->done(std::move(state.result));
}

bool EvaluationBatch::SomeoneWaits(const std::vector<Item>& items) {
  for (size_t j = 0; j < states_.size(); ++j) {
    if (states_[j].job == nullptr) continue;
    if (const absl::Status status = context_.Check(*states_[j].job->token); !status.ok()) Answer(j, status);
  }
  return std::any_of(items.begin(), items.end(),
                     [&](const Item& item) { return states_[item.job].job != nullptr; });
}

void EvaluationBatch::RunChunk() {
  std::vector<Item> chunk;
  SomeoneWaits(chunk);
  Work chunk_work;
  for (; next_ < items_.size(); ++next_) {
    if (states_[items_[next_].job].job == nullptr)
      continue;  // answered early: its caller left, or a number overflowed
    const Work with_item = chunk_work + WorkOfItem(items_[next_]);
    if (!chunk.empty() && !limits_.Allow(with_item)) break;
    chunk_work = with_item;
    chunk.push_back(items_[next_]);
  }
  if (chunk.empty()) return;
  context_.batches.fetch_add(1, std::memory_order_relaxed);
  context_.tokens.fetch_add(chunk_work.tokens, std::memory_order_relaxed);
  Evaluate(chunk);
}

void EvaluationBatch::Evaluate(const std::vector<Item>& items) {
  // The model and the checked inputs must outlive jobs that are answered in the middle of the evaluation.
  const std::shared_ptr<const LoadedModel> model = states_[items.front().job].job->model;
  const ModelWeights& weights = model->weights();
  const ModelConfig& config = weights.config;
  const bool decoder = !work(items.front()).targets.empty();
  // Of a single sequence, as often, without allocations.
  absl::InlinedVector<CheckedSequence, 1> sources, targets;
  PieceRecorder recorder(config, decoder ? PieceRecorder::Stack::kDecoder : PieceRecorder::Stack::kEncoder);
  ForwardBatch batch;
  for (const Item& item : items) {
    CheckedEvaluation& checked = states_[item.job].job->work;
    const size_t memory = checked.sources.empty() ? 0 : checked.sources[item.index].length();
    if (memory != 0) sources.push_back(std::move(checked.sources[item.index]));
    if (decoder) {
      targets.push_back(std::move(checked.targets[item.index]));
      recorder.AddSequence(checked.pieces, 0, targets.back().length(), 0, memory);
    } else {
      recorder.AddSequence(checked.pieces, 0, memory, memory, 0);
    }
    batch.head = batch.head || checked.head;
  }
  absl::InlinedVector<SequenceInput, 1> source_inputs, target_inputs;
  for (const CheckedSequence& source : sources) source_inputs.push_back(source.input());
  for (const CheckedSequence& target : targets) target_inputs.push_back(target.input());
  batch.sources = source_inputs;
  batch.targets = target_inputs;
  if (recorder.wanted()) (decoder ? batch.decoder_sink : batch.encoder_sink) = &recorder;

  const auto keep_going = [&] { return SomeoneWaits(items); };
  const ForwardResult result = RunForward(weights, context_.means(), batch, keep_going);
  if (!result.finished) return;
  absl::InlinedVector<absl::Status, 1> statuses(items.size());
  const auto merge = [&](size_t i, const std::vector<absl::Status>& found, const std::string& field) {
    if (statuses[i].ok() && !found.empty()) statuses[i] = Prefixed(found[i], field, items[i].index);
  };
  for (size_t i = 0; i < items.size(); ++i) {
    merge(i, result.source_statuses, decoder ? "sources" : "inputs");
    merge(i, result.target_statuses, "targets");
    const bool asked = states_[items[i].job].job != nullptr && work(items[i]).head;
    if (asked) merge(i, result.head_statuses, decoder ? "targets" : "inputs");
  }
  StoreResults(config, items, statuses, result, recorder);
}

void EvaluationBatch::StoreResults(const ModelConfig& config, const std::vector<Item>& items,
                                   absl::Span<const absl::Status> statuses, const ForwardResult& forward,
                                   const PieceRecorder& recorder) {
  size_t row = 0, head_row = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    JobState& state = states_[items[i].job];
    const size_t first = row;
    const size_t count = recorder.tokens(i);
    row += count;
    const size_t first_head = head_row;
    const size_t head_count = HeadRows(config, count);
    head_row += head_count;
    if (state.job == nullptr) continue;
    if (!statuses[i].ok()) {
      Answer(items[i].job, statuses[i]);
      continue;
    }
    const CheckedEvaluation& checked = state.job->work;
    SequenceResult& result = state.result.results[items[i].index];
    const MatrixView<const float> rows =
        checked.head ? forward.head.Rows(first_head, head_count) : forward.hidden.Rows(first, count);
    result.output = {rows.rows, rows.cols, {}};
    result.output.values.assign(rows.data, rows.data + rows.rows * rows.cols);  // stacked rows are contiguous
    if (checked.pieces.detail != PieceDetail::kNone) {
      result.pieces.reserve(count);
      for (size_t t = 0; t < count; ++t) result.pieces.push_back(recorder.Take(i, t));
      result.sequence_id = SequenceId(result.pieces);
    }
    if (--state.remaining == 0) Answer(items[i].job, absl::OkStatus());
  }
}

}  // namespace splineserve
