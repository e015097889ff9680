#include "server/smoothing_choice.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/spline/smoothing.h"

namespace splineserve {
namespace {

absl::Status Invalid(const std::string& choice, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("--smoothing \"", absl::CEscape(choice), "\": ", what));
}

// False if it was there.
bool Insert(float beta, std::vector<float>& betas) {
  const auto place = std::lower_bound(betas.begin(), betas.end(), beta);
  if (place != betas.end() && *place == beta) return false;
  betas.insert(place, beta);
  return true;
}

}  // namespace

absl::StatusOr<SmoothingChoice> SmoothingChoice::Parse(const std::vector<std::string>& choices) {
  SmoothingChoice parsed;
  for (const std::string& choice : choices) {
    const size_t equals = choice.rfind('=');  // a folder's name may hold one, a number does not
    const bool for_one = equals != std::string::npos;
    const std::string number = for_one ? choice.substr(equals + 1) : choice;
    float beta = 0;
    if (!absl::SimpleAtof(number, &beta) || !(beta > 0) || std::isinf(beta)) {
      return Invalid(choice,
                     absl::StrCat("expected [MODEL=]BETA with a finite number above 0 in float32, found \"",
                                  absl::CEscape(number), "\""));
    }
    const std::string model = for_one ? choice.substr(0, equals) : "";
    if (for_one && model.empty()) return Invalid(choice, "expected MODEL=BETA, found no model");
    if (!Insert(beta, for_one ? parsed.models_[model] : parsed.all_)) {
      return Invalid(choice,
                     absl::StrCat("beta ", BetaText(beta), for_one ? " for this model" : " for all models",
                                  " is already chosen"));
    }
  }
  return parsed;
}

const std::vector<float>& SmoothingChoice::Of(std::string_view model) const {
  const auto found = models_.find(model);
  return found == models_.end() ? all_ : found->second;
}

absl::Status SmoothingChoice::CheckModels(const std::vector<std::string>& names) const {
  for (const auto& [model, betas] : models_) {
    if (std::binary_search(names.begin(), names.end(), model)) continue;
    return Invalid(
        absl::StrCat(model, "=", BetaText(betas.front())),
        absl::StrCat("expected a model of the repository, which has ", absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

std::string SmoothingChoice::ToString() const {
  std::vector<std::string> words;
  for (float beta : all_) words.push_back(BetaText(beta));
  for (const auto& [model, betas] : models_) {
    for (float beta : betas) words.push_back(absl::StrCat(model, "=", BetaText(beta)));
  }
  return words.empty() ? "none" : absl::StrJoin(words, ",");
}

std::string SmoothedName(std::string_view model, float beta) {
  return absl::StrCat(std::string(model), "@softplus", BetaText(beta));
}

}  // namespace splineserve
