// Which smoothings a server adds to the models of its repository.
#ifndef SPLINESERVE_SERVER_SMOOTHING_CHOICE_H_
#define SPLINESERVE_SERVER_SMOOTHING_CHOICE_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace splineserve {

// None, unless chosen. A smoothing never takes its spline's place: it is served beside it, under a name that
// says what it is. A value.
class SmoothingChoice {
 public:
  SmoothingChoice() = default;

  // Each of `choices` is BETA, for every model that can be smoothed (core/spline/smoothing.h), or MODEL=BETA,
  // for all versions of one, which then has its own betas alone, wherever they stand. A model may have
  // several. INVALID_ARGUMENT, naming the choice, for a beta that is not a finite number above 0 in float32,
  // an empty model, and the same beta a second time.
  static absl::StatusOr<SmoothingChoice> Parse(const std::vector<std::string>& choices);

  // The betas for this model, ascending.
  const std::vector<float>& Of(std::string_view model) const;
  // Whether this model was named: if it cannot be smoothed, that is an error.
  bool Named(std::string_view model) const { return models_.find(model) != models_.end(); }
  // Whether a beta was chosen for every model that can be smoothed.
  bool for_all() const { return !all_.empty(); }

  // INVALID_ARGUMENT if a model was named that is none of `names` (sorted); lists them.
  absl::Status CheckModels(const std::vector<std::string>& names) const;

  // "100,g2p=20": Parse takes it back. "none" without any.
  std::string ToString() const;

 private:
  std::vector<float> all_;
  std::map<std::string, std::vector<float>, std::less<>> models_;
};

// The name that a smoothing is served under: "digits@softplus20".
std::string SmoothedName(std::string_view model, float beta);

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_SMOOTHING_CHOICE_H_
