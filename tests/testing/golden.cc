#include "tests/testing/golden.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "absl/strings/escaping.h"
#include "nlohmann/json.hpp"

namespace splineserve::testing {
namespace {

using nlohmann::json;

std::filesystem::path GoldenFolder() {
  const char* source = std::getenv("SPLINESERVE_SOURCE_DIR");
  return std::filesystem::path(source == nullptr ? "." : source) / "tests" / "golden";
}

ReferenceInput ReadInput(const json& value) {
  ReferenceInput input;
  for (const json& token : value) {
    if (token.is_array()) {
      input.vectors.push_back(token.get<std::vector<float>>());
    } else {
      input.ids.push_back(token.get<int32_t>());
    }
  }
  return input;
}

Rows<float> ReadRows(const std::string& base64, size_t rows) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes;
  if (!absl::Base64Unescape(base64, &bytes) || rows == 0 || bytes.size() % (rows * sizeof(float)) != 0) {
    throw std::runtime_error("golden: expected base64 of " + std::to_string(rows) + " rows of float32");
  }
  const size_t row_bytes = bytes.size() / rows;
  Rows<float> result(rows, std::vector<float>(row_bytes / sizeof(float)));
  for (size_t row = 0; row < rows; ++row) std::memcpy(result[row].data(), &bytes[row * row_bytes], row_bytes);
  return result;
}

Site ReadSite(const std::string& name) {
  if (name == "SELF_ATTENTION") return Site::kSelfAttention;
  if (name == "CROSS_ATTENTION") return Site::kCrossAttention;
  if (name == "FEED_FORWARD") return Site::kFeedForward;
  throw std::runtime_error("golden: unknown site " + name);
}

std::vector<ReferenceGroup> ReadGroups(const json& value) {
  std::vector<ReferenceGroup> groups;
  for (const json& entry : value) {
    const std::string bits = absl::HexStringToBytes(entry.at("bits").get<std::string>());
    groups.push_back({.layer = entry.at("layer"),
                      .site = ReadSite(entry.at("site")),
                      .head = entry.at("head"),
                      .width = entry.at("width"),
                      .open = entry.at("open"),
                      .bits = {bits.begin(), bits.end()},
                      .margin = entry.at("margin")});
  }
  return groups;
}

GoldenCase ReadCase(const json& value) {
  GoldenCase result;
  if (value.contains("source")) result.source = ReadInput(value.at("source"));
  result.input = ReadInput(value.at(value.contains("target") ? "target" : "input"));
  result.hidden = ReadRows(value.at("hidden_f32"), value.at("rows"));
  if (value.contains("head_f32")) result.head = ReadRows(value.at("head_f32"), value.at("head_rows"));
  for (const json& id : value.at("piece_ids")) {
    result.piece_ids.push_back(absl::HexStringToBytes(id.get<std::string>()));
  }
  result.sequence_id = absl::HexStringToBytes(value.at("sequence_id").get<std::string>());
  result.first_token = ReadGroups(value.at("pieces_token0"));
  result.last_token = ReadGroups(value.at("pieces_last"));
  return result;
}

}  // namespace

std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenFolder())) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  if (names.empty()) throw std::runtime_error("no golden vectors in " + GoldenFolder().string());
  std::sort(names.begin(), names.end());
  return names;
}

GoldenModel ReadGolden(const std::string& name) {
  const std::filesystem::path directory = GoldenFolder() / name;
  std::ifstream file(directory / "expected.json");
  if (!file) throw std::runtime_error("cannot read " + (directory / "expected.json").string());
  const json value = json::parse(file);
  GoldenModel model = {.name = name,
                       .directory = directory,
                       .exact = value.at("exact"),
                       .digest = value.at("digest"),
                       .degree_bound = value.at("degree_bound")};
  for (const json& entry : value.at("cases")) model.cases.push_back(ReadCase(entry));
  return model;
}

}  // namespace splineserve::testing
