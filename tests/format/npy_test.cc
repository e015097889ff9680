#include "core/format/npy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/format/failure.h"

namespace splineserve {
namespace {

using testing::Refused;

// A .npy file of version 1 with this header and data.
std::string Npy(const std::string& header, const std::string& data, char version = 1) {
  std::string file = "\x93NUMPY";
  file += version;
  file += '\0';
  file += static_cast<char>(header.size() % 256);
  file += static_cast<char>(header.size() / 256);
  if (version > 1) file += std::string(2, '\0');
  return file + header + data;
}

template <typename T>
std::string Bytes(std::vector<T> values, bool swapped = false) {
  std::string bytes;
  for (const T value : values) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    if (swapped) std::reverse(raw, raw + sizeof(T));
    bytes.append(raw, sizeof(T));
  }
  return bytes;
}

std::string Header(const std::string& descr, const std::string& shape, const char* order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }   \n";
}

TEST(Npy, ReadsEveryType) {
  const std::vector<std::pair<std::string, std::string>> files = {
      {"<f8", Bytes<double>({1, -2, 3})},
      {">f8", Bytes<double>({1, -2, 3}, true)},
      {"<f4", Bytes<float>({1, -2, 3})},
      {">f4", Bytes<float>({1, -2, 3}, true)},
      {"<f2", Bytes<uint16_t>({0x3c00, 0xc000, 0x4200})},
      {">f2", Bytes<uint16_t>({0x3c00, 0xc000, 0x4200}, true)},
      {"|i1", Bytes<int8_t>({1, -2, 3})},
      {"<i2", Bytes<int16_t>({1, -2, 3})},
      {">i4", Bytes<int32_t>({1, -2, 3}, true)},
      {"<i8", Bytes<int64_t>({1, -2, 3})}};
  for (const auto& [descr, data] : files) {
    SCOPED_TRACE(descr);
    const auto array = ParseNpy(Npy(Header(descr, "(3,)"), data), "a.npy");
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_EQ(array->shape, std::vector<size_t>{3});
    EXPECT_EQ(array->values, (std::vector<double>{1, -2, 3}));
  }
  const auto array = ParseNpy(Npy(Header("|b1", "(2,)"), std::string("\1\0", 2)), "a.npy");
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_EQ(array->values, (std::vector<double>{1, 0}));
  for (const char* descr : {"|u1", "<u2", "<u4", "<u8"}) {
    std::string data(static_cast<size_t>(descr[2] - '0'), '\0');
    data[0] = '\xc8';
    const auto unsigned_number = ParseNpy(Npy(Header(descr, "()"), data), "a.npy");
    ASSERT_TRUE(unsigned_number.ok()) << unsigned_number.status();
    EXPECT_EQ(unsigned_number->values, std::vector<double>{200});
  }
}

TEST(Npy, ShapesOrdersAndVersions) {
  const std::string data = Bytes<double>({1, 2, 3, 4, 5, 6});
  const auto rows = ParseNpy(Npy(Header("<f8", "(2, 3)"), data), "a.npy");
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->values, (std::vector<double>{1, 2, 3, 4, 5, 6}));
  const auto columns = ParseNpy(Npy(Header("<f8", "(2, 3)", "True"), data), "a.npy");
  ASSERT_TRUE(columns.ok()) << columns.status();
  EXPECT_EQ(columns->values, (std::vector<double>{1, 3, 5, 2, 4, 6}));
  const auto cube = ParseNpy(Npy(Header("<f8", "(1, 3, 2)", "True"), data), "a.npy");
  ASSERT_TRUE(cube.ok()) << cube.status();
  EXPECT_EQ(cube->values, (std::vector<double>{1, 4, 2, 5, 3, 6}));
  const auto scalar = ParseNpy(Npy(Header("<f8", "()"), Bytes<double>({7})), "a.npy");
  ASSERT_TRUE(scalar.ok()) << scalar.status();
  EXPECT_TRUE(scalar->shape.empty());
  const auto empty = ParseNpy(Npy(Header("<f8", "(0, 3)", "True"), ""), "a.npy");
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ(empty->shape, (std::vector<size_t>{0, 3}));
  for (const char version : {2, 3}) {
    EXPECT_TRUE(ParseNpy(Npy(Header("<f8", "(6,)"), data, version), "a.npy").ok());
  }
  // The keys may come in any order; not finite is a number, too.
  const auto other = ParseNpy(
      Npy("{\"shape\": (1,), \"descr\": \"<f8\", \"fortran_order\": False}", Bytes<double>({NAN})), "a.npy");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_TRUE(std::isnan(other->values[0]));
}

TEST(Npy, RefusesDamage) {
  const std::string good = Npy(Header("<f8", "(2,)"), Bytes<double>({1, 2}));
  ASSERT_TRUE(ParseNpy(good, "a.npy").ok());
  // Every shorter file, and a longer one.
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_TRUE(Refused(ParseNpy(good.substr(0, length), "a.npy"), {"a.npy"})) << length;
  }
  EXPECT_TRUE(Refused(ParseNpy(good + " ", "a.npy"), {"expected 16 bytes of data, found 17"}));
  EXPECT_TRUE(Refused(ParseNpy("PK" + good, "a.npy"), {"NUMPY"}));
  EXPECT_TRUE(
      Refused(ParseNpy(Npy(Header("<f8", "(2,)"), "", 4), "a.npy"), {"version 1.0, 2.0 or 3.0", "4.0"}));
  for (const char* descr : {"<c8", "<f3", "<i3", "|O8", "f8", "=f8", "<f16", "|f8", "<U1", "", "<M8[s]"}) {
    EXPECT_TRUE(Refused(ParseNpy(Npy(Header(descr, "(2,)"), Bytes<double>({1, 2})), "a.npy"), {"a.npy"}))
        << descr;
  }
  for (const char* shape :
       {"(2", "2", "(-2,)", "(2.0,)", "(2,,)", "(2 3)", "(99999999999999999999,)", "[2]"}) {
    EXPECT_TRUE(Refused(ParseNpy(Npy(Header("<f8", shape), Bytes<double>({1, 2})), "a.npy"),
                        {"expected a header with descr, fortran_order and shape"}))
        << shape;
  }
  EXPECT_TRUE(Refused(ParseNpy(Npy(Header("<f8", "(4294967296, 4294967296)"), ""), "a.npy"), {"elements"}));
  EXPECT_TRUE(
      Refused(ParseNpy(Npy(Header("<f8", "(67108865,)"), ""), "a.npy"), {"at most 67108864 elements"}));
  EXPECT_TRUE(Refused(ParseNpy(Npy("{'descr': '<f8', 'shape': (2,)}", ""), "a.npy"), {"header"}));
  EXPECT_TRUE(Refused(ParseNpy(Npy(Header("<f8", "(2,)") + "x", ""), "a.npy"), {"header"}));
  EXPECT_TRUE(Refused(
      ParseNpy(Npy("{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': ()}", ""), "a.npy"),
      {"header"}));
  EXPECT_TRUE(Refused(ParseNpy(Npy(Header("<i8", "(1,)"), Bytes<int64_t>({(int64_t{1} << 53) + 2})), "a.npy"),
                      {"2^53"}));
}

TEST(Npz, RefusesWhatIsNoArchive) {
  EXPECT_TRUE(Refused(ParseNpz("", "a.npz"), {"a.npz", "zip archive"}));
  EXPECT_TRUE(Refused(ParseNpz("PK\x03\x04 and nothing more", "a.npz"), {"a.npz", "zip archive"}));
}

}  // namespace
}  // namespace splineserve
