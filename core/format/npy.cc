#include "core/format/npy.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/half_float.h"
#include "core/base/status_macros.h"
#include "core/format/untrusted_text.h"

namespace splineserve {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr double kLargestWhole = 0x1p53;

// The literal that a header is: {'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }.
struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<size_t> shape;
};

class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  std::optional<Header> Parse() {
    Header header;
    bool descr = false, order = false, shape = false;
    if (!Take('{')) return std::nullopt;
    while (!Take('}')) {
      std::string key;
      if (!String(&key) || !Take(':')) return std::nullopt;
      bool* const seen = key == "descr"           ? &descr
                         : key == "fortran_order" ? &order
                         : key == "shape"         ? &shape
                                                  : nullptr;
      if (seen == nullptr || *seen) return std::nullopt;
      *seen = true;
      if (!(seen == &descr   ? String(&header.descr)
            : seen == &order ? Bool(&header.fortran_order)
                             : Tuple(&header.shape))) {
        return std::nullopt;
      }
      if (!Take(',') && !Ahead('}')) return std::nullopt;
    }
    Spaces();
    if (!descr || !order || !shape || at_ != text_.size()) return std::nullopt;
    return header;
  }

 private:
  void Spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool Ahead(char c) {
    Spaces();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool Take(char c) {
    if (!Ahead(c)) return false;
    ++at_;
    return true;
  }
  bool Word(std::string_view word) {
    Spaces();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  bool String(std::string* value) {
    Spaces();
    const char quote = Ahead('"') ? '"' : '\'';
    if (!Take(quote)) return false;
    const size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) return false;
    *value = std::string(text_.substr(at_, end - at_));
    at_ = end + 1;
    return true;
  }
  bool Bool(bool* value) {
    *value = Word("True");
    return *value || Word("False");
  }
  bool Tuple(std::vector<size_t>* shape) {
    if (!Take('(')) return false;
    while (!Take(')')) {
      Spaces();
      size_t end = at_;
      while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
      uint64_t extent = 0;
      if (!absl::SimpleAtoi(std::string(text_.substr(at_, end - at_)), &extent) || shape->size() == 32) return false;
      at_ = end;
      shape->push_back(extent);
      if (!Take(',') && !Ahead(')')) return false;
    }
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
};

template <typename T>
double Number(const char* bytes, bool swapped) {
  char ordered[sizeof(T)];
  std::memcpy(ordered, bytes, sizeof(T));
  if (swapped) std::reverse(ordered, ordered + sizeof(T));
  T value;
  std::memcpy(&value, ordered, sizeof(T));
  return static_cast<double>(value);
}

double HalfNumber(const char* bytes, bool swapped) {
  return static_cast<double>(Float16ToFloat(static_cast<uint16_t>(Number<uint16_t>(bytes, swapped))));
}

using Reader = double (*)(const char* bytes, bool swapped);

// Type letter and size of a descr, as in "f8"; null for others.
Reader ReaderOf(std::string_view type) {
  static constexpr std::pair<std::string_view, Reader> kReaders[] = {
      {"f2", &HalfNumber},       {"f4", &Number<float>},    {"f8", &Number<double>},
      {"i1", &Number<int8_t>},   {"i2", &Number<int16_t>},  {"i4", &Number<int32_t>},
      {"i8", &Number<int64_t>},  {"u1", &Number<uint8_t>},  {"u2", &Number<uint16_t>},
      {"u4", &Number<uint32_t>}, {"u8", &Number<uint64_t>}, {"b1", &Number<uint8_t>}};
  for (const auto& [name, reader] : kReaders) {
    if (name == type) return reader;
  }
  return nullptr;
}

// From the order in which the first index is the fastest to row-major.
std::vector<double> RowMajor(const std::vector<size_t>& shape, const std::vector<double>& values) {
  std::vector<double> result(values.size());
  std::vector<size_t> at(shape.size(), 0);
  for (double& value : result) {
    size_t place = 0;
    for (size_t axis = shape.size(); axis-- > 0;) place = place * shape[axis] + at[axis];
    value = values[place];
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++at[axis] < shape[axis]) break;
      at[axis] = 0;
    }
  }
  return result;
}

}  // namespace

absl::StatusOr<NumericArray> ParseNpy(std::string_view bytes, std::string_view file) {
  if (bytes.size() < 10 || bytes.substr(0, kMagic.size()) != kMagic) {
    return FileError(file, "expected an array file of NumPy, which starts with \\x93NUMPY");
  }
  const int version = static_cast<uint8_t>(bytes[6]);
  if (version < 1 || version > 3 || bytes[7] != 0) {
    return FileError(file, absl::StrCat("expected format version 1.0, 2.0 or 3.0, found ", version, ".",
                                        static_cast<int>(static_cast<uint8_t>(bytes[7]))));
  }
  const size_t start = version == 1 ? 10 : 12;
  size_t length = 0;
  for (size_t i = start; i-- > 8 && i < bytes.size();) length = length << 8 | static_cast<uint8_t>(bytes[i]);
  if (bytes.size() < start || length > bytes.size() - start) {
    return FileError(file,
                     absl::StrCat("expected a header of ", length, " bytes, found the end of the file"));
  }
  const std::optional<Header> header = HeaderParser(bytes.substr(start, length)).Parse();
  if (!header) {
    return FileError(file, absl::StrCat("expected a header with descr, fortran_order and shape, found ",
                                        Excerpt(bytes.substr(start, length))));
  }
  const std::string& descr = header->descr;
  const Reader reader = descr.size() == 3 ? ReaderOf(std::string_view(descr).substr(1)) : nullptr;
  const bool known_order =
      !descr.empty() && (descr[0] == '<' || descr[0] == '>' || (descr[0] == '|' && descr[2] == '1'));
  if (reader == nullptr || !known_order) {
    return FileError(file,
                     absl::StrCat("expected real numbers of at most 8 bytes, found type ", Excerpt(descr)));
  }
  const size_t size = static_cast<size_t>(descr[2] - '0');
  size_t elements = 1;
  for (const size_t extent : header->shape) {
    if (__builtin_mul_overflow(elements, extent, &elements) || elements > kMaxArrayElements) {
      return FileError(file, absl::StrCat("expected at most ", kMaxArrayElements, " elements, found more"));
    }
  }
  const std::string_view data = bytes.substr(start + length);
  if (data.size() != elements * size) {
    return FileError(file, absl::StrCat("expected ", elements * size, " bytes of data, found ", data.size()));
  }
  NumericArray array = {header->shape, {}};
  array.values.reserve(elements);
  for (size_t i = 0; i < elements; ++i) {
    array.values.push_back(reader(data.data() + i * size, descr[0] == '>'));
    if (descr[1] != 'f' && std::fabs(array.values.back()) > kLargestWhole) {
      return FileError(
          file, absl::StrCat("expected whole numbers of at most 2^53, found a larger one at flat index ", i));
    }
  }
  if (header->fortran_order) array.values = RowMajor(array.shape, array.values);
  return array;
}

}  // namespace splineserve
