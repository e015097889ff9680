// A program as the files of a model directory.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_PROGRAM_FILES_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_PROGRAM_FILES_H_

#include <cstddef>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/format/safetensors.h"
#include "core/spline/compile/program.h"

namespace splineserve {

// INVALID_ARGUMENT, with what was found and the limit, if a size is beyond what config.json allows or the
// weights would take more than `max_bytes` in `dtype`. Reads sizes alone.
absl::Status CheckProgramSize(const Program& program, DType dtype, size_t max_bytes);

// "config.json" and "model.safetensors" of an encoder of class EXACT over vectors, with learned positions for
// one token, which are the column that is always 1: longer sequences, where attention would see other tokens,
// are refused. Every weight is rounded once from float64 (F64: not at all; for tests). INVALID_ARGUMENT as
// CheckProgramSize, and for a weight that is beyond float32. Allocates the dense weights, in float64 and in
// `dtype`.
absl::StatusOr<std::map<std::string, std::string>> ToModelFiles(const Program& program, DType dtype,
                                                                size_t max_bytes);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_PROGRAM_FILES_H_
