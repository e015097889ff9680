// Runtime monitoring by patterns of gates (Cheng, Nuehrenberg, Yasuoka: Runtime monitoring neuron activation
// patterns, arXiv 1809.06573): the patterns that reference traffic of each class has shown are recorded; an
// input that the model puts into class c is accepted if its own pattern lies within Hamming distance gamma of
// one recorded for c. What is not accepted is further from all that was recorded than the reference traffic
// was from itself: a warning, not a proof of an error.
#ifndef SPLINESERVE_CORE_SPLINE_MONITOR_H_
#define SPLINESERVE_CORE_SPLINE_MONITOR_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/format/model_config.h"
#include "core/kernels/precision.h"
#include "core/spline/pattern.h"

namespace splineserve {

enum class MonitorKind {
  kBits,    // the patterns themselves: distances
  kHashed,  // XXH3-128 of each, 16 bytes: recorded or not, nothing in between
};

// What a monitor was made for and of.
struct MonitorDescription {
  std::string digest;  // of the model: 32 lowercase hex digits. Gates compare only within one digest ...
  Precision precision = Precision::kFloat32;  // ... and one arithmetic
  PatternSelection selection;                 // normalized
  MonitorKind kind = MonitorKind::kBits;
  uint32_t gamma = 0;    // accepted distance unless a request says another; 0 for kHashed
  uint32_t classes = 1;  // ClassesOf the model

  bool operator==(const MonitorDescription&) const = default;
};

// Classes that a whole sequence can fall into: the size of a head that pools; else 1, for all sequences
// alike (the encoder of an encoder_decoder, a model without head, a decoder, which has an answer at every
// position).
uint32_t ClassesOf(const ModelConfig& config, PieceRecorder::Stack stack);

// Whether a monitor can belong to a model of this configuration, whatever its digest says: INVALID_ARGUMENT
// for a selection that CheckSelection refuses or for another number of classes than ClassesOf.
absl::Status CheckFits(const MonitorDescription& description, const ModelConfig& config);

// Immutable; thread-safe.
class PatternMonitor {
 public:
  // More are refused: when recorded with RESOURCE_EXHAUSTED, in a file with INVALID_ARGUMENT.
  static constexpr size_t kMaxPatterns = size_t{1} << 20;
  static constexpr size_t kMaxBytes = size_t{256} << 20;

  // The distinct patterns of one class and shape.
  struct Group {
    uint32_t label = 0;
    PatternShape shape;
    size_t count = 0;
    // kBits: [count, PatternWords(shape.gates)] in the order of recording. kHashed: [count, 2], the high and
    // the low half of each hash, ascending.
    std::vector<uint64_t> words;
  };

  struct Match {
    uint32_t label = 0;
    uint64_t index = 0;     // of the pattern in its group
    uint64_t distance = 0;  // gates that differ; 0 for kHashed
  };
  struct Verdict {
    bool accepted = false;         // `own` is there and within gamma
    std::optional<Match> own;      // the nearest pattern of the input's class and shape
    std::optional<Match> nearest;  // likewise of any class; the input's own where several are as near
  };

  PatternMonitor() = default;  // records nothing, accepts nothing

  const MonitorDescription& description() const { return description_; }
  const std::vector<Group>& groups() const { return groups_; }  // ascending by shape, then label
  size_t patterns() const;
  size_t bytes() const;  // of memory, all patterns together

  // Nearest recorded patterns by exact search over all classes, the input's own first. `label` < classes.
  // Cost: FindNearestRow over the patterns of this shape (1,221 of 2,048 gates: 20 us); kHashed: one hash and
  // a binary search a class.
  Verdict Judge(const Pattern& pattern, uint32_t label, uint32_t gamma) const;

 private:
  friend class MonitorBuilder;
  MonitorDescription description_;
  std::vector<Group> groups_;
};

// Records patterns. Not thread-safe.
class MonitorBuilder {
 public:
  // INVALID_ARGUMENT for a digest that is not 32 lowercase hex digits, for no classes, and for kHashed with a
  // gamma.
  static absl::StatusOr<MonitorBuilder> Create(MonitorDescription description);
  // Goes on from what a monitor holds.
  explicit MonitorBuilder(const PatternMonitor& monitor);

  const MonitorDescription& description() const { return description_; }

  // True if the pattern is new for its class; false if it is recorded already. INVALID_ARGUMENT for a label
  // that is no class and for a pattern without gates, RESOURCE_EXHAUSTED past the limits of PatternMonitor.
  absl::StatusOr<bool> Add(uint32_t label, const Pattern& pattern);

  // For what is read from a file: a whole group at once, of at least one pattern, behind all earlier ones in
  // the order of PatternMonitor::groups(). INVALID_ARGUMENT for another order, a label that is no class, no
  // gates, words of another size, bits past the last gate, hashes that do not ascend, a pattern that stands
  // there twice, and past the limits.
  absl::Status AddGroup(PatternMonitor::Group group);

  PatternMonitor Build() &&;

 private:
  explicit MonitorBuilder(MonitorDescription description);
  size_t WordsIn(const PatternShape& shape) const;
  absl::Status CheckRoom(size_t patterns, size_t words) const;
  // Notes row `index` of a group; false if an equal one is noted already.
  bool Note(size_t group, size_t index);
  size_t FindGroup(uint32_t label, const PatternShape& shape);

  MonitorDescription description_;
  std::vector<PatternMonitor::Group> groups_;                          // in order of appearance
  std::map<std::pair<PatternShape, uint32_t>, size_t> places_;         // of shape and label in groups_
  std::unordered_multimap<uint64_t, std::pair<size_t, size_t>> rows_;  // hash to group and row
  size_t patterns_ = 0, words_ = 0;
};

// The canonical form of a pattern's hash: XXH3-128 (seed 0) of its bits, (gates + 7) / 8 bytes, high half
// first.
std::pair<uint64_t, uint64_t> PatternHash(const Pattern& pattern);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_MONITOR_H_
