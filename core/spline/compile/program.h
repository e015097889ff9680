// An encoder of one token, as the forms that its layers compute: sparse, in float64, before it becomes
// tensors.
//
// The residual row starts as the inputs, a column that is always 1, and zeros. One token is all that
// attention sees, so that a head computes relu(query . key) * value of that row: a product. A layer adds to
// the row what its heads give, then what its feed-forward units relu(form) give. In the end, outputs are
// forms of the row.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_PROGRAM_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_PROGRAM_H_

#include <cstddef>
#include <map>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/spline/compile/form.h"

namespace splineserve {

// Forms of the row's columns. `query` and `key` are equally long.
struct ProgramHead {
  std::vector<Form> query, key, value;
};

struct ProgramLayer {
  std::vector<ProgramHead> heads;
  std::map<size_t, Form> attention;     // column -> form of the heads' values, numbered head by head
  size_t head_values = 0;               // how many those are
  std::vector<Form> units;              // forms of the row after attention
  std::map<size_t, Form> feed_forward;  // column -> form of the units
};

struct Interval {
  double low = 0;
  double high = 0;
};

// What is known of a column after a layer, beyond what interval arithmetic finds out: its value without
// rounding lies in ranges[i] where the input lies in [breaks[i], breaks[i + 1]].
struct KnownRange {
  size_t layer = 0;
  size_t column = 0;
  size_t input = 0;
  std::vector<double> breaks;    // increasing
  std::vector<Interval> ranges;  // one fewer
};

// What a form of the row stands for where it holds maxima, for the analysis of its errors: first +
// relu(second - first) has the error of the one or of the other and not of both, which nobody sees who looks
// at columns.
struct ProgramValue {
  enum class Kind { kForm, kSum, kMax };
  Kind kind = Kind::kForm;
  Form form;                                     // kForm: of columns that are no maxima
  double constant = 0;                           // kSum: and of the parts
  std::vector<std::pair<size_t, double>> parts;  // kSum: values before this one, and factors
  size_t first = 0, second = 0;                  // kMax: values before this one
  size_t layer = 0, unit = 0, column = 0;        // kMax: relu(second - first)
};

// What the matrices of a program measure; every size is at least 1.
struct ProgramSizes {
  size_t hidden_size = 0, heads = 0, head_dim = 0, intermediate_size = 0, layers = 0;
  // Numbers in all tensors but absent biases, which are counted as if they were there; saturates at 2^64 - 1.
  size_t parameters = 0;
};

class Program {
 public:
  explicit Program(size_t inputs) : inputs_(inputs), columns_(inputs + 1) {}

  size_t inputs() const { return inputs_; }
  size_t columns() const { return columns_; }
  size_t one() const { return inputs_; }  // the column that is always 1
  const std::vector<ProgramLayer>& layers() const { return layers_; }
  const std::vector<Form>& outputs() const { return outputs_; }
  ProgramSizes sizes() const;

  // A column that is zero until something is added to it.
  size_t NewColumn() { return columns_++; }
  void AddOutput(Form form) { outputs_.push_back(std::move(form)); }

  // In attention of `layer`, which comes into being where there is none. Returns the number of the head's
  // first value among the layer's.
  size_t AddHead(size_t layer, ProgramHead head);
  // relu(first * second) * 1. Returns the number of the value.
  size_t AddHead(size_t layer, Form first, Form second);
  // column += weight * value, for the value with that number.
  void AddAttention(size_t layer, size_t column, size_t value, double weight);
  // In the feed-forward network of `layer`, after its attention. Returns the unit's number.
  size_t AddUnit(size_t layer, Form form);
  void AddFeedForward(size_t layer, size_t column, size_t unit, double weight);

  void AddKnownRange(KnownRange range) { known_ranges_.push_back(std::move(range)); }
  const std::vector<KnownRange>& known_ranges() const { return known_ranges_; }

  // Returns the value's number.
  size_t AddValue(ProgramValue value);
  const std::vector<ProgramValue>& values() const { return values_; }
  // Says that the last output is this value.
  void SetOutputValue(size_t value) { output_values_[outputs_.size() - 1] = value; }
  const std::map<size_t, size_t>& output_values() const { return output_values_; }

  // The function itself, in float64: what the encoder computes but for rounding. `inputs` are as many as
  // inputs().
  std::vector<double> Evaluate(absl::Span<const double> inputs) const;

 private:
  ProgramLayer& At(size_t layer);

  size_t inputs_;
  size_t columns_;
  std::vector<ProgramLayer> layers_;
  std::vector<Form> outputs_;
  std::vector<KnownRange> known_ranges_;
  std::vector<ProgramValue> values_;
  std::map<size_t, size_t> output_values_;  // output -> value
};

// `value` as the float32 that a weight becomes.
inline double RoundedWeight(double value) { return static_cast<double>(static_cast<float>(value)); }

// A bias has no more than float32, but a form that reads an input gets what its constant lacks from the
// column that is always 1, right after the inputs: (high - x) + low. A knot then is where it should be to 48
// bits.
bool SplitsConstant(const Program& program, const Form& form);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_PROGRAM_H_
