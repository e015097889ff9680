// A read-only memory map of a whole regular file.
#ifndef SPLINESERVE_CORE_FORMAT_MAPPED_FILE_H_
#define SPLINESERVE_CORE_FORMAT_MAPPED_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace splineserve {

// Move-only; unmapped on destruction. The file must not be truncated while mapped (as with any map, reads
// past the new end would fault): model versions are immutable once published.
class MappedFile {
 public:
  // NOT_FOUND if it does not exist, INVALID_ARGUMENT if it is no regular file or cannot be read or mapped. An
  // empty file maps to no bytes.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }
  // Gives back the memory of the pages that lie wholly within `bytes`, a part of bytes(): whoever reads a
  // large file once, drops what is behind it. The contents stay, and come back from the file when read again.
  // Any thread, also while others read.
  void Drop(absl::Span<const uint8_t> bytes) const;

  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  MappedFile(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_MAPPED_FILE_H_
