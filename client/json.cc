#include "client/json.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/nearest_name.h"
#include "core/base/status_macros.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace splineserve::client {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::json;

absl::Status CheckMessage(const json& value, const Descriptor& type, const std::string& path);

const FieldDescriptor* FindField(const Descriptor& type, const std::string& name) {
  if (const FieldDescriptor* field = type.FindFieldByName(name)) return field;
  return type.FindFieldByCamelcaseName(name);
}

std::string Place(const std::string& path) { return path.empty() ? "the request" : path; }

absl::Status UnknownField(const std::string& name, const Descriptor& type, const std::string& path) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  std::string message =
      absl::StrCat("unknown field \"", name, "\" in ", Place(path), " (", type.full_name(), "). ");
  if (names.empty()) return absl::InvalidArgumentError(absl::StrCat(message, "It has no fields."));
  if (std::string nearest = NearestName(name, names); !nearest.empty()) {
    absl::StrAppend(&message, "Did you mean \"", nearest, "\"? ");
  }
  return absl::InvalidArgumentError(
      absl::StrCat(message, "Its fields are ", absl::StrJoin(names, ", "), "."));
}

absl::Status CheckEnum(const json& value, const EnumDescriptor& type, const std::string& path) {
  if (!value.is_string()) return absl::OkStatus();
  const std::string& name = value.get_ref<const std::string&>();
  if (type.FindValueByName(name) != nullptr) return absl::OkStatus();
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": expected one of ", absl::StrJoin(names, ", "), ", found \"", name, "\"."));
}

absl::Status CheckValue(const json& value, const FieldDescriptor& field, const std::string& path) {
  if (value.is_null()) return absl::OkStatus();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
    return CheckMessage(value, *field.message_type(), path);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) return CheckEnum(value, *field.enum_type(), path);
  return absl::OkStatus();
}

// Protobuf's parser names neither the fields that exist nor, always, the place; so names are checked first.
// All other checks (types, ranges) are left to it.
absl::Status CheckMessage(const json& value, const Descriptor& type, const std::string& path) {
  if (type.full_name().rfind("google.protobuf.", 0) == 0)
    return absl::OkStatus();  // has a JSON form of its own
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(Place(path), ": expected an object (", type.full_name(),
                                                   "), found ", value.type_name(), "."));
  }
  for (const auto& [name, entry] : value.items()) {
    const FieldDescriptor* field = FindField(type, name);
    if (field == nullptr) return UnknownField(name, type, path);
    const std::string place = path.empty() ? name : absl::StrCat(path, ".", name);
    if (field->is_map()) continue;
    if (!field->is_repeated() || entry.is_null()) {
      SPLINESERVE_RETURN_IF_ERROR(CheckValue(entry, *field, place));
      continue;
    }
    if (!entry.is_array()) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": expected an array, found ", entry.type_name(), "."));
    }
    for (size_t i = 0; i < entry.size(); ++i) {
      SPLINESERVE_RETURN_IF_ERROR(CheckValue(entry[i], *field, absl::StrCat(place, "[", i, "]")));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message, JsonLayout layout) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = layout == JsonLayout::kIndented;
  options.preserve_proto_field_names = true;
  // Zeros are said, too: "open": 0 is an answer.
  options.always_print_primitive_fields = true;
  std::string text;
  // Fails only for broken google.protobuf.Any values, of which the API has none.
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

absl::Status FromJson(std::string_view text, google::protobuf::Message& message) {
  message.Clear();
  json value;
  try {
    value = json::parse(text);
  } catch (const json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: ..."
    const std::string_view what = error.what();
    const size_t start = what.find("parse error");
    return absl::InvalidArgumentError(
        absl::StrCat("not JSON: ", std::string(start == std::string_view::npos ? what : what.substr(start))));
  }
  SPLINESERVE_RETURN_IF_ERROR(CheckMessage(value, *message.GetDescriptor(), ""));
  const auto status = google::protobuf::util::JsonStringToMessage(std::string(text), &message);
  if (!status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a ", message.GetDescriptor()->full_name(), ": ",
                     std::string(status.message().data(), status.message().size())));
  }
  return absl::OkStatus();
}

}  // namespace splineserve::client
