#include "core/base/aligned_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <new>

namespace splineserve {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

// Anonymous pages that start on a huge page's boundary. Unmaps what lies before and after.
void* MapHuge(size_t bytes) {
  const size_t page = 4096;
  size_t rounded = 0, reserved = 0;
  if (__builtin_add_overflow(bytes, page - 1, &rounded)) throw std::bad_alloc();
  rounded &= ~(page - 1);
  if (__builtin_add_overflow(rounded, kHugePageBytes, &reserved)) throw std::bad_alloc();
  void* const mapped = mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  uint8_t* const begin = static_cast<uint8_t*>(mapped);
  const uintptr_t address = reinterpret_cast<uintptr_t>(begin);
  const size_t before = (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
  uint8_t* const data = begin + before;
  if (before != 0) munmap(begin, before);
  if (reserved - before != rounded) munmap(data + rounded, reserved - before - rounded);
  madvise(data, rounded, MADV_HUGEPAGE);  // a wish: a kernel without huge pages gives small ones
  return data;
}

}  // namespace

void* AllocateAligned(size_t bytes, bool zeroed) {
  if (bytes == 0) return nullptr;
  if (bytes >= kHugePageBytes) return MapHuge(bytes);  // zeros already, page by page when first touched
  void* const p = ::operator new[](bytes, std::align_val_t{kCacheLineBytes});
  if (zeroed) std::memset(p, 0, bytes);
  return p;
}

void FreeAligned(void* p, size_t bytes) {
  if (p == nullptr) return;
  if (bytes >= kHugePageBytes) {
    munmap(p, (bytes + 4095) & ~size_t{4095});
  } else {
    ::operator delete[](p, std::align_val_t{kCacheLineBytes});
  }
}

std::byte* AlignedArena::TakeBytes(size_t bytes) {
  const size_t padded = (bytes + kCacheLineBytes - 1) & ~(kCacheLineBytes - 1);
  if (padded < bytes) throw std::bad_alloc();
  if (blocks_.empty() || blocks_.back().size() - used_ < padded) {
    // What a block leaves over is never touched, and so costs no memory but the rest of a page.
    blocks_.push_back(AlignedBuffer<std::byte>::Uninitialized(std::max(padded, next_block_bytes_)));
    next_block_bytes_ = std::min(2 * next_block_bytes_, kMaxBlockBytes);
    used_ = 0;
  }
  std::byte* const piece = blocks_.back().data() + used_;
  used_ += padded;
  return piece;
}

}  // namespace splineserve
