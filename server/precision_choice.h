// Which precision each model of a server is loaded in.
#ifndef SPLINESERVE_SERVER_PRECISION_CHOICE_H_
#define SPLINESERVE_SERVER_PRECISION_CHOICE_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/kernels/precision.h"

namespace splineserve {

// Float32 for every model, unless chosen otherwise. A value.
class PrecisionChoice {
 public:
  PrecisionChoice() = default;

  // Each of `choices` is NAME, for all models, or MODEL=NAME, for all versions of one, which wins over the
  // former wherever it stands. INVALID_ARGUMENT, naming the choice, for a precision that is not known (the
  // message lists those that are), an empty model, and a second choice for the same.
  static absl::StatusOr<PrecisionChoice> Parse(const std::vector<std::string>& choices);

  Precision Of(std::string_view model) const;

  // INVALID_ARGUMENT if a precision was chosen for a model that is none of `names` (sorted); lists them.
  absl::Status CheckModels(const std::vector<std::string>& names) const;

  // "float32,g2p=int8": Parse takes it back.
  std::string ToString() const;

 private:
  Precision all_ = Precision::kFloat32;
  std::map<std::string, Precision, std::less<>> models_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_SERVER_PRECISION_CHOICE_H_
