#include "core/model/embedding.h"

#include <algorithm>
#include <vector>

namespace splineserve {
namespace {

// Row `position` of the position table, or null without positions. `scratch` holds rows of 16-bit numbers and
// those past the tabulated ones.
const float* PositionRow(const Evaluation& evaluation, const StackWeights& stack, size_t position,
                         std::vector<float>& scratch) {
  const ModelConfig& config = evaluation.config;
  if (config.positions == Positions::kNone) return nullptr;
  if (position < stack.positions.rows()) return stack.positions.Row(position, evaluation.kernels, scratch);
  scratch.resize(config.hidden_size);
  SinusoidalPosition(position, config.hidden_size, scratch.data());
  return scratch.data();
}

}  // namespace

void Embed(Evaluation& evaluation, const InputConfig& input, const StackWeights& stack,
           absl::Span<const SequenceInput> inputs, MatrixView<float> x) {
  const ModelConfig& config = evaluation.config;
  const size_t d = config.hidden_size;
  if (input.kind == InputKind::kVectors) {
    const MatrixView<float> rows =
        evaluation.workspace.Rows(Workspace::kNormed, evaluation.rows(), input.size);
    for (size_t s = 0; s < inputs.size(); ++s) {
      for (size_t t = 0; t < inputs[s].length(); ++t) {
        std::copy_n(inputs[s].vectors.row(t), input.size, rows.row(evaluation.sequences()[s].first + t));
      }
    }
    evaluation.Apply(*stack.input_projection, rows, x);
  }
  std::vector<float>& scratch = evaluation.workspace.position_row;
  std::vector<float>& token_scratch = evaluation.workspace.token_row;
  for (size_t s = 0; s < inputs.size(); ++s) {
    const RowRange range = evaluation.sequences()[s];
    for (size_t t = 0; t < range.count; ++t) {
      float* const row = x.row(range.first + t);
      const float* const position = PositionRow(evaluation, stack, range.position + t, scratch);
      if (input.kind == InputKind::kTokens && inputs[s].vectors.data != nullptr) {
        evaluation.kernels.scale_add(inputs[s].vectors.row(t), 1.0f, position, d, row);
      } else if (input.kind == InputKind::kTokens) {
        const float* embedding = stack.token_embedding.Row(static_cast<size_t>(inputs[s].ids[t]),
                                                           evaluation.kernels, token_scratch);
        evaluation.kernels.scale_add(embedding, input.scale, position, d, row);
      } else if (position != nullptr) {
        evaluation.kernels.add(row, position, d, row);
      }
    }
  }
  evaluation.CheckFinite(x, "the embedded input", -1);
}

}  // namespace splineserve
