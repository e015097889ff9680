#include "core/model/weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/model/crossover.h"

namespace splineserve {
namespace {

// A sinusoidal table longer than this is computed row by row when a longer sequence comes: config.json may
// declare millions of positions without a byte of weights to show for it.
constexpr size_t kMaxTabulatedPositions = 4096;

// What a task reads: large enough that handing it out and dropping its pages (some microseconds) are nothing
// beside it, small enough that two threads share 9 MB evenly.
constexpr size_t kTaskBytes = size_t{512} << 10;

// The format that keeps a tensor's numbers and no more bytes than its file has. F64 is rounded when read.
WeightFormat FormatOf(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return WeightFormat::kFloat16;
    case DType::kBF16:
      return WeightFormat::kBfloat16;
    case DType::kF32:
    case DType::kF64:
      return WeightFormat::kFloat32;
  }
  return WeightFormat::kFloat32;
}

// A tile of 64 rows and 64 columns is converted (16 KB), then transposed into its panel (16 KB): 256 bytes of
// a row at a time let the processor fetch ahead.
constexpr size_t kTileColumns = 64;

// 10000^(2i/d) of the pair of columns 2i, 2i+1.
double Wavelength(size_t column, size_t d) {
  const double i = static_cast<double>(column / 2);
  return std::pow(10000.0, 2.0 * i / static_cast<double>(d));
}

float Sinusoid(size_t position, size_t column, double wavelength) {
  const double angle = static_cast<double>(position) / wavelength;
  return static_cast<float>(column % 2 == 0 ? std::sin(angle) : std::cos(angle));
}

std::vector<double> Wavelengths(size_t d) {
  std::vector<double> wavelengths(d);
  for (size_t c = 0; c < d; ++c) wavelengths[c] = Wavelength(c, d);
  return wavelengths;
}

}  // namespace

// The weights with all their memory, and the tasks that fill it. Nothing moves until Finish: tasks point into
// `weights_`.
class WeightPacker::Plan {
 public:
  Plan(const ModelDirectory& directory, Use use)
      : directory_(directory), config_(directory.config()), use_(use) {
    weights_.config = config_;
    if (config_.has_encoder()) {
      AddStack("encoder", config_.input, config_.num_encoder_layers, false, &weights_.encoder.emplace());
    }
    if (config_.has_decoder()) {
      AddStack("decoder", config_.decoder_input(), config_.num_decoder_layers,
               config_.architecture == Architecture::kEncoderDecoder, &weights_.decoder.emplace());
    }
    if (config_.head.kind == HeadKind::kLinear) AddAffine("head", &weights_.head.emplace());
  }

  size_t tasks() const { return tasks_.size(); }

  void Run(size_t index) {
    const Task& task = tasks_[index];
    if (task.tensor == nullptr) return Tabulate(task);
    const bool finite = task.matrix != nullptr   ? Pack(task)
                        : task.halves != nullptr ? CopyHalves(task)
                                                 : Copy(task);
    if (!finite) finite_.store(false, std::memory_order_relaxed);
    const size_t row = task.tensor->data.size() / task.rows_in_all;
    directory_.Drop(task.tensor->data.subspan(task.first * row, task.rows * row));
  }

  absl::StatusOr<ModelWeights> Finish() {
    if (!finite_.load(std::memory_order_relaxed)) {
      SPLINESERVE_RETURN_IF_ERROR(directory_.CheckValues());
      return absl::InternalError("a value was not finite when packed and is now: the model's files change");
    }
    return std::move(weights_);
  }

 private:
  // Rows [first, first + rows) of a tensor, or of the sinusoidal table where `tensor` is null, to `matrix`,
  // `halves` (16-bit numbers as they are) or `out`, whichever there is; the last two are the whole tensor's.
  // A vector is as many rows of one number.
  struct Task {
    const TensorView* tensor = nullptr;
    size_t rows_in_all = 0, first = 0, rows = 0;
    float* out = nullptr;
    PackedMatrix* matrix = nullptr;
    uint16_t* halves = nullptr;
  };

  // Cuts `whole` into runs of rows of about kTaskBytes, each but the last a multiple of `unit` rows.
  void AddTasks(Task whole, size_t row_bytes, size_t unit) {
    const size_t units = std::max<size_t>(1, kTaskBytes / std::max<size_t>(1, row_bytes * unit));
    for (size_t first = 0; first < whole.rows_in_all; first += units * unit) {
      whole.first = first;
      whole.rows = std::min(units * unit, whole.rows_in_all - first);
      tasks_.push_back(whole);
    }
  }

  // An absent optional tensor gives an empty buffer.
  void AddFloats(const std::string& name, AlignedBuffer<float>* values) {
    const TensorView* tensor = directory_.Find(name);
    if (tensor == nullptr || tensor->elements() == 0) return;
    *values = AlignedBuffer<float>::Uninitialized(tensor->elements());
    AddTasks({tensor, tensor->elements(), 0, 0, values->data(), nullptr}, SizeOf(tensor->dtype), 1);
  }

  // As many rows as the tensor has, of `width` numbers.
  void AddTable(const std::string& name, size_t width, RowTable* table) {
    const TensorView* tensor = directory_.Find(name);
    if (tensor == nullptr || tensor->elements() == 0) return;
    *table = RowTable(tensor->elements() / width, width, FormatOf(tensor->dtype));
    AddTasks({tensor, tensor->elements(), 0, 0, table->floats(), nullptr, table->halves()},
             SizeOf(tensor->dtype), 1);
  }

  void AddAffine(const std::string& prefix, AffineMap* map) {
    const TensorView* tensor =
        directory_.Find(absl::StrCat(prefix, ".weight"));  // present and [out, in]: checked
    const size_t out = tensor->shape[0], in = tensor->shape[1];
    const WeightFormat format = FormatOf(tensor->dtype);
    map->weight = use_ == Use::kLowered ? PackedMatrix::Unfilled(in, out, format)
                                        : PackedMatrix::Unfilled(in, out, format, weights_.matrices);
    if (tensor->elements() != 0) {
      AddTasks({tensor, out, 0, 0, nullptr, &map->weight}, in * SizeOf(tensor->dtype),
               map->weight.panel_width());
    }
    AddFloats(absl::StrCat(prefix, ".bias"), &map->bias);
  }

  void AddNorm(const std::string& prefix, NormWeights* norm) {
    AddFloats(absl::StrCat(prefix, ".weight"), &norm->weight);
    AddFloats(absl::StrCat(prefix, ".bias"), &norm->bias);
  }

  void AddAttention(const std::string& prefix, AttentionWeights* attention) {
    AddNorm(absl::StrCat(prefix, "_norm"), &attention->norm);
    // In the order of their use, so that a product fetches the first panel of the next one where it is not
    // told which that is (simd_product-inl.h, LinkMatrices).
    AddAffine(absl::StrCat(prefix, ".k_proj"), &attention->key);
    AddAffine(absl::StrCat(prefix, ".v_proj"), &attention->value);
    AddAffine(absl::StrCat(prefix, ".q_proj"), &attention->query);
    AddAffine(absl::StrCat(prefix, ".o_proj"), &attention->output);
  }

  void AddPositions(const std::string& stack, StackWeights* weights) {
    const size_t d = config_.hidden_size;
    if (config_.positions == Positions::kLearned) {
      AddTable(absl::StrCat(stack, ".embed_positions.weight"), d, &weights->positions);
    } else if (config_.positions == Positions::kSinusoidal) {
      wavelengths_ = Wavelengths(d);
      const size_t rows = std::min(config_.max_positions, kMaxTabulatedPositions);
      weights->positions = RowTable(rows, d, WeightFormat::kFloat32);
      AddTasks({nullptr, rows, 0, 0, weights->positions.floats()}, d * sizeof(float), 1);
    }
  }

  void AddStack(const std::string& stack, const InputConfig& input, size_t layers, bool cross,
                StackWeights* weights) {
    if (input.kind == InputKind::kTokens) {
      AddTable(absl::StrCat(stack, ".embed_tokens.weight"), config_.hidden_size, &weights->token_embedding);
    } else {
      AddAffine(absl::StrCat(stack, ".input_proj"), &weights->input_projection.emplace());
    }
    AddPositions(stack, weights);
    weights->layers.resize(layers);
    for (size_t l = 0; l < layers; ++l) {
      const std::string prefix = absl::StrCat(stack, ".layers.", l);
      LayerWeights& layer = weights->layers[l];
      AddAttention(absl::StrCat(prefix, ".self_attn"), &layer.self_attention);
      if (cross) AddAttention(absl::StrCat(prefix, ".cross_attn"), &layer.cross_attention.emplace());
      AddNorm(absl::StrCat(prefix, ".ffn_norm"), &layer.feed_forward.norm);
      AddAffine(absl::StrCat(prefix, ".ffn.up_proj"), &layer.feed_forward.up);
      AddAffine(absl::StrCat(prefix, ".ffn.down_proj"), &layer.feed_forward.down);
    }
    if (config_.final_norm) AddNorm(absl::StrCat(stack, ".final_norm"), &weights->final_norm);
  }

  // The tasks' work; false if a value is not finite.
  static bool Copy(const Task& task) {
    return ReadFloatsAt(*task.tensor, task.first, task.rows, task.out + task.first);
  }

  static bool CopyHalves(const Task& task) {
    return ReadHalvesAt(*task.tensor, task.first, task.rows, task.halves + task.first);
  }

  static bool Pack(const Task& task) {
    return task.matrix->format() == WeightFormat::kFloat32 ? PackNumbers<float>(task, ReadFloatsAt)
                                                           : PackNumbers<uint16_t>(task, ReadHalvesAt);
  }

  template <typename T, typename Read>
  static bool PackNumbers(const Task& task, const Read& read) {
    alignas(kCacheLineBytes) T tile[kMaxPanelWidth * kTileColumns];
    const size_t width = task.matrix->panel_width();
    const size_t columns = task.matrix->inner();
    bool finite = true;
    for (size_t n = task.first; n < task.first + task.rows; n += width) {
      const size_t rows = std::min(width, task.first + task.rows - n);
      for (size_t k = 0; k < columns; k += kTileColumns) {
        const MatrixView<T> block(tile, rows, std::min(kTileColumns, columns - k));
        for (size_t r = 0; r < rows; ++r) {
          finite &= read(*task.tensor, (n + r) * columns + k, block.cols, block.row(r));
        }
        task.matrix->SetBlock(k, n, MatrixView<const T>(block));
      }
    }
    return finite;
  }

  void Tabulate(const Task& task) const {
    for (size_t p = task.first; p < task.first + task.rows; ++p) {
      float* const row = task.out + p * wavelengths_.size();
      for (size_t c = 0; c < wavelengths_.size(); ++c) row[c] = Sinusoid(p, c, wavelengths_[c]);
    }
  }

  const ModelDirectory& directory_;
  const ModelConfig& config_;
  const Use use_;
  ModelWeights weights_;
  std::vector<double>
      wavelengths_;  // of a sinusoidal table, a column each: pow is the dearest part of a number
  std::vector<Task> tasks_;
  std::atomic<bool> finite_{true};
};

WeightPacker::WeightPacker(const ModelDirectory& directory, Use use)
    : plan_(std::make_unique<Plan>(directory, use)) {}
WeightPacker::~WeightPacker() = default;
size_t WeightPacker::tasks() const { return plan_->tasks(); }
void WeightPacker::Run(size_t task) { plan_->Run(task); }
absl::StatusOr<ModelWeights> WeightPacker::Finish() { return plan_->Finish(); }

namespace {

// Calls body(map) for every affine map, attention(weights) for every attention.
template <typename Map, typename Attention>
void ForEachMap(ModelWeights& weights, const Map& map, const Attention& attention) {
  const auto visit = [&](AttentionWeights& site) {
    for (AffineMap* each : {&site.query, &site.key, &site.value, &site.output}) map(*each);
    attention(site);
  };
  for (std::optional<StackWeights>* stack : {&weights.encoder, &weights.decoder}) {
    if (!stack->has_value()) continue;
    if ((*stack)->input_projection.has_value()) map(*(*stack)->input_projection);
    for (LayerWeights& layer : (*stack)->layers) {
      visit(layer.self_attention);
      if (layer.cross_attention.has_value()) visit(*layer.cross_attention);
      map(layer.feed_forward.up);
      map(layer.feed_forward.down);
    }
  }
  if (weights.head.has_value()) map(*weights.head);
}

}  // namespace

void LowerPrecision(Precision precision, ModelWeights& weights) {
  weights.precision = precision;
  if (precision == Precision::kFloat32) return;
  ForEachMap(
      weights,
      [&](AffineMap& map) {
        map.low_precision = LowPrecisionMatrix::Round(map.weight, precision);
        map.weight = PackedMatrix();
      },
      [](AttentionWeights&) {});
}

namespace {

// How far ahead of their use weights are fetched: a panel where it is longer than this. Panels of `down` are
// longer than those of `up`, whose last one would leave most of the next unfetched: 8 tokens of d = 128 take
// 95 us with 128 KiB, 101 with 64, 102 with a panel, 97 with 256.
constexpr size_t kFetchLead = size_t{128} << 10;

// In the order of their use.
std::vector<PackedMatrix*> MatricesOf(StackWeights& stack, AffineMap* head) {
  std::vector<PackedMatrix*> matrices;
  const auto add = [&](AffineMap& map) {
    if (map.weight.bytes() != 0) matrices.push_back(&map.weight);
  };
  for (LayerWeights& layer : stack.layers) {
    AttentionWeights& self = layer.self_attention;
    for (AffineMap* map : {&self.key, &self.value, &self.query, &self.output}) add(*map);
    if (layer.cross_attention.has_value()) {
      for (AffineMap* map : {&layer.cross_attention->query, &layer.cross_attention->output}) add(*map);
    }
    add(layer.feed_forward.up);
    add(layer.feed_forward.down);
  }
  if (head != nullptr) add(*head);
  return matrices;
}

}  // namespace

void LinkMatrices(ModelWeights& weights) {
  AffineMap* const head = weights.head.has_value() ? &*weights.head : nullptr;
  std::vector<std::vector<PackedMatrix*>> rounds;
  if (weights.encoder.has_value()) {
    rounds.push_back(MatricesOf(*weights.encoder, weights.decoder.has_value() ? nullptr : head));
  }
  if (weights.decoder.has_value()) rounds.push_back(MatricesOf(*weights.decoder, head));

  weights.stretches.clear();
  for (const auto& matrices : rounds) {
    size_t bytes = 0;
    for (const PackedMatrix* matrix : matrices) bytes += matrix->bytes();
    // All of it is in the caches anyway, and looking up what is so far ahead would go round and round.
    if (bytes <= 2 * kFetchLead) continue;
    std::vector<WeightStretch>& stretches = weights.stretches.emplace_back(matrices.size());
    for (size_t i = 0; i < matrices.size(); ++i) {
      stretches[i] = {matrices[i]->data(), matrices[i]->bytes(), &stretches[(i + 1) % matrices.size()],
                      std::max(kFetchLead, matrices[i]->panel_bytes())};
      matrices[i]->SetStretch(&stretches[i]);
    }
  }
}

void MeasureCrossovers(const KernelSet& kernels, ModelWeights& weights) {
  // By shape and format: all layers share one measurement.
  std::map<std::tuple<size_t, size_t, WeightFormat>, double> measured;
  const auto measure = [&](const PackedView& w) {
    const auto [found, inserted] = measured.try_emplace({w.inner, w.outer, w.format}, 0.0);
    if (inserted) found->second = MeasureSparseBelow(kernels, w);
    return found->second;
  };
  // Values of a head: as many keys as make two blocks of lists; longer ones behave alike.
  constexpr size_t kMeasuredKeys = 256;
  const PackedMatrix values(kMeasuredKeys, weights.config.head_dim);
  const double attention = measure(values.view());
  ForEachMap(
      weights, [](AffineMap&) {}, [&](AttentionWeights& site) { site.sparse_below = attention; });
  for (std::optional<StackWeights>* stack : {&weights.encoder, &weights.decoder}) {
    if (!stack->has_value()) continue;
    for (LayerWeights& layer : (*stack)->layers) {
      AffineMap& down = layer.feed_forward.down;
      if (down.low_precision.empty()) down.sparse_below = measure(down.weight.view());
    }
  }
}

absl::StatusOr<ModelWeights> PackWeights(const ModelDirectory& directory) {
  WeightPacker packer(directory);
  for (size_t task = 0; task < packer.tasks(); ++task) packer.Run(task);
  return packer.Finish();
}

void SinusoidalPosition(size_t position, size_t d, float* row) {
  for (size_t c = 0; c < d; ++c) row[c] = Sinusoid(position, c, Wavelength(c, d));
}

}  // namespace splineserve
