// Private to core/kernels: the kernels of tiles (screen.h) for native_screen.cc, which asks first whether
// this processor has their instructions.
#ifndef SPLINESERVE_CORE_KERNELS_NATIVE_TILES_H_
#define SPLINESERVE_CORE_KERNELS_NATIVE_TILES_H_

#include <cstddef>
#include <cstdint>

#include "core/kernels/screen.h"

namespace splineserve {

size_t NativeScreenTiles(const ScreenedRows& x, size_t rows, const ScreenView& w, size_t panel,
                         uint16_t* candidates, size_t begin, CandidateTile* left, CandidateTile* right);
void NativeTileChains(const TileOperands& operands, const uint16_t* candidates, size_t count, float* numbers);
size_t NativeListTiles(const CandidateTile* tiles, size_t stride, size_t count, size_t row,
                       const uint16_t* candidates, const float* numbers, float scale, bool square,
                       uint32_t column, uint32_t* index, float* value);
bool NativeScreenColumns(const float* panel, size_t inner, size_t columns, const ScreenPanel& out);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_KERNELS_NATIVE_TILES_H_
