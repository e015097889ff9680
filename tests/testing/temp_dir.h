// A directory that lives as long as the object.
#ifndef SPLINESERVE_TESTS_TESTING_TEMP_DIR_H_
#define SPLINESERVE_TESTS_TESTING_TEMP_DIR_H_

#include <map>
#include <string>
#include <string_view>

namespace splineserve::testing {

// A fresh directory under $TMPDIR (or /tmp), removed with everything in it on destruction. Move-only.
// Failures throw std::runtime_error: a test that cannot write has nothing to test.
class TempDir {
 public:
  TempDir();
  TempDir(TempDir&& other) noexcept;
  TempDir& operator=(TempDir&& other) noexcept;
  ~TempDir();

  const std::string& path() const { return path_; }
  // Path of `name` inside; does not create it.
  std::string Path(std::string_view name) const;
  // Writes `contents` to `name`, making the directories in between; replaces a file that is there. Returns
  // its path.
  std::string Write(std::string_view name, std::string_view contents) const;

 private:
  std::string path_;
};

// The whole file; throws std::runtime_error if it cannot be read.
std::string ReadFile(const std::string& path);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_TEMP_DIR_H_
