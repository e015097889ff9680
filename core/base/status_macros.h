// Early return on a failed absl::Status or absl::StatusOr.
//
//   SPLINESERVE_RETURN_IF_ERROR(Check(x));
//   SPLINESERVE_ASSIGN_OR_RETURN(ModelConfig config, ParseModelConfig(text, "config.json"));
#ifndef SPLINESERVE_CORE_BASE_STATUS_MACROS_H_
#define SPLINESERVE_CORE_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define SPLINESERVE_RETURN_IF_ERROR(expression)                             \
  do {                                                                      \
    if (absl::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

#define SPLINESERVE_STATUS_CONCAT_INNER_(a, b) a##b
#define SPLINESERVE_STATUS_CONCAT_(a, b) SPLINESERVE_STATUS_CONCAT_INNER_(a, b)

#define SPLINESERVE_ASSIGN_OR_RETURN(declaration, expression) \
  SPLINESERVE_ASSIGN_OR_RETURN_(SPLINESERVE_STATUS_CONCAT_(status_or_, __LINE__), declaration, expression)

#define SPLINESERVE_ASSIGN_OR_RETURN_(holder, declaration, expression) \
  auto holder = (expression);                                          \
  if (!holder.ok()) return std::move(holder).status();                 \
  declaration = *std::move(holder)

#endif  // SPLINESERVE_CORE_BASE_STATUS_MACROS_H_
