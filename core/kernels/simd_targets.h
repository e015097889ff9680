// The SIMD targets that the kernels are compiled for: AVX-512, AVX2 with FMA, NEON, and Highway's scalar code
// (EMU128, or SCALAR where the compiler miscompiles EMU128). The others are left out: targets without fused
// multiply-add (SSE) spend nearly all their time in std::fma, whatever the rest does, and AVX3_DL and later
// add nothing to float32. Included before anything of Highway's, by each file that is compiled once a target.
#ifndef SPLINESERVE_CORE_KERNELS_SIMD_TARGETS_H_
#define SPLINESERVE_CORE_KERNELS_SIMD_TARGETS_H_

// Bits 28 and 29 are NEON and, from Highway 1.0.5 on, NEON_WITHOUT_AES: numbers, because the older release
// does not know the second name.
#define HWY_DISABLED_TARGETS (~(HWY_AVX3 | HWY_AVX2 | (3LL << 28) | HWY_EMU128 | HWY_SCALAR))
// Keeps the portable target beside a better baseline (NEON on Arm, or whatever -march a user adds).
#define HWY_COMPILE_ALL_ATTAINABLE

#endif  // SPLINESERVE_CORE_KERNELS_SIMD_TARGETS_H_
