// `evaluate-on-piece`: the outputs of a model whose gates are frozen to a piece.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/client.h"
#include "client/commands/commands.h"
#include "client/commands/evaluation.h"
#include "client/commands/model_input_options.h"
#include "client/commands/options.h"
#include "client/distance_text.h"
#include "client/input_lines.h"
#include "client/json.h"
#include "client/matrix_text.h"
#include "client/model_text.h"
#include "client/piece_text.h"
#include "client/sequence_input.h"
#include "core/base/status_macros.h"

namespace splineserve::client {
namespace {

constexpr char kName[] = "evaluate-on-piece";

struct Flags {
  ConnectionFlags connection;
  ModelFlag model;
  ModelInputFlags input{""};
  ModelInputFlags gates{"gates-"};
  std::string encoder_pieces, decoder_pieces;  // files
  bool verify = false;
  OutputFlags output;
  PieceFlags pieces;

  bool given() const { return !encoder_pieces.empty() || !decoder_pieces.empty(); }
};

absl::StatusOr<v1::ModelInput> ReadOne(const ModelInputFlags& flags, const v1::ModelInfo& info,
                                       std::istream& in, const std::string& what) {
  SPLINESERVE_ASSIGN_OR_RETURN(std::vector<v1::ModelInput> inputs, flags.Read(info, in));
  if (inputs.size() == 1) return std::move(inputs[0]);
  return absl::InvalidArgumentError(absl::StrCat(what, ": expected one sequence, found ", inputs.size()));
}

// The pieces of the first result of an answer to Encode or Decode, in JSON.
template <typename Response>
absl::Status ReadPieces(const std::string& path, std::istream& in,
                        google::protobuf::RepeatedPtrField<v1::TokenPiece>& pieces) {
  if (path.empty()) return absl::OkStatus();
  SPLINESERVE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, in));
  Response response;
  if (const absl::Status status = FromJson(text, response); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", std::string(status.message())));
  }
  if (response.results_size() != 1 || response.results(0).pieces().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": expected the answer for one sequence with --pieces bits --json, found ",
        response.results_size(), " results", response.results_size() == 1 ? " without pieces" : ""));
  }
  pieces = response.results(0).pieces();
  return absl::OkStatus();
}

absl::Status Fill(const Flags& flags, const v1::ModelInfo& info, std::istream& in,
                  v1::EvaluateOnPieceRequest& request) {
  *request.mutable_model() = flags.model.ToProto();
  SPLINESERVE_ASSIGN_OR_RETURN(*request.mutable_input(), ReadOne(flags.input, info, in, "input"));
  if (!flags.gates.empty()) {
    SPLINESERVE_ASSIGN_OR_RETURN(*request.mutable_gates_of(), ReadOne(flags.gates, info, in, "gates"));
  } else if (flags.given()) {
    auto& given = *request.mutable_given();
    SPLINESERVE_RETURN_IF_ERROR(
        ReadPieces<v1::EncodeResponse>(flags.encoder_pieces, in, *given.mutable_encoder()));
    SPLINESERVE_RETURN_IF_ERROR(
        ReadPieces<v1::DecodeResponse>(flags.decoder_pieces, in, *given.mutable_decoder()));
  }
  request.set_output(flags.output.ToProto());
  request.set_verify(flags.verify);
  return flags.pieces.Apply(*request.mutable_pieces());
}

std::string GatesText(const v1::EvaluateOnPieceRequest& request) {
  if (request.has_gates_of()) return absl::StrCat("the gates of ", Describe(request.gates_of()));
  return request.has_given() ? "given gates" : "its own gates";
}

std::string DisagreementText(const v1::EvaluateOnPieceResponse& response) {
  uint64_t differing = 0;
  std::string text;
  for (const v1::StackDistance& stack : response.disagreement()) {
    const bool encoder = stack.stack() == v1::GateRef::ENCODER;
    const std::string& id = encoder ? response.encoder_sequence_id() : response.decoder_sequence_id();
    absl::StrAppend(&text, encoder ? "encoder" : "decoder", " piece ", Hex(id), ": ",
                    stack.total().differing(), " of ", stack.total().compared(),
                    " gates have an argument of the other sign\n");
    differing += stack.total().differing();
    if (stack.total().differing() != 0) absl::StrAppend(&text, DistanceTable(stack.groups(), "  "));
  }
  return absl::StrCat(text, differing == 0 ? "The input lies on the piece.\n"
                                           : "The input lies beyond the piece: this is its extrapolation.\n");
}

std::string VerificationText(const v1::PieceVerification& verification, int numbers) {
  std::string text = absl::StrCat("verified by evaluation with the input's own gates:\n  ",
                                  DistanceText(verification.gates()), "\n");
  if (verification.equal()) {
    return absl::StrCat(text, "  all ", numbers, " numbers are the same, bit for bit\n");
  }
  absl::StrAppendFormat(
      &text, "  %d of %d numbers differ, by at most %.6g; the first in row %d, column %d: %.9g, own %.9g\n",
      verification.differing(), numbers, verification.largest_difference(), verification.first().row(),
      verification.first().col(), verification.first().on_piece(), verification.first().own());
  return text;
}

std::string PolynomialNote(const v1::EvaluateOnPieceResponse& response) {
  if (response.polynomial()) {
    return absl::StrCat("With these gates the model is one polynomial of degree at most ",
                        DegreeText(response.degree_bound()), ", wherever the input is.\n");
  }
  return "The model's norms are not polynomial, so that neither is the model with these gates.\n";
}

int Run(const Flags& flags, Session& session) {
  if (flags.input.empty()) {
    return session.FailUsage("nothing to evaluate: give --text, --tokens or --vectors", kName);
  }
  if (!flags.gates.empty() && flags.given()) {
    return session.FailUsage(
        "choose one of --gates-text, --gates-tokens, --gates-vectors and --encoder-pieces, --decoder-pieces",
        kName);
  }
  const Client client(flags.connection.ToClientOptions());
  const absl::StatusOr<v1::ModelInfo> info = client.GetModel(flags.model.ToProto());
  if (!info.ok()) return session.FailCall(info.status(), flags.connection.server);
  v1::EvaluateOnPieceRequest request;
  if (absl::Status status = Fill(flags, *info, session.in, request); !status.ok()) {
    return session.FailUsage(status, kName);
  }
  const absl::StatusOr<v1::EvaluateOnPieceResponse> response = client.EvaluateOnPiece(request);
  if (!response.ok()) return session.FailCall(response.status(), flags.connection.server);
  if (flags.connection.json) {
    session.out << ToJson(*response, JsonLayout::kIndented) << "\n";
    return kSuccess;
  }

  const v1::Matrix& output = response->result().output();
  const v1::Sequence& sequence = LastSequence(request.input());
  const bool ends_in_head = (info->architecture() == v1::ModelInfo::ENCODER) != request.input().has_target();
  const bool is_head =
      info->head().kind() == "linear" && ends_in_head && request.output() != v1::OutputKind::HIDDEN;
  const size_t tokens = CountTokens(sequence, LastSplit(request.input(), *info));
  const std::vector<std::string> labels = TokenLabels(sequence, tokens);
  const std::vector<std::string> row_labels = output.rows() == tokens ? labels : std::vector<std::string>();
  std::string text = absl::StrCat(ModelHeading(response->model(), *info), "\n", Describe(request.input()),
                                  " with ", GatesText(request), " -> ", is_head ? "head" : "hidden", " [",
                                  output.rows(), ", ", output.cols(), "]\n");
  if (is_head) absl::StrAppend(&text, TopClassesText(output, row_labels));
  if (!is_head || flags.output.full)
    absl::StrAppend(&text, MatrixText(output, row_labels, flags.output.full));
  absl::StrAppend(&text, "\n", DisagreementText(*response));
  if (flags.pieces.wanted()) {
    absl::StrAppend(&text, "\nsigns of the arguments themselves:\n",
                    PieceTable(response->result().pieces(), labels, "  "), "\n",
                    PieceNote(info->spline_class(), info->degree_bound()));
  }
  if (response->has_verification()) {
    absl::StrAppend(&text, "\n", VerificationText(response->verification(), output.values_size()));
  }
  absl::StrAppend(&text, "\n", PolynomialNote(*response), "\n", TimingText(response->timing()));
  session.out << text;
  return kSuccess;
}

}  // namespace

void AddEvaluateOnPiece(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      AddCommand(app, kName,
                 "Evaluate with the gates frozen to a piece: another input's, given ones, or the input's "
                 "own. Beyond the "
                 "piece "
                 "this is the extrapolation of its polynomial",
                 "Example:\n"
                 "  splineserve-client evaluate-on-piece g2p --text cat --gates-text cut --verify\n"
                 "  splineserve-client evaluate-on-piece words --text spline --verify\n"
                 "  splineserve-client encode g2p --text cut --pieces bits --json > cut.json\n"
                 "  splineserve-client evaluate-on-piece g2p --text cat --encoder-pieces cut.json");
  AddModelFlag(command, flags->model, /*required=*/true);
  AddModelInputFlags(command, flags->input, "Input");
  AddModelInputFlags(command, flags->gates, "Input whose gates are taken, of as many tokens");
  command
      .add_option(
          "--encoder-pieces", flags->encoder_pieces,
          "Gates of the encoder from a file: what `encode --pieces bits --json` prints for one sequence")
      ->type_name("FILE");
  command
      .add_option(
          "--decoder-pieces", flags->decoder_pieces,
          "Gates of the decoder from a file: what `decode --pieces bits --json` prints for one sequence")
      ->type_name("FILE");
  command.add_flag("--verify", flags->verify,
                   "Also evaluate the input as it is, and say whether gates and numbers are the same");
  AddOutputFlags(command, flags->output);
  AddPieceFlags(command, flags->pieces);
  AddConnectionFlags(command, flags->connection);
  command.callback(
      [flags, &session] { session.action = [flags, &session] { return Run(*flags, session); }; });
}

}  // namespace splineserve::client
