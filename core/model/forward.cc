#include "core/model/forward.h"

#include <algorithm>
#include <memory>

#include "core/model/decoder.h"
#include "core/model/encoder.h"
#include "core/model/head.h"

namespace splineserve {
namespace {

MatrixView<float> RowsIn(AlignedBuffer<float>& buffer, size_t rows, size_t cols) {
  buffer.EnsureSize(rows * cols);
  return {buffer.data(), rows, cols};
}

size_t TotalLength(absl::Span<const SequenceInput> inputs) {
  size_t rows = 0;
  for (const SequenceInput& input : inputs) rows += input.length();
  return rows;
}

void KeepFirst(const std::vector<absl::Status>& later, std::vector<absl::Status>& statuses) {
  for (size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].ok()) statuses[i] = later[i];
  }
}

}  // namespace

ForwardResult RunForward(const ModelWeights& weights, const ForwardMeans& means, const ForwardBatch& batch,
                         absl::FunctionRef<bool()> keep_going) {
  const ModelConfig& config = weights.config;
  const size_t count = std::max(batch.sources.size(), batch.targets.size());
  ForwardResult result;
  MatrixView<float> hidden;
  Evaluation encoding(config, means.kernels, means.pool, means.workspace, batch.encoder_sink, keep_going,
                      batch.encoder_frozen);
  if (!batch.sources.empty()) {
    hidden = RowsIn(means.rows.memory, TotalLength(batch.sources), config.hidden_size);
    result.source_statuses = RunEncoder(encoding, weights, batch.sources, hidden);
  }

  Evaluation decoding(config, means.kernels, means.pool, means.workspace, batch.decoder_sink, keep_going,
                      batch.decoder_frozen);
  std::vector<KeyValueCache> caches;
  if (!batch.targets.empty()) {
    std::vector<std::shared_ptr<const KeyValues>> memory(count);
    if (!batch.sources.empty()) {
      std::vector<size_t> lengths;
      for (const SequenceInput& source : batch.sources) lengths.push_back(source.length());
      KeepFirst(ProjectMemory(decoding, weights, lengths, hidden, KeyValueLayout::kPanels, memory),
                result.source_statuses);
    }
    caches.reserve(count);
    std::vector<DecoderInput> inputs;
    for (size_t i = 0; i < count; ++i) {
      caches.push_back(KeyValueCache::ForTokens(&means.workspace.key_value_pool, config,
                                                batch.targets[i].length(), memory[i]));
      inputs.push_back({batch.targets[i], &caches.back()});
    }
    hidden = RowsIn(means.rows.hidden, TotalLength(batch.targets), config.hidden_size);
    result.target_statuses = RunDecoder(decoding, weights, inputs, hidden);
  }
  if (!keep_going()) return result;

  if (batch.head) {
    Evaluation& last = batch.targets.empty() ? encoding : decoding;
    size_t rows = 0;
    for (const RowRange& range : last.sequences()) rows += HeadRows(config, range.count);
    const MatrixView<float> head = RowsIn(means.rows.head, rows, config.head.size);
    ApplyHead(last, weights, hidden, head);
    result.head_statuses = last.statuses();
    result.head = head;
  }
  result.hidden = hidden;
  result.finished = true;
  return result;
}

}  // namespace splineserve
