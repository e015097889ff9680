// Compiles the kernels of the *-inl.h files once for each SIMD target and lists the ones that this processor
// can run.
#include "core/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/simd_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Above: includes this file again for every target. Below: for the current one.
#include "core/kernels/low_precision.h"
#include "core/kernels/native_dot.h"
#include "core/kernels/native_screen.h"
#include "core/kernels/screen.h"
#include "core/kernels/simd_elementwise-inl.h"
#include "core/kernels/simd_gate-inl.h"
#include "core/kernels/simd_kernels.h"
#include "core/kernels/simd_low_precision-inl.h"
#include "core/kernels/simd_open_list-inl.h"
#include "core/kernels/simd_product-inl.h"
#include "core/kernels/simd_sparse-inl.h"
#include "core/kernels/simd_token_attention-inl.h"
#include "core/kernels/simd_token_blocks-inl.h"
#include "core/kernels/simd_transpose-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace splineserve {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
inline constexpr char kName[] = "avx512";
#elif HWY_TARGET == HWY_AVX2
inline constexpr char kName[] = "avx2";
#elif HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
inline constexpr char kName[] = "portable";
#else
inline constexpr char kName[] = "neon";
#endif

const KernelSet& Table() {
  static constexpr KernelSet kTable = {kName,
                                       kHardwareFma,
                                       Product,
                                       ContinueProduct,
                                       GatedProduct,
                                       ListOpen,
                                       SparseProduct,
                                       ContinueSparseProduct,
                                       AttendToken,
                                       StoreTokens,
                                       Transpose,
                                       LowPrecisionProduct,
                                       RoundRow,
                                       /*fast_screen=*/false,
                                       PlainScreenRow,
                                       PlainScreen,
                                       PlainNarrow,
                                       PlainChosenProduct,
                                       PlainScreenTiles,
                                       PlainTileChains,
                                       PlainListTiles,
                                       PlainScreenColumns,
                                       Gate,
                                       AllFinite,
                                       Add,
                                       ScaleShift,
                                       Expand,
                                       ScaleAdd,
                                       Divide};
  return kTable;
}

}  // namespace HWY_NAMESPACE
}  // namespace splineserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splineserve {

std::vector<const KernelSet*> RunnableSimdKernels() {
  [[maybe_unused]] const int64_t runnable = hwy::SupportedTargets();
  std::vector<const KernelSet*> sets;
#if HWY_TARGETS & HWY_AVX3
  static const KernelSet avx3 = WithNativeScreen(WithNativeDot(N_AVX3::Table()));
  if (runnable & HWY_AVX3) sets.push_back(&avx3);
#endif
#if HWY_TARGETS & HWY_AVX2
  if (runnable & HWY_AVX2) sets.push_back(&N_AVX2::Table());
#endif
#if HWY_TARGETS & HWY_NEON
  if (runnable & HWY_NEON) sets.push_back(&N_NEON::Table());
#endif
#if defined(HWY_NEON_WITHOUT_AES) && (HWY_TARGETS & HWY_NEON_WITHOUT_AES)
  // The same code; only for processors without AES (Raspberry Pi 4).
  if (sets.empty() && (runnable & HWY_NEON_WITHOUT_AES)) sets.push_back(&N_NEON_WITHOUT_AES::Table());
#endif
#if HWY_TARGETS & HWY_EMU128
  sets.push_back(&N_EMU128::Table());
#else
  sets.push_back(&N_SCALAR::Table());
#endif
  return sets;
}

}  // namespace splineserve
#endif  // HWY_ONCE
