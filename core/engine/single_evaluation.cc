#include "core/engine/single_evaluation.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/thread_pool.h"
#include "core/model/forward.h"
#include "core/model/key_value_cache.h"
#include "core/spline/frozen_piece.h"
#include "core/spline/piece_recorder.h"

namespace splineserve {
namespace {

using Stack = PieceLayout::Stack;

// One stack's gates: where they come from, if they are frozen, and where they go.
struct StackGates {
  StackGates(const ModelConfig& config, Stack stack, size_t tokens, size_t memory,
             const std::vector<TokenPiece>* frozen_pieces)
      : recorder(config, stack) {
    recorder.AddSequence({.detail = PieceDetail::kBits, .margins = true}, 0, tokens, tokens, memory);
    if (frozen_pieces != nullptr) frozen.emplace(PieceLayout(config, stack), *frozen_pieces);
  }
  const FrozenGates* frozen_or_null() const { return frozen.has_value() ? &*frozen : nullptr; }

  PieceRecorder recorder;
  std::optional<FrozenPiece> frozen;
};

absl::Status Prefixed(const absl::Status& status, const std::string& where, const char* side, bool frozen) {
  return absl::Status(status.code(), absl::StrCat(where, side, frozen ? ", on the piece: " : ": ",
                                                  std::string(status.message())));
}

}  // namespace

absl::StatusOr<SingleEvaluation> EvaluateAlone(const LoadedModel& model, const CheckedInput& input, bool head,
                                               const StackPieces* frozen, const std::string& where,
                                               const KernelSet& kernels,
                                               absl::FunctionRef<absl::Status()> check) {
  const ModelConfig& config = model.config();
  const size_t sources = input.source.length(), targets = input.target.length();
  SPLINESERVE_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, ThreadPool::Create(1));
  Workspace workspace;
  ForwardRows rows;
  std::optional<StackGates> encoder, decoder;
  ForwardBatch batch;
  const SequenceInput source = input.source.input(), target = input.target.input();
  if (sources != 0) {
    encoder.emplace(config, Stack::kEncoder, sources, 0, frozen == nullptr ? nullptr : &frozen->encoder);
    batch.sources = {&source, 1};
    batch.encoder_sink = &encoder->recorder;
    batch.encoder_frozen = encoder->frozen_or_null();
  }
  if (targets != 0) {
    decoder.emplace(config, Stack::kDecoder, targets, sources,
                    frozen == nullptr ? nullptr : &frozen->decoder);
    batch.targets = {&target, 1};
    batch.decoder_sink = &decoder->recorder;
    batch.decoder_frozen = decoder->frozen_or_null();
  }
  batch.head = head;
  absl::Status stopped;
  const ForwardResult result = RunForward(model.weights(), {kernels, *pool, workspace, rows}, batch, [&] {
    if (stopped.ok()) stopped = check();
    return stopped.ok();
  });
  SPLINESERVE_RETURN_IF_ERROR(stopped);
  const char* const last = targets != 0 ? ".target" : ".source";
  const std::pair<const std::vector<absl::Status>*, const char*> outcomes[] = {
      {&result.source_statuses, ".source"},
      {&result.target_statuses, ".target"},
      {&result.head_statuses, last}};
  for (const auto& [statuses, side] : outcomes) {
    if (!statuses->empty() && !statuses->front().ok()) {
      return Prefixed(statuses->front(), where, side, frozen != nullptr);
    }
  }
  SingleEvaluation evaluation;
  const MatrixView<const float> output = head ? result.head : result.hidden;
  evaluation.output = {output.rows, output.cols, {}};
  evaluation.output.values.assign(output.data, output.data + output.rows * output.cols);
  if (encoder.has_value()) evaluation.pieces.encoder = encoder->recorder.TakeAll(0);
  if (decoder.has_value()) evaluation.pieces.decoder = decoder->recorder.TakeAll(0);
  return evaluation;
}

SingleEvaluationBytes BytesOf(const ModelConfig& config, const CheckedInput& input) {
  const size_t sources = input.source.length(), targets = input.target.length();
  SingleEvaluationBytes bytes;
  bytes.input = input.source.bytes() + input.target.bytes();
  if (sources != 0) bytes.pieces += PieceLayout(config, Stack::kEncoder).WholePieceBytes(sources, 0);
  if (targets != 0) bytes.pieces += PieceLayout(config, Stack::kDecoder).WholePieceBytes(targets, sources);
  // The workspace's slots, the final rows and the output; one layer's keys and values, or the decoder's.
  const size_t widest = std::max(config.hidden_size, std::max(config.attention_size(), config.head.size));
  const size_t longest = std::max(sources, targets);
  bytes.rows = longest * sizeof(float) * ((Workspace::kSlots + 3) * widest + config.intermediate_size) +
               KeyValueCache::BytesForTokens(config, targets, sources);
  return bytes;
}

}  // namespace splineserve
