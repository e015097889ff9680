#include "server/monitoring.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace splineserve {
namespace {

v1::Site::Value ToProto(Site site) {
  switch (site) {
    case Site::kSelfAttention:
      return v1::Site::SELF_ATTENTION;
    case Site::kCrossAttention:
      return v1::Site::CROSS_ATTENTION;
    case Site::kFeedForward:
      return v1::Site::FEED_FORWARD;
  }
  return v1::Site::UNSPECIFIED;
}

v1::MonitorKind::Value ToProto(MonitorKind kind) {
  return kind == MonitorKind::kBits ? v1::MonitorKind::BITS : v1::MonitorKind::HASHED;
}

void ToProto(const PatternMonitor::Match& match, v1::MonitorVerdict::Match* out) {
  out->set_label(match.label);
  out->set_index(match.index);
  out->set_distance(static_cast<uint32_t>(match.distance));
}

}  // namespace

uint32_t LabelOf(const SequenceResult& result, uint32_t classes) {
  if (classes <= 1) return 0;
  const std::vector<float>& values = result.output.values;
  return static_cast<uint32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

size_t LayersOf(const ModelConfig& config, PieceRecorder::Stack stack) {
  return stack == PieceRecorder::Stack::kEncoder ? config.num_encoder_layers : config.num_decoder_layers;
}

v1::MonitorInfo ToMonitorInfo(const PatternMonitor& monitor) {
  const MonitorDescription& description = monitor.description();
  const PatternSelection& selection = description.selection;
  v1::MonitorInfo info;
  info.set_digest(description.digest);
  info.set_precision(PrecisionName(description.precision));
  info.set_of_decoder(selection.stack == PieceRecorder::Stack::kDecoder);
  info.set_kind(ToProto(description.kind));
  v1::MonitorSelection* const chosen = info.mutable_selection();
  chosen->mutable_layers()->Add(selection.layers.begin(), selection.layers.end());
  for (const Site site : selection.sites) chosen->add_sites(ToProto(site));
  chosen->mutable_units()->Add(selection.units.begin(), selection.units.end());
  info.set_gamma(description.gamma);
  info.set_classes(description.classes);
  info.mutable_patterns()->Resize(static_cast<int>(description.classes), 0);
  for (const PatternMonitor::Group& group : monitor.groups()) {
    const int label = static_cast<int>(group.label);
    info.set_patterns(label, info.patterns(label) + group.count);
  }
  info.set_bytes(monitor.bytes());
  return info;
}

absl::StatusOr<std::optional<Monitoring>> Monitoring::Prepare(const MonitorRegistry& monitors,
                                                              const LoadedModel& model,
                                                              PieceRecorder::Stack stack,
                                                              const v1::MonitorOptions& options,
                                                              OutputKind output, PieceOptions& pieces) {
  // A wrong call for the architecture is the engine's to refuse, and so are margins without pieces.
  if (LayersOf(model.config(), stack) == 0) return std::nullopt;
  if (pieces.margins && pieces.detail == PieceDetail::kNone) return std::nullopt;
  SPLINESERVE_ASSIGN_OR_RETURN(MonitorRegistry::MonitorPtr monitor,
                               monitors.Find(model, stack, options.name()));
  const MonitorDescription& description = monitor->monitor.description();
  if (description.classes > 1 && output == OutputKind::kHidden) {
    return absl::InvalidArgumentError(absl::StrCat("output: expected HEAD, because the monitor ",
                                                   monitor->name, " goes by classes, found HIDDEN"));
  }
  if (description.kind == MonitorKind::kHashed && options.gamma() != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("monitor.gamma: expected 0, because the monitor ", monitor->name,
                     " holds hashes, which have no distances, found ", options.gamma()));
  }
  const uint32_t gamma = options.has_gamma() ? options.gamma() : description.gamma;
  PieceOptions asked = std::move(pieces);
  pieces = Widen(asked, description.selection, LayersOf(model.config(), stack));
  return Monitoring(std::move(monitor), gamma, std::move(asked));
}

v1::MonitorVerdict Monitoring::Judge(const Pattern& pattern, uint32_t label) const {
  const PatternMonitor::Verdict verdict = monitor_->monitor.Judge(pattern, label, gamma_);
  v1::MonitorVerdict out;
  out.set_monitor(monitor_->name);
  out.set_label(label);
  out.set_accepted(verdict.accepted);
  out.set_known(verdict.own.has_value() && verdict.own->distance == 0);
  if (verdict.own) ToProto(*verdict.own, out.mutable_own());
  if (verdict.nearest) ToProto(*verdict.nearest, out.mutable_nearest());
  out.set_gates(pattern.shape.gates);
  out.set_gamma(gamma_);
  out.set_kind(ToProto(monitor_->monitor.description().kind));
  return out;
}

std::vector<v1::MonitorVerdict> Monitoring::Judge(std::vector<SequenceResult>& results) const {
  std::vector<v1::MonitorVerdict> verdicts;
  verdicts.reserve(results.size());
  for (SequenceResult& result : results) {
    const uint32_t label = LabelOf(result, monitor_->monitor.description().classes);
    verdicts.push_back(Judge(PatternOf(selection(), result.pieces), label));
    if (!wants_pieces()) {
      result.pieces.clear();
      result.sequence_id.clear();
    }
    for (TokenPiece& piece : result.pieces) Narrow(piece);
  }
  return verdicts;
}

}  // namespace splineserve
