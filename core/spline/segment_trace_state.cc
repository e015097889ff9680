// SegmentTrace as bytes, and back from bytes that anybody may have made.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/spline/piece.h"
#include "core/spline/segment_trace.h"

namespace splineserve {
namespace {

template <typename T>
void Put(T value, std::string& bytes) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  bytes.append(raw, sizeof(T));
}

template <typename T>
T Get(const std::string& bytes, size_t& at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  at += sizeof(T);
  return value;
}

std::string Checksum(const std::string& bytes) {
  return PieceHash({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

}  // namespace

std::string SegmentTrace::State(const std::string& fingerprint) const {
  std::string bytes = fingerprint;
  Put(t_, bytes);
  Put(knot_error_, bytes);
  Put(step_, bytes);
  Put(static_cast<uint32_t>(flips_.size()), bytes);
  for (const GateFlip& flip : flips_) Put(static_cast<uint32_t>(flip.gate), bytes);
  std::string bits((pattern_.size() + 7) / 8, '\0');
  for (size_t g = 0; g < pattern_.size(); ++g) {
    bits[g / 8] = static_cast<char>(bits[g / 8] | pattern_[g] << (g % 8));
  }
  bytes += bits;
  return bytes + Checksum(bytes);
}

absl::Status SegmentTrace::Restore(const std::string& state, const std::string& fingerprint) {
  const size_t bits = (pattern_.size() + 7) / 8;
  const size_t fixed = fingerprint.size() + 3 * sizeof(double) + sizeof(uint32_t);
  const auto refuse = [](const char* found) {
    return absl::InvalidArgumentError(absl::StrCat(
        "resume: expected the token of an earlier call with the same model, ends and outputs, found ",
        found));
  };
  if (state.size() < fixed + bits + 16) return refuse("too few bytes");
  const std::string body = state.substr(0, state.size() - 16);
  if (Checksum(body) != state.substr(state.size() - 16)) return refuse("bytes that are no such token");
  if (state.compare(0, fingerprint.size(), fingerprint) != 0) return refuse("that of another trace");
  size_t at = fingerprint.size();
  const double t = Get<double>(body, at), knot_error = Get<double>(body, at), step = Get<double>(body, at);
  const uint32_t flips = Get<uint32_t>(body, at);
  const bool sound = t > 0 && t < 1 && knot_error >= 0 && knot_error <= 1 && step > 0 && step <= 4;
  if (!sound || flips > pattern_.size() || body.size() != fixed + flips * sizeof(uint32_t) + bits) {
    return refuse("bytes that are no such token");
  }
  std::vector<size_t> gates;
  for (uint32_t f = 0; f < flips; ++f) {
    gates.push_back(Get<uint32_t>(body, at));
    if (gates.back() >= pattern_.size() || (f > 0 && gates[f] <= gates[f - 1])) {
      return refuse("bytes that are no such token");
    }
  }
  for (size_t g = 0; g < pattern_.size(); ++g) {
    pattern_[g] = static_cast<uint8_t>(static_cast<uint8_t>(body[at + g / 8]) >> (g % 8) & 1);
  }
  flips_.clear();
  for (size_t gate : gates) flips_.push_back({gate, pattern_[gate] != 0});
  t_ = t;
  knot_error_ = knot_error;
  step_ = step;
  return absl::OkStatus();
}

}  // namespace splineserve
