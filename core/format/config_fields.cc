#include "core/format/config_fields.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/format/json.h"
#include "core/format/untrusted_text.h"

namespace splineserve {

ConfigFields::ConfigFields(const nlohmann::json& object, std::string file, std::string path,
                           std::initializer_list<const char*> known, absl::Status* error)
    : object_(&object), file_(std::move(file)), path_(std::move(path)), error_(error) {
  for (const auto& item : object.items()) {
    const auto is_it = [&](const char* name) { return item.key() == name; };
    if (error_->ok() && std::none_of(known.begin(), known.end(), is_it)) {
      *error_ = FileError(file_, absl::StrCat(path_, Excerpt(item.key()), ": unknown field: expected one of ",
                                              absl::StrJoin(known, ", "), ", found ", Shown(item.value())));
    }
  }
}

const nlohmann::json* ConfigFields::Find(const char* name) const {
  const auto it = object_->find(name);
  return it == object_->end() ? nullptr : &*it;
}

void ConfigFields::Refuse(const char* name, const std::string& expected) {
  if (!error_->ok()) return;
  const nlohmann::json* value = Find(name);
  *error_ = FileError(file_, absl::StrCat(path_, name, ": expected ", expected, ", found ",
                                          value == nullptr ? "no such field" : Shown(*value)));
}

void ConfigFields::AllowOnlyWith(bool condition, const char* name, const std::string& condition_text) {
  if (!condition && Has(name)) Refuse(name, absl::StrCat("only with ", condition_text));
}

size_t ConfigFields::Size(const char* name, size_t min, size_t max, std::optional<size_t> fallback) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr && fallback) return *fallback;
  if (value != nullptr && value->is_number_unsigned()) {
    const uint64_t size = value->get<uint64_t>();
    if (size >= min && size <= max) return static_cast<size_t>(size);
  }
  Refuse(name, absl::StrCat("an integer from ", min, " to ", max));
  return fallback.value_or(min);
}

float ConfigFields::Number(const char* name, std::optional<float> fallback) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr && fallback) return *fallback;
  if (value != nullptr && value->is_number()) {
    const float rounded = static_cast<float>(value->get<double>());
    if (std::isfinite(rounded)) return rounded;
  }
  Refuse(name, "a number that is finite in float32");
  return fallback.value_or(0.0f);
}

bool ConfigFields::Bool(const char* name, bool fallback) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  Refuse(name, "true or false");
  return fallback;
}

std::string ConfigFields::String(const char* name) {
  const nlohmann::json* value = Find(name);
  if (value != nullptr && value->is_string()) return value->get<std::string>();
  Refuse(name, "a string");
  return "";
}

size_t ConfigFields::ChoiceIndex(const char* name, absl::Span<const std::string_view> words,
                                 std::optional<size_t> fallback) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr && fallback) return *fallback;
  if (value != nullptr && value->is_string()) {
    const auto it = std::find(words.begin(), words.end(), value->get_ref<const std::string&>());
    if (it != words.end()) return static_cast<size_t>(it - words.begin());
  }
  const auto quote = [](std::string* out, std::string_view word) {
    absl::StrAppend(out, "\"", std::string(word), "\"");
  };
  Refuse(name, absl::StrCat(words.size() == 1 ? "" : "one of ", absl::StrJoin(words, ", ", quote)));
  return fallback.value_or(0);
}

std::optional<ConfigFields> ConfigFields::Object(const char* name, std::initializer_list<const char*> known,
                                                 bool required) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr && !required) return std::nullopt;
  if (value != nullptr && value->is_object()) {
    return ConfigFields(*value, file_, absl::StrCat(path_, name, "."), known, error_);
  }
  Refuse(name, "an object");
  return std::nullopt;
}

}  // namespace splineserve
