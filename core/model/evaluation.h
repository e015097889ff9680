// What every stage of an evaluation shares: the ragged batch, the means (kernels, threads, scratch memory),
// and how a sequence fails.
//
// A batch is ragged: the rows of all its sequences are stacked without padding. Affine maps run over all rows
// at once, attention over each sequence's own. As every number is one chain, a sequence's numbers do not
// depend on its company.
#ifndef SPLINESERVE_CORE_MODEL_EVALUATION_H_
#define SPLINESERVE_CORE_MODEL_EVALUATION_H_

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/base/aligned_buffer.h"
#include "core/base/matrix_view.h"
#include "core/base/thread_pool.h"
#include "core/kernels/kernel_set.h"
#include "core/model/distinct_rows.h"
#include "core/model/frozen_gates.h"
#include "core/model/gate_sink.h"
#include "core/model/key_screen.h"
#include "core/model/key_value_cache.h"
#include "core/model/open_rows.h"
#include "core/model/screened_input.h"
#include "core/model/screened_tiles.h"
#include "core/model/screened_units.h"
#include "core/model/weights.h"

namespace splineserve {

// The new tokens of one sequence: ids or vectors, by the model's input kind. Already validated.
struct SequenceInput {
  absl::Span<const int32_t> ids;    // tokens
  MatrixView<const float> vectors;  // vectors, or [length, hidden_size] in place of tokens (embedding.h)
  size_t length() const { return vectors.data != nullptr ? vectors.rows : ids.size(); }
};

// One sequence's place in the stacked rows.
struct RowRange {
  size_t first = 0;     // row in the batch
  size_t count = 0;     // new tokens
  size_t position = 0;  // absolute position of the first of them: 0, or the length of its cache
};

// What one of several maps makes of the same rows.
struct Projection {
  const AffineMap* map = nullptr;
  MatrixView<float> out;
  std::string_view what;  // for messages: "a query"
};

// Which token a stacked row is.
struct RowToken {
  size_t sequence = 0, position = 0;
};

// One block of query rows of one head of one sequence; or all rows of all heads.
struct AttentionTask {
  size_t sequence = 0, first_row = 0, rows = 0;  // rows within the sequence
  size_t head = 0;
  bool all_heads = false;
};

// The keys of a sequence that takes one token at a time, found once for all layers: following pointers to
// them at each would miss the cache. With the next sequence's fetched ahead, 256 words of g2p in 1/1.07 of
// the time.
struct TokenKeys {
  // Of the only chunk. Who stores into it must have grown the sequence, which parted it from copies. Empty if
  // they are not kept (FindShortSequences).
  KeyValueView view;
  size_t tokens = 0;  // those seen; 0: not for token attention (token_attention.h)
};

// Memory that survives from one evaluation to the next, so that a steady load allocates nothing. Owned by the
// executor; not thread-safe: one evaluation at a time.
class Workspace {
 public:
  // Zero or stale contents; valid until the next call for the same slot.
  enum Slot { kNormed, kQuery, kKey, kValue, kAttended, kBranch, kHidden, kSlots };
  MatrixView<float> Rows(Slot slot, size_t rows, size_t cols) {
    rows_[slot].EnsureSize(rows * cols);
    return {rows_[slot].data(), rows, cols};
  }
  // Scratch of one worker of the pool.
  struct Worker {
    AlignedBuffer<float> gated;  // scores of a block of queries, or units of a block of rows
    AlignedBuffer<GateState> states;
    std::vector<uint32_t> widths;
    std::vector<uint8_t*> bits;
    std::vector<GateRow> gates;  // of each head
    OpenRows open;
    ScreenedInput screened_input;
    ScreenedUnits screened;
    ScreenedTiles screened_tiles;
    KeyScreen key_screen;
    // The share of open gates of the scores that this worker saw last of each head (HeadBlock): the next will
    // be like them. Those of another head need not be.
    std::vector<double> open_scores;
    std::vector<ScreenPause> score_pauses;  // of the same
    AlignedBuffer<float> arguments;         // of one row of frozen gates
    AlignedBuffer<float> token_keys;        // keys and values of a short sequence
    AlignedBuffer<float> unpacked;          // keys and values of one head, of a chunk of token blocks
  };
  Worker& worker(size_t i) { return workers_[i]; }
  void EnsureWorkers(size_t count) {
    if (workers_.size() < count) workers_.resize(count);
  }

  // Inputs of a product in lower precision.
  AlignedBuffer<uint32_t> low_precision_words;
  AlignedBuffer<float> low_precision_scales;

  KeyValuePool key_value_pool;  // of all that is kept or read here: before it, so that it outlives it

  // Keys and values of one encoder layer at a time. Kept between evaluations: allocating them anew took 6 %
  // of the time of short words. `count` of them, each to be Prepared.
  std::vector<KeyValues>& EncoderKeys(size_t count) {
    size_t tokens = 0;
    for (const KeyValues& keys : encoder_keys_) tokens += keys.capacity();
    // Each slot would otherwise come to hold the longest sequence that was ever in it.
    if (tokens > kMaxKeptTokens) encoder_keys_.clear();
    if (encoder_keys_.size() < count) encoder_keys_.resize(count);
    return encoder_keys_;
  }

  // What a stack keeps of its sequences: lists that are filled anew by whoever needs them.
  std::vector<RowRange> ranges;
  std::vector<SequenceInput> inputs;
  std::vector<const KeyValues*> caches, memories;
  std::vector<TokenKeys> token_caches, token_memories;  // the same, for token attention
  std::vector<AttentionTask> attention_tasks;
  DistinctRows distinct_rows;  // before the first layer
  // What is remembered of a layer from one evaluation to the next, by its weights. Weights that come to lie
  // where others were inherit it, which costs time at most.
  struct FeedForwardMemory {
    ScreenPause few_rows, many_rows;
    double open_units = OpenRows::kUnknown;  // the share of open gates when it was last counted
  };
  FeedForwardMemory& memory(const FeedForwardWeights* weights) {
    if (feed_forward_memories_.size() >= kMostMemories) feed_forward_memories_.clear();
    return feed_forward_memories_[weights];
  }
  // Of 16-bit numbers, and of a position past the tabulated ones.
  std::vector<float> position_row, token_row;

 private:
  friend class Evaluation;
  static constexpr size_t kMaxKeptTokens = 8192;
  std::vector<KeyValues> encoder_keys_;
  static constexpr size_t kMostMemories = 4096;
  std::unordered_map<const FeedForwardWeights*, FeedForwardMemory> feed_forward_memories_;
  // The state of the running evaluation.
  struct Fault {
    uint64_t stage = 0;
    size_t position = 0;
  };
  std::vector<RowRange> sequences_;
  std::vector<RowToken> tokens_;
  std::vector<absl::Status> statuses_;
  std::vector<Fault> faults_;

  AlignedBuffer<float> rows_[kSlots];
  std::vector<Worker> workers_;
};

// The means of one evaluation. Not thread-safe; lives on the stack of who executes. Its sequences and
// statuses lie in the workspace: they are valid until the next Begin of any evaluation with the same
// workspace.
class Evaluation {
 public:
  // `gates` may be null: then nothing is recorded. `keep_going` is asked between layers with false as the
  // answer to stop (every caller has left). `frozen` may be null: then the arguments' signs open the gates;
  // else it does, and `gates` still receives the arguments' own signs. All must outlive the evaluation.
  Evaluation(const ModelConfig& config, const KernelSet& kernels, ThreadPool& pool, Workspace& workspace,
             GateSink* gates, absl::FunctionRef<bool()> keep_going, const FrozenGates* frozen = nullptr)
      : config(config),
        kernels(kernels),
        pool(pool),
        workspace(workspace),
        gates(gates),
        frozen(frozen),
        keep_going_(keep_going) {
    workspace.EnsureWorkers(pool.threads());
  }

  const ModelConfig& config;
  const KernelSet& kernels;
  ThreadPool& pool;
  Workspace& workspace;
  GateSink* const gates;
  const FrozenGates* const frozen;

  // The sequences of the running stack. `stack` is "encoder" or "decoder", for messages.
  void Begin(std::string_view stack, absl::Span<const RowRange> sequences);
  absl::Span<const RowRange> sequences() const { return workspace.sequences_; }
  RowToken token(size_t row) const { return workspace.tokens_[row]; }
  size_t rows() const { return rows_; }
  // Whether `gates` wants the sequence's margins, as of Begin: no virtual call where no sequence does.
  bool WantsMargin(size_t sequence) const { return wants_margins_ && gates->WantsMargin(sequence); }
  bool WantsMargins() const { return wants_margins_; }  // of any sequence

  // Does something with rows [first, first + count).
  using OfRows = absl::FunctionRef<void(size_t first, size_t count)>;
  // The same as a step, and how many multiply-adds of a product a row of it takes as long as.
  struct RowStep {
    OfRows rows;
    size_t work;
  };

  // False once keep_going said so or every sequence has failed.
  bool KeepGoing();

  // out = map(x) in the map's precision, all rows, split over the pool by rows and panels.
  void Apply(const AffineMap& map, MatrixView<const float> x, MatrixView<float> out);
  // The same of several maps of the same rows, CheckFinite of what each made, in their order, and `after`, if
  // it is not null, for blocks of rows that make up all: many rows in one parallel section, block by block,
  // in which every core keeps its own.
  void Project(absl::Span<const Projection> projections, MatrixView<const float> x, int layer,
               const RowStep* after);
  // CheckFinite of x, then Apply, likewise.
  void CheckAndApply(MatrixView<const float> x, std::string_view what, int layer, const AffineMap& map,
                     MatrixView<float> out);
  // Calls body(first, count, worker) for blocks of rows that make up [0, rows), on all threads if there is
  // enough to do: `work` is the number of multiply-adds a row (an elementwise pass: a few a number).
  void ForRows(size_t rows, size_t work,
               absl::FunctionRef<void(size_t first, size_t count, size_t worker)> body);
  // out = norm(x) by the config's kind; out may be x. NormKind::kNone must not be asked.
  void ApplyNorm(const NormWeights& norm, MatrixView<const float> x, MatrixView<float> out);
  // x = x + branch (or branch, without residual connections), then norm(x) unless `norm` is null; then as
  // CheckFinite. One pass over the rows.
  void AddBranch(MatrixView<const float> branch, const NormWeights* norm, std::string_view what, int layer,
                 MatrixView<float> x);

  // Fails the sequences that have a non-finite number in `x` (stacked rows): OUT_OF_RANGE, naming `what`
  // ("query"), layer and token. `layer` < 0: outside the layers.
  void CheckFinite(MatrixView<const float> x, std::string_view what, int layer);

  // The same for faults found inside a parallel section: NextStage before it, then Fail from any thread. The
  // first stage that finds a fault in a sequence names it, by its earliest token.
  void NextStage() { NextStages(1); }
  void Fail(size_t sequence, size_t position, std::string_view what, int layer) {
    Fail(sequence, position, stage_, what, layer);
  }
  // Several stages in one section: the first of `count`, for the faults of each.
  uint64_t NextStages(size_t count) {
    const uint64_t first = stage_ + 1;
    stage_ += count;
    return first;
  }
  void Fail(size_t sequence, size_t position, uint64_t stage, std::string_view what, int layer);

  // Whether Apply of so many rows gives every thread some of them, whole, with float32 sums. Then it may as
  // well be ApplyRows in a section of the caller's.
  bool AppliesByRows(const AffineMap& map, size_t rows) const;

  // Apply, CheckFinite, AddBranch and ApplyNorm of rows [first, first + count) alone, on the calling thread:
  // for parallel sections of several steps, each with a stage of its own.
  void ApplyRows(const AffineMap& map, MatrixView<const float> x, size_t first, size_t count,
                 MatrixView<float> out) const;
  void CheckRows(MatrixView<const float> x, size_t first, size_t count, uint64_t stage, std::string_view what,
                 int layer);
  void AddRows(MatrixView<const float> branch, const NormWeights* norm, size_t first, size_t count,
               uint64_t stage, std::string_view what, int layer, MatrixView<float> x);
  void NormRows(const NormWeights& norm, MatrixView<const float> x, size_t first, size_t count,
                MatrixView<float> out) const;

  // One status a sequence: OK, or OUT_OF_RANGE.
  const std::vector<absl::Status>& statuses() const { return workspace.statuses_; }

 private:
  // Splits a product of `rows` rows by rows and by panels over the pool.
  struct Part {
    size_t first_row, rows, first_panel, panels;
  };
  void Split(size_t rows, size_t inner, size_t panels, size_t panel_width,
             absl::FunctionRef<void(const Part&)> body);
  // Whether products of so many rows, of `work` multiply-adds, are split by rows alone.
  bool SplitsByRows(size_t rows, size_t work) const;
  // Calls body(first, count) for each thread's share of the rows.
  void ForShares(size_t rows, OfRows body);
  // One part of a product with float32 sums.
  void ApplyPart(const AffineMap& map, MatrixView<const float> x, const Part& part,
                 MatrixView<float> out) const;
  void NormRow(const NormWeights& norm, const float* x, size_t n, float* out) const;

  std::string_view stack_;
  size_t rows_ = 0;
  bool wants_margins_ = false;
  uint64_t stage_ = 0;
  std::mutex fault_mutex_;  // guards statuses and faults in parallel sections
  absl::FunctionRef<bool()> keep_going_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_EVALUATION_H_
