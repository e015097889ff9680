// A fixed-size array whose first element lies on a cache line, so that no SIMD load of a packed panel crosses
// one.
#ifndef SPLINESERVE_CORE_BASE_ALIGNED_BUFFER_H_
#define SPLINESERVE_CORE_BASE_ALIGNED_BUFFER_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

namespace splineserve {

inline constexpr size_t kCacheLineBytes = 64;

// Move-only owner of `size` zero-initialised elements of a trivial type. Allocation failure throws
// std::bad_alloc; callers bound sizes before they allocate. Not thread-safe, as any container.
template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size) : data_(Allocate(size)), size_(size) {}

  AlignedBuffer(AlignedBuffer&& other) noexcept : data_(std::move(other.data_)), size_(other.size_) {
    other.size_ = 0;
  }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = other.size_;
    other.size_ = 0;
    return *this;
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }

  // Makes room for at least `size` elements; contents are lost when it has to grow. For scratch memory that
  // reaches its working size once and is then reused without allocation.
  void EnsureSize(size_t size) {
    if (size > size_) *this = AlignedBuffer(std::max(size, size_ + size_ / 2));
  }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete[](p, std::align_val_t{kCacheLineBytes}); }
  };
  static std::unique_ptr<T[], Free> Allocate(size_t size) {
    if (size == 0) return nullptr;
    T* p = static_cast<T*>(::operator new[](size * sizeof(T), std::align_val_t{kCacheLineBytes}));
    std::memset(static_cast<void*>(p), 0, size * sizeof(T));
    return std::unique_ptr<T[], Free>(p);
  }

  std::unique_ptr<T[], Free> data_;
  size_t size_ = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_ALIGNED_BUFFER_H_
