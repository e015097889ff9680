// A model's weights in the layout that the kernels stream, packed once at load.
#ifndef SPLINESERVE_CORE_MODEL_WEIGHTS_H_
#define SPLINESERVE_CORE_MODEL_WEIGHTS_H_

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/aligned_buffer.h"
#include "core/format/model_config.h"
#include "core/format/model_directory.h"
#include "core/kernels/low_precision.h"
#include "core/kernels/packing.h"
#include "core/kernels/screen.h"
#include "core/model/row_table.h"

namespace splineserve {

// Where sparse products overtake dense ones, before it is measured: at half the gates open they take 0.8 of
// the time on AVX-512, at all of them 1.6 times as long.
inline constexpr double kDefaultSparseBelow = 0.6;

// y = W x + b, W [out, in] packed in the numbers of its file, b [out] or absent (zero).
struct AffineMap {
  PackedMatrix weight;        // inner = in, outer = out
  AlignedBuffer<float> bias;  // empty if absent
  // The same in lower precision, if that was asked for; `weight` is then empty.
  LowPrecisionMatrix low_precision;
  const float* bias_or_null() const { return bias.size() == 0 ? nullptr : bias.data(); }
  // Of a map whose input comes from gates: rows with a smaller share of open gates are multiplied by their
  // lists.
  double sparse_below = kDefaultSparseBelow;
};

// Of any kind of norm; empty where the model has none.
struct NormWeights {
  AlignedBuffer<float> weight;  // [d]
  AlignedBuffer<float> bias;    // [d] or empty (zero)
  const float* bias_or_null() const { return bias.size() == 0 ? nullptr : bias.data(); }
};

struct AttentionWeights {
  NormWeights norm;
  AffineMap query, key, value;  // d -> heads * head_dim
  AffineMap output;             // heads * head_dim -> d
  // Queries with a smaller share of open scores, or where that was expected, multiply only the values of open
  // keys.
  double sparse_below = kDefaultSparseBelow;
  // Up to which share of a block's scores being candidates screening them pays; 0: never, 1: whatever its
  // size (screening.h).
  double screen_limit = 0;
};

// Up to which share of its units being candidates screening a block of rows pays. Of row lists more with few
// rows, whose time is that of reading weights.
struct ScreenLimit {
  // From `some` rows on, tiles may be taken; more than `many` gain no more.
  static constexpr size_t kFewRows = 4, kSomeRows = 16, kManyRows = 48;
  struct {
    double one = 0, few = 0, some = 0;
  } rows;
  struct {
    double some = 0, many = 0;
  } tiles;

  bool pays() const {
    return rows.one > 0 || rows.few > 0 || rows.some > 0 || tiles.some > 0 || tiles.many > 0;
  }
  // By the inverse of the rows. From few to some by its square, for reading weights is soon hidden behind
  // multiplying them, of 512 by 2,048 at 16 rows.
  double OfRows(size_t count) const {
    const double share = Share(kFewRows, count);
    if (count < kFewRows) return rows.few + (rows.one - rows.few) * (share - 1) / (kFewRows - 1);
    const double least = Square(Share(kFewRows, kSomeRows));
    return rows.some + (rows.few - rows.some) * std::max(0.0, (Square(share) - least) / (1 - least));
  }
  double OfTiles(size_t count) const {
    if (count < kSomeRows) return 0;
    const double least = Share(kSomeRows, kManyRows);
    return tiles.many +
           (tiles.some - tiles.many) * std::max(0.0, (Share(kSomeRows, count) - least) / (1 - least));
  }

 private:
  static constexpr double Share(size_t n, size_t of) {
    return static_cast<double>(n) / static_cast<double>(of);
  }
  static constexpr double Square(double x) { return x * x; }
};

struct FeedForwardWeights {
  NormWeights norm;
  AffineMap up;    // d -> f
  AffineMap down;  // f -> d
  // Of `up`; empty where it is not screened (screening.h).
  ScreenedMatrix screen;
  ScreenLimit screen_limit;
};

struct LayerWeights {
  AttentionWeights self_attention;
  std::optional<AttentionWeights> cross_attention;  // decoder of an encoder_decoder
  FeedForwardWeights feed_forward;
};

// One stack: the encoder or the decoder.
struct StackWeights {
  RowTable token_embedding;                   // [V, d]; tokens only
  std::optional<AffineMap> input_projection;  // size -> d; vectors only
  RowTable positions;                         // [some, d]; learned and sinusoidal
  std::vector<LayerWeights> layers;
  NormWeights final_norm;
};

// Immutable once made; thread-safe. Move-only.
struct ModelWeights {
  AlignedArena matrices;  // memory of the affine maps' exact weights: first, for it must outlive them
  ModelConfig config;
  Precision precision = Precision::kFloat32;
  std::optional<StackWeights> encoder;
  std::optional<StackWeights> decoder;
  std::optional<AffineMap> head;                      // d -> head.size
  std::vector<std::vector<WeightStretch>> stretches;  // of each round of matrices, once they are linked
};

// Makes a model's weights, in pieces of some hundred kilobytes that any threads may run at once:
//
//   WeightPacker packer(directory);
//   pool.ParallelFor(packer.tasks(), [&](size_t task, size_t) { packer.Run(task); });
//   absl::StatusOr<ModelWeights> weights = packer.Finish();
//
// BF16 and F16 tensors of affine maps, token embeddings and learned positions stay in 16 bits
// (weight_format.h), all others become float32.
//
// Every byte of the directory's maps is read once, converted and checked in a tile that stays in the
// first-level cache, stored in its final place and dropped (ModelDirectory::Drop), so that the peak is what
// the weights need and no more; nothing is filled with zeros first. The result is the same whoever runs what,
// and does not refer to the directory's maps.
class WeightPacker {
 public:
  // Allocates everything; throws std::bad_alloc. `directory` must outlive the packer and may be OpenUnread.
  // kLowered: LowerPrecision is next, so every matrix has memory of its own that can be given back alone.
  enum class Use { kAsPacked, kLowered };
  explicit WeightPacker(const ModelDirectory& directory, Use use = Use::kAsPacked);
  ~WeightPacker();

  size_t tasks() const;
  // Each task once, on any thread.
  void Run(size_t task);
  // After all tasks. ModelDirectory::CheckValues' error if a value is not finite, whichever task found it.
  absl::StatusOr<ModelWeights> Finish();

 private:
  class Plan;
  const std::unique_ptr<Plan> plan_;
};

// Rounds every affine map to `precision` and gives its exact weights back. One map after the other, so that
// the peak grows by one of them at most.
void LowerPrecision(Precision precision, ModelWeights& weights);

// Tells every matrix which one is used after it (WeightStretch): those of a stack and of the head that
// follows it go round, from evaluation to evaluation or from token to token. Not those that make keys and
// values of a memory, once a source, nor a model's that is small beside what is fetched ahead. After
// LowerPrecision; no matrix may be replaced afterwards.
void LinkMatrices(ModelWeights& weights);

// Measures for every shape of a map behind gates where sparse products win (crossover.h).
void MeasureCrossovers(const KernelSet& kernels, ModelWeights& weights);

// The same on this thread.
absl::StatusOr<ModelWeights> PackWeights(const ModelDirectory& directory);

// Row `position` of the sinusoidal table, d numbers: column 2i is sin(p / 10000^(2i/d)), column 2i+1 its
// cosine, in float64, rounded once. The one routine for all targets.
void SinusoidalPosition(size_t position, size_t d, float* row);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_WEIGHTS_H_
