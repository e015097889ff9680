// Writing the safetensors container that safetensors.h reads.
#ifndef SPLINESERVE_CORE_FORMAT_SAFETENSORS_WRITER_H_
#define SPLINESERVE_CORE_FORMAT_SAFETENSORS_WRITER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/format/safetensors.h"

namespace splineserve {

struct NewTensor {
  std::string name;
  std::vector<size_t> shape;   // [] is a scalar
  std::vector<double> values;  // row-major
};

// A whole file: the tensors in the given order, each value rounded once to `dtype`, the header padded with
// spaces so that data begins at a multiple of 8 bytes. INVALID_ARGUMENT names the tensor, for: a name that is
// there twice, a shape that does not match the number of values, a value that is not a finite number of
// `dtype`, and dtypes other than F32 and F64. Allocates the file and nothing of that order beside it.
absl::StatusOr<std::string> SerializeSafetensors(absl::Span<const NewTensor> tensors, DType dtype);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_SAFETENSORS_WRITER_H_
