// Attention of one block of query rows of one head, of any activation.
#ifndef SPLINESERVE_CORE_MODEL_HEAD_BLOCK_H_
#define SPLINESERVE_CORE_MODEL_HEAD_BLOCK_H_

#include <cstddef>

#include "core/kernels/screen.h"
#include "core/model/attention.h"
#include "core/model/evaluation.h"
#include "core/model/key_value_cache.h"

namespace splineserve {

// Query rows that share one pass over keys and values. A multiple of the microkernel's 6 rows and of a
// tile's: screened, 2,048 tokens of d = 512 take 1/1.02 of the time that blocks of 36 take, and as long where
// they are not screened (Zen 4). Scores of 48 rows against 2,048 keys are 0.4 MB, and lists made of them as
// much again, which leaves a quarter of a second-level cache of 1 MiB; listed by their product, 10 % open,
// they are 80 KB.
inline constexpr size_t kQueryBlock = 48;
static_assert(kQueryBlock % 6 == 0 && kQueryBlock % kCandidateRows == 0);

// Whether scores of `rows` queries of one sequence may be screened, what they are and what is asked of them
// aside: not where they see different keys, nor where the screen of a head, which takes a third of the time
// of one block's product, would be for one block.
bool ScreensScores(const AttentionStage& stage, size_t rows, const KeyValues& keys);

// Where a worker remembers the share of open scores of one head of one attention; of head `heads`, one past
// the last such place of the layer.
inline size_t ExpectationOf(const ModelConfig& config, const AttentionStage& stage, size_t head) {
  const size_t attention =
      2 * static_cast<size_t>(stage.layer) + (stage.site == Site::kCrossAttention ? 1 : 0);
  return attention * config.num_attention_heads + head;
}

// Rows [task.first_row, + task.rows) of the sequence, task.rows <= kQueryBlock: scores, activation, the sum
// over values and the normalizer. `query` and `attended` are all rows of the batch, [rows, heads * head_dim].
// Reports gates, takes frozen ones and fails sequences as Attend does (attention.h).
void AttendBlock(Evaluation& evaluation, const AttentionStage& stage, const KeyValues& keys,
                 const AttentionTask& task, MatrixView<const float> query, MatrixView<float> attended,
                 Workspace::Worker& scratch);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_HEAD_BLOCK_H_
