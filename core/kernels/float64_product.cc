#include "core/kernels/float64_product.h"

#include "core/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/float64_product.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Above: includes this file again for every target. Below: for the current one.
#include <cstring>
#include <vector>

#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_AVX3
constexpr char kFloat64Name[] = "avx512";
#elif HWY_TARGET == HWY_AVX2
constexpr char kFloat64Name[] = "avx2";
#elif HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
constexpr char kFloat64Name[] = "portable";
#else
constexpr char kFloat64Name[] = "neon";
#endif

using DoubleTag = hn::CappedTag<double, 8>;
using DoubleVector = hn::Vec<DoubleTag>;
constexpr size_t kDoubles = hn::MaxLanes(DoubleTag());

// Sums in registers: 4 rows of 2 vectors and as many of errors are 16 of AVX-512's and NEON's 32 registers; 4
// rows of 1 vector 8 of AVX2's 16.
constexpr size_t kBlockRows = 4;
constexpr size_t kBlockVectors = HWY_TARGET == HWY_AVX2 ? 1 : 2;

// All lanes, or the first `count`, without touching memory past them.
HWY_INLINE DoubleVector LoadSome(const double* p, size_t count) {
  const DoubleTag d;
  if (count >= kDoubles) return hn::LoadU(d, p);
#if SPLINESERVE_MASKED_ACCESS
  return hn::MaskedLoad(hn::FirstN(d, count), d, p);
#else
  HWY_ALIGN double lanes[kDoubles] = {};
  std::memcpy(lanes, p, count * sizeof(double));
  return hn::Load(d, lanes);
#endif
}

HWY_INLINE void StoreSome(DoubleVector v, double* p, size_t count) {
  const DoubleTag d;
  if (count >= kDoubles) return hn::StoreU(v, d, p);
#if SPLINESERVE_MASKED_ACCESS
  hn::BlendedStore(v, hn::FirstN(d, count), d, p);
#else
  HWY_ALIGN double lanes[kDoubles];
  hn::Store(v, d, lanes);
  std::memcpy(p, lanes, count * sizeof(double));
#endif
}

// Rows [row, row + kRows), kVectors vectors of columns from `column`, of which the last has `last` columns.
// Loops over registers are unrolled, or GCC keeps the sums in memory: a third of the speed.
template <size_t kRows, size_t kVectors, bool kErrors>
HWY_NOINLINE void Block(const Product64& m, size_t row, size_t column, size_t last) {
  const DoubleTag d;
  DoubleVector sum[kRows][kVectors], bound[kRows][kVectors];
  const double *x[kRows], *e[kRows];
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    x[r] = m.x + (row + r) * m.x_stride;
    if constexpr (kErrors) e[r] = m.x_error + (row + r) * m.x_stride;
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) sum[r][v] = bound[r][v] = hn::Zero(d);
  }
  const size_t inner = m.inner, outer = m.outer;
  const uint32_t* const open = m.open;
  const double* const first = m.w + column;
  for (size_t i = 0; i < inner; ++i) {
    const size_t k = open != nullptr ? open[i] : i;
    const double* const from = first + k * outer;
    DoubleVector w[kVectors];
#pragma GCC unroll 8
    for (size_t v = 0; v + 1 < kVectors; ++v) w[v] = hn::LoadU(d, from + v * kDoubles);
    w[kVectors - 1] = LoadSome(from + (kVectors - 1) * kDoubles, last);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
      const DoubleVector factor = hn::Set(d, x[r][k]);
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::Add(sum[r][v], hn::Mul(factor, w[v]));
    }
    if constexpr (kErrors) {
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) w[v] = hn::Abs(w[v]);
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) {
        const DoubleVector factor = hn::Set(d, e[r][k]);
#pragma GCC unroll 8
        for (size_t v = 0; v < kVectors; ++v) bound[r][v] = hn::Add(bound[r][v], hn::Mul(factor, w[v]));
      }
    }
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
    const size_t at = (row + r) * m.y_stride + column;
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t count = v + 1 < kVectors ? kDoubles : last;
      StoreSome(sum[r][v], m.y + at + v * kDoubles, count);
      if constexpr (kErrors) StoreSome(bound[r][v], m.y_error + at + v * kDoubles, count);
    }
  }
}

template <size_t kVectors, bool kErrors>
HWY_INLINE void Columns(const Product64& m, size_t column, size_t last) {
  size_t row = 0;
  for (; row + kBlockRows <= m.rows; row += kBlockRows) {
    Block<kBlockRows, kVectors, kErrors>(m, row, column, last);
  }
  switch (m.rows - row) {
    case 3:
      return Block<3, kVectors, kErrors>(m, row, column, last);
    case 2:
      return Block<2, kVectors, kErrors>(m, row, column, last);
    case 1:
      return Block<1, kVectors, kErrors>(m, row, column, last);
    default:
      return;
  }
}

template <bool kErrors>
HWY_INLINE void AllColumns(const Product64& m) {
  constexpr size_t kWide = kBlockVectors * kDoubles;
  size_t column = 0;
  for (; column + kWide <= m.outer; column += kWide) Columns<kBlockVectors, kErrors>(m, column, kDoubles);
  for (; column < m.outer; column += kDoubles) {
    const size_t left = m.outer - column;
    Columns<1, kErrors>(m, column, left < kDoubles ? left : kDoubles);
  }
}

void Product(const Product64& m) {
  if (m.y_error != nullptr) {
    AllColumns<true>(m);
  } else {
    AllColumns<false>(m);
  }
}

}  // namespace

Float64Kernel Float64KernelOfTarget() { return {kFloat64Name, Product}; }

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splineserve {
namespace {

std::vector<Float64Kernel> Runnable() {
  [[maybe_unused]] const int64_t runnable = hwy::SupportedTargets();
  std::vector<Float64Kernel> kernels;
#if HWY_TARGETS & HWY_AVX3
  if (runnable & HWY_AVX3) kernels.push_back(N_AVX3::Float64KernelOfTarget());
#endif
#if HWY_TARGETS & HWY_AVX2
  if (runnable & HWY_AVX2) kernels.push_back(N_AVX2::Float64KernelOfTarget());
#endif
#if HWY_TARGETS & HWY_NEON
  if (runnable & HWY_NEON) kernels.push_back(N_NEON::Float64KernelOfTarget());
#endif
#if defined(HWY_NEON_WITHOUT_AES) && (HWY_TARGETS & HWY_NEON_WITHOUT_AES)
  if (kernels.empty() && (runnable & HWY_NEON_WITHOUT_AES)) {
    kernels.push_back(N_NEON_WITHOUT_AES::Float64KernelOfTarget());
  }
#endif
#if HWY_TARGETS & HWY_EMU128
  kernels.push_back(N_EMU128::Float64KernelOfTarget());
#else
  kernels.push_back(N_SCALAR::Float64KernelOfTarget());
#endif
  return kernels;
}

}  // namespace

absl::Span<const Float64Kernel> AvailableFloat64Kernels() {
  // Never destroyed, so that it is valid in the destructors of other statics.
  static const auto& kernels = *new std::vector<Float64Kernel>(Runnable());
  return kernels;
}

void Multiply(const Product64& product) {
  static void (*const best)(const Product64&) = AvailableFloat64Kernels().front().product;
  best(product);
}

}  // namespace splineserve
#endif  // HWY_ONCE
