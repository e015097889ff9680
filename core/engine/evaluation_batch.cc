#include "core/engine/evaluation_batch.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/model/decoder.h"
#include "core/model/encoder.h"
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
  for (size_t j = 0; j < states_.size(); ++j)
    Answer(j, absl::UnavailableError("the server is shutting down"));
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
  std::vector<CheckedSequence> sources, targets;
  std::vector<SequenceInput> source_inputs;
  std::vector<size_t> source_lengths;
  size_t source_rows = 0, target_rows = 0;
  PieceRecorder recorder(config, decoder ? PieceRecorder::Stack::kDecoder : PieceRecorder::Stack::kEncoder);
  bool any_head = false;
  for (const Item& item : items) {
    CheckedEvaluation& checked = states_[item.job].job->work;
    const size_t memory = checked.sources.empty() ? 0 : checked.sources[item.index].length();
    if (memory != 0) {
      sources.push_back(std::move(checked.sources[item.index]));
      source_lengths.push_back(memory);
      source_rows += memory;
    }
    if (decoder) {
      targets.push_back(std::move(checked.targets[item.index]));
      target_rows += targets.back().length();
      recorder.AddSequence(checked.pieces, 0, targets.back().length(), 0, memory);
    } else {
      recorder.AddSequence(checked.pieces, 0, memory, memory, 0);
    }
    any_head = any_head || checked.head;
  }
  for (const CheckedSequence& source : sources) source_inputs.push_back(source.input());

  const auto keep_going = [&] { return SomeoneWaits(items); };
  GateSink* const sink = recorder.wanted() ? &recorder : nullptr;
  std::vector<absl::Status> statuses(items.size());
  MatrixView<float> hidden;
  Evaluation evaluation(config, context_.kernels, *context_.pool, context_.workspace,
                        decoder ? nullptr : sink, keep_going);
  if (!sources.empty()) {
    hidden = ExecutorContext::Rows(context_.memory_rows, source_rows, config.hidden_size);
    statuses = RunEncoder(evaluation, weights, source_inputs, hidden);
    for (size_t i = 0; i < items.size(); ++i) {
      statuses[i] = Prefixed(statuses[i], decoder ? "sources" : "inputs", items[i].index);
    }
  }
  const auto merge = [&](const std::vector<absl::Status>& later, const std::string& field) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (statuses[i].ok()) statuses[i] = Prefixed(later[i], field, items[i].index);
    }
  };

  Evaluation decoding(config, context_.kernels, *context_.pool, context_.workspace, sink, keep_going);
  std::vector<KeyValueCache> caches;
  std::vector<DecoderInput> inputs;
  if (decoder) {
    std::vector<std::shared_ptr<const KeyValues>> memory(items.size());
    if (!sources.empty()) merge(ProjectMemory(decoding, weights, source_lengths, hidden, memory), "sources");
    caches.reserve(items.size());
    for (size_t i = 0; i < items.size(); ++i) {
      caches.push_back(KeyValueCache::ForTokens(&context_.workspace.key_value_pool, config,
                                                targets[i].length(), memory[i]));
    }
    for (size_t i = 0; i < items.size(); ++i) inputs.push_back({targets[i].input(), &caches[i]});
    hidden = ExecutorContext::Rows(context_.hidden_rows, target_rows, config.hidden_size);
    merge(RunDecoder(decoding, weights, inputs, hidden), "targets");
  }
  if (!SomeoneWaits(items)) return;

  Evaluation& last = decoder ? decoding : evaluation;
  std::vector<size_t> head_offset;
  MatrixView<float> head;
  if (any_head) {
    size_t rows = 0;
    for (const RowRange& range : last.sequences()) {
      head_offset.push_back(rows);
      rows += HeadRows(config, range.count);
    }
    head = ExecutorContext::Rows(context_.head_rows, rows, config.head.size);
    ApplyHead(last, weights, hidden, head);
    for (size_t i = 0; i < items.size(); ++i) {
      const bool asked = states_[items[i].job].job != nullptr && work(items[i]).head;
      if (asked && statuses[i].ok()) {
        statuses[i] = Prefixed(last.statuses()[i], decoder ? "targets" : "inputs", items[i].index);
      }
    }
  }
  StoreResults(items, statuses, hidden, head, head_offset, recorder);
}

void EvaluationBatch::StoreResults(const std::vector<Item>& items, const std::vector<absl::Status>& statuses,
                                   MatrixView<const float> hidden, MatrixView<const float> head,
                                   const std::vector<size_t>& head_offset, const PieceRecorder& recorder) {
  size_t row = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    JobState& state = states_[items[i].job];
    const size_t first = row;
    const size_t count = recorder.tokens(i);
    row += count;
    if (state.job == nullptr) continue;
    if (!statuses[i].ok()) {
      Answer(items[i].job, statuses[i]);
      continue;
    }
    const CheckedEvaluation& checked = state.job->work;
    SequenceResult& result = state.result.results[items[i].index];
    MatrixView<const float> rows = hidden.Rows(first, count);
    if (checked.head) rows = head.Rows(head_offset[i], HeadRows(state.job->model->config(), count));
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
