// Whole sequences through a model in one pass: the encoder, the decoder (teacher-forced, with the encoder's
// rows as memory) or both, then the head.
#ifndef SPLINESERVE_CORE_MODEL_FORWARD_H_
#define SPLINESERVE_CORE_MODEL_FORWARD_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/base/aligned_buffer.h"
#include "core/base/matrix_view.h"
#include "core/base/thread_pool.h"
#include "core/model/evaluation.h"

namespace splineserve {

// The rows that a pass writes; kept by its caller, so that a steady load allocates nothing.
struct ForwardRows {
  AlignedBuffer<float> memory;  // final rows of the encoder
  AlignedBuffer<float> hidden;  // final rows of the decoder
  AlignedBuffer<float> head;
};

struct ForwardMeans {
  const KernelSet& kernels;
  ThreadPool& pool;
  Workspace& workspace;
  ForwardRows& rows;
};

// What goes in: validated, non-empty sequences. All must outlive the pass.
struct ForwardBatch {
  absl::Span<const SequenceInput> sources;  // of the encoder; empty for a decoder without encoder
  absl::Span<const SequenceInput> targets;  // of the decoder, one a source; empty for the encoder alone
  bool head = false;                        // apply the head to the last stack's rows
  // Of each stack; null: nobody wants its gates, or its arguments open them.
  GateSink* encoder_sink = nullptr;
  GateSink* decoder_sink = nullptr;
  const FrozenGates* encoder_frozen = nullptr;
  const FrozenGates* decoder_frozen = nullptr;
};

struct ForwardResult {
  bool finished = false;  // false: keep_going said so, and nothing below means anything
  // Stacked in order, in ForwardRows: valid until the next pass. `hidden` holds the last stack's final rows,
  // `head` HeadRows() for each sequence, if asked for.
  MatrixView<const float> hidden, head;
  // OK, or OUT_OF_RANGE where a number overflowed in the encoder or the memory's keys and values; in the
  // decoder; anywhere in the last stack or its head (empty without the head). The rows of a sequence that is
  // not OK everywhere are meaningless.
  std::vector<absl::Status> source_statuses, target_statuses, head_statuses;
};

// `keep_going` is asked between layers and stacks; false stops the pass.
ForwardResult RunForward(const ModelWeights& weights, const ForwardMeans& means, const ForwardBatch& batch,
                         absl::FunctionRef<bool()> keep_going);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_FORWARD_H_
