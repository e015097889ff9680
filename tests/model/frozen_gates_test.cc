// Frozen gates below the engine: one row against a loop, and long sequences through a decoder whose keys and
// values lie in one chunk or in many, all at once or some tokens at a time, on one thread or on two.
#include "core/model/frozen_gates.h"

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/thread_pool.h"
#include "core/model/decoder.h"
#include "core/spline/frozen_piece.h"
#include "core/spline/piece_recorder.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/comparison.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/reference_model.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve::testing {
namespace {

TEST(FreezeRowTest, EqualsALoop) {
  RandomFloats random(TestSeed());
  for (const KernelSet* kernels : AvailableKernelSets()) {
    for (size_t n = 0; n <= 70; ++n) {
      for (const bool square : {false, true}) {
        SCOPED_TRACE(absl::StrCat(kernels->name, ", ", n, square ? ", squared" : ""));
        const std::vector<float> x = random.Vector(n, Values::kNormal);
        std::vector<float> actual = x, expected = x, copy(n), own = x;
        std::vector<uint8_t> open, own_bits((n + 7) / 8, 0xAA), own_expected((n + 7) / 8, 0x55);
        for (size_t i = 0; i < (n + 7) / 8; ++i) open.push_back(static_cast<uint8_t>(37 * (i + n)));
        for (size_t i = 0; i < n; ++i) {
          if ((open[i / 8] >> (i % 8) & 1) == 0) expected[i] = 0;
          if (square) expected[i] = expected[i] * expected[i];
        }
        const GateRow row = FreezeRow(*kernels, open.data(), square, actual.data(), n, own_bits.data(),
                                      /*want_margin=*/true, copy.data());
        const GateRow signs = ScalarGate(own.data(), n, square, own_expected.data(), true);
        EXPECT_TRUE(BitsEqual(actual.data(), expected.data(), n));
        EXPECT_EQ(own_bits, own_expected);
        EXPECT_EQ(row.open, signs.open);
        EXPECT_EQ(row.margin, signs.margin);
        EXPECT_TRUE(row.finite);
        if (n == 0) continue;
        actual[n / 2] = std::numeric_limits<float>::quiet_NaN();
        EXPECT_FALSE(
            FreezeRow(*kernels, open.data(), square, actual.data(), n, nullptr, false, copy.data()).finite);
      }
    }
  }
}

constexpr size_t kTokens = 203;  // three chunks of 64 and a tail

std::string Config(const std::string& activations) {
  return absl::StrCat(R"({"model_type": "spline_transformer", "architecture": "decoder", "hidden_size": 10,
      "num_attention_heads": 2, "head_dim": 7, "intermediate_size": 21, "num_decoder_layers": 2,
      "norm": "affine", "input": {"kind": "vectors", "size": 3})",
                      activations, "}");
}

// What a decoder made of a sequence.
struct Decoded {
  std::vector<float> rows;
  std::vector<TokenPiece> pieces;  // of the arguments' own signs
};

struct How {
  size_t threads = 1;
  size_t first_chunk = kTokens;  // tokens of the first chunk of keys and values; later ones hold 64
  size_t step = kTokens;         // tokens at a time
};

Decoded Decode(const ModelWeights& weights, const KernelSet& kernels, const std::vector<float>& input,
               const FrozenGates* frozen, const How& how) {
  const ModelConfig& config = weights.config;
  const std::unique_ptr<ThreadPool> pool = *ThreadPool::Create(how.threads);
  Workspace workspace;
  const auto go_on = [] { return true; };
  Decoded decoded;
  decoded.rows.resize(kTokens * config.hidden_size);
  {
    KeyValueCache cache{
        KeyValues(&workspace.key_value_pool, KeyValueShape::OfDecoder(config), how.first_chunk), nullptr};
    for (size_t first = 0; first < kTokens; first += how.step) {
      const size_t count = std::min(how.step, kTokens - first);
      PieceRecorder recorder(config, PieceRecorder::Stack::kDecoder);
      recorder.AddSequence({.detail = PieceDetail::kBits, .margins = true}, first, count, 0, 0);
      Evaluation evaluation(config, kernels, *pool, workspace, &recorder, go_on, frozen);
      const DecoderInput tokens = {{{}, {input.data() + 3 * first, count, 3}}, &cache};
      const MatrixView<float> rows(decoded.rows.data() + first * config.hidden_size, count,
                                   config.hidden_size);
      EXPECT_TRUE(RunDecoder(evaluation, weights, {&tokens, 1}, rows)[0].ok());
      for (size_t t = 0; t < count; ++t) decoded.pieces.push_back(recorder.Take(0, t));
    }
  }
  return decoded;
}

ReferenceInput ToReference(const std::vector<float>& input) {
  ReferenceInput result;
  for (size_t t = 0; t < kTokens; ++t) {
    result.vectors.emplace_back(input.begin() + 3 * t, input.begin() + 3 * (t + 1));
  }
  return result;
}

void ExpectSame(const ReferenceResult<float>& expected, const Decoded& actual) {
  size_t i = 0;
  for (const std::vector<float>& row : expected.hidden) {
    for (const float value : row) ASSERT_TRUE(SameNumber(value, actual.rows[i++])) << "number " << i - 1;
  }
  ASSERT_EQ(actual.pieces.size(), expected.tokens.size());
  for (size_t t = 0; t < kTokens; ++t) {
    ASSERT_EQ(actual.pieces[t].id, expected.tokens[t].id) << t;
    for (size_t g = 0; g < expected.tokens[t].groups.size(); ++g) {
      ASSERT_EQ(actual.pieces[t].groups[g].margin, expected.tokens[t].groups[g].margin) << t << " " << g;
      ASSERT_EQ(actual.pieces[t].groups[g].open, expected.tokens[t].groups[g].open) << t << " " << g;
    }
  }
}

class LongSequenceTest : public ::testing::TestWithParam<const char*> {};

TEST_P(LongSequenceTest, ChunksStepsAndThreadsChangeNothing) {
  const TempDir files = WriteModel(Config(GetParam()), {.seed = 11});
  const ModelDirectory directory = *ModelDirectory::Open(files.path());
  const ModelWeights weights = *PackWeights(directory);
  const ReferenceModel<float> reference(directory);
  RandomFloats random(TestSeed());
  const std::vector<float> mine = random.Vector(3 * kTokens, Values::kNormal);
  const std::vector<float> theirs = random.Vector(3 * kTokens, Values::kNormal);
  const ReferenceResult<float> own = reference.Decode({}, ToReference(mine));
  const ReferenceResult<float> others = reference.Decode({}, ToReference(theirs));
  const ReferenceResult<float> beyond = reference.DecodeOnPiece({}, ToReference(mine), {}, others.tokens);
  ASSERT_FALSE(own.overflowed || others.overflowed || beyond.overflowed);
  EXPECT_NE(own.sequence_id, beyond.sequence_id);
  const PieceLayout layout(weights.config, PieceLayout::Stack::kDecoder);
  for (const KernelSet* kernels : AvailableKernelSets()) {
    const std::vector<TokenPiece> own_pieces = Decode(weights, *kernels, mine, nullptr, {}).pieces;
    const std::vector<TokenPiece> other_pieces = Decode(weights, *kernels, theirs, nullptr, {}).pieces;
    const FrozenPiece frozen_own(layout, own_pieces), frozen_others(layout, other_pieces);
    for (const How& how : {How{1, kTokens, kTokens}, How{2, kTokens, kTokens}, How{1, 16, kTokens},
                           How{2, 16, kTokens}, How{1, 16, 37}, How{2, 16, 37}, How{1, 64, 1}}) {
      SCOPED_TRACE(absl::StrCat(kernels->name, ", ", how.threads, " threads, first chunk ", how.first_chunk,
                                ", ", how.step, " at a time"));
      ExpectSame(own, Decode(weights, *kernels, mine, &frozen_own, how));
      ExpectSame(beyond, Decode(weights, *kernels, mine, &frozen_others, how));
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Activations, LongSequenceTest,
                         ::testing::Values("", R"(, "attention_activation": "relu2")",
                                           R"(, "hidden_act": "relu2", "attention_normalizer": "none",
                                              "attention_scale": 0.01)"));

}  // namespace
}  // namespace splineserve::testing
