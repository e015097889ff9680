#include "core/engine/validation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/engine/float64_report.h"
#include "core/engine/sequence_checker.h"
#include "core/engine/smoothing_report.h"
#include "core/model/head.h"
#include "core/model/key_value_cache.h"
#include "core/spline/piece.h"

namespace splineserve {
namespace {

constexpr float kMaxLengthPenalty = 10;

absl::StatusOr<std::vector<CheckedSequence>> CheckSequences(const SequenceChecker& checker,
                                                            std::vector<Sequence> sequences, InputSide side,
                                                            const std::string& field,
                                                            const EngineOptions& limits) {
  if (sequences.empty()) return InvalidField(field, "at least one sequence", "none");
  if (sequences.size() > limits.max_sequences_per_request) {
    return InvalidField(
        field, absl::StrCat("at most ", limits.max_sequences_per_request, " sequences, the server's limit"),
        absl::StrCat(sequences.size()));
  }
  std::vector<CheckedSequence> checked;
  checked.reserve(sequences.size());
  size_t tokens = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    SPLINESERVE_ASSIGN_OR_RETURN(CheckedSequence sequence, checker.Check(std::move(sequences[i]), side,
                                                                         absl::StrCat(field, "[", i, "]")));
    tokens += sequence.length();
    if (tokens > limits.max_tokens_per_request) {
      return InvalidField(
          field,
          absl::StrCat("at most ", limits.max_tokens_per_request, " tokens in all, the server's limit"),
          absl::StrCat("more by ", field, "[", i, "]"));
    }
    checked.push_back(std::move(sequence));
  }
  return checked;
}

// Bytes of a token's piece from its recording to its message: the recorder holds the bits and 8 bytes a
// group; listed groups are held once more in the result and in the message.
size_t PieceBytes(const ModelConfig& config, const PieceOptions& pieces, size_t layers, size_t keys,
                  size_t memory) {
  if (pieces.detail == PieceDetail::kNone) return 0;
  const size_t heads = config.num_attention_heads;
  const size_t groups = heads * (memory == 0 ? 1 : 2) + 1;
  const size_t bits =
      heads * (keys / 8 + 1 + (memory == 0 ? 0 : memory / 8 + 1)) + config.intermediate_size / 8 + 1;
  constexpr size_t kRecordedGroup = 8, kMessageGroup = 64, kTokenPiece = 256;
  size_t bytes = kTokenPiece + layers * (bits + groups * kRecordedGroup);
  if (pieces.detail == PieceDetail::kId) return bytes;
  const size_t listed = pieces.layers.empty() ? layers : pieces.layers.size();
  bytes += listed * groups * (sizeof(PieceGroup) + kMessageGroup);
  if (pieces.detail == PieceDetail::kBits) bytes += listed * 2 * (bits + groups * 2 * sizeof(void*));
  return bytes;
}

// Bytes of `rows` output rows: in the result and in the message made of it.
size_t OutputBytes(size_t rows, size_t cols) { return 2 * rows * cols * sizeof(float); }

}  // namespace

size_t MaxSequenceTokens(const ModelConfig& config, const EngineOptions& limits) {
  return config.max_positions == 0 ? limits.max_tokens_per_sequence
                                   : std::min(config.max_positions, limits.max_tokens_per_sequence);
}

absl::StatusOr<CheckedEvaluation> CheckEncode(const LoadedModel& model, EncodeRequest request,
                                              const EngineOptions& limits) {
  const ModelConfig& config = model.config();
  if (!config.has_encoder()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model ", model.name(), ": expected an encoder, found a decoder (use Decode or Generate)"));
  }
  CheckedEvaluation checked;
  const SequenceChecker checker(model, limits);
  SPLINESERVE_ASSIGN_OR_RETURN(checked.sources, CheckSequences(checker, std::move(request.inputs),
                                                               EncoderSide(model), "inputs", limits));
  const bool has_head = config.head.kind == HeadKind::kLinear && !config.has_decoder();
  SPLINESERVE_ASSIGN_OR_RETURN(
      checked.head, WantsHead(request.output, has_head,
                              config.has_decoder() ? "the head of an encoder_decoder belongs to its decoder"
                                                   : "the model has no head"));
  SPLINESERVE_RETURN_IF_ERROR(CheckPieces(request.pieces, config.num_encoder_layers));
  checked.pieces = std::move(request.pieces);
  for (const CheckedSequence& source : checked.sources) {
    const size_t n = source.length();
    checked.total += WorkOf(config, n, 0, checked.head);
    checked.bytes += source.bytes() + n * config.hidden_size * sizeof(float) +
                     (checked.head ? OutputBytes(HeadRows(config, n), config.head.size)
                                   : OutputBytes(n, config.hidden_size)) +
                     n * PieceBytes(config, checked.pieces, config.num_encoder_layers, n, 0);
  }
  if (request.smoothing_error) SPLINESERVE_RETURN_IF_ERROR(AdmitSmoothingError(model, checked));
  if (request.float64_gates)
    SPLINESERVE_RETURN_IF_ERROR(AdmitFloat64(model, *request.float64_gates, checked));
  return checked;
}

absl::StatusOr<CheckedEvaluation> CheckDecode(const LoadedModel& model, DecodeRequest request,
                                              const EngineOptions& limits) {
  const ModelConfig& config = model.config();
  if (!config.has_decoder()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model ", model.name(), ": expected a decoder, found an encoder (use Encode)"));
  }
  CheckedEvaluation checked;
  const SequenceChecker checker(model, limits);
  SPLINESERVE_ASSIGN_OR_RETURN(checked.targets, CheckSequences(checker, std::move(request.targets),
                                                               DecoderSide(model), "targets", limits));
  if (config.has_encoder()) {
    if (request.sources.size() != checked.targets.size()) {
      return InvalidField("sources", absl::StrCat("one source a target, ", checked.targets.size()),
                          absl::StrCat(request.sources.size()));
    }
    SPLINESERVE_ASSIGN_OR_RETURN(checked.sources, CheckSequences(checker, std::move(request.sources),
                                                                 EncoderSide(model), "sources", limits));
  } else if (!request.sources.empty()) {
    return InvalidField("sources", "none, for the model is a decoder without encoder",
                        absl::StrCat(request.sources.size()));
  }
  SPLINESERVE_ASSIGN_OR_RETURN(checked.head, WantsHead(request.output, config.head.kind == HeadKind::kLinear,
                                                       "the model has no head"));
  SPLINESERVE_RETURN_IF_ERROR(CheckPieces(request.pieces, config.num_decoder_layers));
  checked.pieces = std::move(request.pieces);
  for (size_t i = 0; i < checked.targets.size(); ++i) {
    const size_t n = checked.targets[i].length();
    const size_t m = checked.sources.empty() ? 0 : checked.sources[i].length();
    checked.total += WorkOf(config, m, n, checked.head);
    checked.bytes += checked.targets[i].bytes() + (n + m) * config.hidden_size * sizeof(float) +
                     (checked.head ? OutputBytes(HeadRows(config, n), config.head.size)
                                   : OutputBytes(n, config.hidden_size)) +
                     n * PieceBytes(config, checked.pieces, config.num_decoder_layers, n, m) +
                     KeyValueCache::BytesForTokens(config, n, m) + (m == 0 ? 0 : checked.sources[i].bytes());
  }
  if (request.smoothing_error) SPLINESERVE_RETURN_IF_ERROR(AdmitSmoothingError(model, checked));
  if (request.float64_gates)
    SPLINESERVE_RETURN_IF_ERROR(AdmitFloat64(model, *request.float64_gates, checked));
  return checked;
}

absl::StatusOr<CheckedGeneration> CheckGenerate(const LoadedModel& model, GenerateRequest request,
                                                const EngineOptions& limits) {
  const ModelConfig& config = model.config();
  if (!config.has_decoder()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model ", model.name(), ": expected a decoder, found an encoder (use Encode)"));
  }
  const InputSide decoder = DecoderSide(model);
  if (decoder.input.kind != InputKind::kTokens || config.head.kind != HeadKind::kLinear ||
      config.head.pooling != Pooling::kNone || config.head.size != decoder.input.size) {
    return absl::InvalidArgumentError(absl::StrCat("model ", model.name(),
                                                   ": expected token inputs and an unpooled head of one "
                                                   "output a token, found a model that cannot generate"));
  }
  CheckedGeneration checked;
  const SequenceChecker checker(model, limits);
  if (config.has_encoder()) {
    SPLINESERVE_ASSIGN_OR_RETURN(checked.source,
                                 checker.Check(std::move(request.source), EncoderSide(model), "source"));
  } else if (!std::holds_alternative<std::monostate>(request.source)) {
    return InvalidField("source", "nothing, for the model is a decoder without encoder (use prompt)",
                        "a sequence");
  }
  const bool is_text = std::holds_alternative<Text>(request.prompt);
  const bool is_unset = std::holds_alternative<std::monostate>(request.prompt);
  if ((is_unset || is_text) && config.bos_token_id.has_value())
    checked.prompt.push_back(*config.bos_token_id);
  if (!is_unset && !(is_text && std::get<Text>(request.prompt).text.empty() && !checked.prompt.empty())) {
    SPLINESERVE_ASSIGN_OR_RETURN(const CheckedSequence prompt,
                                 checker.Check(std::move(request.prompt), decoder, "prompt"));
    checked.prompt.insert(checked.prompt.end(), prompt.ids.begin(), prompt.ids.end());
  }
  if (checked.prompt.empty()) {
    return InvalidField("prompt", "a sequence, for the model has no bos_token_id", "nothing");
  }
  SPLINESERVE_RETURN_IF_ERROR(checker.CheckLength(checked.prompt.size(), "prompt"));
  SPLINESERVE_RETURN_IF_ERROR(SequenceChecker::CheckIds(request.stop_ids, decoder.input.size, "stop_ids"));
  // Sorted and each once: looked up for every token, and never more than the vocabulary.
  std::sort(request.stop_ids.begin(), request.stop_ids.end());
  request.stop_ids.erase(std::unique(request.stop_ids.begin(), request.stop_ids.end()),
                         request.stop_ids.end());
  request.stop_ids.shrink_to_fit();
  SPLINESERVE_RETURN_IF_ERROR(CheckPieces(request.pieces, config.num_decoder_layers));
  if (request.max_new_tokens > limits.max_new_tokens) {
    return InvalidField("max_new_tokens",
                        absl::StrCat("at most ", limits.max_new_tokens, ", the server's limit"),
                        absl::StrCat(request.max_new_tokens));
  }
  if (request.max_new_tokens == 0) request.max_new_tokens = limits.max_new_tokens;
  // The last token is chosen but not evaluated, hence the one more.
  const size_t positions = MaxSequenceTokens(config, limits);
  request.max_new_tokens = std::min(request.max_new_tokens, positions - checked.prompt.size() + 1);
  switch (request.strategy) {
    case GenerationStrategy::kGreedy:
      break;
    case GenerationStrategy::kBeam:
      if (request.beam_width < 1 || request.beam_width > limits.max_beam_width) {
        return InvalidField("beam.width", absl::StrCat("1 to ", limits.max_beam_width),
                            absl::StrCat(request.beam_width));
      }
      if (request.num_hypotheses < 1 || request.num_hypotheses > request.beam_width) {
        return InvalidField("beam.num_hypotheses", absl::StrCat("1 to the beam width, ", request.beam_width),
                            absl::StrCat(request.num_hypotheses));
      }
      // Beyond it, a power of a length may leave the range of numbers; NaN fails both comparisons.
      if (!(request.length_penalty >= 0 && request.length_penalty <= kMaxLengthPenalty)) {
        return InvalidField("beam.length_penalty", absl::StrCat("0 to ", kMaxLengthPenalty),
                            absl::StrCat(request.length_penalty));
      }
      checked.beams = request.beam_width;
      break;
    case GenerationStrategy::kSample:
      if (!std::isfinite(request.temperature) || request.temperature <= 0) {
        return InvalidField("sample.temperature", "a finite number above 0",
                            absl::StrCat(request.temperature));
      }
      break;
  }
  const size_t length = checked.prompt.size() + request.max_new_tokens;
  const size_t memory = checked.source.length();
  checked.first_step = WorkOf(config, memory, checked.prompt.size(), /*head=*/false);  // of one row only
  const size_t beam =
      length * (sizeof(GeneratedToken) +
                PieceBytes(config, request.pieces, config.num_decoder_layers, length, memory));
  // At the end of a search its tokens and pieces and the hypotheses made of them are in memory.
  checked.bytes = checked.source.bytes() + checked.prompt.size() * sizeof(int32_t) +
                  request.stop_ids.size() * sizeof(int32_t) +
                  (checked.beams == 1 ? 1 : 2 * checked.beams) * beam +
                  KeyValueCache::BytesForGeneration(config, checked.prompt.size(), request.max_new_tokens,
                                                    memory, checked.beams);
  checked.options = std::move(request);
  return checked;
}

}  // namespace splineserve
