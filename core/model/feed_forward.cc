#include "core/model/feed_forward.h"

#include <algorithm>
#include <vector>

#include "core/kernels/activations.h"

namespace splineserve {
namespace {

// Rows whose hidden activations are in flight at a time, per core: 48 rows of 2,048 units are 384 KiB, so
// that what `up` wrote is still in the second-level cache when `down` reads it.
constexpr size_t kRowsPerCore = 48;

// Which token a stacked row is.
struct RowToken {
  size_t sequence, position;
};

void ActivateSmooth(const ModelConfig& config, float* units, size_t n) {
  switch (config.hidden_act) {
    case HiddenAct::kRelu:
    case HiddenAct::kRelu2:
      break;  // gates, not smooth: never asked
    case HiddenAct::kSoftplus:
      Softplus(units, n, config.softplus_beta);
      break;
    case HiddenAct::kGelu:
      Gelu(units, n);
      break;
    case HiddenAct::kGeluTanh:
      GeluTanh(units, n);
      break;
    case HiddenAct::kSilu:
      Silu(units, n);
      break;
  }
}

void Activate(Evaluation& evaluation, int layer, RowToken token, float* units) {
  const ModelConfig& config = evaluation.config;
  const size_t n = config.intermediate_size;
  bool finite = true;
  if (config.hidden_act == HiddenAct::kRelu || config.hidden_act == HiddenAct::kRelu2) {
    GateSink* const sink = evaluation.gates;
    const GateGroupRef group{
        token.sequence, token.position, static_cast<size_t>(layer), Site::kFeedForward, 0, n};
    uint8_t* const bits = sink == nullptr ? nullptr : sink->Bits(group);
    const GateRow gates = evaluation.kernels.gate(units, n, config.hidden_act == HiddenAct::kRelu2, bits,
                                                  bits != nullptr && sink->WantsMargin(token.sequence));
    finite = gates.finite;
    if (bits != nullptr) sink->Record(group, gates);
  } else {
    finite = evaluation.kernels.all_finite(units, n);
    ActivateSmooth(config, units, n);
  }
  if (!finite) evaluation.Fail(token.sequence, token.position, "a feed-forward pre-activation", layer);
}

}  // namespace

void FeedForward(Evaluation& evaluation, const FeedForwardWeights& weights, int layer,
                 MatrixView<const float> x, MatrixView<float> branch) {
  std::vector<RowToken> tokens;
  tokens.reserve(x.rows);
  for (size_t s = 0; s < evaluation.sequences().size(); ++s) {
    const RowRange range = evaluation.sequences()[s];
    for (size_t t = 0; t < range.count; ++t) tokens.push_back({s, range.position + t});
  }
  const size_t chunk = kRowsPerCore * evaluation.pool.threads();
  const MatrixView<float> units = evaluation.workspace.Rows(Workspace::kHidden, std::min(chunk, x.rows),
                                                            evaluation.config.intermediate_size);
  evaluation.NextStage();
  for (size_t first = 0; first < x.rows; first += chunk) {
    const size_t rows = std::min(chunk, x.rows - first);
    const MatrixView<float> hidden = units.Rows(0, rows);
    evaluation.Apply(weights.up, x.Rows(first, rows), hidden);
    const size_t tasks = std::min(rows, evaluation.pool.threads());
    evaluation.pool.ParallelFor(tasks, [&](size_t task, size_t) {
      for (size_t r = rows * task / tasks; r < rows * (task + 1) / tasks; ++r) {
        Activate(evaluation, layer, tokens[first + r], hidden.row(r));
      }
    });
    evaluation.Apply(weights.down, hidden, branch.Rows(first, rows));
  }
}

}  // namespace splineserve
