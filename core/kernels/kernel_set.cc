#include "core/kernels/kernel_set.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/kernels/simd_kernels.h"

namespace splineserve {
namespace {

// Every name that some build on some processor has.
constexpr const char* kKnownNames[] = {"avx512", "avx2", "neon", "portable"};

// The bit pattern of infinity: that of every finite magnitude is smaller, that of every NaN larger.
constexpr int32_t kInfinityBits = 0x7F800000;
static_assert(std::numeric_limits<float>::is_iec559);

}  // namespace

void GateState::Reset() {
  std::fill_n(overflow, kLaneBlock, 0.0f);
  std::fill_n(smallest, kLaneBlock, kInfinityBits);
  open = 0;
}

void GateState::Merge(const GateState& other) {
  for (size_t l = 0; l < kLaneBlock; ++l) {
    overflow[l] += other.overflow[l];
    smallest[l] = std::min(smallest[l], other.smallest[l]);
  }
  open += other.open;
}

GateRow GateState::Summary(bool want_margin) const {
  GateRow row;
  row.open = open;
  // Zeros of either sign, or NaN. Sixteen additions or comparisons take 1 to 5 % of small encoders.
  uint32_t bits = 0;
  for (float lane : overflow) bits |= std::bit_cast<uint32_t>(lane);
  row.finite = bits << 1 == 0;
  if (want_margin) row.margin = std::bit_cast<float>(*std::min_element(smallest, smallest + kLaneBlock));
  return row;
}

absl::Span<const KernelSet* const> AvailableKernelSets() {
  // Never destroyed, so that it is valid in the destructors of other statics.
  static const auto& sets = *new std::vector<const KernelSet*>(RunnableSimdKernels());
  return sets;
}

absl::StatusOr<const KernelSet*> SelectKernelSet(std::string_view name) {
  const absl::Span<const KernelSet* const> available = AvailableKernelSets();
  if (name.empty() || name == "auto") return available.front();
  // std::string: Debian's Abseil does not format std::string_view.
  const std::string wanted(name == "avx3" ? "avx512" : name);
  for (const KernelSet* set : available) {
    if (wanted == set->name) return set;
  }
  if (!absl::c_linear_search(kKnownNames, wanted)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "SIMD target: expected auto or one of ", absl::StrJoin(kKnownNames, ", "), ", found '", wanted, "'"));
  }
  const auto append_name = [](std::string* out, const KernelSet* set) { out->append(set->name); };
  return absl::FailedPreconditionError(absl::StrCat("SIMD target ", wanted,
                                                    ": expected one that this build and processor have (",
                                                    absl::StrJoin(available, ", ", append_name), ")"));
}

}  // namespace splineserve
