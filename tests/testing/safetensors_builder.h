// Safetensors files made in memory: valid ones, and valid ones then damaged.
#ifndef SPLINESERVE_TESTS_TESTING_SAFETENSORS_BUILDER_H_
#define SPLINESERVE_TESTS_TESTING_SAFETENSORS_BUILDER_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "core/format/safetensors.h"
#include "nlohmann/json.hpp"

namespace splineserve::testing {

// The little-endian bytes of `values` in `dtype`, each rounded to the nearest (ties to even).
std::string EncodeValues(absl::Span<const double> values, DType dtype);

struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<size_t> shape;
  std::string data;  // EncodeValues(...)
};

// A whole file: length, JSON header padded with spaces to 8 bytes, data in the given order.
std::string SafetensorsBlob(absl::Span<const StoredTensor> tensors);

// The parts of a file, and a file of parts that need not fit together. `header` is JSON text.
std::string_view HeaderText(std::string_view blob);
std::string_view DataBytes(std::string_view blob);
std::string BlobOfParts(std::string_view header, std::string_view data);

// The same file with its header edited as JSON; its data stays where it is.
std::string EditHeader(std::string_view blob, absl::FunctionRef<void(nlohmann::ordered_json& header)> edit);

// The same file with one element of a tensor overwritten by `value`, rounded to the tensor's dtype.
std::string PokeValue(std::string_view blob, const std::string& tensor, size_t index, double value);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_SAFETENSORS_BUILDER_H_
