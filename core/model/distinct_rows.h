// Rows of a batch that are equal before the first layer, because they are the same token at the same
// position: what the first layer makes of a row alone is computed once for all of them.
//
// A batch of 256 words has some 2,100 letters and 150 different ones by letter and place, and a step of their
// transcription 256 phonemes, of which some 35 differ. (256 words of g2p in 1/1.04 of the time.)
#ifndef SPLINESERVE_CORE_MODEL_DISTINCT_ROWS_H_
#define SPLINESERVE_CORE_MODEL_DISTINCT_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "core/base/aligned_buffer.h"
#include "core/base/matrix_view.h"
#include "core/format/model_config.h"

namespace splineserve {

struct AffineMap;
class Evaluation;
struct SequenceInput;

// Kept between evaluations: allocates only when batches grow. Not thread-safe.
class DistinctRows {
 public:
  // Finds them among the rows of the evaluation's sequences, whose inputs are `inputs`. Leaves empty() where
  // too few are equal to make up for copying, or cannot be: batches of few rows or of one sequence, vectors.
  // Cost: some 10 ns a row.
  void Find(const Evaluation& evaluation, const InputConfig& input, absl::Span<const SequenceInput> inputs);
  bool empty() const { return first_.empty(); }
  size_t size() const { return first_.size(); }

  // out = map(x), all rows, by way of the distinct ones. Must not be empty().
  void Apply(Evaluation& evaluation, const AffineMap& map, MatrixView<const float> x, MatrixView<float> out);

 private:
  std::vector<uint32_t> first_;   // of each distinct row, the first that is equal to it
  std::vector<uint32_t> of_row_;  // of each row, the index of its distinct one
  std::vector<uint32_t> table_;   // by hash: index of a distinct row + 1, or 0
  AlignedBuffer<float> in_, out_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_DISTINCT_ROWS_H_
