#include "core/spline/monitor_file.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/spline/piece.h"

namespace splineserve {
namespace {

using Group = PatternMonitor::Group;
using Stack = PieceRecorder::Stack;

constexpr std::string_view kMagic = "SplMon\r\n";
constexpr uint32_t kVersion = 1;
constexpr size_t kHashBytes = 16;

uint32_t CodeOf(MonitorKind kind) { return kind == MonitorKind::kBits ? 1 : 2; }
uint32_t CodeOf(Stack stack) { return stack == Stack::kEncoder ? 1 : 2; }

uint32_t CodeOf(Precision precision) {
  switch (precision) {
    case Precision::kFloat32:
      return 1;
    case Precision::kBfloat16:
      return 2;
    case Precision::kInt8:
      return 3;
  }
  return 0;
}

uint32_t CodeOf(Site site) {
  switch (site) {
    case Site::kSelfAttention:
      return 1;
    case Site::kCrossAttention:
      return 2;
    case Site::kFeedForward:
      return 3;
  }
  return 0;
}

std::string_view Text(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

size_t BytesOf(MonitorKind kind, const PatternShape& shape) {
  return kind == MonitorKind::kHashed ? kHashBytes : (size_t{shape.gates} + 7) / 8;
}

class Writer {
 public:
  void Bytes(std::string_view bytes) { out_ += bytes; }
  void U32(uint32_t value) { Number(value, 4); }
  void U64(uint64_t value) { Number(value, 8); }
  void BigEndian(uint64_t value) {
    for (int shift = 56; shift >= 0; shift -= 8) out_ += static_cast<char>(value >> shift);
  }
  template <typename List, typename Code>
  void Numbers(const List& values, Code code) {
    U32(static_cast<uint32_t>(values.size()));
    for (const auto& value : values) U32(code(value));
  }
  std::string Finish() && {
    const std::string hash = PieceHash({reinterpret_cast<const uint8_t*>(out_.data()), out_.size()});
    return std::move(out_) + hash;
  }

 private:
  void Number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(value >> (8 * i));
  }
  std::string out_;
};

// What is left of the file. Every read says what it reads, for the message.
class Cursor {
 public:
  Cursor(absl::Span<const uint8_t> bytes, std::string_view file)
      : rest_(bytes), file_(file.data(), file.size()) {}

  absl::Status Error(const std::string& problem) const {
    return absl::InvalidArgumentError(absl::StrCat(file_, ": ", problem));
  }
  absl::Status Wrong(const std::string& what, const std::string& expected, uint64_t found) const {
    return Error(absl::StrCat(what, ": expected ", expected, ", found ", found));
  }

  absl::StatusOr<absl::Span<const uint8_t>> Bytes(size_t count, const std::string& what) {
    if (count > rest_.size()) {
      return Error(absl::StrCat(what, ": expected ", count, " bytes, found ", rest_.size(), " left"));
    }
    const absl::Span<const uint8_t> bytes = rest_.first(count);
    rest_.remove_prefix(count);
    return bytes;
  }
  absl::StatusOr<uint64_t> Number(size_t bytes, const std::string& what) {
    SPLINESERVE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> here, Bytes(bytes, what));
    uint64_t value = 0;
    for (size_t i = bytes; i-- > 0;) value = value << 8 | here[i];
    return value;
  }
  absl::StatusOr<uint32_t> U32(const std::string& what) {
    SPLINESERVE_ASSIGN_OR_RETURN(const uint64_t value, Number(4, what));
    return static_cast<uint32_t>(value);
  }
  // One of `values`, by its code.
  template <typename T>
  absl::StatusOr<T> OneOf(std::initializer_list<T> values, const std::string& what) {
    SPLINESERVE_ASSIGN_OR_RETURN(const uint32_t code, U32(what));
    for (const T value : values) {
      if (CodeOf(value) == code) return value;
    }
    return Wrong(what, absl::StrCat("1 to ", values.size()), code);
  }
  absl::StatusOr<std::vector<uint32_t>> Ascending(const std::string& what) {
    SPLINESERVE_ASSIGN_OR_RETURN(const uint32_t count, U32(what));
    SPLINESERVE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes, Bytes(size_t{count} * 4, what));
    Cursor entries(bytes, std::string_view(file_.data(), file_.size()));
    std::vector<uint32_t> values;
    for (uint32_t i = 0; i < count; ++i) {
      SPLINESERVE_ASSIGN_OR_RETURN(const uint32_t value, entries.U32(what));
      if (!values.empty() && value <= values.back()) {
        return Wrong(absl::StrCat(what, "[", i, "]"), absl::StrCat("more than ", values.back()), value);
      }
      values.push_back(value);
    }
    return values;
  }
  size_t left() const { return rest_.size(); }

 private:
  absl::Span<const uint8_t> rest_;
  absl::string_view file_;
};

absl::StatusOr<MonitorDescription> ReadDescription(Cursor& cursor) {
  MonitorDescription description;
  SPLINESERVE_ASSIGN_OR_RETURN(description.kind,
                               cursor.OneOf({MonitorKind::kBits, MonitorKind::kHashed}, "kind"));
  SPLINESERVE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> digest, cursor.Bytes(kHashBytes, "digest"));
  description.digest = absl::BytesToHexString(absl::string_view(Text(digest).data(), digest.size()));
  SPLINESERVE_ASSIGN_OR_RETURN(
      description.precision,
      cursor.OneOf({Precision::kFloat32, Precision::kBfloat16, Precision::kInt8}, "precision"));
  PatternSelection& selection = description.selection;
  SPLINESERVE_ASSIGN_OR_RETURN(selection.stack, cursor.OneOf({Stack::kEncoder, Stack::kDecoder}, "stack"));
  SPLINESERVE_ASSIGN_OR_RETURN(description.gamma, cursor.U32("gamma"));
  SPLINESERVE_ASSIGN_OR_RETURN(description.classes, cursor.U32("classes"));
  SPLINESERVE_ASSIGN_OR_RETURN(selection.layers, cursor.Ascending("layers"));
  SPLINESERVE_ASSIGN_OR_RETURN(const std::vector<uint32_t> sites, cursor.Ascending("sites"));
  for (const uint32_t code : sites) {
    const Site all[] = {Site::kSelfAttention, Site::kCrossAttention, Site::kFeedForward};
    const auto* const site =
        std::find_if(std::begin(all), std::end(all), [&](Site s) { return CodeOf(s) == code; });
    if (site == std::end(all)) return cursor.Wrong("sites", "1 to 3", code);
    selection.sites.push_back(*site);
  }
  SPLINESERVE_ASSIGN_OR_RETURN(selection.units, cursor.Ascending("units"));
  return description;
}

// Row `index` of a group from its bytes in the file.
void ReadPattern(MonitorKind kind, const uint8_t* bytes, size_t count, uint64_t* words) {
  if (kind == MonitorKind::kBits) {
    std::memcpy(words, bytes, count);  // little-endian, as the words are: monitor.cc asserts it
    return;
  }
  for (size_t half = 0; half < 2; ++half) {
    words[half] = 0;
    for (size_t i = 0; i < 8; ++i) words[half] = words[half] << 8 | bytes[8 * half + i];
  }
}

absl::StatusOr<Group> ReadGroup(Cursor& cursor, MonitorKind kind, const std::string& name) {
  Group group;
  SPLINESERVE_ASSIGN_OR_RETURN(group.shape.tokens, cursor.U32(name));
  SPLINESERVE_ASSIGN_OR_RETURN(group.shape.source_tokens, cursor.U32(name));
  SPLINESERVE_ASSIGN_OR_RETURN(group.shape.gates, cursor.U32(name));
  SPLINESERVE_ASSIGN_OR_RETURN(group.label, cursor.U32(name));
  SPLINESERVE_ASSIGN_OR_RETURN(const uint64_t count, cursor.Number(8, name));
  const size_t bytes = BytesOf(kind, group.shape);
  if (bytes == 0) return cursor.Error(absl::StrCat(name, ": gates: expected at least 1, found 0"));
  if (count > cursor.left() / bytes || count > PatternMonitor::kMaxPatterns) {
    return cursor.Wrong(
        absl::StrCat(name, ": patterns"),
        absl::StrCat("at most ", std::min(cursor.left() / bytes, PatternMonitor::kMaxPatterns), " of ", bytes,
                     " bytes"),
        count);
  }
  SPLINESERVE_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> rows, cursor.Bytes(count * bytes, name));
  const size_t words = (bytes + 7) / 8;
  group.count = count;
  group.words.resize(count * words);
  for (size_t i = 0; i < count; ++i) ReadPattern(kind, &rows[i * bytes], bytes, &group.words[i * words]);
  return group;
}

}  // namespace

std::string SerializeMonitor(const PatternMonitor& monitor) {
  const MonitorDescription& description = monitor.description();
  const PatternSelection& selection = description.selection;
  const auto same = [](uint32_t value) { return value; };
  Writer writer;
  writer.Bytes(kMagic);
  writer.U32(kVersion);
  writer.U32(CodeOf(description.kind));
  writer.Bytes(absl::HexStringToBytes(description.digest));
  writer.U32(CodeOf(description.precision));
  writer.U32(CodeOf(selection.stack));
  writer.U32(description.gamma);
  writer.U32(description.classes);
  writer.Numbers(selection.layers, same);
  writer.Numbers(selection.sites, [](Site site) { return CodeOf(site); });
  writer.Numbers(selection.units, same);
  writer.U32(static_cast<uint32_t>(monitor.groups().size()));
  for (const Group& group : monitor.groups()) {
    writer.U32(group.shape.tokens);
    writer.U32(group.shape.source_tokens);
    writer.U32(group.shape.gates);
    writer.U32(group.label);
    writer.U64(group.count);
    const size_t bytes = BytesOf(description.kind, group.shape), words = (bytes + 7) / 8;
    for (size_t i = 0; i < group.count; ++i) {
      const uint64_t* const row = &group.words[i * words];
      if (description.kind == MonitorKind::kHashed) {
        writer.BigEndian(row[0]);
        writer.BigEndian(row[1]);
      } else {
        writer.Bytes({reinterpret_cast<const char*>(row), bytes});
      }
    }
  }
  return std::move(writer).Finish();
}

absl::StatusOr<PatternMonitor> ParseMonitor(absl::Span<const uint8_t> bytes, std::string_view file) {
  Cursor cursor(bytes, file);
  if (bytes.size() < kMagic.size() || Text(bytes.first(kMagic.size())) != kMagic) {
    return cursor.Error("expected a monitor, which begins with \"SplMon\\r\\n\", found something else");
  }
  if (bytes.size() < kMagic.size() + kHashBytes) {
    return cursor.Error(
        absl::StrCat("expected a checksum at the end, found a file of ", bytes.size(), " bytes"));
  }
  const absl::Span<const uint8_t> body = bytes.first(bytes.size() - kHashBytes);
  if (PieceHash(body) != Text(bytes.last(kHashBytes))) {
    return cursor.Error(
        "checksum: expected the XXH3-128 of all bytes before it, found another: the file is "
        "damaged or cut off");
  }
  cursor = Cursor(body.subspan(kMagic.size()), file);
  SPLINESERVE_ASSIGN_OR_RETURN(const uint32_t version, cursor.U32("version"));
  if (version != kVersion) return cursor.Wrong("version", "1", version);
  SPLINESERVE_ASSIGN_OR_RETURN(MonitorDescription description, ReadDescription(cursor));
  const MonitorKind kind = description.kind;
  absl::StatusOr<MonitorBuilder> builder = MonitorBuilder::Create(std::move(description));
  if (!builder.ok()) return cursor.Error(std::string(builder.status().message()));
  SPLINESERVE_ASSIGN_OR_RETURN(const uint32_t groups, cursor.U32("groups"));
  for (uint32_t g = 0; g < groups; ++g) {
    const std::string name = absl::StrCat("group ", g);
    SPLINESERVE_ASSIGN_OR_RETURN(Group group, ReadGroup(cursor, kind, name));
    if (const absl::Status added = builder->AddGroup(std::move(group)); !added.ok()) {
      return cursor.Error(absl::StrCat(name, ": ", std::string(added.message())));
    }
  }
  if (cursor.left() != 0) return cursor.Wrong("after the last group", "the checksum alone", cursor.left());
  return (*std::move(builder)).Build();
}

}  // namespace splineserve
