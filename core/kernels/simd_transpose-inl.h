// Transposition: rows become columns, as keys do on their way into panels and token blocks. Included once for
// each target.
#if defined(SPLINESERVE_CORE_KERNELS_SIMD_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLINESERVE_CORE_KERNELS_SIMD_TRANSPOSE_INL_H_
#undef SPLINESERVE_CORE_KERNELS_SIMD_TRANSPOSE_INL_H_
#else
#define SPLINESERVE_CORE_KERNELS_SIMD_TRANSPOSE_INL_H_
#endif

#include <cstddef>

#include "core/kernels/simd_vector-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

// Rows that are transposed together.
inline constexpr size_t kRowsTransposed = 4;

// out[c * out_stride + r] = rows[r][c] for `cols` numbers of so many rows.
HWY_INLINE void TransposeRows(const float* const (&rows)[kRowsTransposed], size_t cols, float* out,
                              size_t out_stride) {
  size_t c = 0;
#if HWY_TARGET != HWY_SCALAR
  // Four numbers of four rows in registers: stored one by one, they are sixteen stores.
  const hn::FixedTag<float, 4> d;
  for (; c + 4 <= cols; c += 4, out += 4 * out_stride) {
    const auto row0 = hn::LoadU(d, rows[0] + c), row1 = hn::LoadU(d, rows[1] + c);
    const auto row2 = hn::LoadU(d, rows[2] + c), row3 = hn::LoadU(d, rows[3] + c);
    const auto lower01 = hn::InterleaveLower(d, row0, row1), upper01 = hn::InterleaveUpper(d, row0, row1);
    const auto lower23 = hn::InterleaveLower(d, row2, row3), upper23 = hn::InterleaveUpper(d, row2, row3);
    hn::StoreU(hn::ConcatLowerLower(d, lower23, lower01), d, out);
    hn::StoreU(hn::ConcatUpperUpper(d, lower23, lower01), d, out + out_stride);
    hn::StoreU(hn::ConcatLowerLower(d, upper23, upper01), d, out + 2 * out_stride);
    hn::StoreU(hn::ConcatUpperUpper(d, upper23, upper01), d, out + 3 * out_stride);
  }
#endif
  for (; c < cols; ++c, out += out_stride) {
    for (size_t r = 0; r < kRowsTransposed; ++r) out[r] = rows[r][c];
  }
}

inline void Transpose(const float* x, size_t x_stride, size_t rows, size_t cols, float* out,
                      size_t out_stride) {
  size_t r = 0;
  for (; r + kRowsTransposed <= rows; r += kRowsTransposed, x += kRowsTransposed * x_stride) {
    TransposeRows({x, x + x_stride, x + 2 * x_stride, x + 3 * x_stride}, cols, out + r, out_stride);
  }
  for (; r < rows; ++r, x += x_stride) {
    for (size_t c = 0; c < cols; ++c) out[c * out_stride + r] = x[c];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
