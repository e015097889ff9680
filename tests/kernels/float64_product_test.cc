// The float64 products of every SIMD target against the loop in the header's comment, bit for bit.
#include "core/kernels/float64_product.h"

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

constexpr double kGuard = 31.5;

// One product in arrays that end exactly at their last number, so that AddressSanitizer sees reads past it;
// outputs are surrounded by guards.
struct Example {
  std::vector<uint32_t> open;
  std::vector<double> x, x_error, w, y, y_error;
  bool errors = false;
  Product64 sizes;

  Product64 Product() {
    Product64 product = sizes;
    product.x = x.data();
    product.w = w.data();
    product.y = y.data() + 1;
    if (!errors) return product;
    product.x_error = x_error.data();
    product.y_error = y_error.data() + 1;
    return product;
  }
};

class Examples {
 public:
  explicit Examples(uint64_t seed) : engine_(seed) {}

  // `listed`: about half of the columns of x, the others being zero.
  Example Make(size_t rows, size_t inner, size_t outer, size_t padding, bool errors, bool listed) {
    Example e;
    const size_t x_stride = inner + padding, y_stride = outer + padding;
    e.w = Numbers(inner * outer);
    e.x = Numbers(rows == 0 ? 0 : (rows - 1) * x_stride + inner);
    e.x_error = Numbers(e.x.size());
    for (double& error : e.x_error) error = std::abs(error);
    for (uint32_t k = 0; listed && k < inner; ++k) {
      if (engine_() % 2 == 0) {
        e.open.push_back(k);
        continue;
      }
      for (size_t r = 0; r < rows; ++r) e.x[r * x_stride + k] = e.x_error[r * x_stride + k] = 0;
    }
    e.y.assign(rows * y_stride + 2, kGuard);
    e.y_error = e.y;
    e.errors = errors;
    e.sizes = {.rows = rows, .inner = inner, .outer = outer, .x_stride = x_stride, .y_stride = y_stride};
    return e;
  }

 private:
  std::vector<double> Numbers(size_t n) {
    std::vector<double> numbers(n);
    for (double& number : numbers) {
      const double mantissa = static_cast<double>(static_cast<int64_t>(engine_())) * 0x1p-63;
      number = std::ldexp(mantissa, static_cast<int>(engine_() % 40) - 20);
    }
    return numbers;
  }

  std::mt19937_64 engine_;
};

// Over all k: where there is a list, the others add zero.
void Specification(Example& e) {
  const Product64 m = e.Product();
  for (size_t r = 0; r < m.rows; ++r) {
    for (size_t n = 0; n < m.outer; ++n) {
      double sum = 0, bound = 0;
      for (size_t k = 0; k < m.inner; ++k) {
        sum += m.x[r * m.x_stride + k] * m.w[k * m.outer + n];
        bound += e.x_error[r * m.x_stride + k] * std::abs(m.w[k * m.outer + n]);
      }
      m.y[r * m.y_stride + n] = sum;
      if (m.y_error != nullptr) m.y_error[r * m.y_stride + n] = bound;
    }
  }
}

void CheckAllKernels(Examples& examples, size_t rows, size_t inner, size_t outer, bool errors, bool listed) {
  const Example example = examples.Make(rows, inner, outer, (rows + outer) % 3, errors, listed);
  Example expected = example;
  Specification(expected);
  for (const Float64Kernel& kernel : AvailableFloat64Kernels()) {
    SCOPED_TRACE(std::string(kernel.name) + " rows " + std::to_string(rows) + " inner " +
                 std::to_string(inner) + " outer " + std::to_string(outer) + (errors ? " errors" : "") +
                 (listed ? " listed" : ""));
    Example actual = example;
    Product64 product = actual.Product();
    if (listed) {
      product.open = actual.open.data();
      product.inner = actual.open.size();
    }
    kernel.product(product);
    ASSERT_EQ(actual.y, expected.y);
    ASSERT_EQ(actual.y_error, expected.y_error);
  }
}

TEST(Float64ProductTest, EqualsTheLoopOnAllSizes) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Examples examples(seed);
  for (size_t rows = 0; rows <= 9; ++rows) {
    for (size_t outer = 0; outer <= 36; ++outer) {
      for (size_t inner : {0, 1, 2, 7, 33}) {
        for (int kind = 0; kind < 4; ++kind) {
          CheckAllKernels(examples, rows, inner, outer, kind % 2 == 1, kind >= 2);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(Float64ProductTest, TheBestIsFirstAndThePortableLast) {
  ASSERT_FALSE(AvailableFloat64Kernels().empty());
  EXPECT_EQ(std::string(AvailableFloat64Kernels().back().name), "portable");
  Examples examples(testing::TestSeed());
  Example by_best = examples.Make(5, 20, 19, 1, true, false), expected = by_best;
  Multiply(by_best.Product());
  Specification(expected);
  EXPECT_EQ(by_best.y, expected.y);
  EXPECT_EQ(by_best.y_error, expected.y_error);
}

}  // namespace
}  // namespace splineserve
