// `generate`: continues sequences token by token; one, or a line each of a file.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/commands/commands.h"
#include "client/commands/generation_options.h"
#include "client/commands/options.h"
#include "client/failure.h"
#include "client/generation_text.h"
#include "client/json.h"
#include "client/monitor_text.h"
#include "client/ordered_run.h"
#include "client/piece_text.h"
#include "client/progress.h"
#include "nlohmann/json.hpp"

namespace splineserve::client {
namespace {

constexpr size_t kErrorsShown = 20;

// One command's worth of state that all its lines share.
struct Run {
  const GenerateFlags& flags;
  Session& session;
  const Client client{flags.connection.ToClientOptions()};
  v1::ModelInfo info = {};

  const v1::ModelInfo::Input& written() const {
    return info.has_target_input() ? info.target_input() : info.input();
  }
  bool writes_text() const { return written().has_vocabulary(); }

  int Execute();
  int Stream(const v1::GenerateRequest& request);
  LineResult Generate(const InputLines::Line& line, const absl::StatusOr<v1::GenerateRequest>& request) const;
  LineResult Failed(const InputLines::Line& line, const absl::Status& status) const;
};

LineResult Run::Failed(const InputLines::Line& line, const absl::Status& status) const {
  if (flags.connection.json) {
    const nlohmann::ordered_json error = {
        {"input", line.text},
        {"error",
         {{"code", absl::StatusCodeToString(status.code())}, {"message", std::string(status.message())}}}};
    return {status, error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"};
  }
  return {status, flags.tsv ? absl::StrCat(line.text, "\t\n") : "\n"};
}

LineResult Run::Generate(const InputLines::Line& line,
                         const absl::StatusOr<v1::GenerateRequest>& request) const {
  if (!request.ok()) return Failed(line, request.status());
  const absl::StatusOr<v1::GenerateResponse> response = client.Generate(*request);
  if (!response.ok()) return Failed(line, response.status());
  if (flags.connection.json) return {absl::OkStatus(), ToJson(*response, JsonLayout::kOneLine) + "\n"};
  std::string output = absl::StrCat(flags.tsv ? absl::StrCat(line.text, "\t") : "",
                                    ResultText(response->result(), writes_text()), "\n");
  absl::StrAppend(&output, GenerationVerdicts(response->result()));
  if (flags.pieces.wanted()) absl::StrAppend(&output, GenerationPieces(*response), "\n");
  return {absl::OkStatus(), std::move(output)};
}

int Run::Stream(const v1::GenerateRequest& request) {
  bool first = true;
  const absl::StatusOr<v1::GenerateResponse> response =
      client.Generate(request, [&](const v1::GenerateResponse& event) {
        if (flags.connection.json) {
          session.out << ToJson(event, JsonLayout::kOneLine) << "\n" << std::flush;
        } else if (event.has_token()) {
          session.out << StreamedText(event.token(), std::exchange(first, false), writes_text(),
                                      written().vocabulary_split() == "whitespace")
                      << std::flush;
        }
        return true;
      });
  if (!flags.connection.json) {
    // Beam search is certain of its tokens only at the end.
    if (response.ok() && first) session.out << ResultText(response->result(), writes_text());
    session.out << "\n";
    if (response.ok()) session.out << GenerationVerdicts(response->result());
    if (response.ok() && flags.pieces.wanted()) {
      session.out << GenerationPieces(*response) << "\n"
                  << PieceNote(info.spline_class(), info.degree_bound());
    }
  }
  return response.ok() ? kSuccess : session.FailCall(response.status(), flags.connection.server);
}

int Run::Execute() {
  if (absl::Status status = flags.Validate(); !status.ok()) return session.FailUsage(status, "generate");
  // Asked first, so that an unknown model or an absent server is said once and not for every line.
  absl::StatusOr<v1::ModelInfo> found = client.GetModel(flags.model.ToProto());
  if (!found.ok()) return session.FailCall(found.status(), flags.connection.server);
  info = *std::move(found);

  absl::StatusOr<GenerationJobs> jobs = GenerationJobs::Read(flags, info, session.in);
  if (!jobs.ok()) return session.FailUsage(jobs.status(), "generate");
  if (flags.stream) {
    const absl::StatusOr<v1::GenerateRequest> request = jobs->Request(*jobs->lines.Next());
    if (!request.ok()) return session.FailUsage(request.status(), "generate");
    return Stream(*request);
  }

  const bool one_job = jobs->lines.total() == size_t{1} && flags.input.empty();
  Progress progress(session.err, session.err_is_terminal && !one_job, jobs->lines.total());
  size_t shown = 0, count = 0;
  const size_t failed = RunInOrder(
      jobs->lines, flags.concurrency,
      [&](const InputLines::Line& line) { return Generate(line, jobs->Request(line)); },
      [&](size_t index, const LineResult& result) {
        ++count;
        progress.Interrupt([&] {
          if (!one_job || result.status.ok() || flags.connection.json) session.out << result.output;
          if (!jobs->lines.total() || session.err_is_terminal) session.out.flush();
          if (result.status.ok() || shown++ >= kErrorsShown) return;
          session.out.flush();
          if (one_job) {
            session.err << Explain(result.status, flags.connection.server) << "\n";
          } else {
            session.err << "line " << index + 1 << ": " << absl::StatusCodeToString(result.status.code())
                        << ": " << result.status.message() << "\n";
          }
        });
        progress.Advance();
      });
  progress.Finish();
  if (flags.pieces.wanted() && !flags.connection.json && failed < count) {
    session.out << PieceNote(info.spline_class(), info.degree_bound());
  }
  session.out.flush();
  if (failed > 0 && !one_job) session.err << failed << " of " << count << " lines failed\n";
  return failed == 0 ? kSuccess : kFailedCall;
}

}  // namespace

void AddGenerate(CLI::App& app, Session& session) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App& command = AddCommand(app, "generate",
                                 "Write sequences token by token: the target of a source (encoder-decoder), "
                                 "or what follows a prompt (decoder)",
                                 "Example:\n"
                                 "  splineserve-client generate g2p --text spline --pieces\n"
                                 "  splineserve-client generate g2p --input words.txt --tsv --beam 4\n"
                                 "  splineserve-client generate g2p --text spline --monitor pronunciations\n"
                                 "  splineserve-client generate words --sample --temperature 0.8 --count 5");
  AddGenerateFlags(command, *flags);
  command.callback([flags, &session] {
    session.action = [flags, &session] { return Run{.flags = *flags, .session = session}.Execute(); };
  });
}

}  // namespace splineserve::client
