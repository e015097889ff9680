// The safetensors container: 8 bytes of little-endian header length, a JSON header
// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ..., "__metadata__": {str: str}},
// then data.
//
// Everything is treated as hostile: lengths are compared with the bytes that are left before they are used,
// products are checked for overflow before anything is allocated, and a failure names file, tensor, expected
// and found.
#ifndef SPLINESERVE_CORE_FORMAT_SAFETENSORS_H_
#define SPLINESERVE_CORE_FORMAT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace splineserve {

enum class DType { kF16, kBF16, kF32, kF64 };
std::string_view Name(DType dtype);  // "F16", ...
size_t SizeOf(DType dtype);          // bytes of one element

// One tensor inside a mapped file. Views into the mapping: valid while the mapping lives.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<size_t> shape;       // [] is a scalar
  absl::Span<const uint8_t> data;  // little-endian, exactly elements() * SizeOf(dtype) bytes, any alignment
  std::string file;                // where it came from, for messages

  size_t elements() const;
};

std::string ShapeString(absl::Span<const size_t> shape);  // "[512, 128]"

// Parses the header in `bytes` (a whole file) and returns its tensors by ascending offset. INVALID_ARGUMENT
// for: fewer than 8 bytes, a header longer than the file or than 100 MB, malformed JSON, duplicate names,
// unknown dtypes, shapes that overflow, offsets that are descending, out of range, overlapping, leave holes,
// or do not match shape x dtype, bytes after the last tensor. The cost is that of the header: data is not
// read.
absl::StatusOr<std::vector<TensorView>> ParseSafetensors(absl::Span<const uint8_t> bytes,
                                                         std::string_view file);

// Converts to float32 (F64 is rounded once) into `out`, whose size must equal elements(). INVALID_ARGUMENT
// names file, tensor, flat index and value of the first element that is not finite (or not after rounding).
absl::Status ReadFloats(const TensorView& tensor, absl::Span<float> out);

// Elements [first, first + count) alone, to out[0..count). False if one of them is not finite: CheckFinite
// says which.
bool ReadFloatsAt(const TensorView& tensor, size_t first, size_t count, float* out);

// The same for a tensor of 16-bit numbers, as they are: F16 or BF16.
bool ReadHalvesAt(const TensorView& tensor, size_t first, size_t count, uint16_t* out);

// ReadFloats' verdict without its output.
absl::Status CheckFinite(const TensorView& tensor);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_SAFETENSORS_H_
