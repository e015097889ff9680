#include "core/model/layer.h"

#include <cstddef>
#include <cstdint>

#include "core/model/feed_forward.h"

namespace splineserve {
namespace {

constexpr char kHeads[] = "an attention output", kOutput[] = "an output";

class LayerRun {
 public:
  LayerRun(Evaluation& evaluation, const LayerWeights& weights, int layer, MatrixView<float> hidden)
      : evaluation_(evaluation),
        weights_(weights),
        layer_(layer),
        hidden_(hidden),
        branch_(evaluation.workspace.Rows(Workspace::kBranch, hidden.rows, hidden.cols)),
        has_norm_(evaluation.config.norm != NormKind::kNone),
        pre_norm_(has_norm_ && evaluation.config.norm_placement == NormPlacement::kPre),
        input_(pre_norm_ ? evaluation.workspace.Rows(Workspace::kNormed, hidden.rows, hidden.cols) : hidden) {
  }

  // What a sub-layer sees of the rows as they are.
  MatrixView<const float> Input(const NormWeights& norm) {
    if (pre_norm_) evaluation_.ApplyNorm(norm, hidden_, input_);
    return input_;
  }

  void EndAttention(const AttentionWeights& attention, MatrixView<const float> heads) {
    evaluation_.CheckAndApply(heads, kHeads, layer_, attention.output, branch_);
    evaluation_.AddBranch(branch_, PostNorm(attention.norm), kOutput, layer_, hidden_);
  }

  // The same and the feed-forward network.
  void EndAttentionAndFeedForward(const AttentionWeights& attention, MatrixView<const float> heads) {
    const FeedForwardWeights& network = weights_.feed_forward;
    if (evaluation_.AppliesByRows(attention.output, heads.rows) &&
        TakesBlocksOfRows(evaluation_, network, heads.rows)) {
      BlockByBlock(attention, heads);
      return;
    }
    EndAttention(attention, heads);
    FeedForward(evaluation_, network, layer_, Input(network.norm), branch_);
    evaluation_.AddBranch(branch_, PostNorm(network.norm), kOutput, layer_, hidden_);
  }

 private:
  const NormWeights* PostNorm(const NormWeights& norm) const {
    return has_norm_ && !pre_norm_ ? &norm : nullptr;
  }

  // From here on every row is on its own. So each block of rows goes all the way on one thread, as a rule in
  // its cache, in one parallel section: 2,048 tokens of d = 512, 10 % open, take 1/1.01 of the time (Emerald
  // Rapids).
  void BlockByBlock(const AttentionWeights& attention, MatrixView<const float> heads) {
    const FeedForwardWeights& network = weights_.feed_forward;
    const uint64_t first_stage = evaluation_.NextStages(4);
    const auto before = [&](size_t first, size_t count) {
      evaluation_.CheckRows(heads, first, count, first_stage, kHeads, layer_);
      evaluation_.ApplyRows(attention.output, heads, first, count, branch_);
      evaluation_.AddRows(branch_, PostNorm(attention.norm), first, count, first_stage + 1, kOutput, layer_,
                          hidden_);
      if (pre_norm_) evaluation_.NormRows(network.norm, hidden_, first, count, input_);
    };
    const auto after = [&](size_t first, size_t count) {
      evaluation_.AddRows(branch_, PostNorm(network.norm), first, count, first_stage + 3, kOutput, layer_,
                          hidden_);
    };
    FeedForwardBetween(evaluation_, network, layer_, first_stage + 2, input_, branch_, before, after);
  }

  Evaluation& evaluation_;
  const LayerWeights& weights_;
  const int layer_;
  const MatrixView<float> hidden_, branch_;
  const bool has_norm_, pre_norm_;
  const MatrixView<float> input_;  // of a sub-layer
};

}  // namespace

void RunLayer(Evaluation& evaluation, const LayerWeights& weights, int layer, HeadsOf self,
              const HeadsOf* cross, MatrixView<float> hidden) {
  LayerRun run(evaluation, weights, layer, hidden);
  const MatrixView<const float> heads = self(run.Input(weights.self_attention.norm));
  if (cross == nullptr) {
    run.EndAttentionAndFeedForward(weights.self_attention, heads);
    return;
  }
  run.EndAttention(weights.self_attention, heads);
  const AttentionWeights& attention = *weights.cross_attention;
  run.EndAttentionAndFeedForward(attention, (*cross)(run.Input(attention.norm)));
}

void FinalNorm(Evaluation& evaluation, const NormWeights& norm, MatrixView<float> x) {
  evaluation.ApplyNorm(norm, x, x);
  evaluation.CheckFinite(x, "the final norm", -1);
}

}  // namespace splineserve
