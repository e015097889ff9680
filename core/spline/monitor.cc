#include "core/spline/monitor.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/kernels/hamming.h"

namespace splineserve {
namespace {

using Group = PatternMonitor::Group;
using Match = PatternMonitor::Match;

static_assert(std::endian::native == std::endian::little, "words are hashed as the bytes that they pack");

bool InOrder(const Group& a, const Group& b) {
  return std::tie(a.shape, a.label) < std::tie(b.shape, b.label);
}

size_t WordsOf(MonitorKind kind, const PatternShape& shape) {
  return kind == MonitorKind::kHashed ? 2 : PatternWords(shape.gates);
}

// Whether `hash` is among [count, 2] ascending pairs, and where.
std::optional<uint64_t> FindHash(const Group& group, std::pair<uint64_t, uint64_t> hash) {
  size_t first = 0, last = group.count;
  while (first < last) {
    const size_t middle = first + (last - first) / 2;
    const std::pair<uint64_t, uint64_t> there(group.words[2 * middle], group.words[2 * middle + 1]);
    if (there == hash) return middle;
    (there < hash ? first : last) = there < hash ? middle + 1 : middle;
  }
  return std::nullopt;
}

// Why `group` cannot be one of `description`'s; empty if it can.
std::string WrongGroup(const MonitorDescription& description, const Group& group) {
  const size_t words = WordsOf(description.kind, group.shape);
  if (group.label >= description.classes) {
    return absl::StrCat("label: expected a class in [0, ", description.classes, "), found ", group.label);
  }
  if (group.shape.gates == 0) return "gates: expected at least 1, found 0";
  if (group.count == 0 || group.words.size() / words != group.count || group.words.size() % words != 0) {
    return absl::StrCat("patterns: expected at least one, of ", words, " words each, found ", group.count,
                        " in ", group.words.size(), " words");
  }
  if (description.kind == MonitorKind::kHashed) {
    for (size_t i = 1; i < group.count; ++i) {
      const uint64_t* const pair = &group.words[2 * i];
      if (std::pair(pair[-2], pair[-1]) >= std::pair(pair[0], pair[1])) {
        return absl::StrCat("pattern ", i, ": expected hashes that ascend");
      }
    }
  } else if (const size_t used = group.shape.gates % 64; used != 0) {
    for (size_t i = 0; i < group.count; ++i) {
      if (group.words[(i + 1) * words - 1] >> used != 0) {
        return absl::StrCat("pattern ", i, ": expected zeros after its ", group.shape.gates, " gates");
      }
    }
  }
  return "";
}

}  // namespace

uint32_t ClassesOf(const ModelConfig& config, PieceRecorder::Stack stack) {
  const bool has_head = stack == PieceRecorder::Stack::kDecoder || !config.has_decoder();
  const bool pools = config.head.kind == HeadKind::kLinear && config.head.pooling != Pooling::kNone;
  return has_head && pools ? static_cast<uint32_t>(config.head.size) : 1;
}

absl::Status CheckFits(const MonitorDescription& description, const ModelConfig& config) {
  SPLINESERVE_RETURN_IF_ERROR(CheckSelection(description.selection, config));
  if (const uint32_t classes = ClassesOf(config, description.selection.stack);
      classes != description.classes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "classes: expected ", classes, ", as the model's pooled head has (1 without such a head), found ",
        description.classes));
  }
  return absl::OkStatus();
}

std::pair<uint64_t, uint64_t> PatternHash(const Pattern& pattern) {
  const XXH128_hash_t hash = XXH3_128bits(pattern.words.data(), (size_t{pattern.shape.gates} + 7) / 8);
  return {hash.high64, hash.low64};
}

size_t PatternMonitor::patterns() const {
  size_t sum = 0;
  for (const Group& group : groups_) sum += group.count;
  return sum;
}

size_t PatternMonitor::bytes() const {
  size_t sum = 0;
  for (const Group& group : groups_) sum += group.words.size() * sizeof(uint64_t);
  return sum;
}

PatternMonitor::Verdict PatternMonitor::Judge(const Pattern& pattern, uint32_t label, uint32_t gamma) const {
  const bool hashed = description_.kind == MonitorKind::kHashed;
  const std::pair<uint64_t, uint64_t> hash = hashed ? PatternHash(pattern) : std::pair<uint64_t, uint64_t>();
  Verdict verdict;
  const auto by_shape = [](const Group& group, const PatternShape& shape) { return group.shape < shape; };
  auto group = std::lower_bound(groups_.begin(), groups_.end(), pattern.shape, by_shape);
  for (; group != groups_.end() && group->shape == pattern.shape; ++group) {
    std::optional<Match> match;
    if (!hashed) {
      const NearestRow row =
          FindNearestRow(group->words.data(), group->count, pattern.words.size(), pattern.words.data());
      match = {group->label, row.index, row.distance};
    } else if (const std::optional<uint64_t> index = FindHash(*group, hash)) {
      match = {group->label, *index, 0};
    }
    if (!match) continue;
    if (match->label == label) verdict.own = match;
    const bool nearer = !verdict.nearest || match->distance < verdict.nearest->distance ||
                        (match->distance == verdict.nearest->distance && match->label == label);
    if (nearer) verdict.nearest = match;
  }
  verdict.accepted = verdict.own.has_value() && verdict.own->distance <= gamma;
  return verdict;
}

absl::StatusOr<MonitorBuilder> MonitorBuilder::Create(MonitorDescription description) {
  const auto is_hex = [](char c) { return ('0' <= c && c <= '9') || ('a' <= c && c <= 'f'); };
  if (description.digest.size() != 32 ||
      !std::all_of(description.digest.begin(), description.digest.end(), is_hex)) {
    return absl::InvalidArgumentError(absl::StrCat("digest: expected 32 lowercase hex digits, found ",
                                                   description.digest.size(), " bytes"));
  }
  if (description.classes == 0) return absl::InvalidArgumentError("classes: expected at least 1, found 0");
  if (description.kind == MonitorKind::kHashed && description.gamma != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gamma: expected 0, because hashes of patterns have no distances, found ", description.gamma));
  }
  return MonitorBuilder(std::move(description));
}

MonitorBuilder::MonitorBuilder(MonitorDescription description) : description_(std::move(description)) {}

MonitorBuilder::MonitorBuilder(const PatternMonitor& monitor) : description_(monitor.description_) {
  for (const Group& group : monitor.groups_) {
    places_.emplace(std::pair(group.shape, group.label), groups_.size());
    groups_.push_back(group);
    for (size_t i = 0; i < group.count; ++i) Note(groups_.size() - 1, i);
    patterns_ += group.count;
    words_ += group.words.size();
  }
}

size_t MonitorBuilder::WordsIn(const PatternShape& shape) const { return WordsOf(description_.kind, shape); }

absl::Status MonitorBuilder::CheckRoom(size_t patterns, size_t words) const {
  constexpr size_t kMaxWords = PatternMonitor::kMaxBytes / sizeof(uint64_t);
  if (patterns <= PatternMonitor::kMaxPatterns - patterns_ && words <= kMaxWords - words_)
    return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("patterns: a monitor holds at most ",
                                                   PatternMonitor::kMaxPatterns, ", and ",
                                                   PatternMonitor::kMaxBytes >> 20, " MiB of them"));
}

bool MonitorBuilder::Note(size_t group, size_t index) {
  const Group& here = groups_[group];
  const size_t words = WordsIn(here.shape);
  const uint64_t* const row = here.words.data() + index * words;
  const uint64_t hash = XXH3_64bits_withSeed(row, words * sizeof(uint64_t), group);
  const auto [begin, end] = rows_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const auto [other_group, other_index] = it->second;
    if (other_group == group && std::equal(row, row + words, here.words.data() + other_index * words)) {
      return false;
    }
  }
  rows_.emplace(hash, std::pair(group, index));
  return true;
}

size_t MonitorBuilder::FindGroup(uint32_t label, const PatternShape& shape) {
  const auto [found, is_new] = places_.try_emplace(std::pair(shape, label), groups_.size());
  if (is_new) groups_.push_back({label, shape, 0, {}});
  return found->second;
}

absl::StatusOr<bool> MonitorBuilder::Add(uint32_t label, const Pattern& pattern) {
  if (label >= description_.classes) {
    return absl::InvalidArgumentError(
        absl::StrCat("label: expected a class in [0, ", description_.classes, "), found ", label));
  }
  if (pattern.shape.gates == 0) {
    return absl::InvalidArgumentError("pattern: expected at least one gate, found none");
  }
  SPLINESERVE_RETURN_IF_ERROR(CheckRoom(1, WordsIn(pattern.shape)));
  const size_t index = FindGroup(label, pattern.shape);
  Group& group = groups_[index];
  const size_t before = group.words.size();
  if (description_.kind == MonitorKind::kHashed) {
    const std::pair<uint64_t, uint64_t> hash = PatternHash(pattern);
    group.words.insert(group.words.end(), {hash.first, hash.second});
  } else {
    group.words.insert(group.words.end(), pattern.words.begin(), pattern.words.end());
  }
  if (!Note(index, group.count)) {
    group.words.resize(before);
    return false;
  }
  ++group.count;
  ++patterns_;
  words_ += group.words.size() - before;
  return true;
}

absl::Status MonitorBuilder::AddGroup(Group group) {
  if (const std::string problem = WrongGroup(description_, group); !problem.empty()) {
    return absl::InvalidArgumentError(problem);
  }
  if (!groups_.empty() && !InOrder(groups_.back(), group)) {
    return absl::InvalidArgumentError("expected groups that ascend by shape and label");
  }
  if (const absl::Status room = CheckRoom(group.count, group.words.size()); !room.ok()) {
    return absl::InvalidArgumentError(room.message());
  }
  patterns_ += group.count;
  words_ += group.words.size();
  places_.emplace(std::pair(group.shape, group.label), groups_.size());
  groups_.push_back(std::move(group));
  for (size_t i = 0; i < groups_.back().count; ++i) {
    if (!Note(groups_.size() - 1, i)) {
      return absl::InvalidArgumentError(
          absl::StrCat("pattern ", i, ": expected distinct ones, found an earlier one again"));
    }
  }
  return absl::OkStatus();
}

PatternMonitor MonitorBuilder::Build() && {
  PatternMonitor monitor;
  monitor.description_ = std::move(description_);
  monitor.groups_ = std::move(groups_);
  std::sort(monitor.groups_.begin(), monitor.groups_.end(), InOrder);
  if (monitor.description_.kind == MonitorKind::kBits) return monitor;
  for (Group& group : monitor.groups_) {
    std::vector<std::pair<uint64_t, uint64_t>> hashes(group.count);
    for (size_t i = 0; i < group.count; ++i) hashes[i] = {group.words[2 * i], group.words[2 * i + 1]};
    std::sort(hashes.begin(), hashes.end());
    for (size_t i = 0; i < group.count; ++i) std::tie(group.words[2 * i], group.words[2 * i + 1]) = hashes[i];
  }
  return monitor;
}

}  // namespace splineserve
