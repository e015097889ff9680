#include "core/model/head_block.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/kernels/activations.h"

namespace splineserve {
namespace {

// Fewer keys than this are not worth a list: 16 multiply-adds of a 64-column panel take as long as making it.
constexpr size_t kMinListedKeys = 32;
// Fewer keys are not worth a screen.
constexpr size_t kLeastScreenedKeys = 128;

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
    if (IsGated(config_.attention_activation)) {
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
  void ForParts(Workspace::Worker& scratch, const Body& body) const {
    const size_t columns = Columns();
    for (size_t i = 0; i < keys_.chunks() && keys_.first_token(i) < columns; ++i) {
      KeyValueView chunk = keys_.chunk(i);
      size_t layer = stage_.stored_layer, head = task_.head;
      const size_t first = keys_.first_token(i);
      const size_t tokens = std::min(chunk.capacity, columns - first);
      if (chunk.layout == KeyValueLayout::kTokenBlocks) {
        // A prompt's own keys, or the memory that it reads: few tokens, and once a generation. A layout that
        // suits both readers would slow down every step.
        scratch.unpacked.EnsureSize(chunk.OneHead(nullptr).size());
        const KeyValueView unpacked = chunk.OneHead(scratch.unpacked.data());
        unpacked.CopyHead(0, 0, chunk, layer, head, tokens);
        chunk = unpacked;
        layer = head = 0;
      }
      body(Part{first, tokens, chunk.Keys(layer, head, tokens), chunk.Values(layer, head, tokens)});
    }
  }

  // Room for the scores of `columns` keys, which Attend has reserved as a rule.
  MatrixView<float> Scores(size_t columns, Workspace::Worker& scratch) const {
    scratch.gated.EnsureSize(task_.rows * columns);
    return {scratch.gated.data(), task_.rows, columns};
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
    if (MayScreen(scratch)) {
      ScreenPause& pause = scratch.score_pauses[ExpectationOf(config_, stage_, task_.head)];
      if (pause.Try()) {
        const bool found = Screened(queries, out, scratch);
        pause.Report(found);
        if (found) return;
      }
    }
    GateSink* const sink = evaluation_.gates;
    const bool margins = evaluation_.WantsMargin(task_.sequence);
    BeginGates(scratch);
    double& open_scores = scratch.open_scores[ExpectationOf(config_, stage_, task_.head)];
    size_t passed = 0;  // tokens of the chunk before
    ForParts(scratch, [&](const Part& part) {
      if (passed != 0) PassOver(passed, scratch);
      passed = part.tokens;
      const MatrixView<float> scores = Scores(part.tokens, scratch);
      const GateSpec spec = {
          config_.attention_activation == AttentionActivation::kRelu2,
          margins,
          stage_.causal ? scratch.widths.data() : nullptr,
          sink != nullptr ? scratch.bits.data() : nullptr,
          scratch.states.data(),
          part.tokens < kMinListedKeys
              ? nullptr
              : scratch.open.Room(task_.rows, part.tokens, open_scores, stage_.weights->sparse_below)};
      evaluation_.kernels.gated_product(queries.data, queries.stride, task_.rows, part.keys, nullptr,
                                        config_.attention_scale, spec, scores.data, scores.stride);
      MultiplyOpen(scores, part, out, scratch, open_scores);
    });
    for (size_t r = 0; r < task_.rows; ++r) {
      const GateRow gates = scratch.states[r].Summary(margins);
      if (!gates.finite) evaluation_.Fail(task_.sequence, Position(r), ScoreName(stage_.site), stage_.layer);
      if (sink != nullptr && scratch.bits[r] != nullptr) sink->Record(Group(r), gates);
    }
  }

  // Margins need every score.
  bool MayScreen(const Workspace::Worker& scratch) const {
    return ScreensScores(stage_, range_.count, keys_) && !evaluation_.WantsMargin(task_.sequence) &&
           scratch.open_scores[ExpectationOf(config_, stage_, task_.head)] <= Limit() &&
           OpenRows::Fits(task_.rows, keys_.length());
  }
  // Lists of more open scores than a sparse product takes make it slower.
  double Limit() const {
    const AttentionWeights& weights = *stage_.weights;
    return weights.screen_limit < 1 ? std::min(weights.screen_limit, weights.sparse_below) : 1;
  }

  // The same as Gated, if screening finds few enough candidates. No score of rows and keys that can be
  // screened overflows.
  bool Screened(MatrixView<const float> queries, MatrixView<float> out, Workspace::Worker& scratch) {
    const KernelSet& kernels = evaluation_.kernels;
    const KeyValueView& chunk = keys_.chunk(0);
    const size_t keys = keys_.length();
    const PackedView packed = chunk.Keys(stage_.stored_layer, task_.head, keys);
    const ScreenView* const screen = scratch.key_screen.Of(kernels, task_.sequence, task_.head, packed);
    if (screen == nullptr) return false;
    scratch.screened_input.Prepare(queries);
    for (size_t r = 0; r < task_.rows; ++r) scratch.screened_input.Round(kernels, r);
    if (!scratch.screened_input.screenable()) return false;
    const bool square = config_.attention_activation == AttentionActivation::kRelu2;
    double& open_scores = scratch.open_scores[ExpectationOf(config_, stage_, task_.head)];
    if (!scratch.screened_tiles.Find(kernels, *screen, packed, config_.attention_scale, square,
                                     scratch.screened_input, Limit(), open_scores, scratch.open)) {
      return false;
    }
    open_scores = static_cast<double>(scratch.screened_tiles.open()) / static_cast<double>(task_.rows * keys);
    for (size_t r = 0; evaluation_.gates != nullptr && r < task_.rows; ++r) {
      uint8_t* const bits = evaluation_.gates->Bits(Group(r));
      if (bits == nullptr) continue;
      std::fill_n(bits, (keys + 7) / 8, uint8_t{0});
      GateRow gates;
      gates.open = scratch.open.MarkOpen(r, bits);
      evaluation_.gates->Record(Group(r), gates);
    }
    scratch.open.Multiply(kernels, chunk.Values(stage_.stored_layer, task_.head, keys), nullptr, out);
    return true;
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
                    Workspace::Worker& scratch, double& open_scores) {
    if (part.tokens < kMinListedKeys) {
      Multiply(scores, part, out);
      return;
    }
    // The states count the gates of all chunks so far: so must the limit.
    const double counted = static_cast<double>(part.first + part.tokens) / static_cast<double>(part.tokens);
    open_scores = scratch.open.List(evaluation_.kernels, scores, scratch.states.data(),
                                    stage_.weights->sparse_below * counted) /
                  counted;
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
    const bool margins = evaluation_.WantsMargin(task_.sequence);
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
    ForParts(scratch, [&](const Part& part) {
      const MatrixView<float> scores = Scores(part.tokens, scratch);
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
    const MatrixView<float> scores = Scores(Columns(), scratch);
    ForParts(scratch, [&](const Part& part) {
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
    ForParts(scratch, [&](const Part& part) { Multiply(scores.Cols(part.first, part.tokens), part, out); });
  }

  Evaluation& evaluation_;
  const ModelConfig& config_;
  const AttentionStage& stage_;
  const KeyValues& keys_;
  const AttentionTask task_;
  const RowRange range_;
};

}  // namespace

bool ScreensScores(const AttentionStage& stage, size_t rows, const KeyValues& keys) {
  const double limit = stage.weights->screen_limit;
  if (limit <= 0 || stage.causal || keys.chunks() != 1) return false;
  if (limit < 1 && (rows < 2 * kQueryBlock || keys.length() < kLeastScreenedKeys)) return false;
  const KeyValueView& chunk = keys.chunk(0);
  return chunk.layout == KeyValueLayout::kPanels && chunk.key_width == kScreenPanel;
}

void AttendBlock(Evaluation& evaluation, const AttentionStage& stage, const KeyValues& keys,
                 const AttentionTask& task, MatrixView<const float> query, MatrixView<float> attended,
                 Workspace::Worker& scratch) {
  HeadBlock(evaluation, stage, keys, task).Run(query, attended, scratch);
}

}  // namespace splineserve
