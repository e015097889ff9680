#include "core/model/attention.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "core/model/head_block.h"
#include "core/model/token_attention.h"

namespace splineserve {
namespace {

// What storing one number of a key and of a value costs, in multiply-adds of a product.
constexpr size_t kStoreWork = 32;

// Keys and values of the current rows, on their way into caches.
struct NewKeyValues {
  MatrixView<const float> keys, values;  // [rows, heads * head_dim]
};

MatrixView<float> AttentionRows(Evaluation& evaluation, Workspace::Slot slot) {
  return evaluation.workspace.Rows(slot, evaluation.rows(), evaluation.config.attention_size());
}

// Those of rows [first, first + count) of one sequence, for one head.
void StoreHead(const KernelSet& kernels, const NewKeyValues& fresh, const RowRange& range, size_t first,
               size_t count, size_t stored_layer, size_t head, const KeyValues& cache) {
  const size_t row = range.first + first;
  cache.Store(kernels, stored_layer, head, cache.length() - range.count + first, fresh.keys.Rows(row, count),
              fresh.values.Rows(row, count));
}

// Those of rows [first, first + count) of the batch, as far as they belong to sequences that `chosen` picks.
template <typename Chosen>
void StoreRows(const Evaluation& evaluation, const NewKeyValues& fresh, size_t first, size_t count,
               size_t stored_layer, absl::Span<const KeyValues* const> caches, const Chosen& chosen) {
  const absl::Span<const RowRange> sequences = evaluation.sequences();
  for (size_t s = 0; s < sequences.size(); ++s) {
    const RowRange& range = sequences[s];
    const size_t begin = std::max(first, range.first);
    const size_t end = std::min(first + count, range.first + range.count);
    if (begin >= end || !chosen(range)) continue;
    for (size_t head = 0; head < evaluation.config.num_attention_heads; ++head) {
      StoreHead(evaluation.kernels, fresh, range, begin - range.first, end - begin, stored_layer, head,
                *caches[s]);
    }
  }
}

// One block sees all rows of its head: nobody else reads what it stores.
bool IsOnlyBlock(const RowRange& range) { return range.count <= kQueryBlock; }

// Evaluation::Project, by way of the distinct rows where there are any.
void Project(Evaluation& evaluation, absl::Span<const Projection> projections, MatrixView<const float> x,
             int layer, DistinctRows* distinct, const Evaluation::RowStep* after) {
  if (distinct == nullptr || distinct->empty()) {
    evaluation.Project(projections, x, layer, after);
    return;
  }
  for (const Projection& projection : projections) {
    distinct->Apply(evaluation, *projection.map, x, projection.out);
    evaluation.CheckFinite(projection.out, projection.what, layer);
  }
  if (after == nullptr) return;
  evaluation.ForRows(x.rows, after->work,
                     [&](size_t first, size_t count, size_t) { after->rows(first, count); });
}

// Whether the sequence's rows take all heads at once.
bool IsByToken(const AttentionStage& stage, size_t sequence) {
  return !stage.token_keys.empty() && stage.token_keys[sequence].tokens != 0;
}

// Makes room in every worker's scratch for a head of keys that lie in token blocks.
void ReserveUnpacked(Evaluation& evaluation, const KeyValues& keys) {
  const KeyValueView& chunk = keys.chunk(0);
  if (chunk.layout != KeyValueLayout::kTokenBlocks) return;
  for (size_t i = 0; i < evaluation.pool.threads(); ++i) {
    evaluation.workspace.worker(i).unpacked.EnsureSize(chunk.OneHead(nullptr).size());
  }
}

// The same for the scores that may be screened.
void ReserveScreens(Evaluation& evaluation, const AttentionStage& stage,
                    absl::Span<const KeyValues* const> keys) {
  size_t most_rows = 0, most_keys = 0;
  for (size_t s = 0; s < keys.size(); ++s) {
    const size_t rows = evaluation.sequences()[s].count;
    if (IsByToken(stage, s) || !ScreensScores(stage, rows, *keys[s])) continue;
    most_rows = std::max(most_rows, std::min(kQueryBlock, rows));
    most_keys = std::max(most_keys, keys[s]->length());
  }
  if (most_rows == 0) return;
  for (size_t i = 0; i < evaluation.pool.threads(); ++i) {
    Workspace::Worker& scratch = evaluation.workspace.worker(i);
    scratch.key_screen.Reserve(evaluation.config.head_dim, most_keys);
    scratch.screened_input.Reserve(most_rows, evaluation.config.head_dim);
    scratch.screened_tiles.Reserve(most_rows, evaluation.config.head_dim, most_keys);
  }
}

// Makes room in every worker's scratch for blocks of these sequences: which worker gets which block is not
// determined, and a worker that saw a large one late would allocate in the middle of a steady load.
void ReserveScratch(Evaluation& evaluation, const AttentionStage& stage,
                    absl::Span<const KeyValues* const> keys) {
  const bool gated = IsGated(evaluation.config.attention_activation);
  const size_t heads = evaluation.config.num_attention_heads;
  for (size_t i = 0; i < evaluation.pool.threads(); ++i) {
    evaluation.workspace.worker(i).gates.reserve(heads);
    evaluation.workspace.worker(i).bits.reserve(heads);
    std::vector<double>& open_scores = evaluation.workspace.worker(i).open_scores;
    const size_t needed = ExpectationOf(evaluation.config, stage, heads);
    if (gated && open_scores.size() < needed) open_scores.resize(needed, OpenRows::kUnknown);
    std::vector<ScreenPause>& pauses = evaluation.workspace.worker(i).score_pauses;
    if (gated && pauses.size() < needed) pauses.resize(needed);
    evaluation.workspace.worker(i).key_screen.Forget();
  }
  size_t most_rows = 0, most_scores = 0;
  for (size_t s = 0; s < keys.size(); ++s) {
    if (IsByToken(stage, s)) continue;
    const size_t rows = std::min(kQueryBlock, evaluation.sequences()[s].count);
    // Of what is there, not of what is used, which grows with every step.
    const size_t columns = gated ? keys[s]->largest_chunk() : keys[s]->capacity();
    ReserveUnpacked(evaluation, *keys[s]);
    if (rows <= most_rows && rows * columns <= most_scores) continue;
    most_rows = std::max(most_rows, rows);
    most_scores = std::max(most_scores, rows * columns);
    for (size_t i = 0; i < evaluation.pool.threads(); ++i) {
      Workspace::Worker& scratch = evaluation.workspace.worker(i);
      scratch.gated.EnsureSize(rows * columns);
      if (!gated) continue;
      scratch.states.EnsureSize(rows);
      scratch.widths.reserve(rows);
      scratch.bits.reserve(rows);
      scratch.open.Reserve(rows, columns);
    }
  }
  ReserveScreens(evaluation, stage, keys);
}

void MakeTasks(const Evaluation& evaluation, const AttentionStage& stage, std::vector<AttentionTask>& tasks) {
  const size_t heads = evaluation.config.num_attention_heads;
  tasks.clear();
  for (size_t s = 0; s < evaluation.sequences().size(); ++s) {
    const RowRange& range = evaluation.sequences()[s];
    if (IsByToken(stage, s)) {
      tasks.push_back({s, 0, range.count, 0, /*all_heads=*/true});
      continue;
    }
    for (size_t head = 0; head < heads; ++head) {
      for (size_t first = 0; first < range.count; first += kQueryBlock) {
        tasks.push_back({s, first, std::min(kQueryBlock, range.count - first), head, /*all_heads=*/false});
      }
    }
  }
}

// `fresh` are keys and values that belong into `keys`, where those of longer sequences than one block are
// already, or null if all are.
MatrixView<const float> AttendTo(Evaluation& evaluation, const AttentionStage& stage,
                                 absl::Span<const KeyValues* const> keys, const NewKeyValues* fresh,
                                 MatrixView<const float> query) {
  const MatrixView<float> attended = AttentionRows(evaluation, Workspace::kAttended);
  std::vector<AttentionTask>& tasks = evaluation.workspace.attention_tasks;
  MakeTasks(evaluation, stage, tasks);
  ReserveScratch(evaluation, stage, keys);
  const absl::Span<const RowRange> sequences = evaluation.sequences();
  evaluation.NextStage();
  const auto run = [&](const AttentionTask& task, Workspace::Worker& scratch) {
    const RowRange& range = sequences[task.sequence];
    if (task.all_heads) {
      TokenKeys own = stage.token_keys[task.sequence];
      if (own.view.data == nullptr) {
        own = KeepInScratch(evaluation, fresh->keys.Rows(range.first, range.count),
                            fresh->values.Rows(range.first, range.count), scratch);
      } else if (fresh != nullptr) {
        own.view.StoreToken(stage.stored_layer, own.tokens - 1, fresh->keys.row(range.first),
                            fresh->values.row(range.first));
      }
      for (size_t row = 0; row < task.rows; ++row) {
        AttendToken(evaluation, stage, own, task.sequence, row, query, attended, scratch);
      }
      return;
    }
    const KeyValues& own = *keys[task.sequence];
    if (fresh != nullptr && IsOnlyBlock(range)) {
      StoreHead(evaluation.kernels, *fresh, range, 0, range.count, stage.stored_layer, task.head, own);
    }
    AttendBlock(evaluation, stage, own, task, query, attended, scratch);
  };
  // Several small tasks a turn: eight blocks of a short sequence cost about what one turn of the pool does.
  const size_t turns = std::min(tasks.size(), 8 * evaluation.pool.threads());
  evaluation.pool.ParallelFor(turns, [&](size_t turn, size_t worker) {
    const size_t end = tasks.size() * (turn + 1) / turns;
    for (size_t t = tasks.size() * turn / turns; t < end; ++t) {
      if (t + 1 < end && tasks[t + 1].all_heads) {
        PrefetchToken(stage.token_keys[tasks[t + 1].sequence], stage.stored_layer);
      }
      run(tasks[t], evaluation.workspace.worker(worker));
    }
  });
  return attended;
}

}  // namespace

std::string_view ScoreName(Site site) {
  return site == Site::kCrossAttention ? "a cross-attention score" : "a self-attention score";
}

MatrixView<const float> Attend(Evaluation& evaluation, const AttentionStage& stage,
                               absl::Span<const KeyValues* const> keys, MatrixView<const float> x) {
  const MatrixView<float> query = AttentionRows(evaluation, Workspace::kQuery);
  evaluation.Project({{&stage.weights->query, query, "a query"}}, x, stage.layer, nullptr);
  return AttendTo(evaluation, stage, keys, nullptr, query);
}

MatrixView<const float> AttendToSelf(Evaluation& evaluation, const AttentionStage& stage,
                                     absl::Span<const KeyValues* const> caches, MatrixView<const float> x) {
  const MatrixView<float> key = AttentionRows(evaluation, Workspace::kKey),
                          value = AttentionRows(evaluation, Workspace::kValue),
                          query = AttentionRows(evaluation, Workspace::kQuery);
  const AttentionWeights& weights = *stage.weights;
  const NewKeyValues fresh = {key, value};
  const absl::Span<const RowRange> sequences = evaluation.sequences();
  const bool some_longer = !std::all_of(sequences.begin(), sequences.end(), IsOnlyBlock);
  const auto store = [&](size_t first, size_t count) {
    StoreRows(evaluation, fresh, first, count, stage.stored_layer, caches,
              [](const RowRange& range) { return !IsOnlyBlock(range); });
  };
  const Evaluation::RowStep after = {store, kStoreWork * key.cols};
  Project(
      evaluation,
      {{&weights.key, key, "a key"}, {&weights.value, value, "a value"}, {&weights.query, query, "a query"}},
      x, stage.layer, stage.distinct, some_longer ? &after : nullptr);
  return AttendTo(evaluation, stage, caches, &fresh, query);
}

void StoreKeyValues(Evaluation& evaluation, const AttentionWeights& weights, int layer, size_t stored_layer,
                    MatrixView<const float> x, absl::Span<const KeyValues* const> caches) {
  const MatrixView<float> key = AttentionRows(evaluation, Workspace::kKey),
                          value = AttentionRows(evaluation, Workspace::kValue);
  const auto store = [&](size_t first, size_t count) {
    StoreRows(evaluation, {key, value}, first, count, stored_layer, caches,
              [](const RowRange&) { return true; });
  };
  const Evaluation::RowStep after = {store, kStoreWork * key.cols};
  evaluation.Project({{&weights.key, key, "a key"}, {&weights.value, value, "a value"}}, x, layer, &after);
}

}  // namespace splineserve
