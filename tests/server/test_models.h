// A repository of tiny models for the server's tests.
#ifndef SPLINESERVE_TESTS_SERVER_TEST_MODELS_H_
#define SPLINESERVE_TESTS_SERVER_TEST_MODELS_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/testing/model_builder.h"
#include "tests/testing/temp_dir.h"

namespace splineserve::testing {

// Over characters a..h (ids 3..10), with a pooled head.
inline constexpr char kEncoderConfig[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_encoder_layers": 2,
"input": {"kind": "tokens", "vocab_size": 11}, "vocabulary": {"file": "letters.txt", "split": "characters"},
"head": {"kind": "linear", "size": 5, "pooling": "mean"}})";

// Over vectors of 3 numbers, without head.
inline constexpr char kVectorsConfig[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_encoder_layers": 1,
"input": {"kind": "vectors", "size": 3}, "norm": "layer_norm"})";

// Without eos: it generates until a limit.
inline constexpr char kDecoderConfig[] = R"({"model_type": "spline_transformer", "architecture": "decoder",
"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_decoder_layers": 2,
"input": {"kind": "tokens", "vocab_size": 11}, "vocabulary": {"file": "letters.txt", "split": "characters"},
"head": {"kind": "linear", "size": 11}, "bos_token_id": 1})";

inline constexpr char kEncoderDecoderConfig[] = R"({"model_type": "spline_transformer",
"architecture": "encoder_decoder", "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12,
"num_encoder_layers": 1, "num_decoder_layers": 2, "positions": "learned", "max_positions": 16, "norm": "affine",
"input": {"kind": "tokens", "vocab_size": 11}, "target_input": {"kind": "tokens", "vocab_size": 9},
"vocabulary": {"file": "source.txt", "split": "characters"},
"target_vocabulary": {"file": "target.txt", "split": "whitespace"},
"head": {"kind": "linear", "size": 9}, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})";

// Pieces of 300,000 gates a token and more.
inline constexpr char kWideConfig[] = R"({"model_type": "spline_transformer", "architecture": "decoder",
"hidden_size": 2, "num_attention_heads": 1, "intermediate_size": 300000, "num_decoder_layers": 1,
"input": {"kind": "tokens", "vocab_size": 3}, "head": {"kind": "linear", "size": 3}, "bos_token_id": 1})";

inline void AddModel(const TempDir& repository, const std::string& folder, const char* config,
                     uint64_t seed) {
  for (const auto& [name, contents] : BuildModel(config, {.seed = seed})) {
    repository.Write(absl::StrCat(folder, "/", name), contents);
  }
}

// encoder (versions 1 and 3), vectors, decoder, translator.
inline TempDir MakeRepository() {
  TempDir repository;
  AddModel(repository, "encoder/1", kEncoderConfig, 1);
  AddModel(repository, "encoder/3", kEncoderConfig, 2);
  AddModel(repository, "vectors", kVectorsConfig, 3);
  AddModel(repository, "decoder", kDecoderConfig, 4);
  AddModel(repository, "translator", kEncoderDecoderConfig, 5);
  return repository;
}

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_SERVER_TEST_MODELS_H_
