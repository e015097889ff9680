#include "tests/bench/mixed_calls.h"

#include <variant>

namespace splineserve {
namespace {

using testing::MixedKind;
using testing::MixedRequest;

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr absl::Duration kHurry = absl::Microseconds(700);  // about when an answer to one request comes

// Nothing of a form that is not set.
void Fill(const Sequence& sequence, v1::Sequence* out) {
  if (const auto* text = std::get_if<Text>(&sequence)) {
    out->set_text(text->text);
  } else if (const auto* tokens = std::get_if<TokenIds>(&sequence)) {
    out->mutable_tokens()->mutable_ids()->Add(tokens->ids.begin(), tokens->ids.end());
  } else if (const auto* matrix = std::get_if<Matrix>(&sequence)) {
    out->mutable_vectors()->set_rows(static_cast<uint32_t>(matrix->rows));
    out->mutable_vectors()->set_cols(static_cast<uint32_t>(matrix->cols));
    out->mutable_vectors()->mutable_values()->Add(matrix->values.begin(), matrix->values.end());
  }
}

void Fill(const PieceOptions& pieces, v1::PieceOptions* out) {
  static constexpr v1::PieceOptions::Detail kDetails[] = {v1::PieceOptions::NONE, v1::PieceOptions::ID,
                                                          v1::PieceOptions::COUNTS, v1::PieceOptions::BITS};
  out->set_detail(kDetails[static_cast<size_t>(pieces.detail)]);
  for (const size_t layer : pieces.layers) out->add_layers(static_cast<uint32_t>(layer));
  if (!pieces.sites.empty())
    out->add_sites(v1::Site::FEED_FORWARD);  // the only one that the mixture asks for
  out->set_margins(pieces.margins);
}

v1::GenerateRequest ToProto(const GenerateRequest& request, const std::string& model) {
  v1::GenerateRequest out;
  out.mutable_model()->set_name(model);
  if (!std::holds_alternative<std::monostate>(request.source)) Fill(request.source, out.mutable_source());
  if (!std::holds_alternative<std::monostate>(request.prompt)) Fill(request.prompt, out.mutable_prompt());
  switch (request.strategy) {
    case GenerationStrategy::kGreedy:
      out.mutable_greedy();
      break;
    case GenerationStrategy::kBeam:
      out.mutable_beam()->set_width(static_cast<uint32_t>(request.beam_width));
      out.mutable_beam()->set_num_hypotheses(static_cast<uint32_t>(request.num_hypotheses));
      break;
    case GenerationStrategy::kSample:
      out.mutable_sample()->set_top_k(static_cast<uint32_t>(request.top_k));
      out.mutable_sample()->set_seed(request.seed);
      break;
  }
  out.set_max_new_tokens(static_cast<uint32_t>(request.max_new_tokens));
  Fill(request.pieces, out.mutable_pieces());
  return out;
}

}  // namespace

MixedCalls::MixedCalls(const std::string& server)
    : patient_({.server = server, .deadline = kPatience}), hurried_({.server = server, .deadline = kHurry}) {}

absl::Status MixedCalls::Call(const MixedRequest& mixed) const {
  const bool hurries = mixed.kind == MixedKind::kCancelled || mixed.kind == MixedKind::kExpired ||
                       mixed.kind == MixedKind::kHurried;
  const client::Client& client = hurries ? hurried_ : patient_;
  if (const auto* encode = std::get_if<EncodeRequest>(&mixed.request)) {
    v1::EncodeRequest request;
    request.mutable_model()->set_name(mixed.model->name());
    for (const Sequence& input : encode->inputs) Fill(input, request.add_inputs());
    Fill(encode->pieces, request.mutable_pieces());
    return client.Encode(request).status();
  }
  if (const auto* decode = std::get_if<DecodeRequest>(&mixed.request)) {
    v1::DecodeRequest request;
    request.mutable_model()->set_name(mixed.model->name());
    for (const Sequence& source : decode->sources) Fill(source, request.add_sources());
    for (const Sequence& target : decode->targets) Fill(target, request.add_targets());
    Fill(decode->pieces, request.mutable_pieces());
    return client.Decode(request).status();
  }
  const v1::GenerateRequest request = ToProto(std::get<GenerateRequest>(mixed.request), mixed.model->name());
  const bool leaves = mixed.kind == MixedKind::kLeft;
  bool left = false;
  const absl::Status status = client
                                  .Generate(request,
                                            [&](const v1::GenerateResponse&) {
                                              left = leaves;
                                              return !left;
                                            })
                                  .status();
  return left ? absl::OkStatus() : status;
}

}  // namespace splineserve
