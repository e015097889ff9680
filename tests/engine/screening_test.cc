// Screening changes no bit: models with every feed-forward network screened, up to any share of candidates,
// beside the same models without, in outputs, pieces and errors.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/model/screening.h"
#include "gtest/gtest.h"
#include "tests/engine/engine_runner.h"
#include "tests/engine/random_model.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

constexpr ScreenOptions kEverywhere = {.bytes = size_t{1} << 30, .always = true};

size_t Screens(const TestModel& model) {
  size_t count = 0;
  for (const auto* stack : {&model.loaded()->weights().encoder, &model.loaded()->weights().decoder}) {
    if (!stack->has_value()) continue;
    for (const LayerWeights& layer : (*stack)->layers) count += layer.feed_forward.screen.empty() ? 0 : 1;
  }
  return count;
}

void ExpectSamePieces(const std::vector<TokenPiece>& expected, const std::vector<TokenPiece>& actual) {
  ASSERT_EQ(expected.size(), actual.size());
  for (size_t t = 0; t < expected.size(); ++t) {
    EXPECT_EQ(expected[t].id, actual[t].id) << "token " << t;
    ASSERT_EQ(expected[t].groups.size(), actual[t].groups.size());
    for (size_t g = 0; g < expected[t].groups.size(); ++g) {
      const PieceGroup &one = expected[t].groups[g], &other = actual[t].groups[g];
      EXPECT_EQ(one.open, other.open) << "token " << t << " group " << g;
      EXPECT_EQ(one.margin, other.margin) << "token " << t << " group " << g;
      EXPECT_EQ(std::string(one.bits.begin(), one.bits.end()),
                std::string(other.bits.begin(), other.bits.end()))
          << "token " << t << " group " << g;
    }
  }
}

class ScreeningTest : public ::testing::Test {
 protected:
  ScreeningTest() {
    for (const KernelSet* kernels : AvailableKernelSets()) {
      for (const size_t threads : {1, 2}) engines_.push_back(MakeEngine(*kernels, threads));
    }
  }

  // Returns whether the model without screens had an answer.
  bool Compare(const TestModel& plain, const TestModel& screened, const std::vector<Example>& examples,
               bool decode) {
    bool answered = false;
    for (const std::unique_ptr<Engine>& engine : engines_) {
      for (const PieceOptions& pieces :
           {PieceOptions{}, PieceOptions{.detail = PieceDetail::kBits}, AllPieces()}) {
        SCOPED_TRACE(absl::StrCat(engine->kernels().name, " detail ", static_cast<int>(pieces.detail)));
        const auto expected = Evaluate(engine.get(), plain, examples, decode, OutputKind::kHidden, pieces);
        const auto actual = Evaluate(engine.get(), screened, examples, decode, OutputKind::kHidden, pieces);
        EXPECT_EQ(expected.status(), actual.status());
        if (!expected.ok() || !actual.ok()) continue;
        answered = true;
        for (size_t i = 0; i < examples.size(); ++i) {
          const Matrix &one = expected->results[i].output, &other = actual->results[i].output;
          EXPECT_EQ(one.values.size(), other.values.size());
          EXPECT_TRUE(BitsEqual(other.values.data(), one.values.data(), one.values.size()));
          EXPECT_EQ(expected->results[i].sequence_id, actual->results[i].sequence_id);
          ExpectSamePieces(expected->results[i].pieces, actual->results[i].pieces);
        }
      }
    }
    return answered;
  }

  std::vector<std::unique_ptr<Engine>> engines_;
};

TEST_F(ScreeningTest, RandomModels) {
  size_t answered = 0, screens = 0;
  constexpr size_t kModels = 60;
  for (size_t i = 0; i < kModels; ++i) {
    const uint64_t seed = TestSeed() + 70000 + i;
    Random random(seed);
    const auto architecture = static_cast<Architecture>(i % 3);
    const std::string config = RandomConfig(&random, architecture, /*exact=*/true);
    SCOPED_TRACE(absl::StrCat("model seed ", seed, ", config ", config));
    const TestModel plain(config, {.seed = seed}), screened(config, {.seed = seed}, kEverywhere);
    ASSERT_EQ(Screens(plain), 0);
    screens += Screens(screened);
    const bool decode = plain.config().has_decoder();
    std::vector<Example> examples;
    for (size_t e = random.Between(1, 4); e > 0; --e) {
      examples.push_back(RandomExample(&random, plain.config(), decode));
    }
    answered += Compare(plain, screened, examples, decode) ? 1 : 0;
    if (HasFailure()) return;  // one model tells enough
  }
  EXPECT_GT(answered, kModels / 2);
  EXPECT_GT(screens, kModels / 2) << "too few of the random models have gates that can be screened";
}

// Shapes at which nothing is small: several panels and list blocks, sums before chains, more rows
// than a block, and 16-bit weights.
TEST_F(ScreeningTest, LargerModels) {
  for (const DType storage : {DType::kF32, DType::kBF16, DType::kF16}) {
    const std::string config = R"({"model_type": "spline_transformer", "architecture": "decoder",
        "hidden_size": 212, "num_attention_heads": 2, "head_dim": 10, "intermediate_size": 300,
        "num_decoder_layers": 2, "norm": "layer_norm", "input": {"kind": "tokens", "vocab_size": 50}})";
    const ModelOptions options = {.seed = 3, .dtype = storage, .rounded_to = storage};
    const TestModel plain(config, options), screened(config, options, kEverywhere);
    ASSERT_EQ(Screens(screened), 2);
    Random random(TestSeed());
    for (const size_t tokens : {1, 5, 20, 150}) {
      if (tokens == 150 && storage != DType::kF32) continue;  // minutes under AddressSanitizer
      SCOPED_TRACE(absl::StrCat("storage ", static_cast<int>(storage), ", ", tokens, " tokens"));
      Example example;
      for (size_t t = 0; t < tokens; ++t) {
        example.input.ids.push_back(static_cast<int32_t>(random.Between(0, 49)));
      }
      EXPECT_TRUE(Compare(plain, screened, {example}, /*decode=*/true));
      if (HasFailure()) return;
    }
  }
}

// Scores are screened where the gates of positive ones are open and none can overflow unseen.
TEST(ScoreScreeningTest, OfWhichModels) {
  const auto limit_of = [](const std::string& attention) {
    const TestModel model(absl::StrCat(R"({"model_type": "spline_transformer", "architecture": "encoder",
        "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 10, "num_encoder_layers": 1,
        "input": {"kind": "vectors", "size": 3})",
                                       attention, "}"),
                          {.seed = 1}, kEverywhere);
    return model.loaded()->weights().encoder->layers[0].self_attention.screen_limit;
  };
  EXPECT_EQ(limit_of(""), 1);
  EXPECT_EQ(limit_of(R"(, "attention_activation": "relu2")"), 1);
  EXPECT_EQ(limit_of(R"(, "attention_activation": "softmax")"), 0);
  EXPECT_EQ(limit_of(R"(, "attention_scale": 1e11)"), 0);
}

// Inputs of every magnitude: rows that cannot be screened, and errors.
TEST_F(ScreeningTest, InputsOfEveryMagnitude) {
  const std::string config = R"({"model_type": "spline_transformer", "architecture": "encoder",
      "hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 70, "num_encoder_layers": 2,
      "input": {"kind": "vectors", "size": 3}})";
  const TestModel plain(config, {.seed = 9}), screened(config, {.seed = 9}, kEverywhere);
  ASSERT_EQ(Screens(screened), 2);
  Random random(TestSeed());
  size_t answered = 0, refused = 0;
  for (int exponent = -40; exponent <= 37; ++exponent) {
    SCOPED_TRACE(exponent);
    Example example = RandomExample(&random, plain.config(), /*decode=*/false);
    for (float& value : example.input.vectors[0]) value *= std::pow(10.0f, static_cast<float>(exponent));
    (Compare(plain, screened, {example}, /*decode=*/false) ? answered : refused) += 1;
  }
  EXPECT_GT(answered, 20);
  EXPECT_GT(refused, 5);
}

}  // namespace
}  // namespace splineserve::testing
