// Screening in one run of a feed-forward network: whether, how, and whether it is worth another try.
#ifndef SPLINESERVE_CORE_MODEL_UNIT_SCREEN_H_
#define SPLINESERVE_CORE_MODEL_UNIT_SCREEN_H_

#include <atomic>
#include <cstddef>

#include "core/base/matrix_view.h"
#include "core/kernels/screen.h"
#include "core/model/evaluation.h"
#include "core/model/weights.h"

namespace splineserve {

// Lists open units without their product. Lives as long as the run; ListRows may be called by several
// threads, each with its own scratch memory. What is listed is what the product would open, in `open` of the
// scratch memory and complete, and false says that nothing is: too many candidates, or rows that cannot be
// screened.
class UnitScreen {
 public:
  // Of the network's rows x. `gated` says that what is above zero passes, and nothing else.
  UnitScreen(Evaluation& evaluation, const FeedForwardWeights& weights, MatrixView<const float> x, bool gated,
             Workspace::FeedForwardMemory& memory);

  bool ListRows(size_t first, size_t rows, Workspace::Worker& scratch);
  // All rows: the threads share the columns, and the lists are the first one's.
  bool ListByColumns();

  // After the run: what the next one is to know.
  void Remember() const;

 private:
  bool MayScreen(bool gated) const;
  ScreenPause& Pause() const;
  // The open units of `range` of the rounded rows.
  bool Find(const ScreenRange& range, const ScreenedInput& input, Workspace::Worker& scratch);
  bool FindInTiles(const ScreenedInput& input, Workspace::Worker& scratch);
  // Whether a block of so many rows is screened in tiles, and not row by row.
  bool InTiles(size_t rows) const;
  // Counts a try.
  bool Tried(bool found);

  Evaluation& evaluation_;
  const FeedForwardWeights& weights_;
  const MatrixView<const float> x_;
  Workspace::FeedForwardMemory& memory_;
  const bool screens_;
  // Blocks that were screened, and that had too many candidates: if those are more, the others need not try.
  std::atomic<int> found_ = 0, failed_ = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_UNIT_SCREEN_H_
