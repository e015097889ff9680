#include <zip.h>

#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/format/npy.h"
#include "core/format/untrusted_text.h"

namespace splineserve {
namespace {

constexpr char kSuffix[] = ".npy";
// Room for a header beside the numbers.
constexpr size_t kMaxHeaderBytes = size_t{1} << 16;

struct ArchiveCloser {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
using Archive = std::unique_ptr<zip_t, ArchiveCloser>;

struct MemberCloser {
  void operator()(zip_file_t* member) const { zip_fclose(member); }
};

absl::StatusOr<Archive> OpenArchive(std::string_view bytes, std::string_view file) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* const source = zip_source_buffer_create(bytes.data(), bytes.size(), /*freep=*/0, &error);
  zip_t* const archive = source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error);
  if (archive == nullptr) {
    const std::string problem = zip_error_strerror(&error);
    if (source != nullptr) zip_source_free(source);
    zip_error_fini(&error);
    return FileError(file, absl::StrCat("expected a zip archive, as np.savez writes it: ", Excerpt(problem)));
  }
  zip_error_fini(&error);
  return Archive(archive);
}

// A member's bytes; the library compares their checksum when the last one is read.
absl::StatusOr<std::string> ReadMember(zip_t* archive, uint64_t index, const zip_stat_t& stat,
                                       const std::string& file) {
  if ((stat.valid & ZIP_STAT_SIZE) == 0 || stat.size > kMaxArrayElements * sizeof(double) + kMaxHeaderBytes) {
    return FileError(
        file, absl::StrCat("expected an array of at most ", kMaxArrayElements, " elements, found more"));
  }
  const std::unique_ptr<zip_file_t, MemberCloser> member(zip_fopen_index(archive, index, 0));
  if (member == nullptr) {
    return FileError(file, absl::StrCat("cannot be read: ", Excerpt(zip_strerror(archive))));
  }
  std::string contents;
  // Grows with what is really there, so that a small archive cannot ask for much memory.
  constexpr size_t kStep = size_t{1} << 20;
  while (contents.size() <= stat.size) {
    const size_t before = contents.size();
    contents.resize(before + kStep);
    const zip_int64_t read = zip_fread(member.get(), contents.data() + before, kStep);
    if (read < 0) {
      return FileError(file, absl::StrCat("cannot be read: ", Excerpt(zip_file_strerror(member.get()))));
    }
    contents.resize(before + static_cast<size_t>(read));
    if (read == 0) break;
  }
  if (contents.size() != stat.size) {
    return FileError(file, absl::StrCat("expected ", stat.size, " bytes, found ", contents.size()));
  }
  return contents;
}

}  // namespace

absl::StatusOr<std::map<std::string, NumericArray>> ParseNpz(std::string_view bytes, std::string_view file) {
  SPLINESERVE_ASSIGN_OR_RETURN(const Archive archive, OpenArchive(bytes, file));
  const zip_int64_t members = zip_get_num_entries(archive.get(), 0);
  if (members < 1 || static_cast<uint64_t>(members) > kMaxArchiveMembers) {
    return FileError(file, absl::StrCat("expected a zip archive of 1 to ", kMaxArchiveMembers,
                                        " arrays, found ", members));
  }
  std::map<std::string, NumericArray> arrays;
  size_t elements = 0;
  for (uint64_t i = 0; i < static_cast<uint64_t>(members); ++i) {
    zip_stat_t stat;
    if (zip_stat_index(archive.get(), i, 0, &stat) != 0 || (stat.valid & ZIP_STAT_NAME) == 0) {
      return FileError(file, absl::StrCat("member ", i, " cannot be read"));
    }
    const std::string member = absl::StrCat(std::string(file), "(", Excerpt(stat.name), ")");
    if (!absl::EndsWith(stat.name, kSuffix))
      return FileError(member, "expected the name of an array, NAME.npy");
    std::string name(stat.name);
    name.resize(name.size() - std::strlen(kSuffix));
    SPLINESERVE_ASSIGN_OR_RETURN(const std::string contents, ReadMember(archive.get(), i, stat, member));
    SPLINESERVE_ASSIGN_OR_RETURN(NumericArray array, ParseNpy(contents, member));
    elements += array.values.size();
    if (elements > kMaxArrayElements) {
      return FileError(file,
                       absl::StrCat("expected at most ", kMaxArrayElements, " elements in all, found more"));
    }
    if (!arrays.emplace(std::move(name), std::move(array)).second) {
      return FileError(member, "expected a name that is not taken");
    }
  }
  return arrays;
}

}  // namespace splineserve
