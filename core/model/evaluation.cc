#include "core/model/evaluation.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "core/base/cpu_cache.h"
#include "core/kernels/norms.h"

namespace splineserve {
namespace {

// A parallel section costs some 5 us to enter and leave; below this many multiply-adds a task (5 us at the
// speed of one core, about 50 G/s) more tasks lose time.
constexpr size_t kMinTaskWork = 256 * 1024;

// Rows of a microkernel's tile: row splits are multiples of it, so that no task has an avoidable tail.
constexpr size_t kRowBlock = 12;

// From so many rows a thread on a product is split by rows: reading all weights twice is hidden behind them,
// and what the other core has just written takes it 60 us to fetch, of 128 rows of 512 (Emerald Rapids; two
// threads, 128 tokens 1/1.07, 256 words of g2p 1/1.05 of the time).
constexpr size_t kRowsToKeep = 24;

// What an elementwise pass over one number costs beside a multiply-add of a product, which runs 16 at a time
// from registers.
constexpr size_t kElementWork = 8;

template <typename T>
bool IsContiguous(MatrixView<T> x) {
  return x.stride == x.cols;
}

size_t CeilDiv(size_t a, size_t b) { return (a + b - 1) / b; }

// How many of `rows` rows pass over a matrix together, in even shares: about a quarter of the second-level
// cache, so that they stay there while the panels go by. All 2,048 rows of 512 at once take 1.02 times as
// long. Of longer rows still some, or the weights would be read too often.
size_t RowsPerPass(size_t rows, size_t inner) {
  constexpr size_t kLeast = 72;
  if (rows <= kLeast) return kLeast;
  const size_t most =
      std::max(kLeast, SecondLevelCacheBytes() / 4 / (std::max<size_t>(inner, 1) * sizeof(float)));
  const size_t passes = CeilDiv(rows, most);
  return CeilDiv(CeilDiv(rows, passes), kRowBlock) * kRowBlock;
}

}  // namespace

void Evaluation::Begin(std::string_view stack, absl::Span<const RowRange> sequences) {
  stack_ = stack;
  workspace.sequences_.assign(sequences.begin(), sequences.end());
  workspace.tokens_.clear();
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (size_t t = 0; t < sequences[s].count; ++t) {
      workspace.tokens_.push_back({s, sequences[s].position + t});
    }
  }
  rows_ = workspace.tokens_.size();
  wants_margins_ = false;
  for (size_t s = 0; s < sequences.size() && gates != nullptr && !wants_margins_; ++s) {
    wants_margins_ = gates->WantsMargin(s);
  }
  workspace.statuses_.assign(sequences.size(), absl::OkStatus());
  workspace.faults_.assign(sequences.size(), Workspace::Fault{});
}

bool Evaluation::KeepGoing() {
  const bool some_left = std::any_of(workspace.statuses_.begin(), workspace.statuses_.end(),
                                     [](const absl::Status& status) { return status.ok(); });
  return some_left && keep_going_();
}

bool Evaluation::SplitsByRows(size_t rows, size_t work) const {
  // Many rows: each core keeps its own from stage to stage. Few: each streams its own part of the weights,
  // which are the larger operand.
  return pool.threads() == 1 || (work >= 2 * kMinTaskWork && rows >= kRowsToKeep * pool.threads());
}

void Evaluation::ForShares(size_t rows, OfRows body) {
  const size_t share = CeilDiv(rows, pool.threads());
  pool.ParallelFor(share == 0 ? 0 : CeilDiv(rows, share),
                   [&](size_t task, size_t) { body(task * share, std::min(share, rows - task * share)); });
}

void Evaluation::Split(size_t rows, size_t inner, size_t panels, size_t panel_width,
                       absl::FunctionRef<void(const Part&)> body) {
  const size_t work = rows * inner * panels * panel_width;
  if (SplitsByRows(rows, work)) {
    ForShares(rows, [&](size_t first, size_t count) { body({first, count, 0, panels}); });
    return;
  }
  const size_t wanted = std::clamp<size_t>(work / kMinTaskWork, 1, 2 * pool.threads());
  const size_t column_groups = std::min(wanted, panels);
  const size_t panels_per_group = CeilDiv(panels, std::max<size_t>(column_groups, 1));
  const size_t row_groups =
      column_groups == 0 ? 1 : std::min(CeilDiv(wanted, column_groups), CeilDiv(rows, kRowBlock));
  const size_t rows_per_group =
      CeilDiv(CeilDiv(rows, std::max<size_t>(row_groups, 1)), kRowBlock) * kRowBlock;
  pool.ParallelFor(column_groups * row_groups, [&](size_t task, size_t) {
    Part part;
    part.first_panel = task % column_groups * panels_per_group;
    part.first_row = task / column_groups * rows_per_group;
    if (part.first_panel >= panels || part.first_row >= rows) return;
    part.panels = std::min(panels_per_group, panels - part.first_panel);
    part.rows = std::min(rows_per_group, rows - part.first_row);
    body(part);
  });
}

void Evaluation::ApplyPart(const AffineMap& map, MatrixView<const float> x, const Part& part,
                           MatrixView<float> out) const {
  const PackedView w = map.weight.view();
  const float* const bias = map.bias_or_null();
  const size_t column = part.first_panel * w.panel_width;
  const PackedView panels = w.Panels(part.first_panel, part.panels);
  const size_t pass = RowsPerPass(part.rows, w.inner);
  for (size_t row = part.first_row, end = row + part.rows; row < end; row += pass) {
    kernels.product(x.row(row), x.stride, std::min(pass, end - row), panels,
                    bias == nullptr ? nullptr : bias + column, 1.0f, out.row(row) + column, out.stride);
  }
}

void Evaluation::Project(absl::Span<const Projection> projections, MatrixView<const float> x, int layer,
                         const RowStep* after) {
  size_t work = 0, numbers = x.cols;
  bool float32_sums = true;
  for (const Projection& projection : projections) {
    work += x.rows * x.cols * projection.out.cols;
    numbers += projection.out.cols;
    float32_sums = float32_sums && projection.map->low_precision.empty();
  }
  if (!float32_sums || !SplitsByRows(x.rows, work)) {
    for (const Projection& projection : projections) Apply(*projection.map, x, projection.out);
    for (const Projection& projection : projections) CheckFinite(projection.out, projection.what, layer);
    if (after != nullptr) {
      ForRows(x.rows, after->work, [&](size_t first, size_t count, size_t) { after->rows(first, count); });
    }
    return;
  }
  const uint64_t first_stage = NextStages(projections.size());
  ForShares(x.rows, [&](size_t share_first, size_t share) {
    // As many rows as fill the second-level cache with what they are and become: half as many read the
    // weights more often than that gains.
    const size_t block = RowsPerPass(share, numbers / 4);
    for (size_t first = share_first; first < share_first + share; first += block) {
      const size_t count = std::min(block, share_first + share - first);
      for (const Projection& projection : projections) {
        ApplyRows(*projection.map, x, first, count, projection.out);
      }
      for (size_t i = 0; i < projections.size(); ++i) {
        CheckRows(projections[i].out, first, count, first_stage + i, projections[i].what, layer);
      }
      if (after != nullptr) after->rows(first, count);
    }
  });
}

void Evaluation::CheckAndApply(MatrixView<const float> x, std::string_view what, int layer,
                               const AffineMap& map, MatrixView<float> out) {
  if (!AppliesByRows(map, x.rows)) {
    CheckFinite(x, what, layer);
    Apply(map, x, out);
    return;
  }
  NextStage();
  ForShares(x.rows, [&](size_t first, size_t count) {
    CheckRows(x, first, count, stage_, what, layer);
    ApplyRows(map, x, first, count, out);
  });
}

bool Evaluation::AppliesByRows(const AffineMap& map, size_t rows) const {
  return map.low_precision.empty() && SplitsByRows(rows, rows * map.weight.inner() * map.weight.outer());
}

void Evaluation::ApplyRows(const AffineMap& map, MatrixView<const float> x, size_t first, size_t count,
                           MatrixView<float> out) const {
  ApplyPart(map, x, {first, count, 0, map.weight.view().panels()}, out);
}

void Evaluation::Apply(const AffineMap& map, MatrixView<const float> x, MatrixView<float> out) {
  if (map.low_precision.empty()) {
    const PackedView w = map.weight.view();
    Split(x.rows, w.inner, w.panels(), w.panel_width,
          [&](const Part& part) { ApplyPart(map, x, part, out); });
    return;
  }
  const LowPrecisionView w = map.low_precision.view();
  const float* const bias = map.bias_or_null();
  workspace.low_precision_words.EnsureSize(x.rows * w.inner_words);
  workspace.low_precision_scales.EnsureSize(x.rows);
  uint32_t* const words = workspace.low_precision_words.data();
  float* const scales = workspace.low_precision_scales.data();
  ForRows(x.rows, kElementWork * x.cols, [&](size_t first, size_t count, size_t) {
    for (size_t r = first; r < first + count; ++r) {
      kernels.round_row(w.precision, x.row(r), x.cols, words + r * w.inner_words, scales + r);
    }
  });
  Split(x.rows, w.inner_words, w.panels(), w.panel_width, [&](const Part& part) {
    const size_t column = part.first_panel * w.panel_width;
    kernels.low_precision_product(
        {words + part.first_row * w.inner_words, w.inner_words, scales + part.first_row}, part.rows,
        w.Panels(part.first_panel, part.panels), bias == nullptr ? nullptr : bias + column,
        out.row(part.first_row) + column, out.stride);
  });
}

void Evaluation::ForRows(size_t rows, size_t work, absl::FunctionRef<void(size_t, size_t, size_t)> body) {
  if (rows == 0) return;
  const size_t tasks = std::clamp<size_t>(rows * work / kMinTaskWork, 1, std::min(pool.threads(), rows));
  pool.ParallelFor(tasks, [&](size_t task, size_t worker) {
    const size_t first = rows * task / tasks;
    body(first, rows * (task + 1) / tasks - first, worker);
  });
}

void Evaluation::NormRow(const NormWeights& norm, const float* x, size_t n, float* out) const {
  switch (config.norm) {
    case NormKind::kNone:
      std::copy_n(x, n, out);
      break;
    case NormKind::kAffine:
      kernels.scale_shift(x, norm.weight.data(), norm.bias_or_null(), n, out);
      break;
    case NormKind::kLayerNorm:
      LayerNorm(x, norm.weight.data(), norm.bias_or_null(), config.norm_eps, n, out);
      break;
    case NormKind::kRmsNorm:
      RmsNorm(x, norm.weight.data(), norm.bias_or_null(), config.norm_eps, n, out);
      break;
  }
}

void Evaluation::ApplyNorm(const NormWeights& norm, MatrixView<const float> x, MatrixView<float> out) {
  ForRows(x.rows, kElementWork * x.cols,
          [&](size_t first, size_t count, size_t) { NormRows(norm, x, first, count, out); });
}

void Evaluation::NormRows(const NormWeights& norm, MatrixView<const float> x, size_t first, size_t count,
                          MatrixView<float> out) const {
  for (size_t r = first; r < first + count; ++r) NormRow(norm, x.row(r), x.cols, out.row(r));
}

void Evaluation::AddBranch(MatrixView<const float> branch, const NormWeights* norm, std::string_view what,
                           int layer, MatrixView<float> x) {
  NextStage();
  ForRows(x.rows, kElementWork * x.cols, [&](size_t first, size_t count, size_t) {
    AddRows(branch, norm, first, count, stage_, what, layer, x);
  });
}

void Evaluation::AddRows(MatrixView<const float> branch, const NormWeights* norm, size_t first, size_t count,
                         uint64_t stage, std::string_view what, int layer, MatrixView<float> x) {
  if (norm == nullptr && config.residual && IsContiguous(x) && IsContiguous(branch)) {
    if (kernels.add(x.row(first), branch.row(first), count * x.cols, x.row(first))) return;
    return CheckRows(x, first, count, stage, what, layer);
  }
  for (size_t r = first; r < first + count; ++r) {
    bool finite = true;
    if (config.residual) {
      finite = kernels.add(x.row(r), branch.row(r), x.cols, x.row(r));
    } else {
      std::copy_n(branch.row(r), x.cols, x.row(r));
    }
    if (norm != nullptr) NormRow(*norm, x.row(r), x.cols, x.row(r));
    if (norm != nullptr || !config.residual) finite = kernels.all_finite(x.row(r), x.cols);
    if (!finite) Fail(token(r).sequence, token(r).position, stage, what, layer);
  }
}

void Evaluation::CheckFinite(MatrixView<const float> x, std::string_view what, int layer) {
  NextStage();
  ForRows(x.rows, kElementWork * x.cols,
          [&](size_t first, size_t count, size_t) { CheckRows(x, first, count, stage_, what, layer); });
}

void Evaluation::CheckRows(MatrixView<const float> x, size_t first, size_t count, uint64_t stage,
                           std::string_view what, int layer) {
  // All rows in one call, as they nearly always are.
  if (IsContiguous(x) && kernels.all_finite(x.row(first), count * x.cols)) return;
  for (size_t r = first; r < first + count; ++r) {
    if (!kernels.all_finite(x.row(r), x.cols)) Fail(token(r).sequence, token(r).position, stage, what, layer);
  }
}

void Evaluation::Fail(size_t sequence, size_t position, uint64_t stage, std::string_view what, int layer) {
  std::lock_guard<std::mutex> lock(fault_mutex_);
  absl::Status& status = workspace.statuses_[sequence];
  Workspace::Fault& fault = workspace.faults_[sequence];
  // Of several stages in one parallel section a later one may come first.
  if (!status.ok() && std::tie(fault.stage, fault.position) <= std::tie(stage, position)) return;
  fault = {stage, position};
  const std::string place =
      layer < 0 ? std::string(stack_) : absl::StrCat(std::string(stack_), " layer ", layer);
  status = absl::OutOfRangeError(
      absl::StrCat(place, ", token ", position, ": ", std::string(what),
                   " overflowed float32: expected finite numbers, found infinity or NaN"));
}

}  // namespace splineserve
