// `trace`: a model along the segment between two inputs, as table and picture.
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/client.h"
#include "client/commands/analysis.h"
#include "client/commands/commands.h"
#include "client/commands/evaluation.h"
#include "client/json.h"
#include "client/piece_text.h"
#include "client/table.h"
#include "client/trace_plot.h"

namespace splineserve::client {
namespace {

constexpr int kPiecesShown = 40;
constexpr int kFlipsShown = 2;

struct Flags {
  ConnectionFlags connection;
  ModelFlag model;
  SequenceFlags from{.prefix = "from-"}, to{.prefix = "to-"};
  SequenceFlags source{.prefix = "source-"}, target{.prefix = "target-"};
  OutputSelectionFlags outputs;
  std::string basis = "chebyshev";
  uint32_t max_pieces = 0;
  std::string resume;
  bool integrated_gradients = false, top = false, full = false;
  std::string plot;
};

// The ends move the encoder, or where there is none, or its sequence stands still, the decoder.
absl::Status FillEnds(const Flags& flags, const v1::ModelInfo& info, std::istream& in,
                      v1::TraceRequest& request) {
  absl::StatusOr<std::optional<v1::Sequence>> from = ReadOne(flags.from, in), to = ReadOne(flags.to, in),
                                              source = ReadOne(flags.source, in),
                                              target = ReadOne(flags.target, in);
  for (const auto* read : {&from, &to, &source, &target}) {
    if (!read->ok()) return read->status();
  }
  if (!from->has_value() || !to->has_value()) {
    return absl::InvalidArgumentError(
        "nothing to trace: give both ends, as in --from-text and --to-text, --from-tokens or --from-vectors");
  }
  if (source->has_value() && target->has_value()) {
    return absl::InvalidArgumentError(
        "expected a sequence that stands still beside those that move: --source-... or --target-..., found "
        "both");
  }
  const bool standing = source->has_value() || target->has_value();
  if (standing && info.architecture() != v1::ModelInfo::ENCODER_DECODER) {
    return absl::InvalidArgumentError(
        "--source-... and --target-... are for an encoder-decoder, of which one sequence stands still");
  }
  const bool decoder = info.architecture() == v1::ModelInfo::DECODER || source->has_value();
  (decoder ? *request.mutable_from()->mutable_target() : *request.mutable_from()->mutable_source()) = **from;
  (decoder ? *request.mutable_to()->mutable_target() : *request.mutable_to()->mutable_source()) = **to;
  for (v1::ModelInput* end : {request.mutable_from(), request.mutable_to()}) {
    if (source->has_value()) *end->mutable_source() = **source;
    if (target->has_value()) *end->mutable_target() = **target;
  }
  return absl::OkStatus();
}

std::string FlipsText(const v1::TracePiece& piece) {
  std::string text;
  for (int i = 0; i < std::min(kFlipsShown, piece.flips_size()); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : "; ", GateName(piece.flips(i).gate()),
                    piece.flips(i).opens() ? " opens" : " closes");
  }
  if (piece.flips_size() > kFlipsShown)
    absl::StrAppend(&text, "; ", piece.flips_size() - kFlipsShown, " more");
  return text;
}

std::string PiecesText(const std::vector<v1::TracePiece>& pieces, bool full) {
  Table table({{"begin", Align::kRight},
               {"length", Align::kRight},
               {"degree", Align::kRight},
               {"proven"},
               {"margin", Align::kRight},
               {"what flips at its beginning"}});
  const int count = static_cast<int>(pieces.size());
  for (int i = 0; i < count; ++i) {
    if (!full && count > kPiecesShown && i == kPiecesShown / 2) {
      table.AddRow(
          {"…", "", "", "", "", absl::StrCat(count - kPiecesShown, " pieces; all of them with --full")});
      i = count - kPiecesShown / 2;
    }
    const v1::TracePiece& piece = pieces[static_cast<size_t>(i)];
    table.AddRow({absl::StrFormat("%.9g", piece.begin()),
                  absl::StrFormat("%.3g", piece.end() - piece.begin()), absl::StrCat(piece.degree()),
                  piece.certified() ? "yes" : "no", absl::StrFormat("%.3g", piece.margin()),
                  FlipsText(piece)});
  }
  return table.ToString();
}

// Attributions of the moving tokens, summed over each token's row.
std::string GradientsText(const v1::TraceHeader& header, const v1::TraceSummary& summary) {
  std::string text = "\nintegrated gradients, summed over each token's numbers:\n";
  std::vector<Table::Column> columns = {{"output"}, {"difference", Align::kRight}};
  const v1::IntegratedGradient& first = summary.integrated_gradients(0);
  for (uint32_t t = 0; t < first.source().rows(); ++t)
    columns.push_back({absl::StrCat("source ", t), Align::kRight});
  for (uint32_t t = 0; t < first.target().rows(); ++t)
    columns.push_back({absl::StrCat("target ", t), Align::kRight});
  Table table(std::move(columns));
  for (int o = 0; o < summary.integrated_gradients_size(); ++o) {
    const v1::IntegratedGradient& gradient = summary.integrated_gradients(o);
    std::vector<std::string> cells = {
        absl::StrCat("row ", header.outputs(o).row(), " col ", header.outputs(o).col()),
        absl::StrFormat("%.6g", gradient.difference())};
    for (const v1::Matrix64* matrix : {&gradient.source(), &gradient.target()}) {
      for (uint32_t t = 0; t < matrix->rows(); ++t) {
        double sum = 0;
        for (uint32_t c = 0; c < matrix->cols(); ++c) {
          sum += matrix->values(static_cast<int>(t * matrix->cols() + c));
        }
        cells.push_back(absl::StrFormat("%.4g", sum));
      }
    }
    table.AddRow(std::move(cells));
  }
  return text + table.ToString("  ");
}

std::string CountOf(uint64_t pieces) { return absl::StrCat(pieces, pieces == 1 ? " piece" : " pieces"); }

std::string TraceText(const Flags& flags, const v1::ModelInfo& info, const v1::TraceHeader& header,
                      const std::vector<v1::TracePiece>& pieces, const v1::TraceSummary& summary) {
  std::string text = absl::StrCat(ModelHeading(header.model(), info), "\n", PiecesText(pieces, flags.full));
  size_t changes = 0;
  for (const v1::TracePiece& piece : pieces) {
    for (const v1::TopChange& change : piece.top_changes()) {
      absl::StrAppend(&text, changes++ == 0 ? "\n" : "",
                      absl::StrFormat("row %d: the largest output changes from %d to %d at t = %.9g\n",
                                      change.row(), change.from(), change.to(), change.t()));
    }
  }
  if (flags.top && changes == 0) absl::StrAppend(&text, "\nthe largest output does not change\n");
  if (summary.integrated_gradients_size() > 0) absl::StrAppend(&text, GradientsText(header, summary));
  absl::StrAppend(&text, "\n", CountOf(summary.pieces()), " of degree at most ", header.degree_bound(), ", ",
                  header.gates(), " gates followed, ", summary.evaluations(), " evaluations\n");
  absl::StrAppend(&text,
                  summary.certified()
                      ? "It is proven that no knot is missed.\n"
                      : absl::StrFormat("Not proven everywhere: rounding hides what is finer than t = %.2g; "
                                        "the knots found are where float64 puts them.\n",
                                        summary.resolution()));
  if (!summary.resume().empty()) {
    absl::StrAppend(&text, absl::StrFormat("Stopped at t = %.9g. To go on: --resume ", summary.reached()),
                    absl::WebSafeBase64Escape(summary.resume()), "\n");
  }
  absl::StrAppendFormat(&text, "\nserver: %.3f ms waiting, %.3f ms computing\n",
                        static_cast<double>(summary.timing().queue_us()) / 1000,
                        static_cast<double>(summary.timing().compute_us()) / 1000);
  return text;
}

int Run(const Flags& flags, Session& session) {
  const Client client(flags.connection.ToClientOptions());
  v1::TraceRequest request;
  *request.mutable_model() = flags.model.ToProto();
  // Asked first: which sequences move depends on the architecture.
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(request.model());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  if (absl::Status status = FillEnds(flags, *info, session.in, request); !status.ok()) {
    return session.FailUsage(status, "trace");
  }
  flags.outputs.Apply(*request.mutable_outputs());
  if (flags.basis == "bernstein") {
    if (!flags.plot.empty())
      return session.FailUsage("--plot: expected --basis chebyshev, found bernstein", "trace");
    request.set_basis(v1::PolynomialBasis::BERNSTEIN);
  }
  if (!flags.plot.empty()) {
    if (absl::Status status = CheckPlotPath(flags.plot); !status.ok())
      return session.FailUsage(status, "trace");
  }
  request.set_max_pieces(flags.max_pieces);
  if (!absl::WebSafeBase64Unescape(flags.resume, request.mutable_resume())) {
    return session.FailUsage("--resume: expected the token that an earlier trace printed", "trace");
  }
  request.set_integrated_gradients(flags.integrated_gradients);
  request.set_top_output(flags.top);

  v1::TraceHeader header;
  v1::TraceSummary summary;
  std::vector<v1::TracePiece> pieces;
  const absl::Status status = client.Trace(request, [&](const v1::TraceResponse& event) {
    if (flags.connection.json) session.out << ToJson(event, JsonLayout::kOneLine) << "\n" << std::flush;
    if (event.has_header()) header = event.header();
    if (event.has_summary()) summary = event.summary();
    if (event.has_pieces())
      pieces.insert(pieces.end(), event.pieces().pieces().begin(), event.pieces().pieces().end());
  });
  if (!status.ok()) {
    if (!flags.connection.json && !pieces.empty()) {
      session.out << PiecesText(pieces, flags.full)
                  << "\nThe trace ended early, at t = " << absl::StrFormat("%.9g", pieces.back().end())
                  << ".\n";
    }
    return session.FailCall(status, flags.connection.server);
  }
  if (!flags.connection.json) session.out << TraceText(flags, *info, header, pieces, summary);
  if (flags.plot.empty()) return kSuccess;
  const TracePlot plot{absl::StrCat(header.model().name(), ": ", CountOf(pieces.size())),
                       {header.outputs().begin(), header.outputs().end()},
                       std::move(pieces)};
  if (absl::Status drawn = Draw(plot, flags.plot); !drawn.ok()) {
    session.err << drawn.message() << "\n";
    return kFailedCall;
  }
  if (!flags.connection.json) session.out << "Drawn into " << flags.plot << ".\n";
  return kSuccess;
}

}  // namespace

void AddTrace(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = AddCommand(
      app, "trace",
      "Follow a model of class EXACT along the segment between two inputs: its knots, the gates that flip "
      "there, "
      "and its polynomials",
      "Example:\n"
      "  splineserve-client trace digits --from-vectors one.csv --to-vectors nine.csv --top --plot "
      "trace.svg\n"
      "  splineserve-client trace words --from-text spline --to-text splint --max-pieces 20\n"
      "  splineserve-client trace g2p --from-text cat --to-text cut --target-tokens 1 --max-pieces 10");
  AddModelFlag(command, flags->model, /*required=*/true);
  AddSequenceFlags(command, flags->from, "Where the segment begins");
  AddSequenceFlags(command, flags->to, "Where it ends, with as many tokens");
  AddSequenceFlags(command, flags->target, "Of an encoder-decoder: the target, which stands still");
  AddSequenceFlags(command, flags->source,
                   "Of an encoder-decoder: the source, which stands still while targets move");
  AddOutputSelectionFlags(command, flags->outputs);
  command.add_option("--basis", flags->basis, "How --json gives the polynomials")
      ->type_name("chebyshev|bernstein")
      ->capture_default_str()
      ->check(CLI::IsMember({"chebyshev", "bernstein"}));
  command.add_option("--max-pieces", flags->max_pieces, "Stop after so many pieces; 0 for 1000")
      ->type_name("N");
  command.add_option("--resume", flags->resume, "Go on where an earlier trace stopped")->type_name("TOKEN");
  command.add_flag("--integrated-gradients", flags->integrated_gradients,
                   "Also attribute the outputs' differences to the input's numbers");
  command.add_flag("--top", flags->top, "Also say where the largest output of a row changes");
  command.add_option("--plot", flags->plot, "Draw the outputs against t, with the knots, by gnuplot")
      ->type_name("FILE.svg|.png|.pdf");
  command.add_flag("--full", flags->full, "List every piece");
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Run(*flags, session); }; });
}

}  // namespace splineserve::client
