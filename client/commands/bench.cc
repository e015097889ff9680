// `bench`: closed-loop load. Each of --concurrency callers sends its next request as soon as its last one is
// answered.
#include <atomic>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/commands/bench_requests.h"
#include "client/commands/commands.h"
#include "client/commands/options.h"
#include "client/input_lines.h"
#include "client/load_statistics.h"
#include "client/progress.h"

namespace splineserve::client {
namespace {

struct Flags {
  ConnectionFlags connection;
  std::string method;
  ModelFlag model;
  SequenceFlags sequences;
  std::string input;
  PieceFlags pieces;
  size_t concurrency = 8;
  size_t batch = 1;
  std::string duration = "10s";
  size_t requests = 0;  // 0: until the time is over
  uint32_t max_new_tokens = 0;
};

BenchMethod ToMethod(const std::string& name) {
  if (name == "encode") return BenchMethod::kEncode;
  return name == "decode" ? BenchMethod::kDecode : BenchMethod::kGenerate;
}

absl::StatusOr<BenchInput> ReadInput(const Flags& flags, Session& session) {
  BenchInput input;
  absl::StatusOr<std::vector<v1::Sequence>> sequences = flags.sequences.Read(session.in);
  if (!sequences.ok()) return sequences.status();
  input.sequences = *std::move(sequences);
  if (flags.input.empty()) return input;
  absl::StatusOr<InputLines> lines = InputLines::Open(flags.input, session.in);
  if (!lines.ok()) return lines.status();
  while (std::optional<InputLines::Line> line = lines->Next()) input.lines.push_back(std::move(line->text));
  return input;
}

int Run(const Flags& flags, Session& session) {
  const absl::StatusOr<BenchInput> input = ReadInput(flags, session);
  if (!input.ok()) return session.FailUsage(input.status(), "bench");
  v1::PieceOptions pieces;
  if (absl::Status status = flags.pieces.Apply(pieces); !status.ok()) {
    return session.FailUsage(status, "bench");
  }
  const Client client(flags.connection.ToClientOptions());
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(flags.model.ToProto());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  const absl::StatusOr<std::vector<BenchRequest>> requests =
      MakeBenchRequests(ToMethod(flags.method), *info, flags.model.ToProto(), pieces, flags.max_new_tokens,
                        flags.batch, *input);
  if (!requests.ok()) return session.FailUsage(requests.status(), "bench");

  LoadStatistics statistics;
  std::atomic<size_t> next = 0;
  const size_t most = flags.requests > 0 ? flags.requests : static_cast<size_t>(-1);
  const absl::Time start = absl::Now();
  // A number of requests runs to its end, however long that takes.
  const absl::Time end = flags.requests > 0 ? absl::InfiniteFuture() : start + *ParseDuration(flags.duration);
  const std::optional<size_t> total =
      flags.requests > 0 ? std::optional<size_t>(flags.requests) : std::nullopt;
  Progress progress(session.err, session.err_is_terminal, total);
  auto caller = [&] {
    while (absl::Now() < end) {
      const size_t index = next.fetch_add(1);
      if (index >= most) return;
      const CallRecord record = SendBenchRequest(client, (*requests)[index % requests->size()]);
      statistics.Add(record);
      progress.Advance();
      // Nobody there: asking on would only count failures by the thousand.
      if (record.status.code() == absl::StatusCode::kUnavailable) return;
    }
  };
  std::vector<std::thread> callers;
  for (size_t i = 0; i < flags.concurrency; ++i) callers.emplace_back(caller);
  for (std::thread& thread : callers) thread.join();
  progress.Finish();

  const LoadStatistics::Report report = statistics.Finish(absl::Now() - start);
  session.out << (flags.connection.json ? ToJson(report) + "\n" : ToText(report));
  return report.failed == 0 ? kSuccess : kFailedCall;
}

}  // namespace

void AddBench(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      AddCommand(app, "bench",
                 "Measure: so many callers send the given input over and over, each one request at a time. "
                 "`elsewhere` is what "
                 "the network, gRPC and this client took",
                 "Example:\n"
                 "  splineserve-client bench generate g2p --input words.txt --concurrency 32 --duration 10s\n"
                 "  splineserve-client bench encode digits --vectors digit.csv --requests 1000 --batch 4");
  command.add_option("CALL", flags->method, "encode, decode or generate")
      ->type_name("")
      ->required()
      ->check([](const std::string& text) {
        const bool known = text == "encode" || text == "decode" || text == "generate";
        return known ? "" : absl::StrCat("expected encode, decode or generate, found \"", text, "\"");
      });
  AddModelFlag(command, flags->model, /*required=*/true);
  AddSequenceFlags(command, flags->sequences, "Input");
  command
      .add_option(
          "--input", flags->input,
          "File (- for standard input) with an input a line; decode on an encoder-decoder: source<TAB>target")
      ->type_name("FILE");
  command.add_option("--concurrency", flags->concurrency, "Callers")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command.add_option("--batch", flags->batch, "Sequences in a request of encode or decode")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command.add_option("--duration", flags->duration, "How long")
      ->type_name("DURATION")
      ->capture_default_str()
      ->check(CheckDuration);
  command.add_option("--requests", flags->requests, "How many requests, instead of how long")->type_name("N");
  command.add_option("--max-new-tokens", flags->max_new_tokens, "Of generate")->type_name("N");
  AddPieceFlags(command, flags->pieces);
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Run(*flags, session); }; });
}

}  // namespace splineserve::client
