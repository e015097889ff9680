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
#include <vector>

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
  // A buffer in memory of somebody else's (AlignedArena), aligned as this class promises, who keeps it longer
  // than the buffer lives.
  static AlignedBuffer Borrowed(T* data, size_t size) {
    AlignedBuffer buffer;
    buffer.data_ = data;
    buffer.size_ = size;
    buffer.owned_ = false;
    return buffer;
  }

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        owned_(std::exchange(other.owned_, true)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    if (this == &other) return *this;
    Free();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    owned_ = std::exchange(other.owned_, true);
    return *this;
  }
  ~AlignedBuffer() { Free(); }

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

  void Free() {
    if (owned_) FreeAligned(data_, size_ * sizeof(T));
  }

  T* data_ = nullptr;
  size_t size_ = 0;
  bool owned_ = true;
};

// Memory for many buffers that live and die together, such as a model's matrices: blocks that double from 1
// to 64 MiB, handed out piece by piece. A matrix of less than 2 MiB would have no huge page to itself;
// 16 tokens through 6 layers of d = 512 took 8 % longer so. Grows only; not thread-safe; frees
// everything at its end.
class AlignedArena {
 public:
  // `size` elements that hold anything, on a cache line. Throws std::bad_alloc.
  template <typename T>
  AlignedBuffer<T> Take(size_t size) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(size, sizeof(T), &bytes)) throw std::bad_alloc();
    return AlignedBuffer<T>::Borrowed(reinterpret_cast<T*>(TakeBytes(bytes)), size);
  }

 private:
  static constexpr size_t kFirstBlockBytes = size_t{1} << 20, kMaxBlockBytes = size_t{64} << 20;
  std::byte* TakeBytes(size_t bytes);

  std::vector<AlignedBuffer<std::byte>> blocks_;
  size_t next_block_bytes_ = kFirstBlockBytes;
  size_t used_ = 0;  // of the last block
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_ALIGNED_BUFFER_H_
