#include "tests/client/fake_server.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace splineserve::client {
namespace {

v1::ModelInfo MakeModel(const std::string& name, v1::ModelInfo::Architecture architecture,
                        bool has_vocabulary) {
  v1::ModelInfo model;
  model.set_name(name);
  model.set_version(1);
  model.set_architecture(architecture);
  model.set_spline_class(v1::ModelInfo::EXACT);
  model.set_degree_bound(27);
  model.set_digest("00112233445566778899aabbccddeeff");
  model.mutable_input()->set_kind("tokens");
  model.mutable_input()->set_size(30);
  model.mutable_input()->set_has_vocabulary(has_vocabulary);
  model.mutable_input()->set_vocabulary_split(has_vocabulary ? "characters" : "");
  model.mutable_head()->set_kind("linear");
  model.mutable_head()->set_size(3);
  model.mutable_head()->set_pooling("none");
  return model;
}

std::vector<v1::ModelInfo> Models() {
  std::vector<v1::ModelInfo> models = {MakeModel("ids", v1::ModelInfo::DECODER, false),
                                       MakeModel("pair", v1::ModelInfo::ENCODER_DECODER, true),
                                       MakeModel("rows", v1::ModelInfo::ENCODER, false),
                                       MakeModel("writer", v1::ModelInfo::DECODER, true)};
  *models[1].mutable_target_input() = models[1].input();
  models[2].mutable_input()->set_kind("vectors");
  models[2].mutable_head()->set_pooling("mean");
  return models;
}

}  // namespace

grpc::Status FakeServer::Judge(const v1::Sequence& sequence) {
  if (sequence.text() == "bad") {
    return {grpc::StatusCode::INVALID_ARGUMENT, "inputs[0].text[1]: expected a letter of the vocabulary"};
  }
  if (sequence.text() == "full") return {grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"};
  if (sequence.text() == "stuck") {
    stopping_.wait(false);
    return grpc::Status::CANCELLED;
  }
  return grpc::Status::OK;
}

namespace {

void Evaluate(const v1::Sequence& sequence, bool pooled, const v1::PieceOptions& options,
              v1::SequenceResult& result) {
  const uint32_t tokens = sequence.has_vectors()  ? sequence.vectors().rows()
                          : sequence.has_tokens() ? static_cast<uint32_t>(sequence.tokens().ids_size())
                                                  : static_cast<uint32_t>(sequence.text().size());
  const uint32_t rows = pooled ? 1 : tokens;
  result.mutable_output()->set_rows(rows);
  result.mutable_output()->set_cols(3);
  for (uint32_t i = 0; i < rows * 3; ++i)
    result.mutable_output()->add_values(static_cast<float>(i / 3 + i % 3));
  if (options.detail() < v1::PieceOptions::ID) return;
  for (uint32_t i = 0; i < tokens; ++i) {
    v1::TokenPiece& piece = *result.add_pieces();
    piece.set_id(std::string(16, static_cast<char>(i)));
    if (options.detail() < v1::PieceOptions::COUNTS) continue;
    v1::TokenPiece::Group& group = *piece.add_layers()->add_groups();
    group.set_site(v1::Site::FEED_FORWARD);
    group.set_width(8);
    group.set_open(i);
  }
}

void AddSmoothingError(v1::ServedModel& model,
                       google::protobuf::RepeatedPtrField<v1::SequenceResult>& results) {
  model.mutable_smoothing()->set_spline(model.name());
  model.mutable_smoothing()->set_beta(20);
  for (v1::SequenceResult& result : results) {
    v1::SmoothingError& error = *result.mutable_smoothing_error();
    for (uint32_t row = 0; row < result.output().rows(); ++row) {
      error.set_max_measured(row);
      error.set_max_proven_at_gates(10 * row);
      error.set_max_proven(100 * row);
      error.add_measured(row);
      error.add_proven_at_gates(10 * row);
      error.add_proven(100 * row);
    }
    error.set_largest_output(4.5);
  }
}

}  // namespace

FakeServer::FakeServer() {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(static_cast<v1::InferenceService::Service*>(this));
  builder.RegisterService(static_cast<v1::ModelService::Service*>(this));
  server_ = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port);
}

FakeServer::~FakeServer() {
  stopping_ = true;
  stopping_.notify_all();
  server_->Shutdown(std::chrono::system_clock::now());
}

std::vector<v1::GenerateRequest> FakeServer::generate_requests() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return generate_requests_;
}

v1::EncodeRequest FakeServer::encode_request() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return encode_request_;
}

grpc::Status FakeServer::ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                                    v1::ListModelsResponse* response) {
  for (const v1::ModelInfo& model : Models()) *response->add_models() = model;
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                                  v1::GetModelResponse* response) {
  for (const v1::ModelInfo& model : Models()) {
    if (model.name() == request->model().name()) *response->mutable_model() = model;
  }
  if (response->has_model()) return grpc::Status::OK;
  return {grpc::StatusCode::NOT_FOUND, absl::StrCat("model \"", request->model().name(), "\" is not loaded")};
}

grpc::Status FakeServer::Encode(grpc::ServerContext*, const v1::EncodeRequest* request,
                                v1::EncodeResponse* response) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    encode_request_ = *request;
  }
  for (const v1::Sequence& input : request->inputs()) {
    if (grpc::Status status = Judge(input); !status.ok()) return status;
    Evaluate(input, request->model().name() == "rows", request->pieces(), *response->add_results());
  }
  response->mutable_model()->set_name(request->model().name());
  if (request->smoothing_error()) AddSmoothingError(*response->mutable_model(), *response->mutable_results());
  return grpc::Status::OK;
}

grpc::Status FakeServer::Decode(grpc::ServerContext*, const v1::DecodeRequest* request,
                                v1::DecodeResponse* response) {
  for (const v1::Sequence& target : request->targets()) {
    if (grpc::Status status = Judge(target); !status.ok()) return status;
    Evaluate(target, false, request->pieces(), *response->add_results());
  }
  response->mutable_model()->set_name(request->model().name());
  if (request->smoothing_error()) AddSmoothingError(*response->mutable_model(), *response->mutable_results());
  return grpc::Status::OK;
}

grpc::Status FakeServer::Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                                  grpc::ServerWriter<v1::GenerateResponse>* writer) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    generate_requests_.push_back(*request);
  }
  const v1::Sequence& sequence = request->has_source() ? request->source() : request->prompt();
  if (grpc::Status status = Judge(sequence); !status.ok()) return status;
  std::string text = absl::AsciiStrToUpper(sequence.text());
  for (int32_t id : sequence.tokens().ids()) text += static_cast<char>(id);
  if (request->has_sample()) absl::StrAppend(&text, request->sample().seed());
  v1::GenerateResponse event;
  event.mutable_model()->set_name(request->model().name());
  v1::Hypothesis hypothesis;
  for (char c : text) {
    event.mutable_token()->set_id(c);
    event.mutable_token()->set_text(std::string(1, c));
    *hypothesis.add_tokens() = event.token();
    if (!request->has_beam()) writer->Write(event);
    event.clear_model();
  }
  hypothesis.set_text(text);
  v1::GenerateResponse last;
  for (uint32_t i = 0; i < std::max(1u, request->beam().num_hypotheses()); ++i) {
    *last.mutable_result()->add_hypotheses() = hypothesis;
    hypothesis.set_text(absl::StrCat(text, i + 2));
  }
  writer->Write(last);
  return grpc::Status::OK;
}

Outcome RunCommand(std::vector<std::string> arguments, const std::string& address, const std::string& input,
                   bool err_is_terminal) {
  if (!address.empty()) arguments.insert(arguments.end(), {"--server", address});
  std::istringstream in(input);
  std::ostringstream out, err;
  Session session{.in = in, .out = out, .err = err, .err_is_terminal = err_is_terminal};
  const int status = RunCommandLine(std::move(arguments), session);
  return {status, out.str(), err.str()};
}

}  // namespace splineserve::client
