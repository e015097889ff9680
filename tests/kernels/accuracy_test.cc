// How far an exact chain may be from the true sum: products against Eigen's in float64, within the classical
// bound of recursive summation (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). The
// other tests compare with a scalar chain of our own; this one knows nothing of chains.
#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/kernels/kernel_set.h"
#include "core/kernels/packing.h"
#include "gtest/gtest.h"
#include "tests/testing/random_floats.h"

namespace splineserve {
namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

TEST(AccuracyTest, ProductsAreWithinTheBoundOfFloat64) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  testing::RandomFloats random(seed);
  struct Shape {
    size_t rows, inner, outer;
  };
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{3, 70, 65}, Shape{17, 512, 130}, Shape{5, 2048, 33}}) {
    const std::vector<float> x = random.Vector(shape.rows * shape.inner, testing::Values::kNormal);
    const std::vector<float> w = random.Vector(shape.outer * shape.inner, testing::Values::kNormal);
    const std::vector<float> bias = random.Vector(shape.outer, testing::Values::kNormal);
    const PackedMatrix packed = PackedMatrix::FromRows({w.data(), shape.outer, shape.inner});

    const auto rows = static_cast<Eigen::Index>(shape.rows), inner = static_cast<Eigen::Index>(shape.inner),
               outer = static_cast<Eigen::Index>(shape.outer);
    const Eigen::MatrixXd x64 = Eigen::Map<const RowMajor>(x.data(), rows, inner).cast<double>();
    const Eigen::MatrixXd w64 = Eigen::Map<const RowMajor>(w.data(), outer, inner).cast<double>();
    const Eigen::RowVectorXd bias64 = Eigen::Map<const Eigen::RowVectorXf>(bias.data(), outer).cast<double>();
    const Eigen::MatrixXd expected = (x64 * w64.transpose()).rowwise() + bias64;
    // Each fused step rounds once: |error| <= n u / (1 - n u) times the sum of the terms' magnitudes.
    const double n = static_cast<double>(shape.inner) + 1;
    const double u = std::numeric_limits<float>::epsilon() / 2;
    const Eigen::MatrixXd bound =
        n * u / (1 - n * u) * ((x64.cwiseAbs() * w64.cwiseAbs().transpose()).rowwise() + bias64.cwiseAbs());

    for (const KernelSet* set : AvailableKernelSets()) {
      std::vector<float> out(shape.rows * shape.outer);
      set->product(x.data(), shape.inner, shape.rows, packed.view(), bias.data(), 1, out.data(), shape.outer);
      const Eigen::MatrixXd actual = Eigen::Map<const RowMajor>(out.data(), rows, outer).cast<double>();
      EXPECT_TRUE(((actual - expected).cwiseAbs().array() <= bound.array()).all())
          << set->name << ", inner " << shape.inner << ": off by up to "
          << (actual - expected).cwiseAbs().maxCoeff();
    }
  }
}

}  // namespace
}  // namespace splineserve
