#include "core/model/unit_screen.h"

#include <algorithm>

namespace splineserve {

UnitScreen::UnitScreen(Evaluation& evaluation, const FeedForwardWeights& weights, MatrixView<const float> x,
                       bool gated, Workspace::FeedForwardMemory& memory)
    : evaluation_(evaluation), weights_(weights), x_(x), memory_(memory), screens_(MayScreen(gated)) {}

// Margins need every number, and frozen gates others than the open ones.
bool UnitScreen::MayScreen(bool gated) const {
  if (weights_.screen.empty() || !gated || evaluation_.frozen != nullptr) return false;
  const ScreenLimit& limit = weights_.screen_limit;
  if (evaluation_.WantsMargins() || std::max(limit.OfRows(x_.rows), limit.OfTiles(x_.rows)) <= 0)
    return false;
  return Pause().Try();
}

ScreenPause& UnitScreen::Pause() const {
  return x_.rows < ScreenLimit::kSomeRows ? memory_.few_rows : memory_.many_rows;
}

void UnitScreen::Remember() const {
  if (found_ + failed_ > 0) Pause().Report(found_ >= failed_);
}

bool UnitScreen::InTiles(size_t rows) const {
  const double tiles = weights_.screen_limit.OfTiles(rows);
  if (tiles <= 0 || !ScreenedTiles::CanScreen(weights_.up.weight.view())) return false;
  return weights_.screen.view().columns == nullptr || tiles >= weights_.screen_limit.OfRows(rows);
}

bool UnitScreen::Tried(bool found) {
  ++(found ? found_ : failed_);
  return found;
}

// Lists of more open units than `down` takes make it slower, so that no limit, also of tiles, is above that.
bool UnitScreen::Find(const ScreenRange& range, const ScreenedInput& input, Workspace::Worker& scratch) {
  if (failed_ > found_ || !input.screenable()) return false;
  const ScreenView& screen = weights_.screen.view();
  const size_t rows = input.x().rows;
  const double limit = std::min(weights_.screen_limit.OfRows(rows), weights_.down.sparse_below);
  if (limit <= 0) return false;
  return Tried(scratch.screened.Find(evaluation_.kernels, screen, range, weights_.up.bias_or_null(),
                                     evaluation_.config.hidden_act == HiddenAct::kRelu2, input, limit,
                                     scratch.open.ListedByCaller(rows, screen.outer)));
}

bool UnitScreen::FindInTiles(const ScreenedInput& input, Workspace::Worker& scratch) {
  if (!input.screenable()) return false;
  const double limit = std::min(weights_.screen_limit.OfTiles(input.x().rows), weights_.down.sparse_below);
  return Tried(scratch.screened_tiles.Find(
      evaluation_.kernels, weights_.screen.view(), weights_.up.weight.view(), 1.0f,
      evaluation_.config.hidden_act == HiddenAct::kRelu2, input, limit, OpenRows::kUnknown, scratch.open));
}

bool UnitScreen::ListRows(size_t first, size_t rows, Workspace::Worker& scratch) {
  if (!screens_ || failed_ > found_) return false;
  const ScreenView& screen = weights_.screen.view();
  const bool tiles = InTiles(rows);
  if (!OpenRows::Fits(rows, screen.outer) || (!tiles && screen.columns == nullptr)) return false;
  scratch.screened_input.Prepare(x_.Rows(first, rows));
  for (size_t r = 0; r < rows; ++r) scratch.screened_input.Round(evaluation_.kernels, r);
  if (tiles) return FindInTiles(scratch.screened_input, scratch);
  if (!Find({0, screen.panels()}, scratch.screened_input, scratch)) return false;
  for (size_t r = 0; r < rows; ++r) scratch.open.SetCount(r, scratch.screened.count(r));
  scratch.open.CutIntoBlocks();
  return true;
}

bool UnitScreen::ListByColumns() {
  const ScreenView& screen = weights_.screen.view();
  if (!screens_ || screen.columns == nullptr || !OpenRows::Fits(x_.rows, screen.outer)) return false;
  Workspace::Worker& scratch = evaluation_.workspace.worker(0);
  ScreenedInput& input = scratch.screened_input;
  input.Prepare(x_);
  evaluation_.ForRows(x_.rows, 4 * x_.cols, [&](size_t first, size_t count, size_t) {
    for (size_t r = first; r < first + count; ++r) input.Round(evaluation_.kernels, r);
  });
  const size_t tasks = evaluation_.pool.threads(), panels = screen.panels();
  std::atomic<bool> all_found = true;
  evaluation_.pool.ParallelFor(tasks, [&](size_t task, size_t) {
    const size_t first = panels * task / tasks;
    const ScreenRange range = {first, panels * (task + 1) / tasks - first};
    if (!Find(range, input, evaluation_.workspace.worker(task))) all_found = false;
  });
  if (!all_found) {
    // One share with too many candidates fails all of them.
    if (failed_ > 0) failed_ += found_;
    return false;
  }
  for (size_t r = 0; r < x_.rows; ++r) {
    uint32_t count = scratch.screened.count(r);
    for (size_t task = 1; task < tasks; ++task) {
      const Workspace::Worker& other = evaluation_.workspace.worker(task);
      other.open.AppendTo(r, other.screened.count(r), count, scratch.open);
      count += other.screened.count(r);
    }
    scratch.open.SetCount(r, count);
  }
  scratch.open.CutIntoBlocks();
  return true;
}

}  // namespace splineserve
