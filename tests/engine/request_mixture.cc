#include "tests/engine/request_mixture.h"

#include <stdexcept>
#include <utility>

#include "absl/time/clock.h"

namespace splineserve::testing {
namespace {

struct Share {
  MixedKind kind;
  size_t weight;
};

constexpr Share kShares[] = {
    {MixedKind::kEncode, 26}, {MixedKind::kEncodePieces, 14}, {MixedKind::kDecode, 14},
    {MixedKind::kGreedy, 11}, {MixedKind::kBeam, 4},          {MixedKind::kSample, 9},
    {MixedKind::kWrong, 9},   {MixedKind::kOverflow, 2},      {MixedKind::kCancelled, 4},
    {MixedKind::kExpired, 2}, {MixedKind::kHurried, 2},       {MixedKind::kLeft, 3},
};

constexpr size_t kMostTokens = 8;
constexpr size_t kMostNewTokens = 6;
constexpr size_t kBeamWidth = 3;

}  // namespace

std::string_view Name(MixedKind kind) {
  switch (kind) {
    case MixedKind::kEncode:
      return "Encode";
    case MixedKind::kEncodePieces:
      return "Encode with pieces";
    case MixedKind::kDecode:
      return "Decode";
    case MixedKind::kGreedy:
      return "Generate, greedy";
    case MixedKind::kBeam:
      return "Generate, beams";
    case MixedKind::kSample:
      return "Generate, sampled";
    case MixedKind::kWrong:
      return "wrong";
    case MixedKind::kOverflow:
      return "overflowing";
    case MixedKind::kCancelled:
      return "cancelled";
    case MixedKind::kExpired:
      return "expired before";
    case MixedKind::kHurried:
      return "expired within";
    case MixedKind::kLeft:
      return "left by its caller";
    case MixedKind::kKinds:
      break;
  }
  return "?";
}

bool MayEndSo(MixedKind kind, absl::StatusCode code) {
  switch (kind) {
    case MixedKind::kWrong:
      return code == absl::StatusCode::kInvalidArgument;
    case MixedKind::kOverflow:
      return code == absl::StatusCode::kOutOfRange;
    case MixedKind::kExpired:
      return code == absl::StatusCode::kDeadlineExceeded;
    case MixedKind::kCancelled:  // too late, perhaps; over gRPC it is a deadline
      return code == absl::StatusCode::kOk || code == absl::StatusCode::kCancelled ||
             code == absl::StatusCode::kDeadlineExceeded;
    case MixedKind::kHurried:
      return code == absl::StatusCode::kOk || code == absl::StatusCode::kDeadlineExceeded;
    default:
      return code == absl::StatusCode::kOk;
  }
}

RequestMixture::RequestMixture(std::vector<Model> models, uint64_t seed, bool hurried)
    : random_(seed), hurried_(hurried) {
  bool both = false;
  for (Model& model : models) {
    const ModelConfig& config = model->config();
    // It would refuse some of the sequences that are drawn (cubic knows one position).
    if (config.max_positions != 0 && config.max_positions < kMostTokens) continue;
    both = both || (config.has_encoder() && config.has_decoder());
    if (config.has_encoder()) encoders_.push_back(model);
    if (config.has_decoder()) decoders_.push_back(model);
    if (config.has_encoder() && config.input.kind == InputKind::kVectors) vector_encoders_.push_back(model);
  }
  if (vector_encoders_.empty() || decoders_.size() < 2 || !both)
    throw std::runtime_error("expected an encoder over vectors, a decoder and an encoder_decoder");
}

MixedKind RequestMixture::DrawKind() {
  size_t all = 0;
  for (const Share& share : kShares) all += share.weight;
  size_t drawn = Draw(all);
  for (const Share& share : kShares) {
    if (drawn < share.weight)
      return share.kind == MixedKind::kHurried && !hurried_ ? MixedKind::kExpired : share.kind;
    drawn -= share.weight;
  }
  return MixedKind::kEncode;
}

PieceOptions RequestMixture::DrawPieces() {
  static constexpr PieceDetail kDetails[] = {PieceDetail::kId, PieceDetail::kCounts, PieceDetail::kBits};
  PieceOptions pieces = {.detail = kDetails[Draw(3)], .margins = Draw(2) == 0};
  if (Draw(4) == 0) pieces.layers = {0};
  if (Draw(4) == 0) pieces.sites = {Site::kFeedForward};
  return pieces;
}

Sequence RequestMixture::DrawSequence(const InputConfig& input, const std::optional<Vocabulary>& vocabulary) {
  const size_t tokens = 1 + Draw(kMostTokens);
  if (input.kind == InputKind::kVectors) {
    Matrix matrix = {tokens, input.size, {}};
    for (size_t i = 0; i < tokens * input.size; ++i)
      matrix.values.push_back(static_cast<float>(Draw(2001)) / 1000 - 1);
    return matrix;
  }
  TokenIds ids;
  for (size_t i = 0; i < tokens; ++i) ids.ids.push_back(static_cast<int32_t>(Draw(input.size)));
  if (vocabulary.has_value() && Draw(2) == 0) {
    // Not every id can be written: "<pad>" is five characters.
    Text text = {vocabulary->Decode(ids.ids)};
    if (const auto read = vocabulary->Encode(text.text); read.ok() && *read == ids.ids) return text;
  }
  return ids;
}

EncodeRequest RequestMixture::DrawEncode(const LoadedModel& model) {
  EncodeRequest request;
  for (size_t i = 0; i < 1 + Draw(2); ++i)
    request.inputs.push_back(DrawSequence(model.config().input, model.vocabulary()));
  return request;
}

DecodeRequest RequestMixture::DrawDecode(const LoadedModel& model) {
  DecodeRequest request;
  request.targets.push_back(DrawSequence(model.config().decoder_input(), model.decoder_vocabulary()));
  if (model.config().has_encoder())
    request.sources.push_back(DrawSequence(model.config().input, model.vocabulary()));
  if (Draw(2) == 0) request.pieces = DrawPieces();
  return request;
}

GenerateRequest RequestMixture::DrawGenerate(const LoadedModel& model, MixedKind kind) {
  GenerateRequest request;
  if (model.config().has_encoder()) request.source = DrawSequence(model.config().input, model.vocabulary());
  if (Draw(4) == 0) request.prompt = DrawSequence(model.config().decoder_input(), model.decoder_vocabulary());
  request.max_new_tokens = 1 + Draw(kMostNewTokens);
  if (kind == MixedKind::kBeam) {
    request.strategy = GenerationStrategy::kBeam;
    request.beam_width = 1 + Draw(kBeamWidth);
    request.num_hypotheses = 1 + Draw(request.beam_width);
  } else if (kind == MixedKind::kSample) {
    request.strategy = GenerationStrategy::kSample;
    request.top_k = Draw(2) == 0 ? 0 : 1 + Draw(5);
    request.seed = random_();
  }
  if (Draw(3) == 0) request.pieces = DrawPieces();
  return request;
}

// One fault of many; each is found at another place.
MixedRequest RequestMixture::DrawWrong() {
  const Model decoder = Pick(decoders_);
  const auto vocabulary_size = static_cast<int32_t>(decoder->config().decoder_input().size);
  switch (Draw(6)) {
    case 0: {  // an id outside the vocabulary
      DecodeRequest request = DrawDecode(*decoder);
      request.targets = {TokenIds{{0, vocabulary_size}}};
      return {MixedKind::kWrong, decoder, std::move(request)};
    }
    case 1: {  // an empty sequence
      DecodeRequest request = DrawDecode(*decoder);
      request.targets = {TokenIds{}};
      return {MixedKind::kWrong, decoder, std::move(request)};
    }
    case 2: {  // no sequence
      const Model encoder = Pick(encoders_);
      return {MixedKind::kWrong, encoder, EncodeRequest{}};
    }
    case 3: {  // vectors of a wrong size
      const Model encoder = Pick(vector_encoders_);
      const size_t size = encoder->config().input.size + 1;
      return {MixedKind::kWrong, encoder,
              EncodeRequest{.inputs = {Matrix{1, size, std::vector<float>(size, 0.5f)}}}};
    }
    case 4: {  // more tokens than any server gives
      GenerateRequest request = DrawGenerate(*decoder, MixedKind::kGreedy);
      request.max_new_tokens = 1'000'000;
      return {MixedKind::kWrong, decoder, std::move(request)};
    }
    default: {  // text that is not in the vocabulary
      DecodeRequest request = DrawDecode(*decoder);
      request.targets = {Text{"\xE2\x82\xAC"}};
      return {MixedKind::kWrong, decoder, std::move(request)};
    }
  }
}

// What a caller sends who then does not wait for the answer.
MixedRequest RequestMixture::DrawAny(MixedKind kind) {
  switch (Draw(3)) {
    case 0: {
      const Model model = Pick(encoders_);
      return {kind, model, DrawEncode(*model)};
    }
    case 1: {
      const Model model = Pick(decoders_);
      return {kind, model, DrawDecode(*model)};
    }
    default: {
      const Model model = Pick(decoders_);
      return {kind, model, DrawGenerate(*model, MixedKind::kGreedy)};
    }
  }
}

MixedRequest RequestMixture::Next() {
  const MixedKind kind = DrawKind();
  switch (kind) {
    case MixedKind::kEncode:
    case MixedKind::kEncodePieces: {
      const Model model = Pick(encoders_);
      EncodeRequest request = DrawEncode(*model);
      if (kind == MixedKind::kEncodePieces) request.pieces = DrawPieces();
      return {kind, model, std::move(request)};
    }
    case MixedKind::kDecode: {
      const Model model = Pick(decoders_);
      return {kind, model, DrawDecode(*model)};
    }
    case MixedKind::kGreedy:
    case MixedKind::kBeam:
    case MixedKind::kSample:
    case MixedKind::kLeft: {
      const Model model = Pick(decoders_);
      return {kind, model, DrawGenerate(*model, kind)};
    }
    case MixedKind::kWrong:
      return DrawWrong();
    case MixedKind::kOverflow: {
      const Model model = Pick(vector_encoders_);
      const size_t size = model->config().input.size;
      return {kind, model, EncodeRequest{.inputs = {Matrix{1, size, std::vector<float>(size, 3e38f)}}}};
    }
    default:
      return DrawAny(kind);
  }
}

void Submit(Engine& engine, MixedRequest mixed, std::function<void(absl::StatusCode)> done) {
  absl::Time deadline = absl::InfiniteFuture();
  if (mixed.kind == MixedKind::kExpired) deadline = absl::InfinitePast();
  if (mixed.kind == MixedKind::kHurried) deadline = absl::Now() + absl::Milliseconds(1);
  const auto token = std::make_shared<CancellationToken>(deadline);
  const auto evaluated = [done](const absl::StatusOr<EvaluationResult>& result) {
    done(result.status().code());
  };
  absl::Status admitted;
  if (auto* const encode = std::get_if<EncodeRequest>(&mixed.request)) {
    admitted = engine.Encode(mixed.model, std::move(*encode), token, evaluated);
  } else if (auto* const decode = std::get_if<DecodeRequest>(&mixed.request)) {
    admitted = engine.Decode(mixed.model, std::move(*decode), token, evaluated);
  } else {
    const bool leaves = mixed.kind == MixedKind::kLeft;
    admitted = engine.Generate(mixed.model, std::move(std::get<GenerateRequest>(mixed.request)), token,
                               [done, leaves](const absl::StatusOr<GenerateEvent>& event) {
                                 const bool last = !event.ok() || event->final || leaves;
                                 if (last) done(event.status().code());
                                 return !last;
                               });
  }
  if (!admitted.ok()) return done(admitted.code());
  if (mixed.kind == MixedKind::kCancelled) token->Cancel();
}

}  // namespace splineserve::testing
