#include "core/format/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/half_float.h"
#include "core/base/status_macros.h"
#include "core/format/json.h"
#include "core/format/untrusted_text.h"

namespace splineserve {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr size_t kMaxRank = 8;
// Root object, tensor object, shape.
constexpr size_t kMaxDepth = 3;
// 8 values a tensor: room for over 100,000 tensors, and at most about 100 MB while parsing.
constexpr size_t kMaxJsonValues = 1'000'000;

uint64_t LittleEndian64(const uint8_t* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

std::optional<DType> DTypeOf(const nlohmann::json& value) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    if (value.is_string() && value.get_ref<const std::string&>() == Name(dtype)) return dtype;
  }
  return std::nullopt;
}

// A list of non-negative integers.
absl::StatusOr<std::vector<size_t>> Sizes(const nlohmann::json& value, size_t min_count, size_t max_count,
                                          const std::string& what) {
  if (!value.is_array() || value.size() < min_count || value.size() > max_count) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": expected an array of ",
                                                   min_count == max_count ? "" : "at most ", max_count,
                                                   " integers, found ", Shown(value)));
  }
  std::vector<size_t> sizes;
  for (const nlohmann::json& element : value) {
    if (!element.is_number_unsigned()) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": expected non-negative integers, found ", Shown(element)));
    }
    sizes.push_back(element.get<size_t>());
  }
  return sizes;
}

struct Entry {
  TensorView tensor;
  size_t begin = 0, end = 0;
};

absl::StatusOr<Entry> ParseEntry(const std::string& name, const nlohmann::json& value,
                                 std::string_view file) {
  const auto fail = [&](const std::string& problem) { return TensorError(file, name, problem); };
  if (!value.is_object()) return fail(absl::StrCat("expected an object, found ", Shown(value)));
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!value.contains(key)) return fail(absl::StrCat(key, ": expected, found nothing"));
  }
  for (const auto& item : value.items()) {
    if (item.key() != "dtype" && item.key() != "shape" && item.key() != "data_offsets") {
      return fail(
          absl::StrCat("expected dtype, shape and data_offsets, found \"", Excerpt(item.key()), "\""));
    }
  }
  Entry entry;
  entry.tensor.name = name;
  entry.tensor.file = std::string(file);
  const std::optional<DType> dtype = DTypeOf(value["dtype"]);
  if (!dtype)
    return fail(absl::StrCat("dtype: expected F32, F16, BF16 or F64, found ", Shown(value["dtype"])));
  entry.tensor.dtype = *dtype;

  absl::StatusOr<std::vector<size_t>> shape = Sizes(value["shape"], 0, kMaxRank, "shape");
  if (!shape.ok()) return fail(std::string(shape.status().message()));
  entry.tensor.shape = *std::move(shape);
  absl::StatusOr<std::vector<size_t>> offsets = Sizes(value["data_offsets"], 2, 2, "data_offsets");
  if (!offsets.ok()) return fail(std::string(offsets.status().message()));
  entry.begin = (*offsets)[0];
  entry.end = (*offsets)[1];
  if (entry.begin > entry.end) {
    return fail(
        absl::StrCat("data_offsets: expected begin <= end, found [", entry.begin, ", ", entry.end, "]"));
  }

  size_t bytes = SizeOf(*dtype);
  bool overflow = false;
  for (const size_t extent : entry.tensor.shape) overflow |= __builtin_mul_overflow(bytes, extent, &bytes);
  if (overflow) {
    return fail(
        absl::StrCat("shape: expected a size below 2^64 bytes, found ", ShapeString(entry.tensor.shape)));
  }
  if (entry.end - entry.begin != bytes) {
    return fail(absl::StrCat("data_offsets: expected ", bytes, " bytes for ", std::string(Name(*dtype)), " ",
                             ShapeString(entry.tensor.shape), ", found ", entry.end - entry.begin, " in [",
                             entry.begin, ", ", entry.end, "]"));
  }
  return entry;
}

absl::Status CheckMetadata(const nlohmann::json& value, std::string_view file) {
  if (!value.is_object())
    return FileError(file, absl::StrCat("__metadata__: expected an object, found ", Shown(value)));
  for (const auto& item : value.items()) {
    if (!item.value().is_string()) {
      return FileError(file, absl::StrCat("__metadata__: key \"", Excerpt(item.key()),
                                          "\": expected a string, found ", Shown(item.value())));
    }
  }
  return absl::OkStatus();
}

// Sorts, demands that the tensors cover the data exactly once, and gives each its bytes.
absl::Status PlaceTensors(absl::Span<const uint8_t> data, std::string_view file,
                          std::vector<Entry>* entries) {
  // By end too: an empty tensor may stand before a full one at the same offset.
  std::sort(entries->begin(), entries->end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.tensor.name) < std::tie(b.begin, b.end, b.tensor.name);
  });
  size_t covered = 0;
  std::string_view previous = "the header";
  for (Entry& entry : *entries) {
    const std::string range = absl::StrCat("[", entry.begin, ", ", entry.end, "]");
    if (entry.end > data.size()) {
      return TensorError(file, entry.tensor.name,
                         absl::StrCat("data_offsets: expected an end within the ", data.size(),
                                      " bytes of data, found ", range));
    }
    if (entry.begin != covered) {
      return TensorError(
          file, entry.tensor.name,
          absl::StrCat("data_offsets: expected begin ", covered, ", right after ", Excerpt(previous),
                       ", found ", range,
                       entry.begin < covered ? ", which overlaps it" : ", which leaves a hole"));
    }
    entry.tensor.data = data.subspan(entry.begin, entry.end - entry.begin);
    covered = entry.end;
    previous = entry.tensor.name;
  }
  if (covered != data.size()) {
    return FileError(file,
                     absl::StrCat("expected ", covered, " bytes of data, the end of the last tensor, found ",
                                  data.size(), " (trailing bytes)"));
  }
  return absl::OkStatus();
}

template <typename T>
T Load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

// Element `i` of `data` as float32; the only place that knows the encodings. No branches, so that the
// compiler makes SIMD of the loops below.
template <DType dtype>
float Element(const uint8_t* data, size_t i) {
  if constexpr (dtype == DType::kF16) return Float16ToFloat(Load<uint16_t>(data + 2 * i));
  if constexpr (dtype == DType::kBF16) return Bfloat16ToFloat(Load<uint16_t>(data + 2 * i));
  if constexpr (dtype == DType::kF32) return Load<float>(data + 4 * i);
  if constexpr (dtype == DType::kF64) return static_cast<float>(Load<double>(data + 8 * i));
}

// Converts and says whether every number is finite. On the bits, and without an early end: SIMD again.
template <DType dtype>
bool ConvertAs(const uint8_t* data, size_t count, float* out) {
  uint32_t bad = 0;
  for (size_t i = 0; i < count; ++i) {
    const float value = Element<dtype>(data, i);
    out[i] = value;
    const uint32_t magnitude = std::bit_cast<uint32_t>(value) & 0x7fffffffu;
    bad |= magnitude >= 0x7f800000u ? 1u : 0u;
  }
  return bad == 0;
}

bool Convert(DType dtype, const uint8_t* data, size_t count, float* out) {
  switch (dtype) {
    case DType::kF16:
      return ConvertAs<DType::kF16>(data, count, out);
    case DType::kBF16:
      return ConvertAs<DType::kBF16>(data, count, out);
    case DType::kF32:
      return ConvertAs<DType::kF32>(data, count, out);
    case DType::kF64:
      return ConvertAs<DType::kF64>(data, count, out);
  }
  return false;
}

// The error of element `at` of `tensor`, which is `value` as float32.
absl::Status NotFinite(const TensorView& tensor, size_t at, float value) {
  const double found = tensor.dtype == DType::kF64 ? Load<double>(tensor.data.data() + 8 * at) : value;
  return TensorError(tensor.file, tensor.name,
                     absl::StrFormat("element %d: expected a finite float32, found %.17g", at, found));
}

}  // namespace

std::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kF32:
      return "F32";
    case DType::kF64:
      return "F64";
  }
  return "?";
}

size_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kF32:
      return 4;
    case DType::kF64:
      return 8;
  }
  return 0;
}

size_t TensorView::elements() const { return data.size() / SizeOf(dtype); }

std::string ShapeString(absl::Span<const size_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<std::vector<TensorView>> ParseSafetensors(absl::Span<const uint8_t> bytes,
                                                         std::string_view file) {
  if (bytes.size() < kLengthBytes) {
    return FileError(file, absl::StrCat("header length: expected 8 bytes, found a file of ", bytes.size()));
  }
  const uint64_t length = LittleEndian64(bytes.data());
  const size_t left = bytes.size() - kLengthBytes;
  if (length > left || length > kMaxHeaderBytes) {
    return FileError(file,
                     absl::StrCat("header length: expected at most ", std::min(left, kMaxHeaderBytes),
                                  length > left ? " bytes, all that follow" : " bytes", ", found ", length));
  }
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  if (header.empty() || header[0] != '{') {
    return FileError(
        file, absl::StrCat("header: expected a JSON object, found \"", Excerpt(header.substr(0, 1)), "\""));
  }
  SPLINESERVE_ASSIGN_OR_RETURN(
      const nlohmann::json root,
      ParseJson(header, absl::StrCat(std::string(file), ": header"), kMaxDepth, kMaxJsonValues));

  std::vector<Entry> entries;
  for (const auto& item : root.items()) {
    if (item.key() == "__metadata__") {
      SPLINESERVE_RETURN_IF_ERROR(CheckMetadata(item.value(), file));
      continue;
    }
    SPLINESERVE_ASSIGN_OR_RETURN(Entry entry, ParseEntry(item.key(), item.value(), file));
    entries.push_back(std::move(entry));
  }
  SPLINESERVE_RETURN_IF_ERROR(PlaceTensors(bytes.subspan(kLengthBytes + length), file, &entries));
  std::vector<TensorView> tensors;
  tensors.reserve(entries.size());
  for (Entry& entry : entries) tensors.push_back(std::move(entry.tensor));
  return tensors;
}

absl::Status ReadFloats(const TensorView& tensor, absl::Span<float> out) {
  if (ReadFloatsAt(tensor, 0, tensor.elements(), out.data())) return absl::OkStatus();
  size_t bad = 0;
  while (std::isfinite(out[bad])) ++bad;
  return NotFinite(tensor, bad, out[bad]);
}

bool ReadFloatsAt(const TensorView& tensor, size_t first, size_t count, float* out) {
  return Convert(tensor.dtype, tensor.data.data() + first * SizeOf(tensor.dtype), count, out);
}

bool ReadHalvesAt(const TensorView& tensor, size_t first, size_t count, uint16_t* out) {
  std::memcpy(out, tensor.data.data() + 2 * first, 2 * count);
  const uint32_t exponent = tensor.dtype == DType::kF16 ? 0x7c00u : 0x7f80u;
  uint32_t bad = 0;
  for (size_t i = 0; i < count; ++i) bad |= (out[i] & exponent) == exponent ? 1u : 0u;
  return bad == 0;
}

absl::Status CheckFinite(const TensorView& tensor) {
  constexpr size_t kRun = 1024;
  float run[kRun];
  const size_t elements = tensor.elements();
  for (size_t first = 0; first < elements; first += kRun) {
    if (ReadFloatsAt(tensor, first, std::min(kRun, elements - first), run)) continue;
    size_t bad = 0;
    while (std::isfinite(run[bad])) ++bad;
    return NotFinite(tensor, first + bad, run[bad]);
  }
  return absl::OkStatus();
}

}  // namespace splineserve
