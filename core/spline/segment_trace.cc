#include "core/spline/segment_trace.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/spline/chebyshev.h"
#include "core/spline/piece.h"
#include "core/spline/sign_change.h"
#include "core/spline/top_changes.h"

namespace splineserve {
namespace {

using Eigen::Index;

constexpr double kUnit = 0x1p-53;
// Samples where the degree is too high: series of pieces as short as these converge long before.
constexpr size_t kTruncatedSamples = 17;
constexpr double kConverged = 1e-10;
// A knot this far into the interval, or farther, is located well: the frozen polynomials may grow fast beyond
// the piece, and so do their rounding errors.
constexpr double kWellInside = 0.2;
// What t can be told apart by: next to 0 by far less than elsewhere.
double ShortestStep(double t) { return std::max(0x1p-46 * t, 0x1p-900); }
// A knot that is known no better than to this share of its piece makes the piece uncertified.
constexpr double kLargestKnotError = 0x1p-4;

absl::Span<const double> RowOf(const Matrix64& m, size_t r) {
  return {m.data() + r * static_cast<size_t>(m.cols()), static_cast<size_t>(m.cols())};
}

// Whether all series (one a row) have converged: their last two coefficients are small against the largest.
bool Converged(const Matrix64& series) {
  if (series.size() == 0) return true;
  return series.rightCols(2).cwiseAbs().maxCoeff() <= kConverged * series.cwiseAbs().maxCoeff();
}

}  // namespace

size_t TraceSamples(uint64_t degree, size_t max_samples) {
  if (degree >= max_samples) return kTruncatedSamples;
  return std::max<size_t>(2, static_cast<size_t>(degree) + 1);
}

struct SegmentTrace::Interval {
  double begin = 0, end = 0;
  Matrix64 series;            // [gates, samples]: Chebyshev coefficients of every argument
  std::vector<double> delta;  // how far each series may be from the polynomial that is meant
  // The same as estimated: on a short interval the last coefficients are rounding errors and nothing else.
  std::vector<double> noise;
  std::vector<bool> clear;  // whose sign at the beginning is proven
  bool converged = true;    // where truncated

  double At(double x) const { return begin + (end - begin) * (x + 1) / 2; }
};

SegmentTrace::SegmentTrace(const Segment& segment, TraceOptions options)
    : segment_(segment),
      options_(std::move(options)),
      samples_(TraceSamples(segment.layout().degree(), options_.max_samples)),
      truncated_(segment.layout().degree() >= options_.max_samples),
      transform_(ChebyshevTransform(samples_)),
      points_(ChebyshevPoints(samples_)) {
  const double begin = 0;
  const PassResult start = segment_.pass().Run(segment_.At({&begin, 1}), {});
  pattern_ = segment_.pass().Signs(start, 0);
  ++evaluations_;
  if (options_.integrated_gradients) gradients_.resize(options_.outputs.indices.size());
}

absl::StatusOr<SegmentTrace::Interval> SegmentTrace::Sample(double begin, double end) {
  std::vector<double> t;
  for (double x : points_) t.push_back(begin + (end - begin) * (x + 1) / 2);
  const Float64Pass& pass = segment_.pass();
  const PassResult result = pass.Run(segment_.At(t), {.pattern = pattern_.data(), .unit_roundoff = kUnit});
  evaluations_ += samples_;
  Interval interval{begin, end, {}, {}, {}, {}, true};
  if (!result.arguments.value.allFinite() || !result.rows.value.allFinite() ||
      !result.arguments.error.allFinite()) {
    return absl::OutOfRangeError(
        absl::StrCat("a number overflows float64 between t = ", begin, " and ", end));
  }
  interval.series.noalias() = result.arguments.value.transpose() * transform_;
  const double lebesgue = LebesgueBound(samples_);
  // Each coefficient is a sum of samples times cosines, off by n + 16 units at most; all coefficients
  // together.
  const double count = static_cast<double>(samples_);
  const double sums = 2 * count * (count + 16) * kUnit;
  interval.delta.resize(segment_.layout().gates());
  interval.noise.resize(segment_.layout().gates());
  interval.clear.resize(segment_.layout().gates());
  // Row by row: the samples of one gate are far apart.
  Row64 errors = Row64::Zero(interval.series.rows()), sizes = errors;
  for (Index p = 0; p < static_cast<Index>(samples_); ++p) {
    errors = errors.cwiseMax(result.arguments.error.row(p));
    sizes = sizes.cwiseMax(result.arguments.value.row(p).cwiseAbs());
  }
  const Index last = std::min<Index>(3, static_cast<Index>(samples_) - 1);
  for (size_t g = 0; g < interval.delta.size(); ++g) {
    const Index column = static_cast<Index>(g);
    interval.delta[g] = lebesgue * errors[column] + sums * sizes[column];
    interval.clear[g] = std::abs(result.arguments.value(0, column)) > result.arguments.error(0, column);
    const auto series = interval.series.row(column);
    interval.noise[g] = std::min(interval.delta[g],
                                 16 * (series.tail(last).cwiseAbs().maxCoeff() + kUnit * series.lpNorm<1>()));
  }
  if (truncated_) {
    interval.converged = true;
    for (const GateBlock& block : segment_.layout().blocks()) {
      interval.converged =
          interval.converged && Converged(interval.series.middleRows(static_cast<Index>(block.first),
                                                                     static_cast<Index>(block.size)));
    }
    const Matrix64 outputs = ChooseOutputs(pass, options_.outputs, result.rows, samples_, 0).value;
    interval.converged = interval.converged && Converged(outputs.transpose() * transform_);
  }
  return interval;
}

SegmentTrace::Event SegmentTrace::FirstEvent(const Interval& interval, bool proven) const {
  const std::vector<double>& deltas = proven ? interval.delta : interval.noise;
  const double half = (interval.end - interval.begin) / 2;
  // What cannot be told apart: roundings of t, in units of x.
  const double tolerance = 16 * kUnit * interval.end / half;
  struct Candidate {
    size_t gate;
    SignChange change;
  };
  std::vector<Candidate> candidates;
  double limit = 1, uncertain = kNowhere;
  // The interval may begin at a knot that is known to within its error only: gates that vanish there may
  // still have their old signs.
  const bool at_knot = interval.begin == t_;
  const double first_x = at_knot ? std::min(-1 + knot_error_ / half, -0.5) : -1;
  double settled = first_x;
  std::vector<double> closed(samples_);
  for (size_t g = 0; g < interval.delta.size(); ++g) {
    absl::Span<const double> series = RowOf(interval.series, g);
    const bool open = pattern_[g] != 0;
    if (!open) {
      std::transform(series.begin(), series.end(), closed.begin(), [](double c) { return -c; });
      series = closed;
    }
    if (ClearlyPositive(series, deltas[g])) continue;
    if (series[0] == 0 && TailOf(series) == 0) {
      // Identically zero: ties are closed.
      if (open) candidates.push_back({g, {first_x, 0, kNowhere, first_x}});
      continue;
    }
    const SignChange change = FirstNegative(series, {deltas[g], first_x, limit, at_knot});
    uncertain = std::min(uncertain, change.uncertain);
    settled = std::max(settled, change.settled);
    if (change.location == kNowhere) continue;
    candidates.push_back({g, change});
    limit = std::min(limit, change.location + 2 * change.error + tolerance);
  }
  Event event{kNowhere,
              0,
              false,
              {},
              uncertain == kNowhere ? kNowhere : interval.At(uncertain),
              interval.At(settled)};
  if (candidates.empty()) return event;
  const Candidate& first = *std::min_element(
      candidates.begin(), candidates.end(),
      [](const Candidate& a, const Candidate& b) { return a.change.location < b.change.location; });
  const double last = first.change.location + first.change.error + tolerance;
  double farthest = last;
  for (const Candidate& candidate : candidates) {
    if (candidate.change.location - candidate.change.error > last) continue;
    event.gates.push_back(candidate.gate);
    farthest = std::max(farthest, candidate.change.location + candidate.change.error + tolerance);
  }
  event.t = interval.At(first.change.location);
  event.error = half * (farthest - first.change.location);
  event.at_begin =
      first.change.location <= first_x + first.change.error + tolerance || event.t <= interval.begin;
  if (event.at_begin) {
    // Later gates may change their minds once the earliest have flipped.
    const auto block_of = [&](size_t gate) {
      const std::vector<GateBlock>& blocks = segment_.layout().blocks();
      return std::upper_bound(blocks.begin(), blocks.end(), gate,
                              [](size_t g, const GateBlock& block) { return g < block.first; }) -
             blocks.begin();
    };
    const auto earliest = block_of(event.gates.front());  // gates are in ascending order
    std::erase_if(event.gates, [&](size_t gate) { return block_of(gate) != earliest; });
  }
  return event;
}

void SegmentTrace::Flip(const std::vector<size_t>& gates) {
  for (size_t gate : gates) {
    pattern_[gate] ^= 1;
    const auto at = std::lower_bound(flips_.begin(), flips_.end(), gate,
                                     [](const GateFlip& flip, size_t g) { return flip.gate < g; });
    if (at != flips_.end() && at->gate == gate) {
      flips_.erase(at);  // there and back
    } else {
      flips_.insert(at, {gate, pattern_[gate] != 0});
    }
  }
}

absl::StatusOr<TracePiece> SegmentTrace::Next(absl::FunctionRef<absl::Status()> check) {
  TracePiece piece;
  piece.begin = t_;
  piece.certified = !truncated_;
  const size_t most_rounds = 2 * segment_.layout().blocks().size() + 4;
  // Where the last piece was beyond proof, so is this one in most cases: no retries.
  const size_t most_retries = last_certified_ ? 2 : 0;
  size_t rounds = 0, retries = 0;
  bool unsettled = false;
  double begin = t_;  // of the interval; the piece begins at t_
  const auto doubt = [&](double width) {
    piece.certified = false;
    piece.resolution = std::max(piece.resolution, width / static_cast<double>(samples_));
  };
  while (true) {
    SPLINESERVE_RETURN_IF_ERROR(check());
    // Steps that are no steps would never end: such may come of bytes that were restored.
    const double step = std::max(step_, ShortestStep(begin));
    const double end = step >= 1 - begin ? 1 : begin + step;
    absl::StatusOr<Interval> interval = Sample(begin, end);
    if (!interval.ok() || !interval->converged) {
      step_ = (end - begin) / 4;
      if (step_ > ShortestStep(end)) continue;
      if (!interval.ok()) return interval.status();
      doubt(end - begin);
    }
    Event event = FirstEvent(*interval, /*proven=*/false);
    if (event.t != kNowhere && event.at_begin && begin == t_) {
      // A gate whose sign here is proven, and that is not one of those that have just flipped, has its root
      // to the right, nearer than this interval shows.
      const bool nearer = std::any_of(event.gates.begin(), event.gates.end(), [&](size_t gate) {
        const bool flipped = std::any_of(flips_.begin(), flips_.end(),
                                         [&](const GateFlip& flip) { return flip.gate == gate; });
        return interval->clear[gate] && !flipped;
      });
      if (nearer && rounds == 0 && end - begin > 64 * ShortestStep(end)) {
        step_ = (end - begin) / 1024;
        continue;
      }
      Flip(event.gates);
      if (++rounds <= most_rounds) continue;
      // Rounding hides what happens here: go on with the signs a little to the right, over a short piece.
      doubt(end - begin);
      const double inside = begin + (end - begin) / 64;
      const PassResult at = segment_.pass().Run(segment_.At({&inside, 1}), {});
      std::vector<size_t> changed;
      const std::vector<uint8_t> signs = segment_.pass().Signs(at, 0);
      for (size_t g = 0; g < signs.size(); ++g) {
        if (signs[g] != pattern_[g]) changed.push_back(g);
      }
      Flip(changed);
      event.t = kNowhere;
      event.gates.clear();
      unsettled = true;
    }
    if (event.t != kNowhere && event.t - begin < kWellInside * (end - begin) && begin == t_ &&
        end - begin > 64 * ShortestStep(end)) {
      step_ = 2 * (event.t - begin);
      continue;
    }
    // No sign changes up to there.
    const double checked = unsettled ? begin + (end - begin) / 32 : std::min(event.t, end);
    bool certified = false;
    if (!truncated_ && !unsettled) {
      const Event proof = FirstEvent(*interval, /*proven=*/true);
      const bool same = proof.gates == event.gates && !proof.at_begin &&
                        (event.gates.empty() || std::abs(proof.t - event.t) <= proof.error);
      certified = same && proof.uncertain >= checked;
      if (!certified && retries < most_retries && end - begin > 64 * ShortestStep(end)) {
        ++retries;  // rounding errors are smaller on a shorter interval
        step_ = (end - begin) / 4;
        continue;
      }
      if (certified && event.t != kNowhere) event.error = proof.error + std::abs(proof.t - event.t);
      if (certified && begin == t_) {
        // What is claimed begins where all signs are clear.
        knot_error_ = std::max(knot_error_, proof.settled - t_);
        certified = knot_error_ <= kLargestKnotError * (checked - t_);
      }
    }
    if (!certified) doubt(checked - begin);
    retries = 0;
    if (event.t == kNowhere && end < 1 && !truncated_ && !unsettled) {
      begin = end;
      step_ = 2 * (end - t_);
      continue;
    }
    piece.end = checked;
    SPLINESERVE_RETURN_IF_ERROR(Finish(piece));
    // After a piece that was cut short the interval's length, or steps would shrink with every such piece.
    step_ = unsettled ? end - begin : 2 * (piece.end - piece.begin);
    t_ = piece.end;
    last_certified_ = piece.certified;
    flips_.clear();
    knot_error_ = 0;
    if (event.t != kNowhere) {
      knot_error_ = event.error;
      Flip(event.gates);
    }
    return piece;
  }
}

absl::Status SegmentTrace::Finish(TracePiece& piece) {
  piece.knot_error = knot_error_;
  if (piece.begin != 0) {
    piece.flips = flips_;
  } else {
    tied_at_begin_ = !flips_.empty();
  }
  std::vector<double> t;
  for (double x : points_) t.push_back(piece.begin + (piece.end - piece.begin) * (x + 1) / 2);
  const Float64Pass& pass = segment_.pass();
  const PassResult result = pass.Run(segment_.At(t), {.pattern = pattern_.data()});
  evaluations_ += samples_;
  const Matrix64 outputs = ChooseOutputs(pass, options_.outputs, result.rows, samples_, 0).value;
  if (!outputs.allFinite()) {
    return absl::OutOfRangeError(
        absl::StrCat("an output overflows float64 between t = ", piece.begin, " and ", piece.end));
  }
  const Matrix64 series = outputs.transpose() * transform_;
  // What is no more than the samples' rounding is no coefficient.
  Index terms = series.cols();
  const Matrix64 noise = 4 * kUnit * static_cast<double>(samples_) * series.rowwise().lpNorm<1>();
  while (terms > 1 && ((series.col(terms - 1).cwiseAbs() - noise).array() <= 0).all()) --terms;
  piece.coefficients = series.leftCols(terms);

  // The arguments at the middle, x = 0: T_k(0) is 1, 0, -1, 0, ...
  Row64 middle = Row64::Zero(static_cast<Index>(samples_));
  for (Index k = 0; k < middle.size(); k += 2)
    middle += (k % 4 == 0 ? 1 : -1) * transform_.col(k).transpose();
  piece.margin = std::numeric_limits<double>::infinity();
  if (segment_.layout().gates() != 0) {
    const Row64 arguments = middle * result.arguments.value;
    Index nearest = 0;
    piece.margin = arguments.cwiseAbs().minCoeff(&nearest);
    piece.nearest = static_cast<size_t>(nearest);
  }
  piece.sequence_id = segment_.layout().SequenceIdOf(pattern_);
  if (options_.top_output) {
    piece.top_changes = FindTopChanges(piece.coefficients, options_.outputs.indices, piece.begin, piece.end);
  }
  if (options_.integrated_gradients) SPLINESERVE_RETURN_IF_ERROR(IntegrateGradients(piece.begin, piece.end));
  return absl::OkStatus();
}

absl::Status SegmentTrace::IntegrateGradients(double begin, double end) {
  // The gradient's degree is one less than the function's: exact with half as many nodes.
  const Quadrature rule = GaussLegendre(samples_ / 2 + 1);
  const size_t count = rule.nodes.size();
  std::vector<double> t;
  for (double x : rule.nodes) t.push_back(begin + (end - begin) * (x + 1) / 2);
  const Float64Pass& pass = segment_.pass();
  const PassResult result = pass.Run(segment_.At(t), {.pattern = pattern_.data(), .tape = true});
  evaluations_ += count;
  for (size_t o = 0; o < gradients_.size(); ++o) {
    Matrix64 weights =
        Matrix64::Zero(static_cast<Index>(count), static_cast<Index>(options_.outputs.indices.size()));
    weights.col(static_cast<Index>(o)).setOnes();
    const InputRows64 gradient =
        AdjointOf(pass, result.tape, OutputWeightsToRows(pass, options_.outputs, weights), count);
    const auto add = [&](const Matrix64& rows, Matrix64& sum) {
      if (!rows.allFinite()) return false;
      const Index tokens = rows.rows() / static_cast<Index>(count);
      if (sum.size() == 0) sum = Matrix64::Zero(tokens, rows.cols());
      for (size_t p = 0; p < count; ++p) {
        sum += rule.weights[p] * (end - begin) / 2 * rows.middleRows(static_cast<Index>(p) * tokens, tokens);
      }
      return true;
    };
    if ((segment_.source_moves() && !add(gradient.source, gradients_[o].source)) ||
        (segment_.target_moves() && !add(gradient.target, gradients_[o].target))) {
      return absl::OutOfRangeError(
          absl::StrCat("a gradient overflows float64 between t = ", begin, " and ", end));
    }
  }
  return absl::OkStatus();
}

}  // namespace splineserve
