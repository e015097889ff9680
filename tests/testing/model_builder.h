// Tiny seeded random models: any config.json becomes a valid model directory, in memory or on disk.
//
//   TempDir model = WriteModel(R"({"model_type": "spline_transformer", ...})", {.seed = 7});
//   absl::StatusOr<ModelDirectory> directory = ModelDirectory::Open(model.path());
#ifndef SPLINESERVE_TESTS_TESTING_MODEL_BUILDER_H_
#define SPLINESERVE_TESTS_TESTING_MODEL_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/format/safetensors.h"
#include "core/format/tensor_spec.h"
#include "tests/testing/safetensors_builder.h"
#include "tests/testing/temp_dir.h"

namespace splineserve::testing {

struct ModelOptions {
  uint64_t seed = 1;
  DType dtype = DType::kF32;
  // Values are rounded to this type before they are stored as `dtype`.
  DType rounded_to = DType::kF64;
  // 0: one model.safetensors. n >= 1: n shards, tensors dealt out in turn, with model.safetensors.index.json.
  size_t shards = 0;
  // Which part of the optional tensors (biases) is there: 1 all, 0 none, in between a seeded choice.
  double optional_tensors = 1.0;
};

// File name -> contents, as ModelDirectory::OpenInMemory takes them.
using ModelFiles = std::map<std::string, std::string>;

// Files of a valid model: the given config.json byte for byte, weights, and the vocabularies that the config
// names
// (<pad>, <bos>, <eos>, then a, b, c, ... and 2- or 3-byte letters; single code points but for the first
// three).
//
// Values depend on seed and tensor name only, and are the same on every platform. Weights are uniform in
// +-sqrt(3/in), so that a row of unit-variance inputs gives unit-variance outputs of either sign: about half
// of all gates open. Embeddings have variance 1, learned positions 1/4, biases are within +-0.1, norm weights
// in [0.8, 1.2]. A config that is not valid throws std::runtime_error with the parser's message.
ModelFiles BuildModel(std::string_view config_json, const ModelOptions& options = {});

// The same, written to a directory of its own.
TempDir WriteModel(std::string_view config_json, const ModelOptions& options = {});
TempDir WriteFiles(const ModelFiles& files);

// The values that BuildModel gives a tensor, before rounding to the dtype.
std::vector<double> RandomValues(const TensorSpec& spec, uint64_t seed);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_MODEL_BUILDER_H_
