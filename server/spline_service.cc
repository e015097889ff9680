#include "server/spline_service.h"

#include <memory>
#include <utility>

#include "core/base/status_macros.h"
#include "server/analysis_call.h"
#include "server/convert_analysis.h"
#include "server/convert_spline.h"
#include "server/trace_call.h"

namespace splineserve {
namespace {

using ModelPtr = std::shared_ptr<const LoadedModel>;

template <typename Analysis, typename Work>
BegunAnalysis<Analysis> Begun(const ModelPtr& model, Work work, const KernelSet& kernels) {
  const size_t bytes = work.bytes;
  return {std::make_unique<Analysis>(model, std::move(work), kernels), bytes};
}

}  // namespace

grpc::ServerWriteReactor<v1::TraceResponse>* SplineService::Trace(grpc::CallbackServerContext* context,
                                                                  const v1::TraceRequest* request) {
  return TraceCall::Start(parts_, budget_, *context, *request);
}

grpc::ServerUnaryReactor* SplineService::Differentiate(grpc::CallbackServerContext* context,
                                                       const v1::DifferentiateRequest* request,
                                                       v1::DifferentiateResponse* response) {
  const auto begin =
      [this](const ModelPtr& model,
             const v1::DifferentiateRequest& message) -> absl::StatusOr<BegunAnalysis<Differentiation>> {
    SPLINESERVE_ASSIGN_OR_RETURN(DifferentiateRequest asked, FromProto(message));
    SPLINESERVE_ASSIGN_OR_RETURN(CheckedDifferentiate work,
                                 CheckDifferentiate(*model, std::move(asked), parts_.facts.limits));
    const size_t bytes = work.bytes;
    return BegunAnalysis<Differentiation>{std::make_unique<Differentiation>(model, std::move(work)), bytes};
  };
  const auto convert = [](const LoadedModel& model, const Derivatives& result,
                          v1::DifferentiateResponse* out) {
    *out->mutable_model() = ToServedModel(model);
    ToProto(result, out);
    return int64_t{0};
  };
  return AnalysisCall<Differentiation, v1::DifferentiateResponse>::Start(
      parts_, budget_, *context, "Differentiate", *request, response, begin, convert);
}

grpc::ServerUnaryReactor* SplineService::EvaluateOnPiece(grpc::CallbackServerContext* context,
                                                         const v1::EvaluateOnPieceRequest* request,
                                                         v1::EvaluateOnPieceResponse* response) {
  const auto begin =
      [this](const ModelPtr& model,
             const v1::EvaluateOnPieceRequest& message) -> absl::StatusOr<BegunAnalysis<EvaluationOnPiece>> {
    SPLINESERVE_ASSIGN_OR_RETURN(EvaluateOnPieceRequest asked, FromProto(message));
    SPLINESERVE_ASSIGN_OR_RETURN(CheckedOnPiece work,
                                 CheckEvaluateOnPiece(*model, std::move(asked), parts_.facts.limits));
    return Begun<EvaluationOnPiece>(model, std::move(work), parts_.engine.kernels());
  };
  const auto convert = [margins = request->pieces().margins()](const LoadedModel& model,
                                                               const OnPieceResult& result,
                                                               v1::EvaluateOnPieceResponse* out) {
    ToProto(model, result, margins, out);
    return static_cast<int64_t>(result.result.pieces.size());
  };
  return AnalysisCall<EvaluationOnPiece, v1::EvaluateOnPieceResponse>::Start(
      parts_, budget_, *context, "EvaluateOnPiece", *request, response, begin, convert);
}

grpc::ServerUnaryReactor* SplineService::Compare(grpc::CallbackServerContext* context,
                                                 const v1::CompareRequest* request,
                                                 v1::CompareResponse* response) {
  const auto begin =
      [this](const ModelPtr& model,
             const v1::CompareRequest& message) -> absl::StatusOr<BegunAnalysis<PieceComparison>> {
    SPLINESERVE_ASSIGN_OR_RETURN(CompareRequest asked, FromProto(message));
    SPLINESERVE_ASSIGN_OR_RETURN(CheckedComparison work,
                                 CheckCompare(*model, std::move(asked), parts_.facts.limits));
    return Begun<PieceComparison>(model, std::move(work), parts_.engine.kernels());
  };
  const auto convert = [](const LoadedModel& model, const ComparisonResult& result,
                          v1::CompareResponse* out) {
    ToProto(model, result, out);
    return int64_t{0};
  };
  return AnalysisCall<PieceComparison, v1::CompareResponse>::Start(parts_, budget_, *context, "Compare",
                                                                   *request, response, begin, convert);
}

}  // namespace splineserve
