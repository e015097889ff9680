// Reads the fields of one JSON object of config.json, each with its type and range. Private to core/format.
#ifndef SPLINESERVE_CORE_FORMAT_CONFIG_FIELDS_H_
#define SPLINESERVE_CORE_FORMAT_CONFIG_FIELDS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace splineserve {

// Reading goes on after an error and yields fallbacks, so that a parser is a plain list of fields; only the
// first error is kept, and whoever ignores it has a value that means nothing. Messages read "FILE: FIELD:
// expected X, found Y".
class ConfigFields {
 public:
  // `object` and `error` must outlive this. `path` precedes field names in messages: "" or "head.". Refuses
  // every field that is not in `known`.
  ConfigFields(const nlohmann::json& object, std::string file, std::string path,
               std::initializer_list<const char*> known, absl::Status* error);

  // Each reads field `name`. Where it is absent: `fallback`, or an error where that is nullopt.
  size_t Size(const char* name, size_t min, size_t max, std::optional<size_t> fallback = std::nullopt);
  float Number(const char* name, std::optional<float> fallback = std::nullopt);  // rounded once from float64
  bool Bool(const char* name, bool fallback);
  std::string String(const char* name);

  // One of `words`, which are in the order of E's enumerators.
  template <typename E, size_t N>
  E Choice(const char* name, const std::array<std::string_view, N>& words,
           std::optional<E> fallback = std::nullopt) {
    std::optional<size_t> index;
    if (fallback) index = static_cast<size_t>(*fallback);
    return static_cast<E>(ChoiceIndex(name, words, index));
  }

  // The object in field `name`, or nullopt if it is absent (an error if `required`) or no object.
  std::optional<ConfigFields> Object(const char* name, std::initializer_list<const char*> known,
                                     bool required);

  bool Has(const char* name) const { return object_->contains(name); }
  // Records that `expected` does not hold for field `name`, with what was found there.
  void Refuse(const char* name, const std::string& expected);
  // Refuse() if the field is there: "expected only with CONDITION".
  void AllowOnlyWith(bool condition, const char* name, const std::string& condition_text);

 private:
  size_t ChoiceIndex(const char* name, absl::Span<const std::string_view> words,
                     std::optional<size_t> fallback);
  // nullptr where the field is absent.
  const nlohmann::json* Find(const char* name) const;

  const nlohmann::json* object_;
  std::string file_;
  std::string path_;
  absl::Status* error_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_CONFIG_FIELDS_H_
