// The engine's results and models to the wire's messages.
#ifndef SPLINESERVE_SERVER_CONVERT_RESPONSE_H_
#define SPLINESERVE_SERVER_CONVERT_RESPONSE_H_

#include "core/engine/engine.h"
#include "core/engine/loaded_model.h"
#include "core/engine/request.h"
#include "splineserve/v1/inference.pb.h"
#include "splineserve/v1/model.pb.h"

namespace splineserve {

// What of a running server its models' descriptions say, too.
struct ServingFacts {
  EngineOptions limits;
  size_t max_message_bytes = 0;
  std::string simd_target;
};

v1::Site::Value ToProto(Site site);
void ToProto(const GateId& gate, v1::GateRef* out);

// Pure functions; thread-safe. `margins`: whether the request asked for them.
v1::ServedModel ToServedModel(const LoadedModel& model);
v1::Site::Value ToProto(Site site);
v1::ModelInfo ToModelInfo(const LoadedModel& model, const ServingFacts& facts);
void ToProto(const SequenceResult& result, bool margins, v1::SequenceResult* out);
void ToProto(const TokenPiece& piece, bool margins, v1::TokenPiece* out);
void ToProto(const Smoothing& smoothing, v1::Smoothing* out);
void ToProto(const SmoothingError& error, v1::SmoothingError* out);
void ToProto(const Timing& timing, v1::Timing* out);
void ToProto(const GenerateEvent& event, bool margins, v1::GenerateResponse* out);  // all but `model`

// EncodeResponse and DecodeResponse.
template <typename Response>
void ToProto(const LoadedModel& model, const EvaluationResult& result, bool margins, Response* out) {
  *out->mutable_model() = ToServedModel(model);
  for (const SequenceResult& sequence : result.results) ToProto(sequence, margins, out->add_results());
  ToProto(result.timing, out->mutable_timing());
}

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_CONVERT_RESPONSE_H_
