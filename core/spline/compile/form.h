// An affine form: what one row of a weight matrix and its bias compute.
#ifndef SPLINESERVE_CORE_SPLINE_COMPILE_FORM_H_
#define SPLINESERVE_CORE_SPLINE_COMPILE_FORM_H_

#include <cstddef>
#include <vector>

namespace splineserve {

// constant + sum of weight * x[index], in float64. What x is says the place that holds the form: the columns
// of the residual row, the outputs of a layer's heads, or its feed-forward units.
class Form {
 public:
  struct Term {
    size_t index = 0;
    double weight = 0;
  };

  Form() = default;
  explicit Form(double constant) : constant_(constant) {}
  static Form Of(size_t index, double weight = 1);

  double constant() const { return constant_; }
  const std::vector<Term>& terms() const { return terms_; }  // by ascending index, none twice

  // Amortised constant time for ascending indices, else linear.
  Form& Add(size_t index, double weight);
  Form& Add(double constant);
  // Adds factor * other, merging terms; those that cancel to exactly zero are dropped. Linear in both.
  Form& Add(const Form& other, double factor = 1);
  Form Times(double factor) const;

 private:
  double constant_ = 0;
  std::vector<Term> terms_;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_SPLINE_COMPILE_FORM_H_
