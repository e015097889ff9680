// How results are compared: for equality where the arithmetic is exact, else to a stated tolerance. Every
// function names the first place that differs, with what was expected and found.
#ifndef SPLINESERVE_TESTS_TESTING_COMPARISON_H_
#define SPLINESERVE_TESTS_TESTING_COMPARISON_H_

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/reference_model.h"

namespace splineserve::testing {

// Of SMOOTH and REGIONAL models against double precision, relative to the largest entry of the rows.
inline constexpr double kSmoothTolerance = 1e-4;

// Equal numbers: the same bits, but for -0 which equals +0. NaN differs from everything.
::testing::AssertionResult RowsEqual(const Rows<float>& expected, const Rows<float>& actual);

// |actual - expected| <= relative * LargestEntry(expected), everywhere.
::testing::AssertionResult RowsNear(const Rows<double>& expected, const Rows<double>& actual,
                                    double relative);

// Ids, groups, bits, counts and margins, all equal.
::testing::AssertionResult TokensEqual(const std::vector<ReferenceToken>& expected,
                                       const std::vector<ReferenceToken>& actual);
::testing::AssertionResult GroupsEqual(const std::vector<ReferenceGroup>& expected,
                                       const std::vector<ReferenceGroup>& actual);

// The same groups; margins within `tolerance`; bits and counts equal in every group whose expected margin is
// above it.
::testing::AssertionResult GroupsNear(const std::vector<ReferenceGroup>& expected,
                                      const std::vector<ReferenceGroup>& actual, double tolerance);

// GroupsNear for every token; ids equal where no margin leaves a gate open to doubt.
::testing::AssertionResult TokensNear(const std::vector<ReferenceToken>& expected,
                                      const std::vector<ReferenceToken>& actual, double tolerance);

// True if every margin is above `tolerance`, so that the token's id is certain.
bool Decided(const ReferenceToken& token, double tolerance);

// max |entry|; NaN if there is one.
double LargestEntry(const Rows<double>& rows);

Rows<double> Widen(const Rows<float>& rows);

std::string Describe(const ReferenceGroup& group);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_COMPARISON_H_
