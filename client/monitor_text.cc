#include "client/monitor_text.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/table.h"

namespace splineserve::client {
namespace {

std::string SiteName(int site) {
  switch (site) {
    case v1::Site::SELF_ATTENTION:
      return "self";
    case v1::Site::CROSS_ATTENTION:
      return "cross";
    case v1::Site::FEED_FORWARD:
      return "ffn";
    default:  // Protobuf's enums are open: a newer server may send more
      return absl::StrCat("site ", site);
  }
}

// "layers 1, ffn, 24 units".
std::string SelectionText(const v1::MonitorSelection& selection) {
  std::vector<std::string> parts;
  parts.push_back(selection.layers().empty()
                      ? "all layers"
                      : absl::StrCat(selection.layers_size() == 1 ? "layer " : "layers ",
                                     absl::StrJoin(selection.layers(), ",")));
  parts.push_back(selection.sites().empty()
                      ? "all sites"
                      : absl::StrJoin(selection.sites(), "+", [](std::string* out, int site) {
                          absl::StrAppend(out, SiteName(site));
                        }));
  if (!selection.units().empty()) parts.push_back(absl::StrCat(selection.units_size(), " units"));
  return absl::StrJoin(parts, ", ");
}

std::string KindName(v1::MonitorKind::Value kind) {
  return kind == v1::MonitorKind::HASHED ? "hashed" : "bits";
}

uint64_t PatternsOf(const v1::MonitorInfo& info) {
  return std::accumulate(info.patterns().begin(), info.patterns().end(), uint64_t{0});
}

struct Count {
  int accepted = 0, all = 0;
  std::string ToString() const { return absl::StrCat(accepted, " of ", all); }
};

}  // namespace

std::string VerdictWord(const v1::MonitorVerdict& verdict) {
  return verdict.known() && verdict.accepted() ? "known" : verdict.accepted() ? "accepted" : "WARNING";
}

std::string VerdictLine(const v1::MonitorVerdict& verdict) {
  std::string text = absl::StrCat("monitor ", verdict.monitor(), ": ", VerdictWord(verdict), ": ");
  if (verdict.has_own()) {
    absl::StrAppend(&text, verdict.own().distance(), " of ", verdict.gates(),
                    " gates differ from the nearest pattern of class ", verdict.label());
  } else if (verdict.kind() == v1::MonitorKind::HASHED) {
    absl::StrAppend(&text, "its ", verdict.gates(), " gates are no pattern recorded for class ",
                    verdict.label());
  } else {
    absl::StrAppend(&text, "no pattern recorded for class ", verdict.label(), " compares with its ",
                    verdict.gates(), " gates");
  }
  absl::StrAppend(&text, " (gamma ", verdict.gamma(), ")");
  if (verdict.has_nearest() && verdict.nearest().label() != verdict.label()) {
    absl::StrAppend(&text, "; nearer: class ", verdict.nearest().label(), " at ",
                    verdict.nearest().distance());
  }
  return text;
}

std::string GenerationVerdicts(const v1::GenerationResult& result) {
  std::string text;
  for (int i = 0; i < result.hypotheses_size(); ++i) {
    if (!result.hypotheses(i).has_monitor()) continue;
    absl::StrAppend(&text, "  ",
                    result.hypotheses_size() == 1 ? "" : absl::StrCat("hypothesis ", i + 1, ": "),
                    VerdictLine(result.hypotheses(i).monitor()), "\n");
  }
  return text;
}

std::string VerdictTable(const google::protobuf::RepeatedPtrField<v1::SequenceResult>& results,
                         const std::vector<uint32_t>& labels) {
  Table table({{"input", Align::kRight},
               {labels.empty() ? "" : "true class", Align::kRight},
               {"class", Align::kRight},
               {"verdict", Align::kLeft},
               {"distance", Align::kRight},
               {"of gates", Align::kRight},
               {"nearest class", Align::kRight},
               {"its distance", Align::kRight}});
  Count all, right, wrong;
  int known = 0;
  for (int i = 0; i < results.size(); ++i) {
    const v1::MonitorVerdict& verdict = results[i].monitor();
    const auto label =
        static_cast<size_t>(i) < labels.size() ? absl::StrCat(labels[static_cast<size_t>(i)]) : "";
    table.AddRow({absl::StrCat(i), label, absl::StrCat(verdict.label()), VerdictWord(verdict),
                  verdict.has_own() ? absl::StrCat(verdict.own().distance()) : "-",
                  absl::StrCat(verdict.gates()),
                  verdict.has_nearest() ? absl::StrCat(verdict.nearest().label()) : "-",
                  verdict.has_nearest() ? absl::StrCat(verdict.nearest().distance()) : "-"});
    known += verdict.known() ? 1 : 0;
    const auto count = [&](Count& which) {
      ++which.all;
      which.accepted += verdict.accepted() ? 1 : 0;
    };
    count(all);
    if (!label.empty()) count(labels[static_cast<size_t>(i)] == verdict.label() ? right : wrong);
  }
  if (results.empty()) return "";
  std::string text = absl::StrCat(table.ToString(), "\n", all.ToString(), " accepted by monitor ",
                                  results[0].monitor().monitor(), " (gamma ", results[0].monitor().gamma(),
                                  "), ", known, " of them known\n");
  if (!labels.empty()) {
    absl::StrAppend(&text, "accepted: ", right.ToString(), " right answers, ", wrong.ToString(),
                    " wrong ones\n");
  }
  return text;
}

std::string MonitorTable(const google::protobuf::RepeatedPtrField<v1::MonitorInfo>& monitors) {
  Table table({{"monitor", Align::kLeft},
               {"model", Align::kLeft},
               {"call", Align::kLeft},
               {"gates of", Align::kLeft},
               {"kind", Align::kLeft},
               {"gamma", Align::kRight},
               {"classes", Align::kRight},
               {"patterns", Align::kRight},
               {"memory", Align::kRight},
               {"precision", Align::kLeft}});
  for (const v1::MonitorInfo& info : monitors) {
    const std::string models =
        absl::StrJoin(info.models(), " ", [](std::string* out, const v1::ModelRef& model) {
          absl::StrAppend(out, model.name(), ":", model.version());
        });
    table.AddRow({info.name(), models, info.of_decoder() ? "decode" : "encode",
                  SelectionText(info.selection()), KindName(info.kind()), absl::StrCat(info.gamma()),
                  absl::StrCat(info.classes()), absl::StrCat(PatternsOf(info)),
                  absl::StrFormat("%.1f KB", static_cast<double>(info.bytes()) / 1e3), info.precision()});
  }
  return table.ToString();
}

std::string RecordingText(const v1::RecordPatternsResponse& response) {
  const v1::MonitorInfo& info = response.info();
  std::string text =
      absl::StrFormat("%s version %d, %s, digest %s\n%s; %s, gamma %d\n\n", response.model().name(),
                      response.model().version(), info.precision(), info.digest(),
                      SelectionText(info.selection()), KindName(info.kind()), info.gamma());
  Table table({{"class", Align::kRight}, {"patterns", Align::kRight}});
  for (int label = 0; label < info.patterns_size(); ++label) {
    table.AddRow({absl::StrCat(label), absl::StrCat(info.patterns(label))});
  }
  absl::StrAppend(&text, table.ToString(), "  all  ", PatternsOf(info), ", ", info.bytes(), " bytes\n\n",
                  response.added(), " sequences were new, ", response.known(), " known, ",
                  response.left_out(), " left out\n");
  return text;
}

}  // namespace splineserve::client
