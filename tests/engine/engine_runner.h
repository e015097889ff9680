// The engine and the reference side by side: one model loaded by both, the same sequences through either,
// results in one form.
#ifndef SPLINESERVE_TESTS_ENGINE_ENGINE_RUNNER_H_
#define SPLINESERVE_TESTS_ENGINE_ENGINE_RUNNER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/engine/engine.h"
#include "core/format/model_directory.h"
#include "gtest/gtest.h"
#include "tests/engine/random_model.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/reference_model.h"
#include "tests/testing/temp_dir.h"

namespace splineserve::testing {

// Failures to load throw std::runtime_error.
class TestModel {
 public:
  explicit TestModel(const std::string& directory, const ScreenOptions& screening = {});
  // A model with this config.json and seeded weights.
  TestModel(const std::string& config_json, const ModelOptions& options, const ScreenOptions& screening = {});

  const ModelConfig& config() const { return loaded_->config(); }
  const std::shared_ptr<const LoadedModel>& loaded() const { return loaded_; }

  // The reference's answer: the decoder stack where `decode`, else the encoder's. T is float or double.
  template <typename T>
  ReferenceResult<T> Reference(const ReferenceInput& source, const ReferenceInput& input, bool decode) const {
    const ReferenceModel<T> model(*directory_);
    return decode ? model.Decode(source, input) : model.Encode(input);
  }
  const ModelDirectory& directory() const { return *directory_; }

 private:
  std::unique_ptr<TempDir> files_;
  std::unique_ptr<ModelDirectory> directory_;
  std::shared_ptr<const LoadedModel> loaded_;
};

// One sequence for a stack; `source` for the encoder of an encoder_decoder when it decodes.
struct Example {
  ReferenceInput source;
  ReferenceInput input;
};

Example RandomExample(Random* random, const ModelConfig& config, bool decode);

Sequence ToSequence(const ReferenceInput& input);
Rows<float> ToRows(const Matrix& matrix);
// Also expects of every token that its margin is the smallest of its groups'.
std::vector<ReferenceToken> ToTokens(const std::vector<TokenPiece>& pieces);

EncodeRequest ToEncodeRequest(const std::vector<Example>& examples);
DecodeRequest ToDecodeRequest(const ModelConfig& config, const std::vector<Example>& examples);

// Bits and margins of every group.
PieceOptions AllPieces();

// One request with all examples through Encode or Decode.
absl::StatusOr<EvaluationResult> Evaluate(Engine* engine, const TestModel& model,
                                          const std::vector<Example>& examples, bool decode,
                                          OutputKind output, const PieceOptions& pieces);

// Hidden rows with pieces, and head rows without where the stack has a head: two requests, one result an
// example.
absl::StatusOr<std::vector<ReferenceResult<float>>> RunAll(Engine* engine, const TestModel& model,
                                                           const std::vector<Example>& examples, bool decode);
bool HasHead(const ModelConfig& config, bool decode);

// Hidden, head, tokens and sequence id: all bits equal; or within the tolerance for models that are not
// EXACT.
void ExpectExact(const ReferenceResult<float>& expected, const ReferenceResult<float>& actual);
void ExpectNear(const ReferenceResult<double>& expected, const ReferenceResult<float>& actual);

std::unique_ptr<Engine> MakeEngine(const KernelSet& kernels, size_t threads);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_ENGINE_ENGINE_RUNNER_H_
