// The exact restriction of an EXACT model to a segment: a univariate spline, piece by piece.
//
// Between two knots no gate flips, and the model is one polynomial in t of degree at most
// GateLayout::degree(). Its gates' arguments are polynomials, too, so degree + 1 evaluations with frozen
// gates determine all of them, and the first of their sign changes is the next knot (the idea of SyReNN,
// arXiv 1908.06214, for feed-forward networks, where the polynomials are linear). Sign changes are searched
// with a certificate (sign_change.h) that takes in the rounding errors of the evaluation (float64_pass.h),
// the interpolation's and its own: where a piece is certified, no gate changes its sign inside, in exact
// arithmetic with the model's float32 weights.
#ifndef SPLINESERVE_CORE_SPLINE_SEGMENT_TRACE_H_
#define SPLINESERVE_CORE_SPLINE_SEGMENT_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/spline/segment.h"
#include "core/spline/top_changes.h"

namespace splineserve {

struct GateFlip {
  size_t gate = 0;  // flat index in the layout
  bool opens = false;
  friend bool operator==(const GateFlip&, const GateFlip&) = default;
};

struct TracePiece {
  double begin = 0, end = 0;
  // What differs from the piece before, ascending; empty for a trace's first piece.
  std::vector<GateFlip> flips;
  // The signs change within this distance of `begin`. Proven where the piece before and this one are
  // certified. At t = 0: how far gates that are within rounding of zero there may take to show their sign.
  double knot_error = 0;
  // No gate changes its sign in (begin + knot_error, end - the next piece's knot_error), in exact arithmetic.
  bool certified = false;
  // Where it is not: signs were looked at in steps of this (in t).
  double resolution = 0;
  // Chebyshev coefficients on [begin, end], [outputs, degree + 1]; trailing zeros of all outputs cut off.
  Matrix64 coefficients;
  double margin = 0;   // min |argument| of all gates at the middle; infinity without gates
  size_t nearest = 0;  // whose that is
  std::string sequence_id;
  std::vector<TopChange> top_changes;
};

struct TraceOptions {
  OutputChoice outputs;
  bool integrated_gradients = false;
  bool top_output = false;
  // Samples a piece. A higher degree than this determines is not interpolated but approximated: no piece is
  // certified then, and pieces are cut until their series have converged to 10^-10. 96 takes encoders of four
  // layers (degree 81); beyond that float64's rounding errors outgrow the polynomials in any case.
  size_t max_samples = 96;
};

// Samples that a trace of this degree takes, at most `max_samples`.
size_t TraceSamples(uint64_t degree, size_t max_samples);

// Not thread-safe. `segment` must outlive it.
class SegmentTrace {
 public:
  SegmentTrace(const Segment& segment, TraceOptions options);

  bool done() const { return t_ >= 1; }
  // The next piece; after an error the trace is of no further use. OUT_OF_RANGE if a number overflows
  // float64; what `check` returns, asked before every few evaluations, if it is not OK. Must not be called
  // when done().
  //
  // Cost: some three times degree + 1 evaluations with error bounds, if pieces are of similar lengths.
  absl::StatusOr<TracePiece> Next(absl::FunctionRef<absl::Status()> check);
  absl::StatusOr<TracePiece> Next() {
    return Next([] { return absl::OkStatus(); });
  }

  // What it takes to go on later, elsewhere: opaque bytes with a checksum, some bytes and one bit a gate.
  // `fingerprint` (16 bytes) says of what the trace is.
  std::string State(const std::string& fingerprint) const;
  // INVALID_ARGUMENT for bytes that are not the State of a trace with this fingerprint.
  absl::Status Restore(const std::string& state, const std::string& fingerprint);

  double reached() const { return t_; }
  double knot_error() const { return knot_error_; }  // of the knot reached()
  // Gates that were tied at t = 0 and are open right of it, or the other way round.
  bool tied_at_begin() const { return tied_at_begin_; }
  uint64_t evaluations() const { return evaluations_; }  // of one point each
  // Integral of each output's gradient over t, so far: element-wise times the direction it is the integrated
  // gradient (arXiv 1703.01365). One an output; empty unless asked for.
  const std::vector<InputRows64>& gradient_integrals() const { return gradients_; }

 private:
  struct Interval;  // all gates' polynomials on an interval

  absl::StatusOr<Interval> Sample(double begin, double end);
  // The first sign change on an interval: `gates` are all that change there; at the interval's beginning,
  // those of the earliest site alone.
  struct Event {
    double t = 0;
    double error = 0;
    bool at_begin = false;
    std::vector<size_t> gates;
    double uncertain = 0;  // leftmost doubt, in t; infinity without
    double settled = 0;    // from where on all signs are clear
  };
  // With the proven bounds of rounding errors, or with estimates, which are far smaller in deep models.
  Event FirstEvent(const Interval& interval, bool proven) const;
  void Flip(const std::vector<size_t>& gates);
  absl::Status Finish(TracePiece& piece);
  absl::Status IntegrateGradients(double begin, double end);

  const Segment& segment_;
  const TraceOptions options_;
  const size_t samples_;
  const bool truncated_;  // the degree is higher than the samples determine
  const Matrix64 transform_;
  const std::vector<double> points_;

  double t_ = 0;
  std::vector<uint8_t> pattern_;  // valid right of t_, but for what Next corrects
  std::vector<GateFlip> flips_;   // at the knot t_
  double knot_error_ = 0;
  double step_ = 1;
  bool last_certified_ = true;
  bool tied_at_begin_ = false;
  uint64_t evaluations_ = 0;
  std::vector<InputRows64> gradients_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_SEGMENT_TRACE_H_
