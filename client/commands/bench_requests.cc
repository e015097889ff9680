#include "client/commands/bench_requests.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/sequence_input.h"
#include "core/base/status_macros.h"

namespace splineserve::client {
namespace {

absl::StatusOr<v1::Sequence> ParseLine(const std::string& text, const v1::ModelInfo::Input& input) {
  if (input.has_vocabulary()) return TextSequence(text);
  if (input.kind() == "tokens") return ParseTokens(text);
  return absl::InvalidArgumentError("the model takes vectors: give them with --vectors FILE");
}

struct Item {
  v1::Sequence source;  // decode on an encoder_decoder
  v1::Sequence main;    // input, target or prompt
  size_t tokens = 0;
};

absl::StatusOr<Item> ParseItem(const std::string& line, BenchMethod method, const v1::ModelInfo& info) {
  Item item;
  if (method == BenchMethod::kDecode && info.has_target_input()) {
    const size_t tab = line.find('\t');
    if (tab == std::string::npos) return absl::InvalidArgumentError("expected source<TAB>target");
    SPLINESERVE_ASSIGN_OR_RETURN(item.source, ParseLine(line.substr(0, tab), info.input()));
    SPLINESERVE_ASSIGN_OR_RETURN(item.main, ParseLine(line.substr(tab + 1), info.target_input()));
    item.tokens = CountTokens(item.main, info.target_input().vocabulary_split());
    return item;
  }
  // A decoder may write without a prompt.
  if (method == BenchMethod::kGenerate && !info.has_target_input() && line.empty()) return item;
  SPLINESERVE_ASSIGN_OR_RETURN(item.main, ParseLine(line, info.input()));
  item.tokens = CountTokens(item.main, info.input().vocabulary_split());
  return item;
}

BenchRequest MakeRequest(BenchMethod method, const v1::ModelInfo& info, const v1::ModelRef& model,
                         const v1::PieceOptions& pieces, uint32_t max_new_tokens,
                         absl::Span<const Item> items) {
  BenchRequest request;
  for (const Item& item : items) request.tokens += item.tokens;
  auto set_common = [&](auto& message) {
    *message.mutable_model() = model;
    *message.mutable_pieces() = pieces;
  };
  switch (method) {
    case BenchMethod::kEncode: {
      v1::EncodeRequest message;
      set_common(message);
      for (const Item& item : items) *message.add_inputs() = item.main;
      request.message = std::move(message);
      break;
    }
    case BenchMethod::kDecode: {
      v1::DecodeRequest message;
      set_common(message);
      for (const Item& item : items) {
        if (info.has_target_input()) *message.add_sources() = item.source;
        *message.add_targets() = item.main;
      }
      request.message = std::move(message);
      break;
    }
    case BenchMethod::kGenerate: {
      v1::GenerateRequest message;
      set_common(message);
      if (info.has_target_input()) {
        *message.mutable_source() = items[0].main;
      } else if (items[0].main.form_case() != v1::Sequence::FORM_NOT_SET) {
        *message.mutable_prompt() = items[0].main;
      }
      message.set_max_new_tokens(max_new_tokens);
      request.tokens = 0;
      request.message = std::move(message);
      break;
    }
  }
  return request;
}

void ReadTiming(const v1::Timing& timing, CallRecord& record) {
  record.queue = absl::Microseconds(timing.queue_us());
  record.compute = absl::Microseconds(timing.compute_us());
  record.batch_tokens = static_cast<size_t>(std::max<int64_t>(0, timing.batch_tokens()));
}

CallRecord Send(const Client& client, const v1::EncodeRequest& request) {
  CallRecord record;
  const auto response = client.Encode(request);
  record.status = response.status();
  if (response.ok()) ReadTiming(response->timing(), record);
  return record;
}

CallRecord Send(const Client& client, const v1::DecodeRequest& request) {
  CallRecord record;
  const auto response = client.Decode(request);
  record.status = response.status();
  if (response.ok()) ReadTiming(response->timing(), record);
  return record;
}

CallRecord Send(const Client& client, const v1::GenerateRequest& request) {
  CallRecord record;
  const absl::Time start = absl::Now();
  const auto response = client.Generate(request, [&](const v1::GenerateResponse& event) {
    if (event.has_token() && record.first_token == absl::InfiniteDuration())
      record.first_token = absl::Now() - start;
    return true;
  });
  record.status = response.status();
  if (!response.ok()) return record;
  ReadTiming(response->result().timing(), record);
  for (const v1::Hypothesis& hypothesis : response->result().hypotheses()) {
    record.tokens += static_cast<size_t>(hypothesis.tokens_size());
  }
  return record;
}

}  // namespace

absl::StatusOr<std::vector<BenchRequest>> MakeBenchRequests(BenchMethod method, const v1::ModelInfo& info,
                                                            const v1::ModelRef& model,
                                                            const v1::PieceOptions& pieces,
                                                            uint32_t max_new_tokens, size_t batch,
                                                            const BenchInput& input) {
  std::vector<Item> items;
  for (size_t i = 0; i < input.lines.size(); ++i) {
    absl::StatusOr<Item> item = ParseItem(input.lines[i], method, info);
    if (!item.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", i + 1, ": ", item.status().message()));
    }
    items.push_back(*std::move(item));
  }
  for (const v1::Sequence& sequence : input.sequences) {
    if (method == BenchMethod::kDecode && info.has_target_input()) {
      return absl::InvalidArgumentError(
          "decode on an encoder-decoder needs --input with source<TAB>target a line");
    }
    items.push_back(
        {.source = {}, .main = sequence, .tokens = CountTokens(sequence, info.input().vocabulary_split())});
  }
  if (items.empty())
    return absl::InvalidArgumentError("no input: give --input, --text, --tokens or --vectors");
  std::vector<BenchRequest> requests;
  const size_t step = method == BenchMethod::kGenerate ? 1 : batch;
  for (size_t start = 0; start < items.size(); start += step) {
    const auto part = absl::MakeConstSpan(items).subspan(start, step);
    requests.push_back(MakeRequest(method, info, model, pieces, max_new_tokens, part));
  }
  return requests;
}

CallRecord SendBenchRequest(const Client& client, const BenchRequest& request) {
  const absl::Time start = absl::Now();
  CallRecord record = std::visit([&](const auto& message) { return Send(client, message); }, request.message);
  record.latency = absl::Now() - start;
  record.tokens += request.tokens;
  return record;
}

}  // namespace splineserve::client
