#include "client/commands/evaluation.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/commands/analysis.h"
#include "client/matrix_text.h"
#include "client/monitor_text.h"
#include "client/piece_text.h"
#include "client/sequence_input.h"
#include "client/smoothing_text.h"
#include "client/table.h"

namespace splineserve::client {
namespace {

constexpr int kUncertainShown = 8;

std::string Float64Text(const v1::Float64Result& result, bool full) {
  std::string text =
      absl::StrFormat("  float64: the output above is off by at most %.3g\n", result.max_difference());
  if (!result.bounded()) return text + "  (no bound: the model is not of class EXACT)\n";
  absl::StrAppendFormat(&text, "  proven bound of float32's rounding: %.3g\n", result.max_error_bound());
  absl::StrAppend(&text, "  ", result.uncertain_gates(), " of ", result.gates(),
                  " gates are within the bound of their rounding and may be on the other side:\n");
  Table table({{"argument", Align::kRight}, {"bound", Align::kRight}, {"gate"}});
  const int listed = result.uncertain_size(), shown = full ? listed : std::min(listed, kUncertainShown);
  for (int i = 0; i < shown; ++i) {
    const v1::UncertainGate& gate = result.uncertain(i);
    table.AddRow({absl::StrFormat("%.3g", gate.argument()), absl::StrFormat("%.3g", gate.bound()),
                  GateName(gate.gate())});
  }
  if (const uint64_t rest = result.uncertain_gates() - static_cast<uint64_t>(shown); rest > 0) {
    table.AddRow(
        {"…", "", absl::StrCat(rest, full ? " more, not listed" : " more; --full lists up to 10000")});
  }
  if (listed == 0) return text.substr(0, text.size() - 2) + ".\n";
  return text + table.ToString("  ");
}

std::string ResultText(const EvaluationText& how, const v1::Sequence& sequence,
                       const v1::SequenceResult& result) {
  const size_t tokens =
      CountTokens(sequence, how.info.has_target_input() ? how.info.target_input().vocabulary_split()
                                                        : how.info.input().vocabulary_split());
  const size_t known = result.pieces().empty() ? tokens : static_cast<size_t>(result.pieces_size());
  const std::vector<std::string> labels = TokenLabels(sequence, known);
  // A pooled row belongs to no one token.
  const bool by_token = result.output().rows() == known;
  const std::vector<std::string> row_labels = by_token ? labels : std::vector<std::string>();
  std::string text;
  if (how.is_head) absl::StrAppend(&text, TopClassesText(result.output(), row_labels));
  if (!how.is_head || how.full) absl::StrAppend(&text, MatrixText(result.output(), row_labels, how.full));
  if (result.has_monitor()) absl::StrAppend(&text, "  ", VerdictLine(result.monitor()), "\n");
  if (result.has_float64()) absl::StrAppend(&text, "\n", Float64Text(result.float64(), how.full));
  if (result.has_smoothing_error()) {
    absl::StrAppend(&text, "\n", SmoothingErrorText(result.smoothing_error(), row_labels, how.full, "  "));
  }
  if (!how.pieces) return text;
  absl::StrAppend(&text, "\n", PieceTable(result.pieces(), labels, "  "));
  if (const std::string line = OpenGatesLine(result.pieces()); !line.empty())
    absl::StrAppend(&text, "  ", line, "\n");
  if (!result.sequence_id().empty()) absl::StrAppend(&text, "  sequence ", Hex(result.sequence_id()), "\n");
  return text;
}

}  // namespace

std::string ModelHeading(const v1::ServedModel& model, const v1::ModelInfo& info) {
  return absl::StrCat(model.name(), " version ", model.version(), ", ",
                      v1::ModelInfo::SplineClass_Name(info.spline_class()),
                      model.has_smoothing() ? absl::StrCat(" (", SmoothingText(model.smoothing()), ")") : "",
                      ", ", model.precision(), ", digest ", model.digest(), "\n");
}

std::string TimingText(const v1::Timing& timing) {
  return absl::StrFormat("server: %.3f ms waiting, %.3f ms computing, batch of %d tokens\n",
                         static_cast<double>(timing.queue_us()) / 1e3,
                         static_cast<double>(timing.compute_us()) / 1e3, timing.batch_tokens());
}

std::string EvaluationText::ToString(const v1::ServedModel& model, const std::vector<v1::Sequence>& sequences,
                                     const google::protobuf::RepeatedPtrField<v1::SequenceResult>& results,
                                     const v1::Timing& timing) const {
  std::string text = ModelHeading(model, info);
  for (int i = 0; i < results.size(); ++i) {
    const v1::Matrix& output = results[i].output();
    absl::StrAppend(&text, "\n", i, ": ", Describe(sequences[static_cast<size_t>(i)]), " -> ",
                    is_head ? "head" : "hidden", " [", output.rows(), ", ", output.cols(), "]\n",
                    ResultText(*this, sequences[static_cast<size_t>(i)], results[i]));
  }
  if (!results.empty() && results[0].has_smoothing_error())
    absl::StrAppend(&text, "\n", SmoothingErrorNote());
  if (pieces) absl::StrAppend(&text, "\n", PieceNote(info.spline_class(), info.degree_bound()));
  absl::StrAppend(&text, "\n", TimingText(timing));
  return text;
}

}  // namespace splineserve::client
