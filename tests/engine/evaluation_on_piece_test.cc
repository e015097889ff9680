// A model with frozen gates: at its own piece it equals Encode and Decode bit for bit, at another's the slow
// reference.
//
// SPLINESERVE_TEST_SEED chooses other models; a failure prints the seed of its model and its config.json.
#include "core/engine/evaluation_on_piece.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/engine/analysis_runner.h"
#include "tests/engine/engine_runner.h"
#include "tests/testing/comparison.h"
#include "tests/testing/random_floats.h"

namespace splineserve::testing {
namespace {

constexpr size_t kModelsPerTest = 50;

// Of models with norms, those that grow more amplify rounding beyond any tolerance.
constexpr double kLargestInexact = 300;

ModelInput ToInput(const ModelConfig& config, const Example& example, bool decode) {
  if (!decode) return {.source = ToSequence(example.input)};
  ModelInput input = {.target = ToSequence(example.input)};
  if (config.has_encoder()) input.source = ToSequence(example.source);
  return input;
}

// Another example of the same lengths.
Example Like(Random* random, const ModelConfig& config, bool decode, const Example& example) {
  Example other;
  if (example.source.size() != 0) other.source = RandomInput(random, config.input, example.source.size());
  other.input = RandomInput(random, decode ? config.decoder_input() : config.input, example.input.size());
  return other;
}

OutputKind KindOf(const ModelConfig& config, bool decode) {
  return HasHead(config, decode) ? OutputKind::kHead : OutputKind::kHidden;
}

size_t Differing(const std::vector<ReferenceToken>& a, const std::vector<ReferenceToken>& b) {
  size_t differing = 0;
  for (size_t t = 0; t < a.size(); ++t) {
    for (size_t g = 0; g < a[t].groups.size(); ++g) {
      for (size_t i = 0; i < a[t].groups[g].width; ++i) {
        differing += (a[t].groups[g].bits[i / 8] ^ b[t].groups[g].bits[i / 8]) >> (i % 8) & 1;
      }
    }
  }
  return differing;
}

struct Case {
  Architecture architecture;
  bool exact;
};

class OnPieceTest : public ::testing::TestWithParam<Case> {
 protected:
  std::string Config(Random* random) const {
    return GetParam().exact ? RandomConfig(random, GetParam().architecture, /*exact=*/true)
                            : RegionalConfig(random, GetParam().architecture);
  }
  uint64_t Seed(size_t i) const {
    return TestSeed() + 10'000 * static_cast<uint64_t>(GetParam().architecture) +
           5000 * static_cast<uint64_t>(GetParam().exact) + i;
  }
  // Calls body(model, decode, random) for every stack of every model.
  template <typename Body>
  void ForStacks(const Body& body) {
    for (size_t i = 0; i < kModelsPerTest; ++i) {
      Random random(Seed(i));
      const std::string config = Config(&random);
      SCOPED_TRACE(absl::StrCat("model seed ", Seed(i), ", config ", config));
      const TestModel model(config, {.seed = Seed(i), .optional_tensors = random.Pick<double>({0, 0.5, 1})});
      ASSERT_EQ(GetParam().exact ? SplineClass::kExact : SplineClass::kRegional,
                model.loaded()->spline_class());
      if (model.config().has_encoder()) body(model, false, &random);
      if (model.config().has_decoder()) body(model, true, &random);
      if (HasFailure()) return;  // one model tells enough
    }
  }

  // Norms are no chains: float32 within a tolerance of double precision. With frozen gates no rounding can
  // flip one, so that outputs are smooth in it.
  void NearTheDoubleReference() {
    const KernelSet& kernels = *AvailableKernelSets().front();
    size_t compared = 0;
    ForStacks([&](const TestModel& model, bool decode, Random* random) {
      // Without residuals a norm may divide rows that are nearly zero, and rounding with them.
      if (!model.config().residual) return;
      const Example example = RandomExample(random, model.config(), decode);
      const ModelInput other = ToInput(model.config(), Like(random, model.config(), decode, example), decode);
      const auto evaluated =
          EvaluateAlone(*model.loaded(), *CheckModelInput(*model.loaded(), other, "gates_of", {}),
                        /*head=*/false, nullptr, "gates_of", kernels, [] { return absl::OkStatus(); });
      if (!evaluated.ok()) return;
      const std::vector<ReferenceToken> encoder = ToTokens(evaluated->pieces.encoder);
      const ReferenceModel<double> reference(model.directory());
      const ReferenceResult<double> expected =
          decode ? reference.DecodeOnPiece(example.source, example.input, encoder,
                                           ToTokens(evaluated->pieces.decoder))
                 : reference.EncodeOnPiece(example.input, encoder);
      if (!(LargestEntry(expected.hidden) <= kLargestInexact)) return;
      const auto actual = EvaluateOnPiece(
          model.loaded(),
          {.input = ToInput(model.config(), example, decode), .gates = other, .output = OutputKind::kHidden},
          kernels);
      ASSERT_TRUE(actual.ok()) << actual.status();
      EXPECT_TRUE(RowsNear(expected.hidden, Widen(ToRows(actual->result.output)), kSmoothTolerance));
      ++compared;
    });
    EXPECT_GT(compared, kModelsPerTest / 2);
  }
};

TEST_P(OnPieceTest, AtItsOwnPieceItEqualsEncodeAndDecodeBitForBit) {
  std::vector<std::unique_ptr<Engine>> engines;
  for (const KernelSet* kernels : AvailableKernelSets()) {
    for (const size_t threads : {1, 2}) engines.push_back(MakeEngine(*kernels, threads));
  }
  size_t compared = 0;
  ForStacks([&](const TestModel& model, bool decode, Random* random) {
    const Example example = RandomExample(random, model.config(), decode);
    const OutputKind kind = KindOf(model.config(), decode);
    for (const std::unique_ptr<Engine>& engine : engines) {
      SCOPED_TRACE(absl::StrCat(engine->kernels().name, ", ", engine->threads(), " threads"));
      const auto expected = Evaluate(engine.get(), model, {example}, decode, kind, AllPieces());
      if (expected.status().code() == absl::StatusCode::kOutOfRange) return;
      ASSERT_TRUE(expected.ok()) << expected.status();
      EvaluateOnPieceRequest request = {.input = ToInput(model.config(), example, decode),
                                        .output = kind,
                                        .verify = true,
                                        .pieces = AllPieces()};
      // Its own gates; those of an input that happens to be the same; the pieces that the engine returned.
      std::vector<EvaluateOnPieceRequest> requests(3, request);
      requests[1].gates = request.input;
      StackPieces given;
      (decode ? given.decoder : given.encoder) = expected->results[0].pieces;
      if (decode && model.config().has_encoder()) {
        const auto encoded = Evaluate(engine.get(), model, {{.source = {}, .input = example.source}},
                                      /*decode=*/false, OutputKind::kHidden, AllPieces());
        ASSERT_TRUE(encoded.ok()) << encoded.status();
        given.encoder = encoded->results[0].pieces;
      }
      requests[2].gates = std::move(given);
      for (size_t i = 0; i < requests.size(); ++i) {
        SCOPED_TRACE(i);
        const auto result = EvaluateOnPiece(model.loaded(), requests[i], engine->kernels());
        ASSERT_TRUE(result.ok()) << result.status();
        EXPECT_TRUE(RowsEqual(ToRows(expected->results[0].output), ToRows(result->result.output)));
        EXPECT_TRUE(TokensEqual(ToTokens(expected->results[0].pieces), ToTokens(result->result.pieces)));
        EXPECT_EQ(expected->results[0].sequence_id, result->result.sequence_id);
        EXPECT_EQ(expected->results[0].sequence_id, decode ? result->decoder_piece : result->encoder_piece);
        for (const StackDistance& stack : result->disagreement) EXPECT_TRUE(stack.distance.total.same());
        EXPECT_EQ(result->disagreement.size(), example.source.size() == 0 ? 1u : 2u);
        ASSERT_TRUE(result->verification.has_value());
        EXPECT_TRUE(result->verification->equal);
        EXPECT_TRUE(result->verification->gates.same());
        EXPECT_EQ(result->verification->differing, 0u);
        ++compared;
      }
    }
  });
  EXPECT_GT(compared, kModelsPerTest * engines.size());  // others overflow
}

TEST_P(OnPieceTest, AtAnothersPieceItEqualsTheReference) {
  if (!GetParam().exact) return NearTheDoubleReference();
  size_t compared = 0, disagreeing = 0, overflowed = 0;
  ForStacks([&](const TestModel& model, bool decode, Random* random) {
    const Example example = RandomExample(random, model.config(), decode);
    const Example other = Like(random, model.config(), decode, example);
    const ReferenceModel<float> reference(model.directory());
    ReferenceResult<float> encoded, piece, expected, own;
    if (decode) {
      if (model.config().has_encoder()) encoded = reference.Encode(other.source);
      piece = reference.Decode(other.source, other.input);
      own = reference.Decode(example.source, example.input);
      if (piece.overflowed || own.overflowed) return;
      expected = reference.DecodeOnPiece(example.source, example.input, encoded.tokens, piece.tokens);
    } else {
      piece = reference.Encode(other.input);
      own = reference.Encode(example.input);
      if (piece.overflowed || own.overflowed) return;
      expected = reference.EncodeOnPiece(example.input, piece.tokens);
    }
    const bool head = HasHead(model.config(), decode);
    for (const KernelSet* kernels : AvailableKernelSets()) {
      SCOPED_TRACE(kernels->name);
      const auto result = EvaluateOnPiece(model.loaded(),
                                          {.input = ToInput(model.config(), example, decode),
                                           .gates = ToInput(model.config(), other, decode),
                                           .output = head ? OutputKind::kHead : OutputKind::kHidden,
                                           .verify = true,
                                           .pieces = AllPieces()},
                                          *kernels);
      if (expected.overflowed) {
        ++overflowed;
        EXPECT_EQ(result.status().code(), absl::StatusCode::kOutOfRange) << result.status();
        continue;
      }
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_TRUE(RowsEqual(head ? expected.head : expected.hidden, ToRows(result->result.output)));
      EXPECT_TRUE(TokensEqual(expected.tokens, ToTokens(result->result.pieces)));
      EXPECT_EQ(expected.sequence_id, result->result.sequence_id);
      EXPECT_EQ(piece.sequence_id, decode ? result->decoder_piece : result->encoder_piece);
      const size_t count = Differing(piece.tokens, expected.tokens);
      EXPECT_EQ(count, result->disagreement.back().distance.total.differing);
      disagreeing += count;
      ASSERT_TRUE(result->verification.has_value());
      const Rows<float>&mine = head ? own.head : own.hidden, &theirs = head ? expected.head : expected.hidden;
      EXPECT_EQ(static_cast<bool>(RowsEqual(mine, theirs)), result->verification->equal);
      if (!result->verification->equal) {
        const Verification& difference = *result->verification;
        EXPECT_EQ(difference.own, mine[difference.row][difference.col]);
        EXPECT_EQ(difference.on_piece, theirs[difference.row][difference.col]);
        EXPECT_NE(difference.own, difference.on_piece);
        size_t differing = 0, first = 0;
        double largest = 0;
        for (size_t i = mine.size() * mine[0].size(); i-- > 0;) {
          const size_t row = i / mine[0].size(), col = i % mine[0].size();
          if (mine[row][col] == theirs[row][col]) continue;
          ++differing;
          first = i;
          largest = std::max(largest, std::abs(double{mine[row][col]} - double{theirs[row][col]}));
        }
        EXPECT_EQ(difference.differing, differing);
        EXPECT_EQ(difference.row * mine[0].size() + difference.col, first);
        EXPECT_EQ(difference.largest, largest);
      }
      if (!decode) {
        EXPECT_EQ(Differing(piece.tokens, own.tokens), result->verification->gates.differing);
      }
      ++compared;
    }
  });
  RecordProperty("overflowed", static_cast<int>(overflowed));
  EXPECT_GT(compared, kModelsPerTest / 2);
  EXPECT_GT(disagreeing, 1000u);  // or nothing was beyond its piece
}

INSTANTIATE_TEST_SUITE_P(
    Models, OnPieceTest,
    ::testing::Values(Case{Architecture::kEncoder, true}, Case{Architecture::kDecoder, true},
                      Case{Architecture::kEncoderDecoder, true}, Case{Architecture::kEncoder, false},
                      Case{Architecture::kDecoder, false}, Case{Architecture::kEncoderDecoder, false}),
    [](const auto& info) {
      return absl::StrCat(std::string(Name(info.param.architecture)),
                          info.param.exact ? "_exact" : "_regional");
    });

std::string VectorEncoder(const std::string& rest = "") {
  return absl::StrCat(R"({"model_type": "spline_transformer", "architecture": "encoder", "hidden_size": 6,
      "num_attention_heads": 2, "intermediate_size": 9, "num_encoder_layers": 1,
      "input": {"kind": "vectors", "size": 3})",
                      rest, "}");
}

// On one piece the outputs along a line are polynomials of the degree bound, 3 for one layer: their fourth
// differences vanish, also far beyond the piece, where the model's own do not.
TEST(OnPiecePolynomialTest, OutputsAlongALineHaveTheDegreeOfThePiece) {
  const TestModel model(VectorEncoder(), {.seed = 5});
  ASSERT_EQ(model.loaded()->degree_bound(), 3u);
  const KernelSet& kernels = *AvailableKernelSets().front();
  Random random(TestSeed());
  const ReferenceInput from = RandomInput(&random, model.config().input, 4);
  const ReferenceInput to = RandomInput(&random, model.config().input, 4);
  const auto at = [&](double t) {
    Matrix point = std::get<Matrix>(ToSequence(from));
    const Matrix end = std::get<Matrix>(ToSequence(to));
    for (size_t i = 0; i < point.values.size(); ++i) {
      point.values[i] = static_cast<float>(point.values[i] + t * (end.values[i] - point.values[i]));
    }
    return ModelInput{.source = point};
  };
  std::vector<Matrix> outputs, own;
  size_t disagreeing = 0;
  for (int i = 0; i < 5; ++i) {
    const auto result = EvaluateOnPiece(model.loaded(), {.input = at(i), .gates = at(0)}, kernels);
    ASSERT_TRUE(result.ok()) << result.status();
    outputs.push_back(result->result.output);
    disagreeing += result->disagreement[0].distance.total.differing;
    own.push_back(EvaluateOnPiece(model.loaded(), {.input = at(i)}, kernels)->result.output);
  }
  EXPECT_GT(disagreeing, 20u);
  const auto fourth = [](const std::vector<Matrix>& y, size_t i) {
    return std::abs(double{y[0].values[i]} - 4 * double{y[1].values[i]} + 6 * double{y[2].values[i]} -
                    4 * double{y[3].values[i]} + double{y[4].values[i]});
  };
  double largest = 0, largest_own = 0, scale = 0;
  for (size_t i = 0; i < outputs[0].values.size(); ++i) {
    largest = std::max(largest, fourth(outputs, i));
    largest_own = std::max(largest_own, fourth(own, i));
    for (const Matrix& y : outputs) scale = std::max(scale, std::abs(double{y.values[i]}));
  }
  // Rounding of 16 weights' worth of outputs, through chains of some ten terms each.
  EXPECT_LT(largest, 1e-4 * scale);
  EXPECT_GT(largest_own, 1e-2);
}

// With a scale that multiplies without rounding, rows of the embedding as vectors are the same input as ids;
// and between them there is the same polynomial.
TEST(OnPieceEmbeddingTest, VectorsOfAModelOverTokensStandForEmbeddings) {
  const TestModel model(R"({"model_type": "spline_transformer", "architecture": "encoder_decoder",
      "hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 9, "num_encoder_layers": 1,
      "num_decoder_layers": 1, "positions": "learned", "max_positions": 8,
      "input": {"kind": "tokens", "vocab_size": 9, "scale": 0.5},
      "target_input": {"kind": "tokens", "vocab_size": 7}})",
                        {.seed = 6});
  const KernelSet& kernels = *AvailableKernelSets().front();
  const auto embedded = [&](const StackWeights& stack, const std::vector<int32_t>& ids, float scale) {
    Matrix rows{ids.size(), 6, {}};
    std::vector<float> scratch;
    for (const int32_t id : ids) {
      const float* const row = stack.token_embedding.Row(static_cast<size_t>(id), scratch);
      for (size_t i = 0; i < 6; ++i) rows.values.push_back(row[i] * scale);
    }
    return rows;
  };
  const ModelWeights& weights = model.loaded()->weights();
  const ModelInput ids = {TokenIds{{3, 8, 3}}, TokenIds{{1, 6}}};
  ModelInput vectors = {embedded(*weights.encoder, {3, 8, 3}, 0.5f), embedded(*weights.decoder, {1, 6}, 1)};
  const auto by_ids = EvaluateOnPiece(model.loaded(), {.input = ids}, kernels);
  const auto by_vectors = EvaluateOnPiece(model.loaded(), {.input = vectors, .verify = true}, kernels);
  ASSERT_TRUE(by_ids.ok() && by_vectors.ok()) << by_ids.status() << by_vectors.status();
  EXPECT_EQ(by_vectors->result.output.values, by_ids->result.output.values);
  EXPECT_EQ(by_vectors->encoder_piece, by_ids->encoder_piece);
  EXPECT_EQ(by_vectors->decoder_piece, by_ids->decoder_piece);
  EXPECT_TRUE(by_vectors->verification->equal);
  // Other rows, by the gates of the ids.
  std::get<Matrix>(vectors.source).values[2] += 0.25f;
  const auto moved = EvaluateOnPiece(model.loaded(), {.input = vectors, .gates = ids}, kernels);
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_EQ(moved->decoder_piece, by_ids->decoder_piece);
  EXPECT_NE(moved->result.output.values, by_ids->result.output.values);
  const auto compared = Compare(model.loaded(), {.inputs = {ids, {vectors.source, ids.target}}}, kernels);
  ASSERT_TRUE(compared.ok()) << compared.status();
  // Not for Encode, whose inputs are the vocabulary's.
  const auto encoded = MakeEngine(kernels, 1)->EncodeAndWait(model.loaded(), {.inputs = {vectors.source}});
  EXPECT_EQ(encoded.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(OnPiecePrecisionTest, LowerPrecisionEqualsTheServedModelsOwnEncode) {
  const TempDir directory = WriteModel(VectorEncoder(R"(, "norm": "layer_norm",
      "head": {"kind": "linear", "size": 4})"));
  Random random(TestSeed());
  for (const Precision precision : {Precision::kBfloat16, Precision::kInt8}) {
    LoadedModel::LoadOptions options;
    options.precision = precision;
    const auto model = LoadedModel::Load("model", 1, directory.path(), options).value();
    const Sequence input = ToSequence(RandomInput(&random, model->config().input, 30));
    for (const KernelSet* kernels : AvailableKernelSets()) {
      SCOPED_TRACE(absl::StrCat(std::string(PrecisionName(precision)), " ", kernels->name));
      const auto expected = MakeEngine(*kernels, 2)->EncodeAndWait(model, {.inputs = {input}});
      const auto result = EvaluateOnPiece(model, {.input = {.source = input}, .verify = true}, *kernels);
      ASSERT_TRUE(expected.ok() && result.ok()) << expected.status() << result.status();
      EXPECT_EQ(expected->results[0].output.values, result->result.output.values);
      EXPECT_TRUE(result->verification->equal);
    }
  }
}

}  // namespace
}  // namespace splineserve::testing
