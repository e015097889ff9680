#include "core/format/json.h"

#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/format/untrusted_text.h"

namespace splineserve {
namespace {

using Json = nlohmann::json;

// Feeds the parser and tells how far it has read.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

// Builds the value while it is parsed, so that a bomb is refused before it costs anything. The SAX interface
// reports errors through parse_error and a false return, and never throws them.
class BoundedBuilder : public nlohmann::json_sax<Json> {
 public:
  BoundedBuilder(size_t max_depth, size_t max_values) : max_depth_(max_depth), max_values_(max_values) {}

  bool null() override { return Add(Json()) != nullptr; }
  bool boolean(bool value) override { return Add(Json(value)) != nullptr; }
  bool number_integer(number_integer_t value) override { return Add(Json(value)) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return Add(Json(value)) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override { return Add(Json(value)) != nullptr; }
  bool string(string_t& value) override { return Add(Json(std::move(value))) != nullptr; }
  bool binary(binary_t&) override { return Fail("binary values are not JSON"); }
  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& key) override {
    if (stack_.back()->contains(key)) return Fail(absl::StrCat("repeated key \"", Excerpt(key), "\""));
    key_ = std::move(key);
    return true;
  }

  bool parse_error(size_t, const std::string&, const Json::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ...": the part in brackets says
    // nothing.
    std::string_view what = error.what();
    if (const size_t bracket = what.find("] "); bracket != std::string_view::npos)
      what.remove_prefix(bracket + 2);
    return Fail(absl::StrCat("malformed JSON: ", Excerpt(what)));
  }

  const std::string& problem() const { return problem_; }
  Json Release() { return std::move(root_); }

 private:
  bool Fail(std::string problem) {
    problem_ = std::move(problem);
    if (!key_.empty()) absl::StrAppend(&problem_, " (last key: \"", Excerpt(key_), "\")");
    return false;
  }

  Json* Add(Json value) {
    if (++values_ > max_values_) {
      Fail(absl::StrCat("expected at most ", max_values_, " JSON values, found more"));
      return nullptr;
    }
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json* parent = stack_.back();
    if (parent->is_array()) {
      parent->push_back(std::move(value));
      return &parent->back();
    }
    return &((*parent)[key_] = std::move(value));
  }

  bool Open(Json container) {
    if (stack_.size() >= max_depth_) {
      return Fail(absl::StrCat("expected JSON nested at most ", max_depth_, " deep, found deeper"));
    }
    Json* added = Add(std::move(container));
    if (added == nullptr) return false;
    // Stays valid: while it is open, only its own children are added, never a sibling.
    stack_.push_back(added);
    return true;
  }

  bool Close() {
    stack_.pop_back();
    return true;
  }

  const size_t max_depth_;
  const size_t max_values_;
  size_t values_ = 0;
  Json root_;
  std::vector<Json*> stack_;
  std::string key_;
  std::string problem_;
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, std::string_view file, size_t max_depth,
                                         size_t max_values) {
  // nlohmann's lexer takes a zero byte for the end of the text and would accept whatever follows it.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return FileError(file, absl::StrCat("byte ", zero, ": malformed JSON: a zero byte"));
  }
  const char* begin = text.data();
  const char* furthest = begin;
  BoundedBuilder builder(max_depth, max_values);
  if (!Json::sax_parse(CountingIterator(begin, &furthest), CountingIterator(begin + text.size(), &furthest),
                       &builder)) {
    return FileError(file, absl::StrCat("byte ", furthest - begin, ": ", builder.problem()));
  }
  return builder.Release();
}

std::string Shown(const nlohmann::json& value) {
  if (value.is_array()) return absl::StrCat("an array of ", value.size());
  if (value.is_object()) return "an object";
  if (value.is_string()) return absl::StrCat("\"", Excerpt(value.get_ref<const std::string&>()), "\"");
  return value.dump();
}

}  // namespace splineserve
