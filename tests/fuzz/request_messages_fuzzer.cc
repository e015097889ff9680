// Request messages, from a stranger. The first byte chooses the call and the model, the rest is the message.
// Whatever parses is converted and evaluated on tiny models; answers must convert back, refusals must be ones
// that the API names.
#include <google/protobuf/stubs/logging.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/engine/engine.h"
#include "core/engine/smoothing_report.h"
#include "server/convert_analysis.h"
#include "server/convert_request.h"
#include "server/convert_response.h"
#include "server/convert_spline.h"
#include "server/model_registry.h"
#include "tests/engine/analysis_runner.h"
#include "tests/fuzz/fuzzer.h"
#include "tests/server/test_models.h"

namespace splineserve {
namespace {

constexpr const char* kModels[] = {"encoder",    "vectors",           "decoder",
                                   "translator", "encoder@softplus5", "translator@softplus5"};
constexpr size_t kCalls = 7;

void Promise(bool kept) {
  if (!kept) abort();
}

// Limits small enough that a run takes well under a millisecond.
struct World {
  testing::TempDir repository = testing::MakeRepository();
  absl::StatusOr<ModelRegistry> registry = ModelRegistry::Load(
      repository.path(), {}, {}, SmoothingChoice::Parse({"encoder=5", "translator=5"}).value());
  std::unique_ptr<Engine> engine = Engine::Create({.threads = 1,
                                                   .max_queue_bytes = size_t{1} << 20,
                                                   .max_batch_tokens = 32,
                                                   .max_sequences_per_request = 8,
                                                   .max_tokens_per_sequence = 16,
                                                   .max_tokens_per_request = 32,
                                                   .max_new_tokens = 4,
                                                   .max_beam_width = 4},
                                                  *AvailableKernelSets().front())
                                       .value();
};

World& TheWorld() {
  static const google::protobuf::LogSilencer silence;  // of texts that are not UTF-8
  static World world;
  return world;
}

// What a request may be answered with: never INTERNAL or UNKNOWN.
void CheckRefusal(const absl::Status& status) {
  Promise(!status.message().empty());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kResourceExhausted:
      return;
    default:
      abort();
  }
}

template <typename Response>
void CheckAnswer(const LoadedModel& model, const absl::StatusOr<EvaluationResult>& result, bool margins) {
  if (!result.ok()) return CheckRefusal(result.status());
  Response response;
  ToProto(model, *result, margins, &response);
  for (const v1::SequenceResult& sequence : response.results()) {
    Promise(sequence.output().values_size() ==
            static_cast<int64_t>(sequence.output().rows()) * sequence.output().cols());
    Promise(sequence.sequence_id().empty() || sequence.sequence_id().size() == 16);
  }
}

// As EvaluationCall does.
template <typename Request>
void AddSmoothingErrors(const LoadedModel& model, const Request& request,
                        absl::StatusOr<EvaluationResult>& result) {
  if (!request.smoothing_error || !result.ok()) return;
  auto errors =
      MeasureSmoothing(model, request, TheWorld().engine->options(), [] { return absl::OkStatus(); });
  if (!errors.ok()) return CheckRefusal(errors.status());
  Promise(errors->size() == result->results.size());
  for (size_t i = 0; i < errors->size(); ++i) {
    const SmoothingError& error = (*errors)[i];
    Promise(error.measured.size() == result->results[i].output.rows);
    for (size_t row = 0; row < error.measured.size(); ++row) {
      // Rounding apart; not so if a number is NaN.
      Promise(error.measured[row] <= error.proven_at_gates[row] + 1e-9 * (1 + error.largest_output));
      Promise(error.proven_at_gates[row] <= error.proven[row] * (1 + 1e-9));
    }
    result->results[i].smoothing_error = error;
  }
}

template <typename Message>
bool Parse(const uint8_t* data, size_t size, Message& message) {
  return message.ParseFromArray(data, static_cast<int>(size));
}

void FuzzEncode(std::shared_ptr<const LoadedModel> model, const v1::EncodeRequest& message) {
  auto request = FromProto(message);
  if (!request.ok()) return CheckRefusal(request.status());
  const bool margins = request->pieces.margins;
  auto result = TheWorld().engine->EncodeAndWait(model, *request);
  AddSmoothingErrors(*model, *request, result);
  CheckAnswer<v1::EncodeResponse>(*model, result, margins);
}

void FuzzDecode(std::shared_ptr<const LoadedModel> model, const v1::DecodeRequest& message) {
  auto request = FromProto(message);
  if (!request.ok()) return CheckRefusal(request.status());
  const bool margins = request->pieces.margins;
  auto result = TheWorld().engine->DecodeAndWait(model, *request);
  AddSmoothingErrors(*model, *request, result);
  CheckAnswer<v1::DecodeResponse>(*model, result, margins);
}

void FuzzGenerate(std::shared_ptr<const LoadedModel> model, const v1::GenerateRequest& message) {
  auto request = FromProto(message);
  if (!request.ok()) return CheckRefusal(request.status());
  const bool margins = request->pieces.margins;
  const auto events = TheWorld().engine->GenerateAndWait(model, *std::move(request));
  if (!events.ok()) return CheckRefusal(events.status());
  Promise(!events->empty() && events->back().final);
  for (const GenerateEvent& event : *events) {
    v1::GenerateResponse response;
    ToProto(event, margins, &response);
    Promise(event.final ? response.has_result() : response.has_token());
  }
}

void FuzzOnPiece(std::shared_ptr<const LoadedModel> model, const v1::EvaluateOnPieceRequest& message) {
  auto request = FromProto(message);
  if (!request.ok()) return CheckRefusal(request.status());
  const bool margins = request->pieces.margins;
  const bool own = std::holds_alternative<std::monostate>(request->gates);
  const auto result = testing::EvaluateOnPiece(model, *std::move(request), TheWorld().engine->kernels(),
                                               TheWorld().engine->options());
  if (!result.ok()) return CheckRefusal(result.status());
  v1::EvaluateOnPieceResponse response;
  ToProto(*model, *result, margins, &response);
  Promise(response.disagreement_size() > 0);
  Promise(!own || !response.has_verification() || response.verification().equal());
}

void FuzzCompare(std::shared_ptr<const LoadedModel> model, const v1::CompareRequest& message) {
  auto request = FromProto(message);
  if (!request.ok()) return CheckRefusal(request.status());
  const auto result = testing::Compare(model, *std::move(request), TheWorld().engine->kernels(),
                                       TheWorld().engine->options());
  if (!result.ok()) return CheckRefusal(result.status());
  v1::CompareResponse response;
  ToProto(*model, *result, &response);
  Promise(response.stacks_size() > 0);
}

void FuzzTrace(std::shared_ptr<const LoadedModel> model, const v1::TraceRequest& message) {
  auto request = FromProto(message);
  if (!request.ok()) return CheckRefusal(request.status());
  auto checked = CheckTrace(*model, *std::move(request), TheWorld().engine->options());
  if (!checked.ok()) return CheckRefusal(checked.status());
  const auto basis = CheckBasis(message.basis(), checked->degree);
  if (!basis.ok()) return CheckRefusal(basis.status());
  auto analysis = TraceAnalysis::Create(model, *std::move(checked));
  if (!analysis.ok()) return CheckRefusal(analysis.status());
  for (int i = 0; i < 2 && !(*analysis)->done(); ++i) {
    const auto pieces = (*analysis)->Next([] { return false; }, [] { return absl::OkStatus(); });
    if (!pieces.ok()) return CheckRefusal(pieces.status());
    for (const TracePiece& piece : *pieces) {
      v1::TracePiece out;
      ToProto(piece, (*analysis)->layout(), *basis, &out);
      Promise(out.begin() < out.end() && out.end() <= 1);
    }
  }
  v1::TraceSummary summary;
  ToProto((*analysis)->Summary(), &summary);
}

void FuzzDifferentiate(std::shared_ptr<const LoadedModel> model, const v1::DifferentiateRequest& message) {
  auto request = FromProto(message);
  if (!request.ok()) return CheckRefusal(request.status());
  auto checked = CheckDifferentiate(*model, *std::move(request), TheWorld().engine->options());
  if (!checked.ok()) return CheckRefusal(checked.status());
  const auto result = Differentiate(*model, *checked, [] { return absl::OkStatus(); });
  if (!result.ok()) return CheckRefusal(result.status());
  v1::DifferentiateResponse response;
  ToProto(*result, &response);
  Promise(response.values_size() == response.outputs_size());
}

}  // namespace
}  // namespace splineserve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace splineserve;
  if (size == 0) return 0;
  const auto model = TheWorld().registry->Find(kModels[data[0] / kCalls % std::size(kModels)], 0);
  Promise(model.ok());
  switch (data[0] % kCalls) {
    case 0:
      if (v1::EncodeRequest message; Parse(data + 1, size - 1, message)) FuzzEncode(*model, message);
      break;
    case 1:
      if (v1::DecodeRequest message; Parse(data + 1, size - 1, message)) FuzzDecode(*model, message);
      break;
    case 2:
      if (v1::GenerateRequest message; Parse(data + 1, size - 1, message)) FuzzGenerate(*model, message);
      break;
    case 3:
      if (v1::EvaluateOnPieceRequest message; Parse(data + 1, size - 1, message))
        FuzzOnPiece(*model, message);
      break;
    case 4:
      if (v1::CompareRequest message; Parse(data + 1, size - 1, message)) FuzzCompare(*model, message);
      break;
    case 5:
      if (v1::TraceRequest message; Parse(data + 1, size - 1, message)) FuzzTrace(*model, message);
      break;
    case 6:
      if (v1::DifferentiateRequest message; Parse(data + 1, size - 1, message))
        FuzzDifferentiate(*model, message);
      break;
  }
  return 0;
}

namespace splineserve::testing {

std::vector<std::string> FuzzerSeeds() {
  v1::PieceOptions pieces;
  pieces.set_detail(v1::PieceOptions::BITS);
  pieces.add_layers(0);
  pieces.add_sites(v1::Site::FEED_FORWARD);
  pieces.set_margins(true);
  const auto seed = [](size_t call, size_t model, const auto& message) {
    return static_cast<char>(model * kCalls + call) + message.SerializeAsString();
  };

  v1::EncodeRequest encode;
  encode.add_inputs()->set_text("abc");
  encode.add_inputs()->mutable_tokens()->add_ids(4);
  *encode.mutable_pieces() = pieces;
  v1::EncodeRequest vectors;
  v1::Matrix* const matrix = vectors.add_inputs()->mutable_vectors();
  matrix->set_rows(2);
  matrix->set_cols(3);
  for (int i = 0; i < 6; ++i) matrix->add_values(static_cast<float>(i) - 2.5f);
  vectors.set_output(v1::OutputKind::HIDDEN);
  v1::DecodeRequest decode;
  decode.add_targets()->set_text("ab");
  *decode.mutable_pieces() = pieces;
  v1::DecodeRequest translated;
  translated.add_sources()->set_text("ab");
  translated.add_targets()->mutable_tokens()->add_ids(1);
  v1::EncodeRequest smoothed = encode;
  smoothed.set_smoothing_error(true);
  v1::DecodeRequest smoothed_decode = translated;
  smoothed_decode.set_smoothing_error(true);
  v1::GenerateRequest greedy;
  greedy.mutable_prompt()->set_text("a");
  greedy.set_max_new_tokens(3);
  *greedy.mutable_pieces() = pieces;
  v1::GenerateRequest beam;
  beam.mutable_source()->set_text("ab");
  beam.mutable_beam()->set_width(3);
  beam.mutable_beam()->set_num_hypotheses(2);
  beam.mutable_beam()->set_length_penalty(0.5f);
  beam.add_stop_ids(3);
  v1::GenerateRequest sample;
  sample.mutable_sample()->set_temperature(1.5f);
  sample.mutable_sample()->set_top_k(4);
  sample.mutable_sample()->set_seed(7);
  v1::EvaluateOnPieceRequest own;
  own.mutable_input()->mutable_source()->set_text("ab");
  own.mutable_input()->mutable_target()->mutable_tokens()->add_ids(1);
  own.set_verify(true);
  *own.mutable_pieces() = pieces;
  v1::EvaluateOnPieceRequest others;
  *others.mutable_input()->mutable_source() = vectors.inputs(0);
  *others.mutable_gates_of() = others.input();
  v1::EvaluateOnPieceRequest given;  // of the encoder over one token: two layers of two heads and 12 units
  given.mutable_input()->mutable_source()->set_text("a");
  v1::TokenPiece& piece = *given.mutable_given()->add_encoder();
  for (uint32_t l = 0; l < 2; ++l) {
    v1::TokenPiece::Layer& layer = *piece.add_layers();
    layer.set_layer(l);
    for (uint32_t head = 0; head < 3; ++head) {
      v1::TokenPiece::Group& group = *layer.add_groups();
      group.set_site(head < 2 ? v1::Site::SELF_ATTENTION : v1::Site::FEED_FORWARD);
      group.set_head(head % 2);
      group.set_width(head < 2 ? 1 : 12);
      group.set_bits(head < 2 ? std::string(1, '\1') : std::string("\xf0\x01", 2));
    }
  }
  v1::TraceRequest trace;
  trace.mutable_from()->mutable_source()->set_text("ab");
  trace.mutable_to()->mutable_source()->set_text("cd");
  trace.set_integrated_gradients(true);
  trace.set_top_output(true);
  trace.set_basis(v1::PolynomialBasis::BERNSTEIN);
  v1::TraceRequest moved;
  moved.mutable_from()->mutable_source()->set_text("ab");
  moved.mutable_from()->mutable_target()->mutable_tokens()->add_ids(1);
  *moved.mutable_to() = moved.from();
  moved.mutable_to()->mutable_target()->mutable_tokens()->set_ids(0, 3);
  moved.mutable_outputs()->add_indices()->set_col(2);
  v1::DifferentiateRequest differentiate;
  differentiate.mutable_at()->mutable_source()->set_text("ab");
  differentiate.set_jacobian(true);
  differentiate.set_nearest_gates(2);
  for (int i = 0; i < 5; ++i) differentiate.add_cotangent(i);
  v1::Matrix64& direction = *differentiate.mutable_direction()->mutable_source();
  direction.set_rows(2);
  direction.set_cols(8);
  for (int i = 0; i < 16; ++i) direction.add_values(i % 3);
  v1::CompareRequest compare;
  compare.add_inputs()->mutable_target()->set_text("ab");
  compare.add_inputs()->mutable_target()->mutable_tokens()->add_ids(4);
  return {seed(0, 0, encode),     seed(0, 1, vectors),         seed(1, 2, decode),
          seed(1, 3, translated), seed(2, 2, greedy),          seed(2, 3, beam),
          seed(2, 2, sample),     seed(0, 3, encode),          seed(3, 3, own),
          seed(3, 1, others),     seed(3, 0, given),           seed(4, 2, compare),
          seed(0, 4, smoothed),   seed(1, 5, smoothed_decode), seed(5, 0, trace),
          seed(5, 3, moved),      seed(6, 0, differentiate)};
}

}  // namespace splineserve::testing
