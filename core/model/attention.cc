#include "core/model/attention.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>
#include <vector>

#include "core/kernels/activations.h"
#include "core/model/token_attention.h"

namespace splineserve {
namespace {

// Query rows that share one pass over keys and values. A multiple of the microkernel's 6 rows; scores of 36
// rows against 2,048 keys and their lists are half a megabyte, which leaves half of the second-level cache.
constexpr size_t kQueryBlock = 36;

// Fewer keys than this are not worth a list: 16 multiply-adds of a 64-column panel take as long as making it.
constexpr size_t kMinListedKeys = 32;

// What storing one number of a key and of a value costs, in multiply-adds of a product.
constexpr size_t kStoreWork = 32;

bool IsRelu(AttentionActivation activation) {
  return activation == AttentionActivation::kRelu || activation == AttentionActivation::kRelu2;
}

// Makes room in every worker's scratch for blocks of these sequences: which worker gets which block is not
// determined, and a worker that saw a large one late would allocate in the middle of a steady load.
void ReserveScratch(Evaluation& evaluation, absl::Span<const KeyValues* const> keys) {
  const bool gated = IsRelu(evaluation.config.attention_activation);
  size_t most_rows = 0, most_columns = 0;
  for (size_t s = 0; s < keys.size(); ++s) {
    const size_t rows = std::min(kQueryBlock, evaluation.sequences()[s].count);
    // Of what is there, not of what is used, which grows with every step.
    const size_t columns = gated ? keys[s]->largest_chunk() : keys[s]->capacity();
    if (rows <= most_rows && columns <= most_columns) continue;
    most_rows = std::max(most_rows, rows);
    most_columns = std::max(most_columns, columns);
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
}

// One block of query rows of one head. Walks the chunks of keys and values in ascending order; every chain
// over values goes on from chunk to chunk. Stateless but for the worker's scratch.
class HeadBlock {
 public:
  HeadBlock(Evaluation& evaluation, const AttentionStage& stage, const KeyValues& keys,
            const AttentionTask& task)
      : evaluation_(evaluation),
        config_(evaluation.config),
        stage_(stage),
        keys_(keys),
        task_(task),
        range_(evaluation.sequences()[task.sequence]) {}

  void Run(MatrixView<const float> query, MatrixView<float> attended, Workspace::Worker& scratch) {
    const size_t head_dim = config_.head_dim;
    const size_t row = range_.first + task_.first_row;
    const size_t column = task_.head * head_dim;
    const MatrixView<const float> queries(query.row(row) + column, task_.rows, head_dim, query.stride);
    const MatrixView<float> out(attended.row(row) + column, task_.rows, head_dim, attended.stride);
    if (IsRelu(config_.attention_activation)) {
      evaluation_.frozen == nullptr ? Gated(queries, out, scratch) : Frozen(queries, out, scratch);
    } else {
      Smooth(queries, out, scratch);
    }
    if (config_.attention_activation != AttentionActivation::kSoftmax &&
        config_.attention_normalizer == AttentionNormalizer::kVisible) {
      for (size_t r = 0; r < task_.rows; ++r) {
        evaluation_.kernels.divide(out.row(r), static_cast<float>(Visible(r)), head_dim);
      }
    }
  }

 private:
  // What the block sees of one chunk.
  struct Part {
    size_t first, tokens;
    PackedView keys, values;
  };

  size_t Position(size_t r) const { return range_.position + task_.first_row + r; }
  size_t Visible(size_t r) const { return stage_.causal ? Position(r) + 1 : keys_.length(); }
  size_t Columns() const { return Visible(task_.rows - 1); }  // of the last row, which sees most
  GateGroupRef Group(size_t r) const {
    return {task_.sequence, Position(r), static_cast<size_t>(stage_.layer),
            stage_.site,    task_.head,  Visible(r)};
  }

  template <typename Body>
  void ForParts(const Body& body) const {
    const size_t columns = Columns();
    for (size_t i = 0; i < keys_.chunks() && keys_.first_token(i) < columns; ++i) {
      const KeyValueView& chunk = keys_.chunk(i);
      const size_t first = keys_.first_token(i);
      const size_t tokens = std::min(chunk.capacity, columns - first);
      body(Part{first, tokens, chunk.Keys(stage_.stored_layer, task_.head, tokens),
                chunk.Values(stage_.stored_layer, task_.head, tokens)});
    }
  }

  // out = the chains over values so far.
  void Multiply(MatrixView<const float> weights, const Part& part, MatrixView<float> out) {
    const KernelSet& kernels = evaluation_.kernels;
    if (part.first == 0) {
      kernels.product(weights.data, weights.stride, weights.rows, part.values, nullptr, 1.0f, out.data,
                      out.stride);
    } else {
      kernels.continue_product(weights.data, weights.stride, weights.rows, part.values, out.data, out.stride);
    }
  }

  // Weights ReLU(scale q . k).
  void Gated(MatrixView<const float> queries, MatrixView<float> out, Workspace::Worker& scratch) {
    GateSink* const sink = evaluation_.gates;
    const bool margins = sink != nullptr && sink->WantsMargin(task_.sequence);
    BeginGates(scratch);
    size_t passed = 0;  // tokens of the chunk before
    ForParts([&](const Part& part) {
      if (passed != 0) PassOver(passed, scratch);
      passed = part.tokens;
      const MatrixView<float> scores(scratch.gated.data(), task_.rows, part.tokens);
      const GateSpec spec = {config_.attention_activation == AttentionActivation::kRelu2, margins,
                             stage_.causal ? scratch.widths.data() : nullptr,
                             sink != nullptr ? scratch.bits.data() : nullptr, scratch.states.data()};
      evaluation_.kernels.gated_product(queries.data, queries.stride, task_.rows, part.keys, nullptr,
                                        config_.attention_scale, spec, scores.data, scores.stride);
      MultiplyOpen(scores, part, out, scratch);
    });
    for (size_t r = 0; r < task_.rows; ++r) {
      const GateRow gates = scratch.states[r].Summary(margins);
      if (!gates.finite) evaluation_.Fail(task_.sequence, Position(r), ScoreName(stage_.site), stage_.layer);
      if (sink != nullptr && scratch.bits[r] != nullptr) sink->Record(Group(r), gates);
    }
  }

  // For the first chunk: how much of it each row sees (the rest weighs zero: fma(0, v, acc) = acc) and where
  // its sign bits go.
  void BeginGates(Workspace::Worker& scratch) {
    scratch.bits.clear();
    scratch.widths.clear();
    for (size_t r = 0; r < task_.rows; ++r) {
      scratch.states[r].Reset();
      if (evaluation_.gates != nullptr) scratch.bits.push_back(evaluation_.gates->Bits(Group(r)));
      if (stage_.causal) scratch.widths.push_back(static_cast<uint32_t>(Visible(r)));
    }
  }

  // The same for the next chunk, `tokens` further on: a multiple of 8, so that its bits start at a byte.
  static void PassOver(size_t tokens, Workspace::Worker& scratch) {
    for (uint8_t*& bits : scratch.bits) {
      if (bits != nullptr) bits += tokens / 8;
    }
    for (uint32_t& width : scratch.widths) width -= std::min(width, static_cast<uint32_t>(tokens));
  }

  void MultiplyOpen(MatrixView<const float> scores, const Part& part, MatrixView<float> out,
                    Workspace::Worker& scratch) {
    if (part.tokens < kMinListedKeys) {
      Multiply(scores, part, out);
      return;
    }
    // The states count the gates of all chunks so far: so must the limit.
    const double counted = static_cast<double>(part.first + part.tokens) / static_cast<double>(part.tokens);
    scratch.open.List(evaluation_.kernels, scores, scratch.states.data(),
                      stage_.weights->sparse_below * counted);
    if (part.first == 0) {
      scratch.open.Multiply(evaluation_.kernels, part.values, nullptr, out);
    } else {
      scratch.open.Continue(evaluation_.kernels, part.values, out);
    }
  }

  // Weights scale q . k where the gate is frozen open, whatever the score's sign: negative weights are not
  // for lists, so the products are dense.
  void Frozen(MatrixView<const float> queries, MatrixView<float> out, Workspace::Worker& scratch) {
    const KernelSet& kernels = evaluation_.kernels;
    GateSink* const sink = evaluation_.gates;
    const bool margins = sink != nullptr && sink->WantsMargin(task_.sequence);
    const bool square = config_.attention_activation == AttentionActivation::kRelu2;
    struct Row {
      const uint8_t* open;
      uint8_t* own;
      GateRow seen;
    };
    std::array<Row, kQueryBlock> rows;
    for (size_t r = 0; r < task_.rows; ++r) {
      rows[r] = {evaluation_.frozen->Bits(Group(r)), sink == nullptr ? nullptr : sink->Bits(Group(r)), {}};
      if (margins) rows[r].seen.margin = std::numeric_limits<float>::infinity();
    }
    ForParts([&](const Part& part) {
      const MatrixView<float> scores(scratch.gated.data(), task_.rows, part.tokens);
      scratch.arguments.EnsureSize(part.tokens);
      kernels.product(queries.data, queries.stride, task_.rows, part.keys, nullptr, config_.attention_scale,
                      scores.data, scores.stride);
      for (size_t r = 0; r < task_.rows; ++r) {
        Row& row = rows[r];
        // A row before the causal block's last may see nothing of its last chunk.
        const size_t visible = std::min(Visible(r) - std::min(Visible(r), part.first), part.tokens);
        // A chunk holds a multiple of 8 tokens, so that the next one's bits start at a byte.
        const GateRow seen =
            FreezeRow(kernels, row.open + part.first / 8, square, scores.row(r), visible,
                      row.own == nullptr || visible == 0 ? nullptr : row.own + part.first / 8, margins,
                      scratch.arguments.data());
        row.seen.open += seen.open;
        row.seen.margin = std::min(row.seen.margin, seen.margin);
        row.seen.finite = row.seen.finite && seen.finite;
        std::fill(scores.row(r) + visible, scores.row(r) + part.tokens, 0.0f);
      }
      Multiply(scores, part, out);
    });
    for (size_t r = 0; r < task_.rows; ++r) {
      if (!rows[r].seen.finite)
        evaluation_.Fail(task_.sequence, Position(r), ScoreName(stage_.site), stage_.layer);
      if (rows[r].own != nullptr) sink->Record(Group(r), rows[r].seen);
    }
  }

  // Weights SoftMax or SoftPlus of scale q . k.
  void Smooth(MatrixView<const float> queries, MatrixView<float> out, Workspace::Worker& scratch) {
    const MatrixView<float> scores(scratch.gated.data(), task_.rows, Columns());
    ForParts([&](const Part& part) {
      evaluation_.kernels.product(queries.data, queries.stride, task_.rows, part.keys, nullptr,
                                  config_.attention_scale, scores.data + part.first, scores.stride);
    });
    for (size_t r = 0; r < task_.rows; ++r) {
      const size_t visible = Visible(r);
      if (!evaluation_.kernels.all_finite(scores.row(r), visible)) {
        evaluation_.Fail(task_.sequence, Position(r), ScoreName(stage_.site), stage_.layer);
      }
      if (config_.attention_activation == AttentionActivation::kSoftmax) {
        Softmax(scores.row(r), visible);
      } else {
        Softplus(scores.row(r), visible, config_.softplus_beta);
      }
      std::fill(scores.row(r) + visible, scores.row(r) + scores.cols, 0.0f);
    }
    ForParts([&](const Part& part) { Multiply(scores.Cols(part.first, part.tokens), part, out); });
  }

  Evaluation& evaluation_;
  const ModelConfig& config_;
  const AttentionStage& stage_;
  const KeyValues& keys_;
  const AttentionTask task_;
  const RowRange range_;
};

// Keys and values of the current rows, on their way into caches.
struct NewKeyValues {
  MatrixView<const float> keys, values;  // [rows, heads * head_dim]
};

NewKeyValues ProjectKeyValues(Evaluation& evaluation, const AttentionWeights& weights, int layer,
                              MatrixView<const float> x) {
  const size_t rows = evaluation.rows();
  const size_t width = evaluation.config.attention_size();
  const MatrixView<float> key = evaluation.workspace.Rows(Workspace::kKey, rows, width);
  const MatrixView<float> value = evaluation.workspace.Rows(Workspace::kValue, rows, width);
  evaluation.Apply(weights.key, x, key);
  evaluation.Apply(weights.value, x, value);
  evaluation.CheckFinite(key, "a key", layer);
  evaluation.CheckFinite(value, "a value", layer);
  return {key, value};
}

// Those of one sequence and head.
void StoreHead(const NewKeyValues& fresh, const RowRange& range, size_t stored_layer, size_t head,
               const KeyValues& cache) {
  cache.Store(stored_layer, head, fresh.keys.Rows(range.first, range.count),
              fresh.values.Rows(range.first, range.count));
}

// Those of all heads of the sequences that `chosen` picks.
template <typename Chosen>
void StoreHeads(Evaluation& evaluation, const NewKeyValues& fresh, size_t stored_layer,
                absl::Span<const KeyValues* const> caches, const Chosen& chosen) {
  const size_t heads = evaluation.config.num_attention_heads;
  const size_t work = kStoreWork * evaluation.config.head_dim * evaluation.rows();
  evaluation.ForRows(caches.size() * heads, work / std::max<size_t>(caches.size(), 1),
                     [&](size_t first, size_t count, size_t) {
                       for (size_t i = first; i < first + count; ++i) {
                         const RowRange& range = evaluation.sequences()[i / heads];
                         if (chosen(range))
                           StoreHead(fresh, range, stored_layer, i % heads, *caches[i / heads]);
                       }
                     });
}

// One block sees all rows of its head: nobody else reads what it stores.
bool IsOnlyBlock(const RowRange& range) { return range.count <= kQueryBlock; }

void MakeTasks(const Evaluation& evaluation, const AttentionStage& stage, std::vector<AttentionTask>& tasks) {
  const size_t heads = evaluation.config.num_attention_heads;
  tasks.clear();
  for (size_t s = 0; s < evaluation.sequences().size(); ++s) {
    const RowRange& range = evaluation.sequences()[s];
    if (!stage.token_keys.empty() && stage.token_keys[s].tokens != 0) {
      tasks.push_back({s, 0, 1, 0, /*all_heads=*/true});
      continue;
    }
    for (size_t head = 0; head < heads; ++head) {
      for (size_t first = 0; first < range.count; first += kQueryBlock) {
        tasks.push_back({s, first, std::min(kQueryBlock, range.count - first), head, /*all_heads=*/false});
      }
    }
  }
}

// `fresh` are keys and values of x that belong into `keys`, or null if those are complete.
void AttendTo(Evaluation& evaluation, const AttentionStage& stage, absl::Span<const KeyValues* const> keys,
              const NewKeyValues* fresh, MatrixView<const float> x, MatrixView<float> branch) {
  const ModelConfig& config = evaluation.config;
  const size_t rows = evaluation.rows();
  const MatrixView<float> query = evaluation.workspace.Rows(Workspace::kQuery, rows, config.attention_size());
  const MatrixView<float> attended =
      evaluation.workspace.Rows(Workspace::kAttended, rows, config.attention_size());
  evaluation.Apply(stage.weights->query, x, query);
  evaluation.CheckFinite(query, "a query", stage.layer);

  std::vector<AttentionTask>& tasks = evaluation.workspace.attention_tasks;
  MakeTasks(evaluation, stage, tasks);
  ReserveScratch(evaluation, keys);
  const absl::Span<const RowRange> sequences = evaluation.sequences();
  if (fresh != nullptr && !std::all_of(sequences.begin(), sequences.end(), IsOnlyBlock)) {
    StoreHeads(evaluation, *fresh, stage.stored_layer, keys,
               [](const RowRange& range) { return !IsOnlyBlock(range); });
  }
  evaluation.NextStage();
  const auto run = [&](const AttentionTask& task, Workspace::Worker& scratch) {
    const RowRange& range = sequences[task.sequence];
    if (task.all_heads) {
      const TokenKeys& own = stage.token_keys[task.sequence];
      for (size_t head = 0; fresh != nullptr && head < config.num_attention_heads; ++head) {
        const size_t column = head * config.head_dim;
        own.view.Store(stage.stored_layer, head, own.tokens - 1, fresh->keys.row(range.first) + column,
                       fresh->values.row(range.first) + column);
      }
      AttendToken(evaluation, stage, own, task.sequence, query, attended, scratch);
      return;
    }
    const KeyValues& own = *keys[task.sequence];
    if (fresh != nullptr && IsOnlyBlock(range)) StoreHead(*fresh, range, stage.stored_layer, task.head, own);
    HeadBlock(evaluation, stage, own, task).Run(query, attended, scratch);
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
  evaluation.CheckFinite(attended, "an attention output", stage.layer);
  evaluation.Apply(stage.weights->output, attended, branch);
}

}  // namespace

std::string_view ScoreName(Site site) {
  return site == Site::kCrossAttention ? "a cross-attention score" : "a self-attention score";
}

void Attend(Evaluation& evaluation, const AttentionStage& stage, absl::Span<const KeyValues* const> keys,
            MatrixView<const float> x, MatrixView<float> branch) {
  AttendTo(evaluation, stage, keys, nullptr, x, branch);
}

void AttendToSelf(Evaluation& evaluation, const AttentionStage& stage,
                  absl::Span<const KeyValues* const> caches, MatrixView<const float> x,
                  MatrixView<float> branch) {
  const NewKeyValues fresh = ProjectKeyValues(evaluation, *stage.weights, stage.layer, x);
  AttendTo(evaluation, stage, caches, &fresh, x, branch);
}

void StoreKeyValues(Evaluation& evaluation, const AttentionWeights& weights, int layer, size_t stored_layer,
                    MatrixView<const float> x, absl::Span<const KeyValues* const> caches) {
  const NewKeyValues fresh = ProjectKeyValues(evaluation, weights, layer, x);
  StoreHeads(evaluation, fresh, stored_layer, caches, [](const RowRange&) { return true; });
}

}  // namespace splineserve
