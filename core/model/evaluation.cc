#include "core/model/evaluation.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/kernels/norms.h"

namespace splineserve {
namespace {

// A parallel section costs some 5 us to enter and leave; below this many multiply-adds a task (5 us at the
// speed of one core, about 50 G/s) more tasks lose time.
constexpr size_t kMinTaskWork = 256 * 1024;

// Rows of a microkernel's tile: row splits are multiples of it, so that no task has an avoidable tail.
constexpr size_t kRowBlock = 12;

size_t CeilDiv(size_t a, size_t b) { return (a + b - 1) / b; }

}  // namespace

void Evaluation::Begin(std::string_view stack, absl::Span<const RowRange> sequences) {
  stack_ = stack;
  sequences_.assign(sequences.begin(), sequences.end());
  rows_ = 0;
  for (const RowRange& sequence : sequences_) rows_ += sequence.count;
  statuses_.assign(sequences_.size(), absl::OkStatus());
  faults_.assign(sequences_.size(), Fault{});
}

bool Evaluation::KeepGoing() {
  const bool some_left =
      std::any_of(statuses_.begin(), statuses_.end(), [](const absl::Status& status) { return status.ok(); });
  return some_left && keep_going_();
}

void Evaluation::Apply(const AffineMap& map, MatrixView<const float> x, MatrixView<float> out) {
  const PackedView weight = map.weight.view();
  const size_t work = x.rows * weight.inner * weight.outer;
  const size_t wanted = std::clamp<size_t>(work / kMinTaskWork, 1, 2 * pool.threads());
  // Split columns first: each core then streams its own part of the weights, which are the larger operand.
  const size_t column_groups = std::min(wanted, weight.panels());
  const size_t panels_per_group = CeilDiv(weight.panels(), std::max<size_t>(column_groups, 1));
  const size_t row_groups =
      column_groups == 0 ? 1 : std::min(CeilDiv(wanted, column_groups), CeilDiv(x.rows, kRowBlock));
  const size_t rows_per_group =
      CeilDiv(CeilDiv(x.rows, std::max<size_t>(row_groups, 1)), kRowBlock) * kRowBlock;
  pool.ParallelFor(column_groups * row_groups, [&](size_t task, size_t) {
    const size_t first_panel = task % column_groups * panels_per_group;
    const size_t first_row = task / column_groups * rows_per_group;
    if (first_panel >= weight.panels() || first_row >= x.rows) return;
    const size_t panels = std::min(panels_per_group, weight.panels() - first_panel);
    const size_t rows = std::min(rows_per_group, x.rows - first_row);
    const size_t column = first_panel * weight.panel_width;
    const float* bias = map.bias_or_null();
    kernels.product(x.row(first_row), x.stride, rows, weight.Panels(first_panel, panels),
                    bias == nullptr ? nullptr : bias + column, 1.0f, out.row(first_row) + column, out.stride);
  });
}

void Evaluation::ApplyNorm(const NormWeights& norm, MatrixView<const float> x, MatrixView<float> out) {
  for (size_t r = 0; r < x.rows; ++r) {
    switch (config.norm) {
      case NormKind::kNone:
        std::copy_n(x.row(r), x.cols, out.row(r));
        break;
      case NormKind::kAffine:
        kernels.scale_shift(x.row(r), norm.weight.data(), norm.bias_or_null(), x.cols, out.row(r));
        break;
      case NormKind::kLayerNorm:
        LayerNorm(x.row(r), norm.weight.data(), norm.bias_or_null(), config.norm_eps, x.cols, out.row(r));
        break;
      case NormKind::kRmsNorm:
        RmsNorm(x.row(r), norm.weight.data(), norm.bias_or_null(), config.norm_eps, x.cols, out.row(r));
        break;
    }
  }
}

void Evaluation::AddBranch(MatrixView<const float> branch, MatrixView<float> x) {
  for (size_t r = 0; r < x.rows; ++r) {
    if (config.residual) {
      kernels.add(x.row(r), branch.row(r), x.cols, x.row(r));
    } else {
      std::copy_n(branch.row(r), x.cols, x.row(r));
    }
  }
}

void Evaluation::CheckFinite(MatrixView<const float> x, std::string_view what, int layer) {
  NextStage();
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const RowRange& sequence = sequences_[s];
    for (size_t t = 0; t < sequence.count; ++t) {
      if (!kernels.all_finite(x.row(sequence.first + t), x.cols)) {
        Fail(s, sequence.position + t, what, layer);
        break;
      }
    }
  }
}

void Evaluation::Fail(size_t sequence, size_t position, std::string_view what, int layer) {
  std::lock_guard<std::mutex> lock(fault_mutex_);
  absl::Status& status = statuses_[sequence];
  Fault& fault = faults_[sequence];
  if (!status.ok() && (fault.stage != stage_ || fault.position <= position)) return;
  fault = {stage_, position};
  const std::string place =
      layer < 0 ? std::string(stack_) : absl::StrCat(std::string(stack_), " layer ", layer);
  status = absl::OutOfRangeError(
      absl::StrCat(place, ", token ", position, ": ", std::string(what),
                   " overflowed float32: expected finite numbers, found infinity or NaN"));
}

}  // namespace splineserve
