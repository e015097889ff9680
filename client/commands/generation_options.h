// The options of `generate`, and the requests that they stand for.
#ifndef SPLINESERVE_CLIENT_COMMANDS_GENERATION_OPTIONS_H_
#define SPLINESERVE_CLIENT_COMMANDS_GENERATION_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/commands/options.h"
#include "client/input_lines.h"
#include "splineserve/v1/inference.pb.h"
#include "splineserve/v1/model.pb.h"

namespace splineserve::client {

struct GenerateFlags {
  ConnectionFlags connection;
  ModelFlag model;
  SequenceFlags sequences;
  std::string input;   // file of lines, or "-"
  std::string prompt;  // encoder_decoder: text of the first decoder tokens
  size_t concurrency = 32;
  bool tsv = false, stream = false;

  std::optional<uint32_t> beam, hypotheses;
  std::optional<float> length_penalty;
  bool sample = false;
  std::optional<float> temperature;
  std::optional<uint32_t> top_k;
  std::optional<uint64_t> seed;
  std::optional<uint32_t> count;
  uint32_t max_new_tokens = 0;
  std::vector<int32_t> stop;
  PieceFlags pieces;
  MonitorFlags monitor;

  // Whether the options go together: INVALID_ARGUMENT says which do not.
  absl::Status Validate() const;
};
void AddGenerateFlags(CLI::App& command, GenerateFlags& flags);

// What is to be generated: a line each.
struct GenerationJobs {
  InputLines lines = InputLines::Of({});

  // INVALID_ARGUMENT or NOT_FOUND for input that cannot be read, or where there is none but the model needs
  // some.
  static absl::StatusOr<GenerationJobs> Read(const GenerateFlags& flags, const v1::ModelInfo& info,
                                             std::istream& standard_input);

  // The request of a line. INVALID_ARGUMENT if a model without vocabulary is given a line that is not token
  // ids. Thread-safe.
  absl::StatusOr<v1::GenerateRequest> Request(const InputLines::Line& line) const;

 private:
  v1::GenerateRequest base_;             // all but the line's own sequence
  std::vector<v1::Sequence> sequences_;  // of each line where they are known beforehand
  std::vector<uint64_t> seed_offsets_;   // of each of them
  bool has_source_ = false;              // a line is a source; else it is a prompt
  bool takes_text_ = false;
};

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMANDS_GENERATION_OPTIONS_H_
