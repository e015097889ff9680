#include "client/model_text.h"

#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/smoothing_text.h"
#include "client/table.h"

namespace splineserve::client {
namespace {

std::string ArchitectureText(const v1::ModelInfo& model) {
  return absl::AsciiStrToLower(v1::ModelInfo::Architecture_Name(model.architecture()));
}

std::string LayersText(const v1::ModelInfo& model) {
  if (model.num_encoder_layers() > 0 && model.num_decoder_layers() > 0) {
    return absl::StrCat(model.num_encoder_layers(), "+", model.num_decoder_layers());
  }
  return absl::StrCat(model.num_encoder_layers() + model.num_decoder_layers());
}

std::string InputText(const v1::ModelInfo::Input& input) {
  if (input.kind() == "vectors") return absl::StrCat("vectors of ", input.size());
  std::string text = absl::StrCat(input.kind(), ", ", input.size(), " ids");
  if (input.has_vocabulary())
    absl::StrAppend(&text, ", text split into ",
                    input.vocabulary_split() == "whitespace" ? "words" : "characters");
  return text;
}

std::string GatesText(const v1::ModelInfo::Gates& gates) {
  return absl::StrCat(
      gates.total_self_attention_per_key(), " a visible key in self-attention",
      gates.cross_attention_per_key() > 0
          ? absl::StrCat(", ", gates.total_cross_attention_per_key(), " a source token in cross-attention")
          : "",
      ", ", gates.total_feed_forward(), " in feed-forward");
}

std::string MegabytesText(uint64_t bytes) {
  return absl::StrFormat("%.2f MB", static_cast<double>(bytes) / 1e6);
}

}  // namespace

std::string DegreeText(uint64_t degree_bound) {
  if (degree_bound == 0) return "-";
  if (degree_bound == std::numeric_limits<uint64_t>::max()) return "2^64 - 1 (saturated)";
  return absl::StrCat(degree_bound);
}

std::string ModelTable(const v1::ListModelsResponse& models) {
  if (models.models().empty()) return "The server holds no models.\n";
  Table table({{"model"},
               {"version", Align::kRight},
               {"architecture"},
               {"class"},
               {"degree", Align::kRight},
               {"parameters", Align::kRight},
               {"layers", Align::kRight},
               {"width", Align::kRight},
               {"digest"}});
  for (const v1::ModelInfo& model : models.models()) {
    table.AddRow({model.name(), absl::StrCat(model.version()), ArchitectureText(model),
                  v1::ModelInfo::SplineClass_Name(model.spline_class()), DegreeText(model.degree_bound()),
                  absl::StrCat(model.parameters()), LayersText(model), absl::StrCat(model.hidden_size()),
                  model.digest()});
  }
  return table.ToString();
}

std::string ModelText(const v1::ModelInfo& model) {
  Table table({{""}, {""}});
  auto add = [&](std::string name, std::string value) { table.AddRow({std::move(name), std::move(value)}); };
  add("model", absl::StrCat(model.name(), " version ", model.version()));
  add("digest", model.digest());
  add("architecture", ArchitectureText(model));
  add("spline class", v1::ModelInfo::SplineClass_Name(model.spline_class()));
  if (model.has_smoothing()) add("smoothing", SmoothingText(model.smoothing()));
  if (model.degree_bound() > 0)
    add("degree bound", absl::StrCat(DegreeText(model.degree_bound()), ", on one piece"));
  add("layers",
      model.num_encoder_layers() > 0 && model.num_decoder_layers() > 0
          ? absl::StrCat(model.num_encoder_layers(), " encoder, ", model.num_decoder_layers(), " decoder")
          : LayersText(model));
  add("width", absl::StrCat(model.hidden_size(), ", feed-forward ", model.intermediate_size()));
  add("heads", absl::StrCat(model.num_attention_heads(), " of ", model.head_dim()));
  add("attention", absl::StrFormat("%s, scale %.9g, normalizer %s", model.attention_activation(),
                                   model.attention_scale(), model.attention_normalizer()));
  add("feed-forward", model.hidden_act());
  add("norm", absl::StrCat(model.norm(), model.norm() == "none" ? "" : ", " + model.norm_placement(),
                           model.final_norm() ? ", final" : "", model.residual() ? "" : ", no residual"));
  add("positions", model.positions());
  add("input", InputText(model.input()));
  if (model.has_target_input()) add("target input", InputText(model.target_input()));
  add("head", model.head().kind() == "none" ? "none"
                                            : absl::StrCat(model.head().kind(), ", ", model.head().size(),
                                                           " outputs, pooling ", model.head().pooling()));
  if (model.has_encoder_gates()) add("encoder gates", GatesText(model.encoder_gates()) + ", for each token");
  if (model.has_decoder_gates()) add("decoder gates", GatesText(model.decoder_gates()) + ", for each token");
  add("parameters", absl::StrCat(model.parameters(), ", ", MegabytesText(model.weight_bytes())));
  add("limits", absl::StrCat(model.limits().max_tokens_per_sequence(), " tokens a sequence, ",
                             model.limits().max_sequences_per_request(), " sequences and ",
                             model.limits().max_tokens_per_request(), " tokens a request"));
  add("computes in", absl::StrCat(model.precision(), ", ", model.simd_target()));
  return table.ToString();
}

}  // namespace splineserve::client
