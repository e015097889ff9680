// Weights are packed in tasks that any threads run in any order: the result is the one of a single loop, and
// what one task finds wrong is not lost.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/thread_pool.h"
#include "core/format/model_directory.h"
#include "core/model/weights.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using testing::ModelFiles;
using testing::TempDir;
using testing::TestSeed;

// Sizes are no multiples of a panel, and the largest tensors make several tasks in every dtype.
constexpr char kTranslator[] = R"({"model_type": "spline_transformer", "architecture": "encoder_decoder",
"hidden_size": 72, "num_attention_heads": 3, "head_dim": 23, "intermediate_size": 5003, "num_encoder_layers": 1,
"num_decoder_layers": 1, "norm": "affine", "final_norm": true, "positions": "learned", "max_positions": 4001,
"input": {"kind": "tokens", "vocab_size": 4999}, "target_input": {"kind": "tokens", "vocab_size": 31},
"head": {"kind": "linear", "size": 31}})";

// Less of it, for a test that packs it once for every place: three of its tensors make several tasks.
constexpr char kEncoder[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
"hidden_size": 72, "num_attention_heads": 3, "head_dim": 23, "intermediate_size": 4099, "num_encoder_layers": 1,
"norm": "affine", "positions": "learned", "max_positions": 10, "input": {"kind": "tokens", "vocab_size": 4099},
"head": {"kind": "linear", "size": 31}})";

constexpr char kSinusoidal[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
"hidden_size": 71, "num_attention_heads": 1, "head_dim": 5, "intermediate_size": 65, "num_encoder_layers": 2,
"positions": "sinusoidal", "max_positions": 4003, "input": {"kind": "vectors", "size": 7}})";

// Every number of the weights by the name of its tensor, with the zeros that fill panels.
using Numbers = std::map<std::string, std::vector<float>>;

std::vector<float> All(const PackedMatrix& matrix) {
  const PackedView view = matrix.view();
  std::vector<float> numbers(view.panels() * view.panel_stride);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = NumberAt(view.format, view.data, i);
  return numbers;
}

class Collector {
 public:
  explicit Collector(const ModelWeights& weights) {
    if (weights.encoder.has_value()) Add("encoder", *weights.encoder);
    if (weights.decoder.has_value()) Add("decoder", *weights.decoder);
    if (weights.head.has_value()) Add("head", *weights.head);
  }
  Numbers Take() { return std::move(numbers_); }

 private:
  void Add(const std::string& name, const AlignedBuffer<float>& values) {
    if (values.size() != 0) numbers_[name] = {values.data(), values.data() + values.size()};
  }
  void Add(const std::string& name, const RowTable& table) {
    std::vector<float> scratch, numbers;
    for (size_t r = 0; r < table.rows(); ++r) {
      const float* const row = table.Row(r, scratch);
      numbers.insert(numbers.end(), row, row + table.width());
    }
    if (!numbers.empty()) numbers_[name] = std::move(numbers);
  }
  void Add(const std::string& prefix, const AffineMap& map) {
    numbers_[prefix + ".weight"] = All(map.weight);
    Add(prefix + ".bias", map.bias);
  }
  void Add(const std::string& prefix, const NormWeights& norm) {
    Add(prefix + ".weight", norm.weight);
    Add(prefix + ".bias", norm.bias);
  }
  void Add(const std::string& prefix, const AttentionWeights& attention) {
    Add(prefix + "_norm", attention.norm);
    Add(prefix + ".q_proj", attention.query);
    Add(prefix + ".k_proj", attention.key);
    Add(prefix + ".v_proj", attention.value);
    Add(prefix + ".o_proj", attention.output);
  }
  void Add(const std::string& stack, const StackWeights& weights) {
    Add(stack + ".embed_tokens.weight", weights.token_embedding);
    if (weights.input_projection.has_value()) Add(stack + ".input_proj", *weights.input_projection);
    Add(stack + ".embed_positions.weight", weights.positions);
    for (size_t l = 0; l < weights.layers.size(); ++l) {
      const std::string prefix = absl::StrCat(stack, ".layers.", l);
      Add(prefix + ".self_attn", weights.layers[l].self_attention);
      if (weights.layers[l].cross_attention.has_value())
        Add(prefix + ".cross_attn", *weights.layers[l].cross_attention);
      Add(prefix + ".ffn_norm", weights.layers[l].feed_forward.norm);
      Add(prefix + ".ffn.up_proj", weights.layers[l].feed_forward.up);
      Add(prefix + ".ffn.down_proj", weights.layers[l].feed_forward.down);
    }
    Add(stack + ".final_norm", weights.final_norm);
  }
  Numbers numbers_;
};

bool IsMap(const TensorSpec& spec) {
  return spec.shape.size() == 2 && spec.name.find("embed") == std::string::npos;
}

// One tensor after the other, each read as a whole and packed as a whole.
Numbers Expected(const ModelDirectory& directory) {
  Numbers numbers;
  for (const TensorSpec& spec : ExpectedTensors(directory.config())) {
    const TensorView* const tensor = directory.Find(spec.name);
    if (tensor == nullptr) continue;
    std::vector<float> values(tensor->elements());
    EXPECT_TRUE(ReadFloats(*tensor, absl::MakeSpan(values)).ok());
    if (IsMap(spec)) values = All(PackedMatrix::FromRows({values.data(), spec.shape[0], spec.shape[1]}));
    numbers[spec.name] = std::move(values);
  }
  if (directory.config().positions == Positions::kSinusoidal) {
    const size_t d = directory.config().hidden_size;
    std::vector<float> table(directory.config().max_positions * d);
    for (size_t p = 0; p < directory.config().max_positions; ++p)
      SinusoidalPosition(p, d, table.data() + p * d);
    numbers["encoder.embed_positions.weight"] = std::move(table);
  }
  return numbers;
}

void ExpectSame(const Numbers& expected, const ModelWeights& weights) {
  const Numbers actual = Collector(weights).Take();
  ASSERT_EQ(expected.size(), actual.size());
  for (const auto& [name, values] : expected) {
    const auto found = actual.find(name);
    ASSERT_NE(found, actual.end()) << name;
    ASSERT_EQ(values.size(), found->second.size()) << name;
    EXPECT_EQ(0, std::memcmp(values.data(), found->second.data(), values.size() * sizeof(float))) << name;
  }
}

std::vector<size_t> Ascending(size_t tasks) {
  std::vector<size_t> order(tasks);
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

class WeightPackerTest : public ::testing::TestWithParam<std::pair<const char*, DType>> {};

TEST_P(WeightPackerTest, AnyThreadsAndAnyOrderGiveTheSameBits) {
  const auto& [config, dtype] = GetParam();
  // Every second bias is absent.
  const TempDir files = testing::WriteModel(config, {.seed = 3, .dtype = dtype, .optional_tensors = 0.5});
  const std::string before = testing::ReadFile(files.Path("model.safetensors"));
  const ModelDirectory directory = ModelDirectory::OpenUnread(files.path()).value();
  const Numbers expected = Expected(directory);

  for (const size_t threads : {1, 2, 7}) {
    SCOPED_TRACE(absl::StrCat(threads, " threads"));
    const std::unique_ptr<ThreadPool> pool = ThreadPool::Create(threads).value();
    WeightPacker packer(directory);
    pool->ParallelFor(packer.tasks(), [&](size_t task, size_t) { packer.Run(task); });
    const absl::StatusOr<ModelWeights> weights = packer.Finish();
    ASSERT_TRUE(weights.ok()) << weights.status();
    ExpectSame(expected, *weights);
  }

  // A task that wrote into another's place would be overwritten in one of two opposite orders at most.
  const uint64_t seed = TestSeed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(i == 0   ? std::string("ascending")
                 : i == 1 ? std::string("descending")
                          : absl::StrCat("shuffled, seed ", seed));
    WeightPacker packer(directory);
    std::vector<size_t> order = Ascending(packer.tasks());
    EXPECT_GT(order.size(), expected.size()) << "no tensor is cut into several tasks";
    if (i == 1) std::reverse(order.begin(), order.end());
    if (i > 1) std::shuffle(order.begin(), order.end(), random);
    for (const size_t task : order) packer.Run(task);
    const absl::StatusOr<ModelWeights> weights = packer.Finish();
    ASSERT_TRUE(weights.ok()) << weights.status();
    ExpectSame(expected, *weights);
  }
  EXPECT_TRUE(before == testing::ReadFile(files.Path("model.safetensors"))) << "the file was written to";
}

class NotFiniteTest : public ::testing::TestWithParam<DType> {};

// A value that is not finite, first, last and every 64 K elements of every tensor: at least one in every
// task, which reads half a megabyte or what is left of its tensor.
TEST_P(NotFiniteTest, IsFoundInEveryTask) {
  const DType dtype = GetParam();
  constexpr size_t kStep = 64 * 1024;
  const ModelFiles contents = testing::BuildModel(kEncoder, {.seed = 3, .dtype = dtype});
  const TempDir files = testing::WriteFiles(contents);
  const std::string& blob = contents.at("model.safetensors");
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(blob.data()), blob.size());
  std::fstream file(files.Path("model.safetensors"), std::ios::in | std::ios::out | std::ios::binary);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double faults[] = {std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity};
  const std::vector<TensorView> tensors = ParseSafetensors(bytes, "model.safetensors").value();
  size_t planted = 0;
  for (const TensorView& tensor : tensors) {
    std::vector<size_t> places = {tensor.elements() - 1};
    for (size_t i = 0; i + 1 < tensor.elements(); i += kStep) places.push_back(i);
    for (const size_t place : places) {
      const std::string fault = testing::EncodeValues({faults[planted % 3]}, dtype);
      const size_t at = static_cast<size_t>(tensor.data.data() - bytes.data()) + place * fault.size();
      const auto write = [&](std::string_view what) {
        file.seekp(static_cast<std::streamoff>(at));
        file.write(what.data(), static_cast<std::streamsize>(what.size()));
        file.flush();
        ASSERT_TRUE(file.good());
      };
      write(fault);
      const ModelDirectory directory = ModelDirectory::OpenUnread(files.path()).value();
      WeightPacker packer(directory);
      std::vector<size_t> order = Ascending(packer.tasks());
      if (planted++ % 2 == 1) std::reverse(order.begin(), order.end());
      for (const size_t task : order) packer.Run(task);
      const absl::Status status = packer.Finish().status();
      EXPECT_EQ(absl::StatusCode::kInvalidArgument, status.code()) << tensor.name << " " << place;
      EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(tensor.name));
      EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(absl::StrCat(place)));
      write(std::string_view(blob).substr(at, fault.size()));
    }
  }
  EXPECT_TRUE(PackWeights(ModelDirectory::OpenUnread(files.path()).value()).ok()) << "once all is restored";
}

std::string Word(DType dtype) { return std::string(Name(dtype)); }

INSTANTIATE_TEST_SUITE_P(
    Files, WeightPackerTest,
    ::testing::Values(std::pair(kTranslator, DType::kF32), std::pair(kTranslator, DType::kF16),
                      std::pair(kTranslator, DType::kBF16), std::pair(kSinusoidal, DType::kF32)),
    [](const auto& info) {
      return (info.param.first == kTranslator ? "Translator" : "Sinusoidal") + Word(info.param.second);
    });
INSTANTIATE_TEST_SUITE_P(Files, NotFiniteTest, ::testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                         [](const auto& info) { return Word(info.param); });

}  // namespace
}  // namespace splineserve
