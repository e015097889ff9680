#include "client/commands/analysis.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace splineserve::client {
namespace {

std::optional<v1::OutputSelection::Index> ParseIndex(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  uint32_t row = 0, col = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &row) || !absl::SimpleAtoi(parts[1], &col)) {
    return std::nullopt;
  }
  v1::OutputSelection::Index index;
  index.set_row(row);
  index.set_col(col);
  return index;
}

}  // namespace

void OutputSelectionFlags::Apply(v1::OutputSelection& selection) const {
  selection.set_output(output.ToProto());
  for (const std::string& text : indices) {
    if (const auto index = ParseIndex(text)) *selection.add_indices() = *index;
  }
}

void AddOutputSelectionFlags(CLI::App& command, OutputSelectionFlags& flags) {
  command
      .add_option("--output", flags.output.output,
                  "Rows before the head or after it (where the model has one: head)")
      ->type_name("hidden|head")
      ->check(CLI::IsMember({"hidden", "head"}));
  command
      .add_option("--outputs", flags.indices,
                  "Only these numbers of the output, as in 0:3,0:5; all of them else")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("ROW:COL,...")
      ->check([](const std::string& text) {
        return ParseIndex(text) ? "" : absl::StrCat("expected ROW:COL, found \"", text, "\"");
      });
}

absl::StatusOr<std::optional<v1::Sequence>> ReadOne(const SequenceFlags& flags, std::istream& in) {
  if (flags.empty()) return std::nullopt;
  absl::StatusOr<std::vector<v1::Sequence>> sequences = flags.Read(in);
  if (!sequences.ok()) return sequences.status();
  if (sequences->size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", flags.prefix, "text, --", flags.prefix, "tokens or --", flags.prefix,
                     "vectors: expected one sequence, found ", sequences->size()));
  }
  return std::move(sequences->front());
}

std::string GateName(const v1::GateRef& gate) {
  const bool attention = gate.site() != v1::Site::FEED_FORWARD;
  const char* const site = gate.site() == v1::Site::SELF_ATTENTION    ? "self-attention"
                           : gate.site() == v1::Site::CROSS_ATTENTION ? "cross-attention"
                                                                      : "feed-forward";
  std::string name = absl::StrCat(gate.stack() == v1::GateRef::DECODER ? "decoder" : "encoder", " layer ",
                                  gate.layer(), " ", site, ", token ", gate.token());
  if (attention) absl::StrAppend(&name, " head ", gate.head());
  absl::StrAppend(&name, attention ? " key " : " unit ", gate.index());
  return name;
}

}  // namespace splineserve::client
