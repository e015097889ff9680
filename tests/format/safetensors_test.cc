#include "core/format/safetensors.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/format/failure.h"
#include "tests/testing/safetensors_builder.h"

namespace splineserve {
namespace {

using testing::BlobOfParts;
using testing::EncodeValues;
using testing::PokeValue;
using testing::Refused;
using testing::StoredTensor;

absl::StatusOr<std::vector<TensorView>> Parse(std::string_view blob) {
  return ParseSafetensors({reinterpret_cast<const uint8_t*>(blob.data()), blob.size()}, "m.safetensors");
}

// The header as text, on `data_bytes` zero bytes.
absl::StatusOr<std::vector<TensorView>> ParseHeader(const std::string& header, size_t data_bytes) {
  return Parse(BlobOfParts(header, std::string(data_bytes, '\0')));
}

StoredTensor Tensor(const std::string& name, DType dtype, std::vector<size_t> shape,
                    std::vector<double> values) {
  return {name, dtype, std::move(shape), EncodeValues(values, dtype)};
}

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Safetensors, ReadsEveryDtype) {
  const std::vector<double> values = {0.0, -0.0, 1.0, -2.5, 0x1p-14, 0x1p-24, 65504.0};
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    // One byte of another tensor's header padding apart: any alignment must do.
    const std::string blob = testing::SafetensorsBlob({Tensor("a", dtype, {7}, values)});
    for (size_t shift = 0; shift < 4; ++shift) {
      const std::string shifted = std::string(shift, ' ') + blob;
      const auto tensors = Parse(std::string_view(shifted).substr(shift));
      ASSERT_TRUE(tensors.ok()) << tensors.status();
      ASSERT_EQ(tensors->size(), 1u);
      EXPECT_EQ(ShapeString(tensors->front().shape), "[7]");
      std::vector<float> out(7);
      ASSERT_TRUE(ReadFloats(tensors->front(), absl::MakeSpan(out)).ok());
      for (size_t i = 0; i < 7; ++i) {
        const float expected = dtype == DType::kBF16 && i == 6 ? 65536.0f : static_cast<float>(values[i]);
        EXPECT_EQ(out[i], expected) << Name(dtype) << " " << i;
        EXPECT_EQ(std::signbit(out[i]), std::signbit(expected)) << Name(dtype) << " " << i;
      }
    }
  }
}

// Every F16 pattern against its definition, (-1)^s 2^(e-15) (1 + m/1024), and back through the tests' own
// encoder.
TEST(Safetensors, ReadsEveryHalf) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const std::string data = {static_cast<char>(bits & 0xff), static_cast<char>(bits >> 8)};
    const std::string blob = testing::SafetensorsBlob({{"a", DType::kF16, {}, data}});
    const auto tensors = Parse(blob);
    ASSERT_TRUE(tensors.ok());
    float value = 0;
    const absl::Status status = ReadFloats(tensors->front(), {&value, 1});
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    ASSERT_EQ(status.ok(), exponent != 31) << bits;
    if (exponent == 31) continue;
    const double magnitude =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024.0 + mantissa, exponent - 25);
    ASSERT_EQ(value, bits & 0x8000 ? -magnitude : magnitude) << bits;
    ASSERT_EQ(EncodeValues({value}, DType::kF16), data) << bits;
  }
}

TEST(Safetensors, F64RoundsOnce) {
  // Just above half way between 1 and its successor: rounding through anything between would give another
  // result.
  const auto blob =
      testing::SafetensorsBlob({Tensor("a", DType::kF64, {2}, {1 + 0x1p-24, 1 + 0x1p-24 + 0x1p-52})});
  const auto tensors = Parse(blob);
  ASSERT_TRUE(tensors.ok());
  float out[2];
  ASSERT_TRUE(ReadFloats(tensors->front(), out).ok());
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], 1.0f + 0x1p-23f);
}

TEST(Safetensors, NamesTheElementThatIsNotFinite) {
  const std::vector<double> ones(6, 1.0);
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    const std::string blob = testing::SafetensorsBlob({Tensor("a", dtype, {2, 3}, ones)});
    for (const double bad : {kNan, kInf, -kInf}) {
      const std::string damaged = PokeValue(blob, "a", 4, bad);
      const auto tensors = Parse(damaged);
      ASSERT_TRUE(tensors.ok());
      std::vector<float> out(6);
      const std::string found = std::isnan(bad) ? "nan" : bad < 0 ? "found -inf" : "found inf";
      EXPECT_TRUE(Refused(ReadFloats(tensors->front(), absl::MakeSpan(out)),
                          {"m.safetensors: tensor a: element 4: expected a finite float32", found}));
      EXPECT_TRUE(Refused(CheckFinite(tensors->front()), {"tensor a: element 4", found}));
    }
  }
  const std::string large =
      PokeValue(testing::SafetensorsBlob({Tensor("a", DType::kF64, {6}, ones)}), "a", 5, 1e39);
  EXPECT_TRUE(Refused(CheckFinite(Parse(large)->front()), {"element 5", "found 9.9999999999999994e+38"}));
  // The largest that still rounds to a finite number.
  const std::string edge = PokeValue(large, "a", 5, 0x1.fffffefffffffp127);
  EXPECT_TRUE(CheckFinite(Parse(edge)->front()).ok());
}

TEST(Safetensors, RefusesABadHeaderLength) {
  for (size_t size = 0; size < 8; ++size) {
    EXPECT_TRUE(Refused(Parse(std::string(size, '\0')), {"m.safetensors: header length", "expected 8 bytes",
                                                         "found a file of " + std::to_string(size)}));
  }
  std::string blob = testing::SafetensorsBlob({Tensor("a", DType::kF32, {1}, {1.0})});
  for (const uint64_t length :
       {uint64_t{blob.size() - 7}, uint64_t{1} << 32, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    std::string damaged = blob;
    for (int i = 0; i < 8; ++i) damaged[i] = static_cast<char>(length >> (8 * i));
    EXPECT_TRUE(Refused(Parse(damaged), {"header length: expected at most " + std::to_string(blob.size() - 8),
                                         "found " + std::to_string(length)}));
  }
  std::string large(100'000'100, ' ');
  large.replace(0, 8, std::string("\x01\xe1\xf5\x05\0\0\0\0", 8));  // 100,000,001
  EXPECT_TRUE(Refused(Parse(large), {"expected at most 100000000 bytes", "found 100000001"}));
  EXPECT_TRUE(Refused(Parse(std::string(8, '\0')), {"expected a JSON object"}));
}

TEST(Safetensors, RefusesMalformedHeaders) {
  const struct {
    const char* header;
    std::vector<std::string> pieces;
  } kCases[] = {
      {"{\"a\"", {"header: byte 4", "malformed JSON"}},
      {"[]", {"header: expected a JSON object, found \"[\""}},
      {" {}", {"expected a JSON object, found \" \""}},
      {"{}x", {"malformed JSON"}},
      {R"({"a": 1})", {"tensor a: expected an object, found 1"}},
      {R"({"a": {"dtype": "F32", "shape": [1]}})", {"tensor a: data_offsets: expected"}},
      {R"({"a": {"dtype": "F32", "data_offsets": [0, 4]}})", {"tensor a: shape: expected"}},
      {R"({"a": {"shape": [1], "data_offsets": [0, 4]}})", {"tensor a: dtype: expected"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}})",
       {"tensor a", "found \"x\""}},
      {R"({"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}})",
       {"tensor a: dtype: expected F32, F16, BF16 or F64, found \"I64\""}},
      {R"({"a": {"dtype": 3, "shape": [1], "data_offsets": [0, 4]}})", {"tensor a: dtype", "found 3"}},
      {R"({"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}})",
       {"tensor a: shape", "array", "found 1"}},
      {R"({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})", {"tensor a: shape", "found -1"}},
      {R"({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}})",
       {"tensor a: shape", "found 1.0"}},
      {R"({"a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]}})",
       {"tensor a: shape", "at most 8", "an array of 9"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}})",
       {"tensor a: data_offsets", "array of 1"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}})", {"data_offsets", "array of 3"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, -4]}})",
       {"tensor a: data_offsets", "found -4"}},
      {R"({"a": {"dtype": "F32", "shape": [[1]], "data_offsets": [0, 4]}})", {"at most 3 deep"}},
      {R"({"__metadata__": 1})", {"__metadata__: expected an object, found 1"}},
      {R"({"__metadata__": {"k": 1}})", {"__metadata__: key \"k\": expected a string, found 1"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
           "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})",
       {"repeated key \"a\""}},
  };
  for (const auto& test : kCases) {
    std::vector<std::string> pieces = test.pieces;
    pieces.push_back("m.safetensors: ");
    EXPECT_TRUE(Refused(ParseHeader(test.header, 4), pieces)) << test.header;
  }
  const auto metadata = ParseHeader(R"({"__metadata__": {"format": "pt"}})", 0);
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  EXPECT_TRUE(metadata->empty());
}

TEST(Safetensors, RefusesJsonBombs) {
  EXPECT_TRUE(Refused(ParseHeader("{\"a\":" + std::string(1'000'000, '['), 0), {"at most 3 deep"}));
  std::string wide = "{\"a\":[0";
  for (int i = 0; i < 1'100'000; ++i) wide += ",0";
  EXPECT_TRUE(Refused(ParseHeader(wide + "]}", 0), {"at most 1000000 JSON values"}));
}

TEST(Safetensors, RefusesOffsetsThatDoNotTile) {
  const auto two = [](const char* first, const char* second, size_t data_bytes) {
    const std::string start = R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": )";
    const std::string middle = R"(}, "b": {"dtype": "F32", "shape": [2], "data_offsets": )";
    return ParseHeader(start + first + middle + second + "}}", data_bytes);
  };
  EXPECT_TRUE(two("[0, 8]", "[8, 16]", 16).ok());
  EXPECT_TRUE(two("[8, 16]", "[0, 8]", 16).ok());
  EXPECT_TRUE(Refused(two("[0, 8]", "[4, 12]", 12),
                      {"tensor b", "expected begin 8", "right after a", "[4, 12]", "overlaps"}));
  EXPECT_TRUE(Refused(two("[0, 8]", "[0, 8]", 8), {"tensor b", "expected begin 8", "overlaps"}));
  EXPECT_TRUE(Refused(two("[0, 8]", "[9, 17]", 17), {"tensor b", "expected begin 8", "[9, 17]", "hole"}));
  EXPECT_TRUE(
      Refused(two("[4, 12]", "[12, 20]", 20), {"tensor a", "expected begin 0", "the header", "hole"}));
  EXPECT_TRUE(Refused(two("[0, 8]", "[16, 8]", 16), {"tensor b", "expected begin <= end, found [16, 8]"}));
  EXPECT_TRUE(Refused(two("[0, 8]", "[8, 16]", 15), {"tensor b", "within the 15 bytes", "found [8, 16]"}));
  EXPECT_TRUE(Refused(two("[0, 8]", "[8, 16]", 17), {"expected 16 bytes of data", "found 17", "trailing"}));
  EXPECT_TRUE(Refused(two("[0, 8]", "[8, 20]", 20),
                      {"tensor b", "expected 8 bytes for F32 [2], found 12 in [8, 20]"}));
  EXPECT_TRUE(Refused(two("[0, 8]", "[18446744073709551608, 18446744073709551600]", 16),
                      {"tensor b", "begin <= end"}));
  EXPECT_TRUE(Refused(two("[0, 8]", "[18446744073709551607, 18446744073709551615]", 16),
                      {"tensor b", "within the 16"}));
  EXPECT_TRUE(
      Refused(two("[0, 8]", "[8, 18446744073709551616]", 16), {"tensor b", "found 1.8446744073709552e+19"}));
}

TEST(Safetensors, RefusesHugeShapes) {
  const auto shape = [](const char* text) {
    return ParseHeader(
        R"({"a": {"dtype": "F32", "shape": )" + std::string(text) + R"(, "data_offsets": [0, 0]}})", 0);
  };
  EXPECT_TRUE(Refused(shape("[4294967296, 4294967296]"),
                      {"tensor a: shape: expected a size below 2^64", "4294967296"}));
  EXPECT_TRUE(Refused(shape("[4611686018427387904]"), {"tensor a: shape", "2^64"}));  // x4 wraps to 0
  EXPECT_TRUE(Refused(shape("[1099511627776]"), {"tensor a", "expected 4398046511104 bytes", "found 0"}));
  EXPECT_TRUE(Refused(shape("[99999999999999999999]"), {"tensor a: shape"}));
  EXPECT_TRUE(shape("[0, 4294967296]").ok());  // an empty tensor is a tensor
}

}  // namespace
}  // namespace splineserve
