// Elementwise kernels of every SIMD target against scalar expressions, bit for bit.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/kernels/kernel_set.h"
#include "gtest/gtest.h"
#include "tests/testing/bits_equal.h"
#include "tests/testing/random_floats.h"
#include "tests/testing/scalar_kernels.h"

namespace splineserve {
namespace {

using testing::BitsEqual;
using testing::RandomFloats;
using testing::Values;

// Arrays end exactly at their last number, so that AddressSanitizer sees reads past it.
struct Inputs {
  std::vector<float> a, b, c;
  size_t shift = 0, n = 0;
  const float* A() const { return a.data() + shift; }
  const float* B() const { return b.data() + shift; }
  const float* C() const { return c.data() + shift; }
};

// Calls check(set, inputs) for all targets, sizes, some misalignments and both kinds of values.
void ForAll(const std::function<void(const KernelSet&, const Inputs&)>& check) {
  const uint64_t seed = testing::TestSeed();
  RandomFloats random(seed);
  for (size_t n = 0; n <= 100; ++n) {
    for (Values values : {Values::kNormal, Values::kWide}) {
      Inputs in{.shift = n * 3 % 7, .n = n};
      for (std::vector<float>* v : {&in.a, &in.b, &in.c}) *v = random.Vector(in.shift + n, values);
      for (const KernelSet* set : AvailableKernelSets()) {
        SCOPED_TRACE(std::string(set->name) + " n " + std::to_string(n) + " seed " + std::to_string(seed));
        check(*set, in);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// Runs `kernel(out)` into guarded memory and compares with expected(i).
void Expect(size_t n, const std::function<void(float*)>& kernel,
            const std::function<float(size_t)>& expected) {
  constexpr float kGuard = 31.5f;
  std::vector<float> out(n + 17, kGuard), want(n + 17, kGuard);
  for (size_t i = 0; i < n; ++i) want[i + 1] = expected(i);
  kernel(out.data() + 1);
  ASSERT_TRUE(BitsEqual(out.data(), want.data(), out.size()));
}

TEST(ElementwiseTest, ExpandOfEveryHalfAndFloat) {
  // All finite numbers of 16 bits, in pieces of all lengths that a vector cuts differently.
  std::vector<uint16_t> halves(1 << 16);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> floats;
  for (uint16_t half : halves) floats.push_back(Float16ToFloat(half));
  for (const KernelSet* set : AvailableKernelSets()) {
    for (WeightFormat format : {WeightFormat::kFloat32, WeightFormat::kBfloat16, WeightFormat::kFloat16}) {
      const void* const data =
          format == WeightFormat::kFloat32 ? static_cast<const void*>(floats.data()) : halves.data();
      std::vector<float> out(halves.size() + 1, 31.5f);
      for (size_t first = 0, n = 1; first < halves.size(); first += n, n = n % 67 + 1) {
        n = std::min(n, halves.size() - first);
        set->expand(static_cast<const std::byte*>(data) + first * BytesPerNumber(format), format, n,
                    out.data() + first);
        ASSERT_TRUE(first + n == halves.size() || out[first + n] == 31.5f) << "past the end";
      }
      for (size_t i = 0; i < halves.size(); ++i) {
        const float expected = NumberAt(format, data, i);
        ASSERT_TRUE(!std::isfinite(expected) || BitsEqual(&expected, &out[i], 1))
            << set->name << " format " << static_cast<int>(format) << " number " << i;
      }
    }
  }
}

TEST(ElementwiseTest, Add) {
  ForAll([](const KernelSet& set, const Inputs& in) {
    const auto sum = [&](size_t i) { return in.A()[i] + in.B()[i]; };
    Expect(
        in.n, [&](float* out) { set.add(in.A(), in.B(), in.n, out); }, sum);
    const auto onto_first = [&](float* out) {
      std::copy_n(in.A(), in.n, out);
      set.add(out, in.B(), in.n, out);
    };
    Expect(in.n, onto_first, sum);
    const auto onto_second = [&](float* out) {
      std::copy_n(in.B(), in.n, out);
      set.add(in.A(), out, in.n, out);
    };
    Expect(in.n, onto_second, sum);

    std::vector<float> out(in.n), large(in.n, 1.0f);
    EXPECT_TRUE(set.add(in.A(), in.B(), in.n, out.data()));
    for (float bad : {std::numeric_limits<float>::max(), -std::numeric_limits<float>::max(),
                      std::numeric_limits<float>::quiet_NaN()}) {
      for (size_t at = 0; at < in.n; ++at) {
        large[at] = bad;
        ASSERT_FALSE(set.add(large.data(), large.data(), in.n, out.data())) << bad << " at " << at;
        ASSERT_TRUE(set.add(large.data(), large.data(), at, out.data())) << bad << " past " << at;
        large[at] = 1;
      }
    }
  });
}

TEST(ElementwiseTest, ScaleShift) {
  ForAll([](const KernelSet& set, const Inputs& in) {
    for (const float* bias : {in.C(), static_cast<const float*>(nullptr)}) {
      std::vector<float> want(in.n);
      testing::ScalarScaleShift(in.A(), in.B(), bias, in.n, want.data());
      const auto expected = [&](size_t i) { return want[i]; };
      Expect(
          in.n, [&](float* out) { set.scale_shift(in.A(), in.B(), bias, in.n, out); }, expected);
      const auto in_place = [&](float* out) {
        std::copy_n(in.A(), in.n, out);
        set.scale_shift(out, in.B(), bias, in.n, out);
      };
      Expect(in.n, in_place, expected);
    }
  });
}

TEST(ElementwiseTest, ScaleAdd) {
  ForAll([](const KernelSet& set, const Inputs& in) {
    for (float scale : {1.0f, 11.3137085f, -0.3f}) {
      for (const float* bias : {in.C(), static_cast<const float*>(nullptr)}) {
        const auto expected = [&](size_t i) {
          return std::fma(in.A()[i], scale, bias != nullptr ? bias[i] : 0.0f);
        };
        Expect(
            in.n, [&](float* out) { set.scale_add(in.A(), scale, bias, in.n, out); }, expected);
        const auto in_place = [&](float* out) {
          std::copy_n(in.A(), in.n, out);
          set.scale_add(out, scale, bias, in.n, out);
        };
        Expect(in.n, in_place, expected);
      }
    }
  });
}

TEST(ElementwiseTest, Divide) {
  ForAll([](const KernelSet& set, const Inputs& in) {
    for (float divisor : {1.0f, 3.0f, 7.0f, 8.0f, 4096.0f, 49.0f, 1e-30f, -0.5f, 0x1p-140f, 0x1p127f}) {
      const auto kernel = [&](float* out) {
        std::copy_n(in.A(), in.n, out);
        set.divide(out, divisor, in.n);
      };
      Expect(in.n, kernel, [&](size_t i) { return in.A()[i] / divisor; });
    }
  });
}

TEST(ElementwiseTest, AllFinite) {
  ForAll([](const KernelSet& set, const Inputs& in) {
    EXPECT_TRUE(set.all_finite(in.A(), in.n));
    for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                      std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
      for (size_t at = 0; at < in.n; ++at) {
        std::vector<float> x(in.A(), in.A() + in.n);
        x[at] = bad;
        ASSERT_FALSE(set.all_finite(x.data(), in.n)) << bad << " at " << at;
        ASSERT_EQ(set.all_finite(x.data(), at), testing::ScalarAllFinite(x.data(), at));
      }
    }
  });
}

}  // namespace
}  // namespace splineserve
