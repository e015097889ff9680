// The requests that a load test sends, prepared beforehand.
#ifndef SPLINESERVE_CLIENT_COMMANDS_BENCH_REQUESTS_H_
#define SPLINESERVE_CLIENT_COMMANDS_BENCH_REQUESTS_H_

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/load_statistics.h"
#include "splineserve/v1/inference.pb.h"
#include "splineserve/v1/model.pb.h"

namespace splineserve::client {

enum class BenchMethod { kEncode, kDecode, kGenerate };

struct BenchRequest {
  std::variant<v1::EncodeRequest, v1::DecodeRequest, v1::GenerateRequest> message;
  size_t tokens =
      0;  // of its inputs (encode) or targets (decode); those that generate writes are counted as they come
};

// Turns input into requests of `batch` sequences (generate: always one), each with `model` and `pieces`.
//   lines: text, or token ids where the model has no vocabulary; for decode on an encoder_decoder
//   source<TAB>target. sequences: taken as they are.
// INVALID_ARGUMENT names the line that does not fit, or says that there is no input.
struct BenchInput {
  std::vector<std::string> lines;
  std::vector<v1::Sequence> sequences;
};
absl::StatusOr<std::vector<BenchRequest>> MakeBenchRequests(BenchMethod method, const v1::ModelInfo& info,
                                                            const v1::ModelRef& model,
                                                            const v1::PieceOptions& pieces,
                                                            uint32_t max_new_tokens, size_t batch,
                                                            const BenchInput& input);

// Sends one and measures it.
CallRecord SendBenchRequest(const Client& client, const BenchRequest& request);

}  // namespace splineserve::client

#endif  // SPLINESERVE_CLIENT_COMMANDS_BENCH_REQUESTS_H_
