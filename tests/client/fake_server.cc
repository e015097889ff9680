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

void AddVerdict(const v1::MonitorOptions& options, uint32_t input, v1::MonitorVerdict& verdict) {
  const uint32_t distance = input % 4;
  verdict.set_monitor(options.name().empty() ? "only" : options.name());
  verdict.set_gamma(options.has_gamma() ? options.gamma() : 1);
  verdict.set_label(2);
  verdict.set_gates(8);
  verdict.set_known(distance == 0);
  verdict.set_accepted(distance <= verdict.gamma());
  verdict.mutable_nearest()->set_label(distance == 3 ? 1 : 2);
  verdict.mutable_nearest()->set_distance(distance);
  if (distance == 3) return;
  *verdict.mutable_own() = verdict.nearest();
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
  builder.RegisterService(static_cast<v1::MonitorService::Service*>(this));
  builder.RegisterService(static_cast<v1::SplineService::Service*>(this));
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

std::vector<v1::RecordPatternsRequest> FakeServer::record_requests() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return record_requests_;
}

grpc::Status FakeServer::ListMonitors(grpc::ServerContext*, const v1::ListMonitorsRequest* request,
                                      v1::ListMonitorsResponse* response) {
  if (request->has_model() && request->model().name() != "rows") return grpc::Status::OK;
  v1::MonitorInfo& info = *response->add_monitors();
  info.set_name("only");
  info.set_precision("float32");
  info.set_kind(v1::MonitorKind::BITS);
  info.set_gamma(1);
  info.set_classes(3);
  info.mutable_patterns()->Add(7);
  info.set_bytes(1500);
  info.add_models()->set_name("rows");
  info.mutable_models(0)->set_version(1);
  info.mutable_selection()->add_layers(1);
  info.mutable_selection()->add_sites(v1::Site::SELF_ATTENTION);
  info.mutable_selection()->add_sites(v1::Site::FEED_FORWARD);
  info.mutable_selection()->add_units(3);
  return grpc::Status::OK;
}

grpc::Status FakeServer::RecordPatterns(grpc::ServerContext*, const v1::RecordPatternsRequest* request,
                                        v1::RecordPatternsResponse* response) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    record_requests_.push_back(*request);
  }
  std::string monitor = request->monitor();
  for (const v1::Sequence& input : request->inputs()) {
    if (grpc::Status status = Judge(input); !status.ok()) return status;
    if (request->labels().empty()) monitor += '.';
  }
  for (const uint32_t label : request->labels()) monitor += static_cast<char>('a' + label);
  response->set_added(static_cast<uint32_t>(request->inputs_size()));
  response->mutable_info()->mutable_patterns()->Add(monitor.size());
  response->mutable_model()->set_name(request->model().name());
  response->set_monitor(std::move(monitor));
  return grpc::Status::OK;
}

grpc::Status FakeServer::Encode(grpc::ServerContext*, const v1::EncodeRequest* request,
                                v1::EncodeResponse* response) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    encode_request_ = *request;
  }
  for (const v1::Sequence& input : request->inputs()) {
    if (grpc::Status status = Judge(input); !status.ok()) return status;
    v1::SequenceResult& result = *response->add_results();
    Evaluate(input, request->model().name() == "rows", request->pieces(), result);
    if (request->has_monitor()) {
      AddVerdict(request->monitor(), static_cast<uint32_t>(response->results_size() - 1),
                 *result.mutable_monitor());
    }
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
  if (request->has_monitor()) AddVerdict(request->monitor(), 0, *hypothesis.mutable_monitor());
  v1::GenerateResponse last;
  for (uint32_t i = 0; i < std::max(1u, request->beam().num_hypotheses()); ++i) {
    *last.mutable_result()->add_hypotheses() = hypothesis;
    hypothesis.set_text(absl::StrCat(text, i + 2));
  }
  writer->Write(last);
  return grpc::Status::OK;
}

v1::EvaluateOnPieceRequest FakeServer::on_piece_request() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return on_piece_request_;
}

v1::CompareRequest FakeServer::compare_request() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return compare_request_;
}

grpc::Status FakeServer::EvaluateOnPiece(grpc::ServerContext*, const v1::EvaluateOnPieceRequest* request,
                                         v1::EvaluateOnPieceResponse* response) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    on_piece_request_ = *request;
  }
  const v1::Sequence& last =
      request->input().has_target() ? request->input().target() : request->input().source();
  if (grpc::Status status = Judge(last); !status.ok()) return status;
  response->mutable_model()->set_name(request->model().name());
  Evaluate(last, /*pooled=*/false, request->pieces(), *response->mutable_result());
  const bool own = request->gates_case() == v1::EvaluateOnPieceRequest::GATES_NOT_SET;
  response->set_encoder_sequence_id(std::string(16, 'E'));
  v1::StackDistance& stack = *response->add_disagreement();
  stack.set_stack(v1::GateRef::ENCODER);
  v1::GroupDistance& group = *stack.add_groups();
  group.set_site(v1::Site::FEED_FORWARD);
  group.mutable_distance()->set_differing(own ? 0 : 1);
  group.mutable_distance()->set_compared(8);
  *stack.mutable_total() = group.distance();
  response->set_polynomial(true);
  response->set_degree_bound(27);
  if (!request->verify()) return grpc::Status::OK;
  v1::PieceVerification& verification = *response->mutable_verification();
  verification.set_equal(own);
  *verification.mutable_gates() = group.distance();
  if (own) return grpc::Status::OK;
  verification.set_differing(1);
  verification.set_largest_difference(0.5);
  verification.mutable_first()->set_col(1);
  verification.mutable_first()->set_on_piece(1.5);
  verification.mutable_first()->set_own(1);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Compare(grpc::ServerContext*, const v1::CompareRequest* request,
                                 v1::CompareResponse* response) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    compare_request_ = *request;
  }
  response->mutable_model()->set_name(request->model().name());
  v1::StackComparison& stack = *response->add_stacks();
  const bool decodes = request->inputs(0).has_target();
  stack.set_stack(decodes ? v1::GateRef::DECODER : v1::GateRef::ENCODER);
  std::vector<size_t> lengths;
  for (const v1::ModelInput& input : request->inputs()) {
    const v1::Sequence& last = decodes ? input.target() : input.source();
    if (grpc::Status status = Judge(last); !status.ok()) return status;
    lengths.push_back(last.has_tokens() ? static_cast<size_t>(last.tokens().ids_size()) : last.text().size());
    const auto first = std::find(lengths.begin(), lengths.end(), lengths.back());
    stack.add_same_as(static_cast<uint32_t>(first - lengths.begin()));
    stack.add_tokens(static_cast<uint32_t>(lengths.back()));
    stack.add_sequence_ids(std::string(16, static_cast<char>(lengths.back())));
  }
  for (const size_t a : lengths) {
    for (const size_t b : lengths) {
      stack.add_differing(a == b ? 0 : 1);
      stack.add_compared(8);
      stack.add_unmatched(a == b ? 0 : 8);
    }
  }
  v1::PairComparison& pair = *stack.add_pairs();
  pair.set_second(1);
  pair.mutable_total()->set_differing(stack.differing(1));
  pair.mutable_total()->set_compared(8);
  for (size_t t = 0; t < lengths[0]; ++t) pair.add_tokens()->set_compared(8);
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
