// Rows that are looked up one at a time (embeddings, positions), in the numbers of their file.
#ifndef SPLINESERVE_CORE_MODEL_ROW_TABLE_H_
#define SPLINESERVE_CORE_MODEL_ROW_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/aligned_buffer.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/weight_format.h"

namespace splineserve {

// Row-major [rows, width]. Thread-safe once filled.
class RowTable {
 public:
  RowTable() = default;
  // Holds anything until its maker has written every number. Throws std::bad_alloc.
  RowTable(size_t rows, size_t width, WeightFormat format) : rows_(rows), width_(width), format_(format) {
    if (format == WeightFormat::kFloat32) {
      floats_ = AlignedBuffer<float>::Uninitialized(rows * width);
    } else {
      halves_ = AlignedBuffer<uint16_t>::Uninitialized(rows * width);
    }
  }

  size_t rows() const { return rows_; }
  size_t width() const { return width_; }
  size_t bytes() const { return rows_ * width_ * BytesPerNumber(format_); }
  // The numbers, in the one of the two that the format has; the other is null.
  float* floats() { return floats_.data(); }
  uint16_t* halves() { return halves_.data(); }

  // Row `row` < rows() as float32, expanded into `scratch` if it is stored in 16 bits.
  const float* Row(size_t row, const KernelSet& kernels, std::vector<float>& scratch) const {
    if (format_ == WeightFormat::kFloat32) return floats_.data() + row * width_;
    scratch.resize(width_);
    kernels.expand(halves_.data() + row * width_, format_, width_, scratch.data());
    return scratch.data();
  }
  // The same, a number at a time: for who is in no hurry.
  const float* Row(size_t row, std::vector<float>& scratch) const {
    if (format_ == WeightFormat::kFloat32) return floats_.data() + row * width_;
    scratch.resize(width_);
    for (size_t i = 0; i < width_; ++i) scratch[i] = NumberAt(format_, halves_.data(), row * width_ + i);
    return scratch.data();
  }

 private:
  AlignedBuffer<float> floats_;
  AlignedBuffer<uint16_t> halves_;
  size_t rows_ = 0, width_ = 0;
  WeightFormat format_ = WeightFormat::kFloat32;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_MODEL_ROW_TABLE_H_
