#include "core/model/feed_forward.h"

#include <algorithm>
#include <atomic>

#include "core/base/cpu_cache.h"
#include "core/model/smooth_units.h"
#include "core/model/unit_screen.h"

namespace splineserve {
namespace {

// Rows whose units are in flight on one core. The more, the less often they pass over the weights, which as a
// rule come from beyond the second-level cache, and which the lists of `down` use up faster than they come.
// 144 rows of 2,048 units do not fit that cache, but gain more than they lose: 128 tokens of d = 512 take
// with 36, 72 and 144 rows 10 % open 35.0, 34.6 and 33.9 ms on a Zen 4 (1 MiB; half open as long), and half
// open 35.6, 33.0 and 32.4 ms on an Emerald Rapids (2 MiB). Of fewer units more rows fit. A multiple of the
// microkernel's 6.
size_t RowsPerTask(size_t units) {
  const size_t rows = SecondLevelCacheBytes() >= size_t{1} << 20 ? 144 : 36;
  constexpr size_t kBeside = 80;  // numbers: a row's GateState and the slack of its list
  return std::max(rows, rows * (2048 + kBeside) / (units + kBeside) / 6 * 6);
}

// Fewer rows than this for each thread, and the threads share the columns of both maps instead: a tile of 6
// rows must not be split.
constexpr size_t kMinRowsPerThread = 12;

// The share of open units below which, where it is expected, `up` lists them at once: then they need not go
// through the caches to be listed. Of few rows, which only one thread alone takes block by block, they are in
// the first-level cache, and lists always pay. On a Zen 4, 128 tokens of d = 512, 10 % open, take 1/1.01 of
// the time, half open 1.005; 8 tokens of d = 128, half open, 1/1.01. Lists of one or two rows are made
// otherwise (OpenRows).
double ListedByProductBelow(size_t rows) {
  constexpr size_t kFewRows = 12;
  return rows <= 2 ? 0 : rows < kFewRows ? 0.7 : 0.25;
}

size_t CeilDiv(size_t a, size_t b) { return (a + b - 1) / b; }

// Frozen gates let negative numbers through, which are not for lists of what is above zero.
bool IsMapByMap(const Evaluation& evaluation, const FeedForwardWeights& weights) {
  return !weights.up.low_precision.empty() || evaluation.frozen != nullptr;
}

class FeedForwardRun {
 public:
  FeedForwardRun(Evaluation& evaluation, const FeedForwardWeights& weights, int layer, uint64_t stage,
                 MatrixView<const float> x, MatrixView<float> branch)
      : evaluation_(evaluation),
        config_(evaluation.config),
        kernels_(evaluation.kernels),
        weights_(weights),
        layer_(layer),
        stage_(stage),
        x_(x),
        branch_(branch),
        gated_(config_.hidden_act == HiddenAct::kRelu || config_.hidden_act == HiddenAct::kRelu2),
        memory_(evaluation.workspace.memory(&weights)),
        expected_(memory_.open_units),
        open_(expected_),
        screen_(evaluation, weights, x, gated_, memory_) {}

  // Every thread takes blocks of rows through both maps, and what comes before and after them.
  template <typename Before, typename After>
  void ByRows(const Before& before, const After& after) {
    const size_t threads = evaluation_.pool.threads();
    const size_t tasks = CeilDiv(CeilDiv(x_.rows, RowsPerTask(config_.intermediate_size)), threads) * threads;
    evaluation_.pool.ParallelFor(tasks, [&](size_t task, size_t worker) {
      const size_t first = x_.rows * task / tasks;
      const size_t count = x_.rows * (task + 1) / tasks - first;
      if (count == 0) return;
      before(first, count);
      Block(first, count, evaluation_.workspace.worker(worker));
      after(first, count);
    });
  }

  // Both maps, of any precision, with the gates between them; some rows at a time.
  void MapByMap() {
    const size_t chunk = 4 * RowsPerTask(config_.intermediate_size) * evaluation_.pool.threads();
    const MatrixView<float> units =
        evaluation_.workspace.Rows(Workspace::kHidden, std::min(chunk, x_.rows), config_.intermediate_size);
    for (size_t first = 0; first < x_.rows; first += chunk) {
      const size_t rows = std::min(chunk, x_.rows - first);
      evaluation_.Apply(weights_.up, x_.Rows(first, rows), units.Rows(0, rows));
      evaluation_.ForRows(rows, units.cols * 4, [&](size_t begin, size_t count, size_t worker) {
        Workspace::Worker& scratch = evaluation_.workspace.worker(worker);
        for (size_t r = begin; r < begin + count; ++r) Activate(first + r, units.row(r), scratch);
      });
      evaluation_.Apply(weights_.down, units.Rows(0, rows), branch_.Rows(first, rows));
    }
  }

  // The threads share the columns, first of `up`, then of `down`.
  void ByColumns() {
    if (screen_.ListByColumns()) {
      FinishLists(0, x_.rows, evaluation_.workspace.worker(0));
      DownByColumns(MatrixView<const float>(nullptr, x_.rows, config_.intermediate_size));
      return;
    }
    const size_t tasks = evaluation_.pool.threads();
    const MatrixView<float> units =
        evaluation_.workspace.Rows(Workspace::kHidden, x_.rows, config_.intermediate_size);
    evaluation_.pool.ParallelFor(tasks, [&](size_t task, size_t) {
      const auto [panels, column] = Share(weights_.up.weight.view(), task, tasks);
      if (panels.outer == 0) {
        Prepare(0, 0, x_.rows, evaluation_.workspace.worker(task));
        return;
      }
      // By task, not by thread: the summaries of all tasks are merged afterwards.
      Up(panels, column, 0, units.Cols(column, panels.outer), nullptr, evaluation_.workspace.worker(task));
    });
    Workspace::Worker& scratch = evaluation_.workspace.worker(0);
    for (size_t task = 1; task < tasks && gated_; ++task) {
      for (size_t r = 0; r < x_.rows; ++r) {
        scratch.states[r].Merge(evaluation_.workspace.worker(task).states[r]);
      }
    }
    Finish(0, units, scratch);
    DownByColumns(units);
  }

  // After the run: what the next one is to expect.
  void Remember() const {
    screen_.Remember();
    memory_.open_units = open_;
  }

 private:
  void Block(size_t first, size_t count, Workspace::Worker& scratch) {
    if (screen_.ListRows(first, count, scratch)) {
      FinishLists(first, count, scratch);
      Down(first, MatrixView<const float>(nullptr, count, config_.intermediate_size), scratch,
           weights_.down.weight.view(), 0);
      return;
    }
    scratch.gated.EnsureSize(count * config_.intermediate_size);
    const MatrixView<float> units(scratch.gated.data(), count, config_.intermediate_size);
    const OpenListRoom* lists = nullptr;
    if (gated_ && expected_ < ListedByProductBelow(count)) {
      lists = scratch.open.Room(count, config_.intermediate_size, expected_, weights_.down.sparse_below);
    }
    Up(weights_.up.weight.view(), 0, first, units, lists, scratch);
    Finish(first, units, scratch);
    Down(first, units, scratch, weights_.down.weight.view(), 0);
  }

  struct PanelShare {
    PackedView panels;
    size_t column;  // the first one's
  };
  static PanelShare Share(const PackedView& w, size_t task, size_t tasks) {
    const size_t first = w.panels() * task / tasks;
    const size_t last = w.panels() * (task + 1) / tasks;
    if (first == last) return {{}, 0};
    return {w.Panels(first, last - first), first * w.panel_width};
  }

  // Clears the summaries of rows [first, first + rows) and asks where their bits go, those of the columns
  // from `column` on. Returns whether anybody wants margins.
  bool Prepare(size_t column, size_t first, size_t rows, Workspace::Worker& scratch) {
    scratch.states.EnsureSize(rows);
    for (size_t r = 0; r < rows; ++r) scratch.states[r].Reset();
    scratch.bits.clear();
    GateSink* const sink = evaluation_.gates;
    if (sink == nullptr || !gated_) return false;
    bool want_margin = false;
    for (size_t r = first; r < first + rows; ++r) {
      uint8_t* const bits = sink->Bits(Group(r));
      scratch.bits.push_back(bits == nullptr ? nullptr : bits + column / 8);
      want_margin = want_margin || evaluation_.WantsMargin(evaluation_.token(r).sequence);
    }
    return want_margin;
  }

  GateGroupRef Group(size_t row) const {
    const RowToken token = evaluation_.token(row);
    return {token.sequence,           token.position, static_cast<size_t>(layer_), Site::kFeedForward, 0,
            config_.intermediate_size};
  }

  // One row of units whose pre-activations are ready.
  void Activate(size_t row, float* units, Workspace::Worker& scratch) {
    const size_t n = config_.intermediate_size;
    const RowToken token = evaluation_.token(row);
    bool finite = true;
    if (gated_) {
      GateSink* const sink = evaluation_.gates;
      uint8_t* const bits = sink == nullptr ? nullptr : sink->Bits(Group(row));
      const bool square = config_.hidden_act == HiddenAct::kRelu2;
      const bool margin = bits != nullptr && evaluation_.WantsMargin(token.sequence);
      GateRow gates;
      if (evaluation_.frozen == nullptr) {
        gates = kernels_.gate(units, n, square, bits, margin);
      } else {
        scratch.arguments.EnsureSize(n);
        gates = FreezeRow(kernels_, evaluation_.frozen->Bits(Group(row)), square, units, n, bits, margin,
                          scratch.arguments.data());
      }
      finite = gates.finite;
      if (bits != nullptr) sink->Record(Group(row), gates);
    } else {
      finite = kernels_.all_finite(units, n);
      ActivateSmooth(config_, units, n);
    }
    if (!finite) Fail(token);
  }

  // units = act(up x) for rows [first, first + units.rows), the columns of `panels`, the first of which is
  // `column`; or, of all columns, the `lists` of those that are open.
  void Up(const PackedView& panels, size_t column, size_t first, MatrixView<float> units,
          const OpenListRoom* lists, Workspace::Worker& scratch) {
    const float* bias = weights_.up.bias_or_null();
    if (bias != nullptr) bias += column;
    if (!gated_) {
      kernels_.product(x_.row(first), x_.stride, units.rows, panels, bias, 1.0f, units.data, units.stride);
      return;
    }
    GateSpec spec;
    spec.square = config_.hidden_act == HiddenAct::kRelu2;
    spec.want_margin = Prepare(column, first, units.rows, scratch);
    spec.states = scratch.states.data();
    spec.lists = lists;
    if (!scratch.bits.empty()) spec.bits = scratch.bits.data();
    kernels_.gated_product(x_.row(first), x_.stride, units.rows, panels, bias, 1.0f, spec, units.data,
                           units.stride);
  }

  void Fail(const RowToken& token) const {
    evaluation_.Fail(token.sequence, token.position, stage_, "a feed-forward pre-activation", layer_);
  }

  // Reports rows [first, first + rows), whose open units are listed.
  void FinishLists(size_t first, size_t rows, Workspace::Worker& scratch) {
    Prepare(0, first, rows, scratch);
    if (scratch.bits.empty()) return;
    for (size_t r = 0; r < rows; ++r) {
      uint8_t* const bits = scratch.bits[r];
      if (bits == nullptr) continue;
      std::fill_n(bits, (config_.intermediate_size + 7) / 8, uint8_t{0});
      GateRow gates;
      gates.open = scratch.open.MarkOpen(r, bits);
      evaluation_.gates->Record(Group(first + r), gates);
    }
  }

  // Reports what the gates of whole rows were and lists the open ones.
  void Finish(size_t first, MatrixView<float> units, Workspace::Worker& scratch) {
    for (size_t r = 0; r < units.rows; ++r) {
      const RowToken token = evaluation_.token(first + r);
      bool finite = true;
      if (gated_) {
        GateSink* const sink = evaluation_.gates;
        const bool recorded = sink != nullptr && scratch.bits[r] != nullptr;
        const GateRow row = scratch.states[r].Summary(recorded && evaluation_.WantsMargin(token.sequence));
        finite = row.finite;
        if (recorded) sink->Record(Group(first + r), row);
      } else {
        finite = kernels_.all_finite(units.row(r), units.cols);
        ActivateSmooth(config_, units.row(r), units.cols);
      }
      if (!finite) Fail(token);
    }
    if (gated_) open_ = scratch.open.List(kernels_, units, scratch.states.data(), weights_.down.sparse_below);
  }

  // The threads share the columns of `down`; the lists are the first one's.
  void DownByColumns(MatrixView<const float> units) {
    const size_t tasks = evaluation_.pool.threads();
    evaluation_.pool.ParallelFor(tasks, [&](size_t task, size_t) {
      const auto [panels, column] = Share(weights_.down.weight.view(), task, tasks);
      if (panels.outer != 0) Down(0, units, evaluation_.workspace.worker(0), panels, column);
    });
  }

  void Down(size_t first, MatrixView<const float> units, const Workspace::Worker& scratch,
            const PackedView& panels, size_t column) {
    const MatrixView<float> out = branch_.Rows(first, units.rows).Cols(column, panels.outer);
    const float* bias = weights_.down.bias_or_null();
    if (bias != nullptr) bias += column;
    if (gated_) {
      scratch.open.Multiply(kernels_, panels, bias, out);
    } else {
      kernels_.product(units.data, units.stride, units.rows, panels, bias, 1.0f, out.data, out.stride);
    }
  }

  Evaluation& evaluation_;
  const ModelConfig& config_;
  const KernelSet& kernels_;
  const FeedForwardWeights& weights_;
  const int layer_;
  const uint64_t stage_;
  const MatrixView<const float> x_;
  const MatrixView<float> branch_;
  const bool gated_;
  Workspace::FeedForwardMemory& memory_;
  const double expected_;     // the share of open units
  std::atomic<double> open_;  // of a block of rows that was not screened
  UnitScreen screen_;
};

}  // namespace

void FeedForward(Evaluation& evaluation, const FeedForwardWeights& weights, int layer,
                 MatrixView<const float> x, MatrixView<float> branch) {
  if (TakesBlocksOfRows(evaluation, weights, x.rows)) {
    const auto nothing = [](size_t, size_t) {};
    FeedForwardBetween(evaluation, weights, layer, evaluation.NextStages(1), x, branch, nothing, nothing);
    return;
  }
  FeedForwardRun run(evaluation, weights, layer, evaluation.NextStages(1), x, branch);
  if (IsMapByMap(evaluation, weights)) {
    run.MapByMap();
  } else {
    run.ByColumns();
  }
  run.Remember();
}

bool TakesBlocksOfRows(const Evaluation& evaluation, const FeedForwardWeights& weights, size_t rows) {
  const size_t threads = evaluation.pool.threads();
  return !IsMapByMap(evaluation, weights) && (threads == 1 || rows >= kMinRowsPerThread * threads);
}

void FeedForwardBetween(Evaluation& evaluation, const FeedForwardWeights& weights, int layer, uint64_t stage,
                        MatrixView<const float> x, MatrixView<float> branch, Evaluation::OfRows before,
                        Evaluation::OfRows after) {
  FeedForwardRun run(evaluation, weights, layer, stage, x, branch);
  run.ByRows(before, after);
  run.Remember();
}

}  // namespace splineserve
