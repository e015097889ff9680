// NumPy's array files: .npy, and .npz, a zip archive of them.
#ifndef SPLINESERVE_CORE_FORMAT_NPY_H_
#define SPLINESERVE_CORE_FORMAT_NPY_H_

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace splineserve {

struct NumericArray {
  std::vector<size_t> shape;   // [] is a scalar
  std::vector<double> values;  // row-major, whatever the order in the file
};

constexpr size_t kMaxArrayElements = size_t{1} << 26;  // 512 MB as float64
constexpr size_t kMaxArchiveMembers = 64;

// Format versions 1 to 3 with numbers of type f2, f4, f8, i1 to i8, u1 to u8 or b1 in either byte order.
// INVALID_ARGUMENT, naming `file`, for: another magic string or version, a header that is not the dictionary
// of descr, fortran_order and shape, other types, shapes whose product overflows or exceeds
// kMaxArrayElements, more or fewer bytes than the shape needs, whole numbers beyond 2^53. Numbers need not be
// finite.
absl::StatusOr<NumericArray> ParseNpy(std::string_view bytes, std::string_view file);

// What np.savez and np.savez_compressed write: the arrays by name, without ".npy". INVALID_ARGUMENT as
// ParseNpy, and for: no zip archive, more than kMaxArchiveMembers members or kMaxArrayElements elements in
// all, encrypted or damaged members (their checksums are compared), other files than .npy, a name that is
// there twice. Never allocates more than the members claim to hold, within that limit.
absl::StatusOr<std::map<std::string, NumericArray>> ParseNpz(std::string_view bytes, std::string_view file);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_FORMAT_NPY_H_
