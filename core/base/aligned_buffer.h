// A fixed-size array whose first element lies on a cache line, so that no SIMD load of a packed panel crosses
// one.
#ifndef SPLINESERVE_CORE_BASE_ALIGNED_BUFFER_H_
#define SPLINESERVE_CORE_BASE_ALIGNED_BUFFER_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace splineserve {

inline constexpr size_t kCacheLineBytes = 64;

// Memory of AlignedBuffer. From 2 MiB up it is mapped for itself, on huge pages where the kernel gives them:
// packing 300 MB then takes 150 page faults instead of 74,000, products miss the TLB less, zeros cost nothing
// before they are touched, and freed memory goes back to the system at once instead of into malloc's heap.
void* AllocateAligned(size_t bytes, bool zeroed);  // throws std::bad_alloc
void FreeAligned(void* p, size_t bytes);           // null is fine

// Move-only owner of `size` zero-initialised elements of a trivial type. Allocation failure throws
// std::bad_alloc; callers bound sizes before they allocate. Not thread-safe, as any container.
template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size) : AlignedBuffer(size, /*zeroed=*/true) {}
  // Elements that hold anything, for a caller that writes every one of them before it reads any.
  static AlignedBuffer Uninitialized(size_t size) { return AlignedBuffer(size, /*zeroed=*/false); }

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    if (this == &other) return *this;
    FreeAligned(data_, size_ * sizeof(T));
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  ~AlignedBuffer() { FreeAligned(data_, size_ * sizeof(T)); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

  // Makes room for at least `size` elements; contents are lost when it has to grow. For scratch memory that
  // reaches its working size once and is then reused without allocation.
  void EnsureSize(size_t size) {
    if (size > size_) *this = AlignedBuffer(std::max(size, size_ + size_ / 2));
  }

 private:
  AlignedBuffer(size_t size, bool zeroed)
      : data_(static_cast<T*>(AllocateAligned(Bytes(size), zeroed))), size_(size) {}
  static size_t Bytes(size_t size) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(size, sizeof(T), &bytes)) throw std::bad_alloc();
    return bytes;
  }

  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_ALIGNED_BUFFER_H_
