// `differentiate`: exact derivatives on the active piece, and the nearest gates.
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/client.h"
#include "client/commands/analysis.h"
#include "client/commands/commands.h"
#include "client/commands/evaluation.h"
#include "client/json.h"
#include "client/piece_text.h"
#include "client/table.h"

namespace splineserve::client {
namespace {

constexpr int kColumnsShown = 8;
constexpr int kRowsShown = 24;

struct Flags {
  ConnectionFlags connection;
  ModelFlag model;
  SequenceFlags input, source{.prefix = "source-"}, target{.prefix = "target-"};
  OutputSelectionFlags outputs;
  bool jacobian = false, full = false;
  std::vector<double> cotangent;
  std::string direction_file;
  uint32_t nearest = 0;
};

void Fill(const v1::Matrix& from, v1::Matrix64& to) {
  to.set_rows(from.rows());
  to.set_cols(from.cols());
  to.mutable_values()->Add(from.values().begin(), from.values().end());
}

absl::Status FillInput(const Flags& flags, const v1::ModelInfo& info, std::istream& in,
                       v1::DifferentiateRequest& request) {
  absl::StatusOr<std::optional<v1::Sequence>> input = ReadOne(flags.input, in),
                                              source = ReadOne(flags.source, in),
                                              target = ReadOne(flags.target, in);
  for (const auto* read : {&input, &source, &target}) {
    if (!read->ok()) return read->status();
  }
  const bool both = info.architecture() == v1::ModelInfo::ENCODER_DECODER;
  if (both && input->has_value()) {
    return absl::InvalidArgumentError("an encoder-decoder takes --source-... and --target-...");
  }
  if (!both && (source->has_value() || target->has_value())) {
    return absl::InvalidArgumentError("--source-... and --target-... are for an encoder-decoder");
  }
  if (!both && !input->has_value()) {
    return absl::InvalidArgumentError("nowhere to differentiate: give --text, --tokens or --vectors");
  }
  if (both && !source->has_value())
    return absl::InvalidArgumentError("no source: give --source-text or --source-tokens");
  v1::ModelInput& at = *request.mutable_at();
  const bool decoder = info.architecture() == v1::ModelInfo::DECODER;
  if (input->has_value()) (decoder ? *at.mutable_target() : *at.mutable_source()) = **input;
  if (source->has_value()) *at.mutable_source() = **source;
  if (target->has_value()) *at.mutable_target() = **target;

  if (flags.direction_file.empty()) return absl::OkStatus();
  SequenceFlags file;
  file.vectors = {flags.direction_file};
  const absl::StatusOr<std::vector<v1::Sequence>> directions = file.Read(in);
  if (!directions.ok()) return directions.status();
  if (directions->size() != (both ? 2 : 1) && directions->size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--direction: expected one matrix (of an encoder-decoder: the source's, then the target's), "
        "found ",
        directions->size()));
  }
  auto& direction = *request.mutable_direction();
  Fill(directions->front().vectors(), decoder ? *direction.mutable_target() : *direction.mutable_source());
  if (directions->size() == 2) Fill(directions->back().vectors(), *direction.mutable_target());
  return absl::OkStatus();
}

// [outputs, columns] as a table, cut where it is large.
std::string MatrixTable(const v1::Matrix64& matrix, const v1::DifferentiateResponse& response, bool full) {
  std::vector<Table::Column> columns = {{"output"}};
  const int cols = static_cast<int>(matrix.cols()), shown = full ? cols : std::min(cols, kColumnsShown);
  for (int c = 0; c < shown; ++c) columns.push_back({absl::StrCat(c), Align::kRight});
  if (shown < cols) columns.push_back({absl::StrCat("… of ", cols)});
  Table table(std::move(columns));
  const int rows = static_cast<int>(matrix.rows());
  for (int r = 0; r < (full ? rows : std::min(rows, kRowsShown)); ++r) {
    std::vector<std::string> cells = {
        absl::StrCat("row ", response.outputs(r).row(), " col ", response.outputs(r).col())};
    for (int c = 0; c < shown; ++c) {
      cells.push_back(absl::StrFormat(full ? "%.17g" : "%.5g", matrix.values(r * cols + c)));
    }
    table.AddRow(std::move(cells));
  }
  return table.ToString("  ");
}

std::string ResponseText(const Flags& flags, const v1::ModelInfo& info,
                         const v1::DifferentiateResponse& response) {
  std::string text =
      absl::StrCat(ModelHeading(response.model(), info), "piece ", Hex(response.sequence_id()), "\n");
  Table values({{"output"},
                {"value", Align::kRight},
                {response.directional_size() > 0 ? "along" : "", Align::kRight}});
  const int count = response.values_size(), shown = flags.full ? count : std::min(count, kRowsShown);
  for (int o = 0; o < shown; ++o) {
    values.AddRow({absl::StrCat("row ", response.outputs(o).row(), " col ", response.outputs(o).col()),
                   absl::StrFormat("%.9g", response.values(o)),
                   response.directional_size() > 0 ? absl::StrFormat("%.9g", response.directional(o)) : ""});
  }
  if (shown < count) values.AddRow({absl::StrCat("… of ", count, "; all of them with --full")});
  absl::StrAppend(&text, "\n", values.ToString("  "));
  if (response.has_source_jacobian()) {
    absl::StrAppend(&text, "\nJacobian in the source's numbers:\n",
                    MatrixTable(response.source_jacobian(), response, flags.full));
  }
  if (response.has_target_jacobian()) {
    absl::StrAppend(&text, "\nJacobian in the target's numbers:\n",
                    MatrixTable(response.target_jacobian(), response, flags.full));
  }
  for (const auto& [name, gradient] :
       {std::pair("source", &response.source_gradient()), std::pair("target", &response.target_gradient())}) {
    if (gradient->rows() == 0) continue;
    Table rows({{"token", Align::kRight}, {"gradient"}});
    for (uint32_t t = 0; t < gradient->rows(); ++t) {
      std::string numbers;
      const uint32_t cols =
          flags.full ? gradient->cols() : std::min<uint32_t>(gradient->cols(), kColumnsShown);
      for (uint32_t c = 0; c < cols; ++c) {
        absl::StrAppendFormat(&numbers, "%s%.5g", c == 0 ? "" : " ",
                              gradient->values(static_cast<int>(t * gradient->cols() + c)));
      }
      rows.AddRow({absl::StrCat(t), numbers + (cols < gradient->cols() ? " …" : "")});
    }
    absl::StrAppend(&text, "\ngradient of the weighted sum in the ", name, ":\n", rows.ToString("  "));
  }
  if (response.has_taylor()) {
    const v1::Taylor& taylor = response.taylor();
    absl::StrAppendFormat(
        &text, "\nalong the direction the outputs are polynomials of degree %d for s in [%.6g, %.6g]%s\n",
        static_cast<int>(taylor.coefficients().cols()) - 1, taylor.lower(), taylor.upper(),
        taylor.certified() ? " (proven)" : "");
    absl::StrAppend(&text, "coefficients of s^0, s^1, ...:\n",
                    MatrixTable(taylor.coefficients(), response, flags.full));
  }
  if (response.nearest_size() > 0) {
    Table table({{"distance", Align::kRight}, {"argument", Align::kRight}, {"gate"}});
    for (const v1::GateDistance& near : response.nearest()) {
      table.AddRow({absl::StrFormat("%.4g", near.distance()), absl::StrFormat("%.4g", near.argument()),
                    absl::StrCat(GateName(near.gate()), near.open() ? ", open" : ", closed")});
    }
    absl::StrAppend(&text, "\nnearest gates of each token, to first order:\n", table.ToString("  "));
  }
  absl::StrAppend(&text, "\n", PieceNote(info.spline_class(), info.degree_bound()));
  return text;
}

int Run(const Flags& flags, Session& session) {
  const Client client(flags.connection.ToClientOptions());
  v1::DifferentiateRequest request;
  *request.mutable_model() = flags.model.ToProto();
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(request.model());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  if (absl::Status status = FillInput(flags, *info, session.in, request); !status.ok()) {
    return session.FailUsage(status, "differentiate");
  }
  flags.outputs.Apply(*request.mutable_outputs());
  request.set_jacobian(flags.jacobian);
  request.mutable_cotangent()->Add(flags.cotangent.begin(), flags.cotangent.end());
  request.set_nearest_gates(flags.nearest);
  const absl::StatusOr<v1::DifferentiateResponse> response = client.Differentiate(request);
  if (!response.ok()) return session.FailCall(response.status(), flags.connection.server);
  session.out << (flags.connection.json ? ToJson(*response, JsonLayout::kIndented) + "\n"
                                        : ResponseText(flags, *info, *response));
  return kSuccess;
}

}  // namespace

void AddDifferentiate(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = AddCommand(
      app, "differentiate",
      "Exact derivatives of a model of class EXACT on its active piece, its Taylor polynomial along a "
      "direction, "
      "and the gates nearest to their boundaries",
      "Example:\n"
      "  splineserve-client differentiate digits --vectors digit.csv --outputs 0:3 --jacobian --nearest 3\n"
      "  splineserve-client differentiate digits --vectors digit.csv --direction step.csv\n"
      "  splineserve-client differentiate g2p --source-text cat --target-tokens 1 --outputs 0:5 --jacobian");
  AddModelFlag(command, flags->model, /*required=*/true);
  AddSequenceFlags(command, flags->input, "Where (encoder or decoder)");
  AddSequenceFlags(command, flags->source, "Where: source of an encoder-decoder");
  AddSequenceFlags(command, flags->target, "Where: target of an encoder-decoder");
  AddOutputSelectionFlags(command, flags->outputs);
  command.add_flag("--jacobian", flags->jacobian, "All partial derivatives of the chosen outputs");
  command
      .add_option("--cotangent", flags->cotangent,
                  "Weights of the chosen outputs: the gradient of their weighted sum, as in 1,-1")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("W,...");
  command
      .add_option("--direction", flags->direction_file,
                  "Rows of numbers, as --vectors: derivatives and Taylor polynomials along them")
      ->type_name("FILE");
  command.add_option("--nearest", flags->nearest, "List so many gates of each token, nearest first")
      ->type_name("N");
  command.add_flag("--full", flags->full, "Print every number, with the digits that determine it");
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Run(*flags, session); }; });
}

}  // namespace splineserve::client
