// Analyses from request to result, turn by turn, without queue and server.
#ifndef SPLINESERVE_TESTS_ENGINE_ANALYSIS_RUNNER_H_
#define SPLINESERVE_TESTS_ENGINE_ANALYSIS_RUNNER_H_

#include <memory>
#include <utility>

#include "core/base/status_macros.h"
#include "core/engine/evaluation_on_piece.h"
#include "core/engine/piece_comparison.h"

namespace splineserve::testing {

template <typename Analysis>
auto RunToEnd(Analysis analysis) -> absl::StatusOr<decltype(analysis.TakeResult())> {
  const auto go_on = [] { return absl::OkStatus(); };
  for (bool done = false; !done;) {
    SPLINESERVE_ASSIGN_OR_RETURN(done, analysis.RunTurn(go_on));
  }
  return analysis.TakeResult();
}

inline absl::StatusOr<OnPieceResult> EvaluateOnPiece(const std::shared_ptr<const LoadedModel>& model,
                                                     EvaluateOnPieceRequest request, const KernelSet& kernels,
                                                     const EngineOptions& limits = {}) {
  SPLINESERVE_ASSIGN_OR_RETURN(CheckedOnPiece work, CheckEvaluateOnPiece(*model, std::move(request), limits));
  return RunToEnd(EvaluationOnPiece(model, std::move(work), kernels));
}

inline absl::StatusOr<ComparisonResult> Compare(const std::shared_ptr<const LoadedModel>& model,
                                                CompareRequest request, const KernelSet& kernels,
                                                const EngineOptions& limits = {}) {
  SPLINESERVE_ASSIGN_OR_RETURN(CheckedComparison work, CheckCompare(*model, std::move(request), limits));
  return RunToEnd(PieceComparison(model, std::move(work), kernels));
}

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_ENGINE_ANALYSIS_RUNNER_H_
