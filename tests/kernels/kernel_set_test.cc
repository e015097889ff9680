#include "core/kernels/kernel_set.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace splineserve {
namespace {

using ::testing::HasSubstr;

TEST(KernelSetTest, PortableIsAlwaysThereAndLast) {
  ASSERT_FALSE(AvailableKernelSets().empty());
  EXPECT_STREQ(AvailableKernelSets().back()->name, "portable");
}

TEST(KernelSetTest, NamesAreKnownAndUnique) {
  for (const KernelSet* set : AvailableKernelSets()) {
    const absl::StatusOr<const KernelSet*> selected = SelectKernelSet(set->name);
    ASSERT_TRUE(selected.ok()) << selected.status();
    EXPECT_EQ(*selected, set) << set->name;
  }
}

TEST(KernelSetTest, OnlyPortableMayLackFusedMultiplyAdd) {
  for (const KernelSet* set : AvailableKernelSets()) {
    const bool portable = set == AvailableKernelSets().back();
    EXPECT_TRUE(set->hardware_fma || portable) << set->name;
  }
}

TEST(KernelSetTest, AutoIsTheBest) {
  for (const char* name : {"", "auto"}) {
    const absl::StatusOr<const KernelSet*> selected = SelectKernelSet(name);
    ASSERT_TRUE(selected.ok()) << selected.status();
    EXPECT_EQ(*selected, AvailableKernelSets().front());
  }
}

TEST(KernelSetTest, Avx3IsAnotherNameOfAvx512) {
  EXPECT_EQ(SelectKernelSet("avx3").status().code(), SelectKernelSet("avx512").status().code());
  if (!SelectKernelSet("avx512").ok()) GTEST_SKIP() << "no AVX-512 here";
  EXPECT_EQ(*SelectKernelSet("avx3"), *SelectKernelSet("avx512"));
}

TEST(KernelSetTest, AnUnknownNameListsTheKnownOnes) {
  for (const char* name : {"sse9", "AVX2", "avx2 ", "portable2"}) {
    const absl::Status status = SelectKernelSet(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    const std::string message(status.message());
    for (const char* part : {"auto", "avx512", "avx2", "neon", "portable", name})
      EXPECT_THAT(message, HasSubstr(part));
  }
}

TEST(KernelSetTest, AKnownNameThatCannotRunListsThoseThatCan) {
  size_t refused = 0;
  for (const char* name : {"avx512", "avx2", "neon"}) {
    const absl::StatusOr<const KernelSet*> selected = SelectKernelSet(name);
    if (selected.ok()) continue;
    ++refused;
    EXPECT_EQ(selected.status().code(), absl::StatusCode::kFailedPrecondition);
    const std::string message(selected.status().message());
    EXPECT_THAT(message, HasSubstr(name));
    EXPECT_THAT(message, HasSubstr(AvailableKernelSets().front()->name));
    EXPECT_THAT(message, HasSubstr("portable"));
  }
  EXPECT_GE(refused, 1u) << "no processor has both AVX2 and NEON";
}

}  // namespace
}  // namespace splineserve
