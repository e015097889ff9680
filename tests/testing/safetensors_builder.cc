#include "tests/testing/safetensors_builder.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace splineserve::testing {
namespace {

template <typename T>
void AppendBytes(T value, std::string* out) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out->append(bytes, sizeof(T));
}

// Any binary format of `mantissa` stored bits and `exponent` bits, by arithmetic alone.
uint64_t EncodeFloat(double value, int mantissa, int exponent) {
  const uint64_t sign = std::signbit(value) ? uint64_t{1} << (mantissa + exponent) : 0;
  const uint64_t infinity = ((uint64_t{1} << exponent) - 1) << mantissa;
  if (std::isnan(value)) return sign | infinity | (uint64_t{1} << (mantissa - 1));
  const double magnitude = std::fabs(value);
  if (std::isinf(value)) return sign | infinity;
  if (magnitude == 0) return sign;
  const int bias = (1 << (exponent - 1)) - 1;
  const int binade = std::max(std::ilogb(magnitude), 1 - bias);
  // In units of the last place; reaching 2^(mantissa+1) carries into the exponent by itself.
  const uint64_t units = static_cast<uint64_t>(std::nearbyint(std::ldexp(magnitude, mantissa - binade)));
  const uint64_t bits = (static_cast<uint64_t>(binade + bias - 1) << mantissa) + units;
  return sign | std::min(bits, infinity);
}

constexpr std::string_view kOffsets = "data_offsets";

}  // namespace

std::string EncodeValues(absl::Span<const double> values, DType dtype) {
  std::string out;
  out.reserve(values.size() * SizeOf(dtype));
  for (const double value : values) {
    switch (dtype) {
      case DType::kF16:
        AppendBytes(static_cast<uint16_t>(EncodeFloat(value, 10, 5)), &out);
        break;
      case DType::kBF16:
        AppendBytes(static_cast<uint16_t>(EncodeFloat(value, 7, 8)), &out);
        break;
      case DType::kF32:
        AppendBytes(static_cast<uint32_t>(EncodeFloat(value, 23, 8)), &out);
        break;
      case DType::kF64:
        AppendBytes(value, &out);
        break;
    }
  }
  return out;
}

std::string SafetensorsBlob(absl::Span<const StoredTensor> tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::string data;
  for (const StoredTensor& tensor : tensors) {
    const size_t begin = data.size();
    data += tensor.data;
    header[tensor.name] = {{"dtype", std::string(Name(tensor.dtype))},
                           {"shape", tensor.shape},
                           {std::string(kOffsets), {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return BlobOfParts(text, data);
}

std::string_view HeaderText(std::string_view blob) {
  uint64_t length = 0;
  if (blob.size() < sizeof(length)) throw std::runtime_error("no safetensors blob");
  std::memcpy(&length, blob.data(), sizeof(length));
  if (length > blob.size() - sizeof(length)) throw std::runtime_error("no whole safetensors header");
  return blob.substr(sizeof(length), length);
}

std::string_view DataBytes(std::string_view blob) { return blob.substr(8 + HeaderText(blob).size()); }

std::string BlobOfParts(std::string_view header, std::string_view data) {
  std::string blob;
  AppendBytes(static_cast<uint64_t>(header.size()), &blob);
  blob += header;
  blob += data;
  return blob;
}

std::string EditHeader(std::string_view blob, absl::FunctionRef<void(nlohmann::ordered_json& header)> edit) {
  nlohmann::ordered_json header = nlohmann::ordered_json::parse(HeaderText(blob));
  edit(header);
  return BlobOfParts(header.dump(), DataBytes(blob));
}

std::string PokeValue(std::string_view blob, const std::string& tensor, size_t index, double value) {
  const nlohmann::json header = nlohmann::json::parse(HeaderText(blob));
  const nlohmann::json& entry = header.at(tensor);
  std::string bytes;
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    if (entry.at("dtype") == std::string(Name(dtype))) bytes = EncodeValues({value}, dtype);
  }
  const size_t begin = entry.at("data_offsets").at(0).get<size_t>();
  std::string data(DataBytes(blob));
  if (bytes.empty() || begin + (index + 1) * bytes.size() > data.size())
    throw std::runtime_error("no such element");
  data.replace(begin + index * bytes.size(), bytes.size(), bytes);
  return BlobOfParts(HeaderText(blob), data);
}

}  // namespace splineserve::testing
