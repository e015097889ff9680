#include "core/spline/sign_change.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "core/spline/chebyshev.h"

namespace splineserve {
namespace {

constexpr double kNarrowest = 0x1p-44;
constexpr double kShortRun = 64 * kNarrowest;  // of undecided parts around one root
constexpr int kMostParts = 512;

class Search {
 public:
  Search(absl::Span<const double> c, const SignSearch& search)
      : whole_(c), degree_(static_cast<double>(c.size() - 1)), search_(search) {
    // Of evaluating and restricting the series: Clenshaw's recurrence amplifies each of its degree + 1
    // rounding errors by up to degree + 1 at the ends.
    delta_ = search.delta + 8 * (degree_ + 1) * (degree_ + 1) * 0x1p-53 * (std::abs(c[0]) + TailOf(c));
    slope_ = DerivativeOf(c);
    slope_.resize(c.size(), 0.0);  // as many terms as the polynomial: RestrictedTo keeps one transform
    result_.settled = search.begin;
  }

  SignChange Run() {
    if (search_.begin == -1) {
      Visit(-1, 1, std::vector<double>(whole_.begin(), whole_.end()));
    } else {
      Visit(search_.begin, 1, RestrictedTo(whole_, search_.begin, 1));
    }
    if (!found_ && undecided_.has_value()) Doubt(*undecided_);
    return result_;
  }

 private:
  bool AtBegin(double x) const { return x == search_.begin; }
  // How far below zero a value still counts as zero. At the beginning the point itself may be a rounded root.
  double Slack(double x) const { return AtBegin(x) && search_.zero_at_begin ? 8 * delta_ : delta_; }

  void Doubt(double x) { result_.uncertain = std::min(result_.uncertain, x); }

  // A part without a negative number. If what comes before it was undecided, there may be two roots.
  void Positive() {
    if (undecided_.has_value()) Doubt(*undecided_);
    undecided_.reset();
  }

  void Found(double location, double error) {
    found_ = true;
    result_.location = location;
    result_.error = error;
    if (!undecided_.has_value()) return;
    // A sign change for certain, somewhere since then; where the polynomial is that flat, it hardly matters.
    const double run = location - *undecided_;
    if (run > kShortRun) Doubt(*undecided_);
    if (AtBegin(*undecided_)) {
      result_.location = search_.begin;
    } else if (run <= kShortRun) {
      result_.error = error + run;
    }
  }

  void Undecided(double lo) {
    if (!undecided_.has_value()) undecided_ = lo;
  }

  // The only root of the decreasing polynomial between lo and hi.
  double Bisect(double lo, double hi) const {
    for (int i = 0; i < 60 && hi - lo > kNarrowest * 0x1p-8; ++i) {
      const double mid = lo + (hi - lo) / 2;
      (EvaluateSeries(whole_, mid) > 0 ? lo : hi) = mid;
    }
    return lo + (hi - lo) / 2;
  }

  // The part [lo, hi], on which the polynomial is the series `c`.
  void Visit(double lo, double hi, const std::vector<double>& c) {
    if (found_ || lo > search_.limit) return;
    const double tail = TailOf(c);
    if (c[0] - tail > delta_) return Positive();
    if (c[0] + tail < -delta_) return Found(lo, 0);
    // Twice: a part where it is about delta would be divided down to the narrowest.
    if (std::abs(c[0]) + tail <= 2 * delta_) return Undecided(lo);
    const double half = (hi - lo) / 2;
    // In units of the part's half width, so that the error of restricting it counts as much.
    std::vector<double> slope = RestrictedTo(slope_, lo, hi);
    for (double& term : slope) term *= half;
    const double steepness = std::abs(slope[0]) - TailOf(slope) - half * degree_ * degree_ * delta_;
    if (steepness > 0) return Monotone(lo, hi, slope[0] > 0);
    if (half < kNarrowest || ++parts_ > kMostParts) return Undecided(lo);
    const double mid = lo + half;
    // From the whole each time, so that rounding errors do not add up.
    Visit(lo, mid, RestrictedTo(whole_, lo, mid));
    if (!found_) Visit(mid, hi, RestrictedTo(whole_, mid, hi));
  }

  // How far from x, a root on the monotone part [lo, hi], the polynomial that is meant may have its own.
  double Uncertainty(double x, double lo, double hi) const {
    double radius = kNarrowest * 0x1p-6;
    while (radius < hi - lo) {
      const bool left = x - radius <= lo || EvaluateSeries(whole_, x - radius) > delta_;
      const bool right = x + radius >= hi || EvaluateSeries(whole_, x + radius) < -delta_;
      if (left && right) break;
      radius *= 2;
    }
    return std::min(radius, hi - lo);
  }

  // How far from lo the increasing polynomial is above delta.
  double Rise(double lo, double hi) const {
    double radius = kNarrowest * 0x1p-6;
    while (radius < hi - lo && EvaluateSeries(whole_, lo + radius) <= delta_) radius *= 2;
    return std::min(radius, hi - lo);
  }

  void Monotone(double lo, double hi, bool increasing) {
    const double at_lo = EvaluateSeries(whole_, lo), at_hi = EvaluateSeries(whole_, hi);
    if (increasing) {
      if (at_lo < -Slack(lo)) return Found(lo, 0);
      // Zero at most at lo.
      if (AtBegin(lo)) {
        if (at_lo <= delta_) {  // or negative, and zero a little later
          if (!search_.zero_at_begin) Doubt(lo);
          result_.settled = lo + Rise(lo, hi);
        }
      }
      return Positive();
    }
    if (at_hi > delta_) return Positive();
    if (at_hi >= -delta_) return Undecided(hi - Uncertainty(hi, lo, hi));
    if (at_lo <= Slack(lo)) return Found(lo, Uncertainty(lo, lo, hi));
    const double root = Bisect(lo, hi);
    Found(root, Uncertainty(root, lo, hi));
  }

  const absl::Span<const double> whole_;
  const double degree_;
  const SignSearch& search_;
  double delta_;
  std::vector<double> slope_;  // d/dx of the whole
  int parts_ = 0;
  bool found_ = false;
  std::optional<double> undecided_;  // where a run of undecided parts began
  SignChange result_;
};

}  // namespace

bool ClearlyPositive(absl::Span<const double> c, double delta) {
  // 2^-35: the search's own rounding errors up to 96 terms, 8 * 96^2 * 2^-53 of twice c[0].
  return c[0] - TailOf(c) > delta * 1.01 + 0x1p-35 * std::abs(c[0]);
}

SignChange FirstNegative(absl::Span<const double> c, const SignSearch& search) {
  // What most calls come to, without copies.
  if (ClearlyPositive(c, search.delta)) return {kNowhere, 0, kNowhere, search.begin};
  return Search(c, search).Run();
}

}  // namespace splineserve
