#include "core/format/safetensors_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/format/failure.h"

namespace splineserve {
namespace {

using testing::Refused;

absl::StatusOr<std::vector<TensorView>> Parse(std::string_view file) {
  return ParseSafetensors({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, "m.safetensors");
}

TEST(SafetensorsWriter, WhatIsWrittenIsRead) {
  const std::vector<NewTensor> tensors = {
      {"b.weight", {2, 3}, {1, -2, 0.1, 4, 1e-30, 6}}, {"a", {}, {7}}, {"none", {0, 5}, {}}};
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    const auto file = SerializeSafetensors(tensors, dtype);
    ASSERT_TRUE(file.ok()) << file.status();
    const auto views = Parse(*file);
    ASSERT_TRUE(views.ok()) << views.status();
    ASSERT_EQ(views->size(), tensors.size());
    for (const TensorView& view : *views) {
      const auto tensor = std::find_if(tensors.begin(), tensors.end(),
                                       [&](const NewTensor& t) { return t.name == view.name; });
      ASSERT_NE(tensor, tensors.end());
      EXPECT_EQ(view.shape, tensor->shape);
      EXPECT_EQ(view.dtype, dtype);
      std::vector<float> values(view.elements());
      ASSERT_TRUE(ReadFloats(view, absl::MakeSpan(values)).ok());
      EXPECT_EQ(values, std::vector<float>(tensor->values.begin(), tensor->values.end()));
      // Data starts at a multiple of 8 bytes, so that a mapped file can be read in place.
      EXPECT_EQ((view.data.data() - reinterpret_cast<const uint8_t*>(file->data())) % SizeOf(dtype), 0);
    }
  }
}

TEST(SafetensorsWriter, RefusesWhatCannotBeRead) {
  const auto refused = [](const std::vector<NewTensor>& tensors, DType dtype,
                          const std::vector<std::string>& pieces) {
    return Refused(SerializeSafetensors(tensors, dtype), pieces);
  };
  const NewTensor one = {"a", {1}, {1}}, wide = {"a", {2}, {0, 1e39}};
  EXPECT_TRUE(refused({{"a", {2}, {1}}}, DType::kF32, {"tensor a", "[2]", "found 1"}));
  EXPECT_TRUE(refused({one, one}, DType::kF32, {"tensor a", "name"}));
  EXPECT_TRUE(refused({{"__metadata__", {1}, {1}}}, DType::kF32, {"name"}));
  EXPECT_TRUE(refused({one}, DType::kF16, {"F32 or F64", "F16"}));
  EXPECT_TRUE(refused({wide}, DType::kF32, {"tensor a", "index 1", "1e+39"}));
  EXPECT_TRUE(SerializeSafetensors({wide}, DType::kF64).ok());
  const NewTensor nan = {"a", {1}, {std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_TRUE(refused({nan}, DType::kF64, {"tensor a", "nan"}));
  EXPECT_TRUE(refused({{"a", {size_t{1} << 63, 4}, {}}}, DType::kF32, {"overflows"}));
}

}  // namespace
}  // namespace splineserve
