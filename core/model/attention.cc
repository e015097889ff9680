#include "core/model/attention.h"

#include <algorithm>
#include <vector>

#include "core/kernels/activations.h"

namespace splineserve {
namespace {

// Query rows that share one pass over keys and values. A multiple of the microkernel's 6 rows; scores of 48
// rows against 2,048 keys are 384 KiB, which with a head's keys and values still fits a 1 MiB second-level
// cache.
constexpr size_t kQueryBlock = 48;

struct Task {
  size_t sequence, head, first_row, rows;  // rows within the sequence
};

bool IsRelu(AttentionActivation activation) {
  return activation == AttentionActivation::kRelu || activation == AttentionActivation::kRelu2;
}

// One block of query rows of one head. Stateless but for the worker's scratch.
class HeadBlock {
 public:
  HeadBlock(Evaluation& evaluation, const AttentionStage& stage, const HeadKeyValues& keys, const Task& task)
      : evaluation_(evaluation),
        config_(evaluation.config),
        stage_(stage),
        keys_(keys),
        task_(task),
        range_(evaluation.sequences()[task.sequence]) {}

  void Run(MatrixView<const float> query, MatrixView<float> attended, Workspace::Worker& worker) {
    const size_t head_dim = config_.head_dim;
    const size_t columns = Visible(task_.rows - 1);  // of the block's last row, which sees most
    worker.scores.EnsureSize(kQueryBlock * columns);
    const MatrixView<float> scores(worker.scores.data(), task_.rows, columns);
    const size_t row = range_.first + task_.first_row;
    const size_t column = task_.head * head_dim;
    evaluation_.kernels.product(query.row(row) + column, query.stride, task_.rows,
                                keys_.Keys(task_.head, columns), nullptr, config_.attention_scale,
                                scores.data, scores.stride);
    for (size_t r = 0; r < task_.rows; ++r) {
      const size_t visible = Visible(r);
      Activate(r, scores.row(r), visible);
      // Keys that this row must not see weigh zero: fma(0, v, acc) = acc.
      std::fill(scores.row(r) + visible, scores.row(r) + columns, 0.0f);
    }
    const MatrixView<float> out(attended.row(row) + column, task_.rows, head_dim, attended.stride);
    evaluation_.kernels.product(scores.data, scores.stride, task_.rows, keys_.Values(task_.head, columns),
                                nullptr, 1.0f, out.data, out.stride);
    if (config_.attention_activation != AttentionActivation::kSoftmax &&
        config_.attention_normalizer == AttentionNormalizer::kVisible) {
      for (size_t r = 0; r < task_.rows; ++r) {
        evaluation_.kernels.divide(out.row(r), static_cast<float>(Visible(r)), head_dim);
      }
    }
  }

 private:
  size_t Position(size_t r) const { return range_.position + task_.first_row + r; }
  size_t Visible(size_t r) const { return stage_.causal ? Position(r) + 1 : keys_.length(); }

  // Scores become weights, in place.
  void Activate(size_t r, float* scores, size_t visible) {
    if (!IsRelu(config_.attention_activation)) {
      if (!evaluation_.kernels.all_finite(scores, visible)) {
        evaluation_.Fail(task_.sequence, Position(r), ScoreName(), stage_.layer);
      }
      if (config_.attention_activation == AttentionActivation::kSoftmax) {
        Softmax(scores, visible);
      } else {
        Softplus(scores, visible, config_.softplus_beta);
      }
      return;
    }
    GateSink* const sink = evaluation_.gates;
    const GateGroupRef group{task_.sequence, Position(r), static_cast<size_t>(stage_.layer),
                             stage_.site,    task_.head,  visible};
    uint8_t* const bits = sink == nullptr ? nullptr : sink->Bits(group);
    const GateRow gates =
        evaluation_.kernels.gate(scores, visible, config_.attention_activation == AttentionActivation::kRelu2,
                                 bits, bits != nullptr && sink->WantsMargin(task_.sequence));
    if (!gates.finite) evaluation_.Fail(task_.sequence, Position(r), ScoreName(), stage_.layer);
    if (bits != nullptr) sink->Record(group, gates);
  }

  std::string_view ScoreName() const {
    return stage_.site == Site::kCrossAttention ? "a cross-attention score" : "a self-attention score";
  }

  Evaluation& evaluation_;
  const ModelConfig& config_;
  const AttentionStage& stage_;
  const HeadKeyValues& keys_;
  const Task task_;
  const RowRange range_;
};

}  // namespace

void Attend(Evaluation& evaluation, const AttentionStage& stage, absl::Span<const HeadKeyValues* const> keys,
            MatrixView<const float> x, MatrixView<float> branch) {
  const ModelConfig& config = evaluation.config;
  const size_t rows = evaluation.rows();
  const MatrixView<float> query = evaluation.workspace.Rows(Workspace::kQuery, rows, config.attention_size());
  const MatrixView<float> attended =
      evaluation.workspace.Rows(Workspace::kAttended, rows, config.attention_size());
  evaluation.Apply(stage.weights->query, x, query);
  evaluation.CheckFinite(query, "a query", stage.layer);

  std::vector<Task> tasks;
  for (size_t s = 0; s < evaluation.sequences().size(); ++s) {
    const size_t count = evaluation.sequences()[s].count;
    for (size_t head = 0; head < config.num_attention_heads; ++head) {
      for (size_t first = 0; first < count; first += kQueryBlock) {
        tasks.push_back({s, head, first, std::min(kQueryBlock, count - first)});
      }
    }
  }
  evaluation.NextStage();
  // Several small tasks a turn: eight blocks of a short sequence cost about what one turn of the pool does.
  const size_t turns = std::min(tasks.size(), 4 * evaluation.pool.threads());
  evaluation.pool.ParallelFor(turns, [&](size_t turn, size_t worker) {
    for (size_t t = tasks.size() * turn / turns; t < tasks.size() * (turn + 1) / turns; ++t) {
      HeadBlock(evaluation, stage, *keys[tasks[t].sequence], tasks[t])
          .Run(query, attended, evaluation.workspace.worker(worker));
    }
  });
  evaluation.CheckFinite(attended, "an attention output", stage.layer);
  evaluation.Apply(stage.weights->output, attended, branch);
}

void AppendKeyValues(Evaluation& evaluation, const AttentionWeights& weights, int layer,
                     MatrixView<const float> x, absl::Span<HeadKeyValues* const> caches) {
  const size_t rows = evaluation.rows();
  const size_t width = evaluation.config.attention_size();
  const MatrixView<float> key = evaluation.workspace.Rows(Workspace::kKey, rows, width);
  const MatrixView<float> value = evaluation.workspace.Rows(Workspace::kValue, rows, width);
  evaluation.Apply(weights.key, x, key);
  evaluation.Apply(weights.value, x, value);
  evaluation.CheckFinite(key, "a key", layer);
  evaluation.CheckFinite(value, "a value", layer);
  for (size_t s = 0; s < caches.size(); ++s) {
    const RowRange range = evaluation.sequences()[s];
    caches[s]->Append(key.Rows(range.first, range.count), value.Rows(range.first, range.count));
  }
}

}  // namespace splineserve
