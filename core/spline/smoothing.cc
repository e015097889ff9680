#include "core/spline/smoothing.h"

#include <cmath>
#include <cstdint>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/spline/spline_class.h"

namespace splineserve {
namespace {

absl::Status Refuse(SplineClass found, const char* field, std::string_view value, const char* why) {
  const auto text = [](std::string_view view) { return std::string(view); };
  return absl::InvalidArgumentError(
      absl::StrCat("smoothing: expected a model of class EXACT with relu gates, "
                   "found class ",
                   text(Name(found)), " with ", field, " \"", text(value), "\"", why));
}

}  // namespace

absl::Status CheckSmoothable(const ModelConfig& config) {
  const SplineClass found = ClassOf(config);
  if (!AttentionHasGates(config))
    return Refuse(found, "attention_activation", Name(config.attention_activation), "");
  if (!FeedForwardHasGates(config)) return Refuse(found, "hidden_act", Name(config.hidden_act), "");
  if (found != SplineClass::kExact) return Refuse(found, "norm", Name(config.norm), "");
  constexpr char kSquared[] = ", whose smoothing the format has no word for";
  if (config.attention_activation != AttentionActivation::kRelu)
    return Refuse(found, "attention_activation", Name(config.attention_activation), kSquared);
  if (config.hidden_act != HiddenAct::kRelu)
    return Refuse(found, "hidden_act", Name(config.hidden_act), kSquared);
  return absl::OkStatus();
}

absl::StatusOr<ModelConfig> Smoothed(ModelConfig config, float beta) {
  SPLINESERVE_RETURN_IF_ERROR(CheckSmoothable(config));
  if (!(beta > 0) || std::isinf(beta)) {
    return absl::InvalidArgumentError(
        absl::StrCat("smoothing: expected a finite beta above 0, found ", beta));
  }
  config.attention_activation = AttentionActivation::kSoftplus;
  config.hidden_act = HiddenAct::kSoftplus;
  config.softplus_beta = beta;
  return config;
}

std::string BetaText(float beta) {
  constexpr float kWhole = 1e9f;
  if (beta >= 1 && beta < kWhole && beta == std::floor(beta)) return absl::StrCat(static_cast<int64_t>(beta));
  for (int digits = 1; digits < 9; ++digits) {
    const std::string text = absl::StrFormat("%.*g", digits, beta);
    float value = 0;
    if (absl::SimpleAtof(text, &value) && value == beta) return text;
  }
  return absl::StrFormat("%.9g", beta);
}

}  // namespace splineserve
