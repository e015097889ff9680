#include "tests/engine/engine_runner.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "core/base/status_macros.h"
#include "tests/testing/comparison.h"

namespace splineserve::testing {

TestModel::TestModel(const std::string& directory, const ScreenOptions& screening) {
  absl::StatusOr<ModelDirectory> opened = ModelDirectory::Open(directory);
  if (!opened.ok()) throw std::runtime_error(opened.status().ToString());
  directory_ = std::make_unique<ModelDirectory>(*std::move(opened));
  LoadedModel::LoadOptions load;
  load.screening = screening;
  absl::StatusOr<std::shared_ptr<const LoadedModel>> loaded = LoadedModel::Load("model", 1, directory, load);
  if (!loaded.ok()) throw std::runtime_error(loaded.status().ToString());
  loaded_ = *std::move(loaded);
}

TestModel::TestModel(const std::string& config_json, const ModelOptions& options,
                     const ScreenOptions& screening) {
  auto files = std::make_unique<TempDir>(WriteModel(config_json, options));
  *this = TestModel(files->path(), screening);
  files_ = std::move(files);
}

Example RandomExample(Random* random, const ModelConfig& config, bool decode) {
  Example example;
  if (decode && config.has_encoder())
    example.source = RandomInput(random, config.input, RandomLength(random));
  example.input = RandomInput(random, decode ? config.decoder_input() : config.input, RandomLength(random));
  return example;
}

Sequence ToSequence(const ReferenceInput& input) {
  if (!input.ids.empty()) return TokenIds{input.ids};
  Matrix matrix = {.rows = input.vectors.size(), .cols = input.vectors.empty() ? 0 : input.vectors[0].size()};
  for (const std::vector<float>& vector : input.vectors) {
    matrix.values.insert(matrix.values.end(), vector.begin(), vector.end());
  }
  return matrix;
}

Rows<float> ToRows(const Matrix& matrix) {
  EXPECT_EQ(matrix.rows * matrix.cols, matrix.values.size());
  Rows<float> rows;
  for (size_t row = 0; row < matrix.rows; ++row) {
    const auto begin = matrix.values.begin() + row * matrix.cols;
    rows.emplace_back(begin, begin + matrix.cols);
  }
  return rows;
}

std::vector<ReferenceToken> ToTokens(const std::vector<TokenPiece>& pieces) {
  std::vector<ReferenceToken> tokens;
  for (const TokenPiece& piece : pieces) {
    ReferenceToken token = {.id = std::string(std::string_view(piece.id))};
    float margin = std::numeric_limits<float>::infinity();
    for (const PieceGroup& group : piece.groups) {
      margin = std::min(margin, group.margin);
      token.groups.push_back({.layer = group.layer,
                              .site = group.site,
                              .head = group.head,
                              .width = group.width,
                              .open = group.open,
                              .bits = {group.bits.begin(), group.bits.end()},
                              .margin = group.margin});
    }
    EXPECT_EQ(margin, piece.margin);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

EncodeRequest ToEncodeRequest(const std::vector<Example>& examples) {
  EncodeRequest request;
  for (const Example& example : examples) request.inputs.push_back(ToSequence(example.input));
  return request;
}

DecodeRequest ToDecodeRequest(const ModelConfig& config, const std::vector<Example>& examples) {
  DecodeRequest request;
  for (const Example& example : examples) {
    request.targets.push_back(ToSequence(example.input));
    if (config.has_encoder()) request.sources.push_back(ToSequence(example.source));
  }
  return request;
}

PieceOptions AllPieces() { return {.detail = PieceDetail::kBits, .margins = true}; }

absl::StatusOr<EvaluationResult> Evaluate(Engine* engine, const TestModel& model,
                                          const std::vector<Example>& examples, bool decode,
                                          OutputKind output, const PieceOptions& pieces) {
  if (!decode) {
    EncodeRequest request = ToEncodeRequest(examples);
    request.output = output;
    request.pieces = pieces;
    return engine->EncodeAndWait(model.loaded(), std::move(request));
  }
  DecodeRequest request = ToDecodeRequest(model.config(), examples);
  request.output = output;
  request.pieces = pieces;
  return engine->DecodeAndWait(model.loaded(), std::move(request));
}

bool HasHead(const ModelConfig& config, bool decode) {
  return config.head.kind != HeadKind::kNone && decode == config.has_decoder();
}

absl::StatusOr<std::vector<ReferenceResult<float>>> RunAll(Engine* engine, const TestModel& model,
                                                           const std::vector<Example>& examples,
                                                           bool decode) {
  SPLINESERVE_ASSIGN_OR_RETURN(const EvaluationResult hidden,
                               Evaluate(engine, model, examples, decode, OutputKind::kHidden, AllPieces()));
  std::vector<ReferenceResult<float>> results;
  for (const SequenceResult& result : hidden.results) {
    results.push_back({.hidden = ToRows(result.output),
                       .tokens = ToTokens(result.pieces),
                       .sequence_id = result.sequence_id});
  }
  EXPECT_EQ(examples.size(), results.size());
  if (!HasHead(model.config(), decode)) return results;
  SPLINESERVE_ASSIGN_OR_RETURN(const EvaluationResult head,
                               Evaluate(engine, model, examples, decode, OutputKind::kHead, PieceOptions{}));
  EXPECT_EQ(examples.size(), head.results.size());
  for (size_t i = 0; i < results.size(); ++i) {
    results[i].head = ToRows(head.results[i].output);
    EXPECT_TRUE(head.results[i].pieces.empty());
    EXPECT_EQ("", head.results[i].sequence_id);
  }
  return results;
}

void ExpectExact(const ReferenceResult<float>& expected, const ReferenceResult<float>& actual) {
  EXPECT_TRUE(RowsEqual(expected.hidden, actual.hidden)) << "hidden";
  EXPECT_TRUE(RowsEqual(expected.head, actual.head)) << "head";
  EXPECT_TRUE(TokensEqual(expected.tokens, actual.tokens));
  EXPECT_EQ(expected.sequence_id, actual.sequence_id);
}

void ExpectNear(const ReferenceResult<double>& expected, const ReferenceResult<float>& actual) {
  EXPECT_TRUE(RowsNear(expected.hidden, Widen(actual.hidden), kSmoothTolerance)) << "hidden";
  EXPECT_TRUE(RowsNear(expected.head, Widen(actual.head), kSmoothTolerance)) << "head";
  const double tolerance = kSmoothTolerance * std::max(1.0, LargestEntry(expected.hidden));
  EXPECT_TRUE(TokensNear(expected.tokens, actual.tokens, tolerance));
  const bool decided = std::all_of(expected.tokens.begin(), expected.tokens.end(),
                                   [=](const ReferenceToken& token) { return Decided(token, tolerance); });
  if (decided) {
    EXPECT_EQ(expected.sequence_id, actual.sequence_id);
  }
}

std::unique_ptr<Engine> MakeEngine(const KernelSet& kernels, size_t threads) {
  EngineOptions options;
  options.threads = threads;
  return Engine::Create(options, kernels).value();
}

}  // namespace splineserve::testing
