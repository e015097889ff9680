#include "client/client.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/status_macros.h"
#include "core/base/utf8.h"

namespace splineserve::client {
namespace {

// Protobuf would only log that a string is not UTF-8, and the server could only say that the message does not
// parse. INVALID_ARGUMENT, with the field's path.
absl::Status CheckStrings(const google::protobuf::Message& message, const std::string& path) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const std::string place = field->is_repeated() ? absl::StrCat(path, field->name(), "[", i, "]")
                                                     : absl::StrCat(path, field->name());
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        SPLINESERVE_RETURN_IF_ERROR(CheckStrings(field->is_repeated()
                                                     ? reflection.GetRepeatedMessage(message, field, i)
                                                     : reflection.GetMessage(message, field),
                                                 absl::StrCat(place, ".")));
      } else if (field->type() == FieldDescriptor::TYPE_STRING) {
        const std::string text = field->is_repeated() ? reflection.GetRepeatedString(message, field, i)
                                                      : reflection.GetString(message, field);
        if (const size_t valid = ValidUtf8Prefix(text); valid != text.size()) {
          return absl::InvalidArgumentError(
              absl::StrCat(place, ": expected UTF-8, found an invalid byte at offset ", valid));
        }
      } else {
        break;  // numbers: nothing to look at, however many
      }
    }
  }
  return absl::OkStatus();
}

// Runs a unary method of a stub.
template <typename Response, typename Stub, typename Request>
absl::StatusOr<Response> Unary(Stub& stub,
                               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                               absl::Duration deadline, const Request& request) {
  SPLINESERVE_RETURN_IF_ERROR(CheckStrings(request, ""));
  grpc::ClientContext context;
  SetDeadline(deadline, context);
  Response response;
  if (grpc::Status status = (stub.*method)(&context, request, &response); !status.ok()) {
    return ToAbslStatus(status);
  }
  return response;
}

// Tokens that were sent one by one came with their pieces; the result's tokens are the same ones.
void AddPieces(std::vector<v1::TokenPiece>& pieces, v1::GenerationResult& result) {
  if (result.hypotheses_size() != 1) return;
  auto& tokens = *result.mutable_hypotheses(0)->mutable_tokens();
  if (static_cast<size_t>(tokens.size()) != pieces.size()) return;
  for (int i = 0; i < tokens.size(); ++i) {
    if (!tokens[i].has_piece()) *tokens[i].mutable_piece() = std::move(pieces[static_cast<size_t>(i)]);
  }
}

bool IsThisMachine(absl::string_view server) {
  return absl::StartsWith(server, "localhost:") || absl::StartsWith(server, "127.") ||
         absl::StartsWith(server, "[::1]:") || absl::StartsWith(server, "unix:");
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& server) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  if (IsThisMachine(server)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

absl::Status ToAbslStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

void SetDeadline(absl::Duration deadline, grpc::ClientContext& context) {
  if (deadline == absl::InfiniteDuration()) return;
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
}

Client::Client(const ClientOptions& options) : Client(MakeChannel(options.server), options.deadline) {}

Client::Client(std::shared_ptr<grpc::ChannelInterface> channel, absl::Duration deadline)
    : deadline_(deadline),
      inference_(v1::InferenceService::NewStub(channel)),
      models_(v1::ModelService::NewStub(channel)),
      splines_(v1::SplineService::NewStub(channel)),
      monitors_(v1::MonitorService::NewStub(channel)) {}

absl::StatusOr<v1::ListModelsResponse> Client::ListModels() const {
  return Unary(*models_, &v1::ModelService::Stub::ListModels, deadline_, v1::ListModelsRequest());
}

absl::StatusOr<v1::ModelInfo> Client::GetModel(const v1::ModelRef& model) const {
  v1::GetModelRequest request;
  *request.mutable_model() = model;
  absl::StatusOr<v1::GetModelResponse> response =
      Unary(*models_, &v1::ModelService::Stub::GetModel, deadline_, request);
  if (!response.ok()) return std::move(response).status();
  return std::move(*response->mutable_model());
}

absl::StatusOr<v1::EncodeResponse> Client::Encode(const v1::EncodeRequest& request) const {
  return Unary(*inference_, &v1::InferenceService::Stub::Encode, deadline_, request);
}

absl::StatusOr<v1::DecodeResponse> Client::Decode(const v1::DecodeRequest& request) const {
  return Unary(*inference_, &v1::InferenceService::Stub::Decode, deadline_, request);
}

absl::StatusOr<v1::ListMonitorsResponse> Client::ListMonitors(const v1::ListMonitorsRequest& request) const {
  return Unary(*monitors_, &v1::MonitorService::Stub::ListMonitors, deadline_, request);
}

absl::StatusOr<v1::RecordPatternsResponse> Client::RecordPatterns(
    const v1::RecordPatternsRequest& request) const {
  return Unary(*monitors_, &v1::MonitorService::Stub::RecordPatterns, deadline_, request);
}

absl::StatusOr<v1::EvaluateOnPieceResponse> Client::EvaluateOnPiece(
    const v1::EvaluateOnPieceRequest& request) const {
  return Unary(*splines_, &v1::SplineService::Stub::EvaluateOnPiece, deadline_, request);
}

absl::StatusOr<v1::CompareResponse> Client::Compare(const v1::CompareRequest& request) const {
  return Unary(*splines_, &v1::SplineService::Stub::Compare, deadline_, request);
}

absl::StatusOr<v1::GenerateResponse> Client::Generate(
    const v1::GenerateRequest& request, absl::FunctionRef<bool(const v1::GenerateResponse&)> on_event) const {
  SPLINESERVE_RETURN_IF_ERROR(CheckStrings(request, ""));
  grpc::ClientContext context;
  SetDeadline(deadline_, context);
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader = inference_->Generate(&context, request);
  v1::GenerateResponse event, result;
  google::protobuf::RepeatedPtrField<v1::TokenPiece> prompt_pieces;
  std::vector<v1::TokenPiece> token_pieces;
  bool first = true, stopped = false;
  while (reader->Read(&event)) {
    if (std::exchange(first, false)) prompt_pieces = event.prompt_pieces();
    if (!stopped && !on_event(event)) {
      stopped = true;
      context.TryCancel();
    }
    if (event.token().has_piece()) token_pieces.push_back(std::move(*event.mutable_token()->mutable_piece()));
    if (event.has_result()) result = std::move(event);
  }
  if (grpc::Status status = reader->Finish(); !status.ok()) return ToAbslStatus(status);
  if (stopped) return absl::CancelledError("the caller wanted no more tokens");
  if (!result.has_result()) return absl::InternalError("the server ended the generation without a result");
  *result.mutable_prompt_pieces() = std::move(prompt_pieces);
  AddPieces(token_pieces, *result.mutable_result());
  return result;
}

absl::StatusOr<v1::GenerateResponse> Client::Generate(const v1::GenerateRequest& request) const {
  return Generate(request, [](const v1::GenerateResponse&) { return true; });
}

absl::Status Client::Trace(const v1::TraceRequest& request,
                           absl::FunctionRef<void(const v1::TraceResponse&)> on_event) const {
  SPLINESERVE_RETURN_IF_ERROR(CheckStrings(request, ""));
  grpc::ClientContext context;
  SetDeadline(deadline_, context);
  std::unique_ptr<grpc::ClientReader<v1::TraceResponse>> reader = splines_->Trace(&context, request);
  v1::TraceResponse event;
  bool summarized = false;
  while (reader->Read(&event)) {
    summarized = summarized || event.has_summary();
    on_event(event);
  }
  if (grpc::Status status = reader->Finish(); !status.ok()) return ToAbslStatus(status);
  if (!summarized) return absl::InternalError("the server ended the trace without a summary");
  return absl::OkStatus();
}

absl::StatusOr<v1::DifferentiateResponse> Client::Differentiate(
    const v1::DifferentiateRequest& request) const {
  return Unary(*splines_, &v1::SplineService::Stub::Differentiate, deadline_, request);
}

}  // namespace splineserve::client
