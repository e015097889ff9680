#include "server/precision_choice.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace splineserve {
namespace {

absl::Status Invalid(const std::string& choice, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("--precision \"", absl::CEscape(choice), "\": ", what));
}

}  // namespace

absl::StatusOr<PrecisionChoice> PrecisionChoice::Parse(const std::vector<std::string>& choices) {
  PrecisionChoice parsed;
  bool for_all = false;
  for (const std::string& choice : choices) {
    const size_t equals = choice.rfind('=');  // a folder's name may hold one, a precision's does not
    const bool for_one = equals != std::string::npos;
    const absl::StatusOr<Precision> precision = ParsePrecision(for_one ? choice.substr(equals + 1) : choice);
    if (!precision.ok()) return Invalid(choice, std::string(precision.status().message()));
    if (!for_one) {
      if (for_all) return Invalid(choice, "a precision for all models is already chosen");
      for_all = true;
      parsed.all_ = *precision;
      continue;
    }
    const std::string model = choice.substr(0, equals);
    if (model.empty()) return Invalid(choice, "expected MODEL=NAME, found no model");
    if (!parsed.models_.emplace(model, *precision).second)
      return Invalid(choice, "a precision for this model is already chosen");
  }
  return parsed;
}

Precision PrecisionChoice::Of(std::string_view model) const {
  const auto found = models_.find(model);
  return found == models_.end() ? all_ : found->second;
}

absl::Status PrecisionChoice::CheckModels(const std::vector<std::string>& names) const {
  for (const auto& [model, precision] : models_) {
    if (std::binary_search(names.begin(), names.end(), model)) continue;
    return Invalid(
        absl::StrCat(model, "=", PrecisionName(precision)),
        absl::StrCat("expected a model of the repository, which has ", absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

std::string PrecisionChoice::ToString() const {
  std::string text = PrecisionName(all_);
  for (const auto& [model, precision] : models_)
    absl::StrAppend(&text, ",", model, "=", PrecisionName(precision));
  return text;
}

}  // namespace splineserve
