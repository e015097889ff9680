#include "tests/testing/comparison.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"

namespace splineserve::testing {
namespace {

using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

template <typename T, typename Same>
AssertionResult CompareRows(const Rows<T>& expected, const Rows<T>& actual, const Same& same) {
  if (expected.size() != actual.size()) {
    return AssertionFailure() << "expected " << expected.size() << " rows, found " << actual.size();
  }
  for (size_t row = 0; row < expected.size(); ++row) {
    if (expected[row].size() != actual[row].size()) {
      return AssertionFailure() << "row " << row << ": expected " << expected[row].size()
                                << " columns, found " << actual[row].size();
    }
    for (size_t column = 0; column < expected[row].size(); ++column) {
      if (same(expected[row][column], actual[row][column])) continue;
      return AssertionFailure() << absl::StrFormat(
                 "row %d of %d, column %d of %d: expected %.9g (%a), found %.9g (%a)", row, expected.size(),
                 column, expected[row].size(), expected[row][column], expected[row][column],
                 actual[row][column], actual[row][column]);
    }
  }
  return AssertionSuccess();
}

bool SamePlace(const ReferenceGroup& a, const ReferenceGroup& b) {
  return a.layer == b.layer && a.site == b.site && a.head == b.head && a.width == b.width;
}

template <typename Same>
AssertionResult CompareGroups(const std::vector<ReferenceGroup>& expected,
                              const std::vector<ReferenceGroup>& actual, const Same& same) {
  if (expected.size() != actual.size()) {
    return AssertionFailure() << "expected " << expected.size() << " groups, found " << actual.size();
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    if (SamePlace(expected[i], actual[i]) && same(expected[i], actual[i])) continue;
    return AssertionFailure() << "group " << i << ": expected " << Describe(expected[i]) << ", found "
                              << Describe(actual[i]);
  }
  return AssertionSuccess();
}

template <typename SameGroups, typename IdMatters>
AssertionResult CompareTokens(const std::vector<ReferenceToken>& expected,
                              const std::vector<ReferenceToken>& actual, const SameGroups& same_groups,
                              const IdMatters& id_matters) {
  if (expected.size() != actual.size()) {
    return AssertionFailure() << "expected " << expected.size() << " tokens, found " << actual.size();
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const AssertionResult groups = same_groups(expected[i].groups, actual[i].groups);
    if (!groups) return AssertionFailure() << "token " << i << ": " << groups.message();
    if (!id_matters(expected[i]) || expected[i].id == actual[i].id) continue;
    return AssertionFailure() << "token " << i << ": expected id " << absl::BytesToHexString(expected[i].id)
                              << ", found " << absl::BytesToHexString(actual[i].id);
  }
  return AssertionSuccess();
}

}  // namespace

AssertionResult RowsEqual(const Rows<float>& expected, const Rows<float>& actual) {
  return CompareRows(expected, actual, [](float a, float b) { return a == b; });
}

AssertionResult RowsNear(const Rows<double>& expected, const Rows<double>& actual, double relative) {
  const double tolerance = relative * LargestEntry(expected);
  return CompareRows(expected, actual, [=](double a, double b) { return std::abs(a - b) <= tolerance; });
}

AssertionResult GroupsEqual(const std::vector<ReferenceGroup>& expected,
                            const std::vector<ReferenceGroup>& actual) {
  return CompareGroups(expected, actual, [](const ReferenceGroup& a, const ReferenceGroup& b) {
    return a.open == b.open && a.bits == b.bits && a.margin == b.margin;
  });
}

AssertionResult GroupsNear(const std::vector<ReferenceGroup>& expected,
                           const std::vector<ReferenceGroup>& actual, double tolerance) {
  return CompareGroups(expected, actual, [=](const ReferenceGroup& a, const ReferenceGroup& b) {
    if (!(std::abs(a.margin - b.margin) <= tolerance)) return false;
    return a.margin <= tolerance || (a.open == b.open && a.bits == b.bits);
  });
}

AssertionResult TokensEqual(const std::vector<ReferenceToken>& expected,
                            const std::vector<ReferenceToken>& actual) {
  return CompareTokens(expected, actual, GroupsEqual, [](const ReferenceToken&) { return true; });
}

AssertionResult TokensNear(const std::vector<ReferenceToken>& expected,
                           const std::vector<ReferenceToken>& actual, double tolerance) {
  return CompareTokens(
      expected, actual, [=](const auto& a, const auto& b) { return GroupsNear(a, b, tolerance); },
      [=](const ReferenceToken& token) { return Decided(token, tolerance); });
}

bool Decided(const ReferenceToken& token, double tolerance) {
  return std::all_of(token.groups.begin(), token.groups.end(),
                     [=](const ReferenceGroup& group) { return group.margin > tolerance; });
}

double LargestEntry(const Rows<double>& rows) {
  double largest = 0;
  for (const std::vector<double>& row : rows) {
    for (const double value : row) {
      if (std::isnan(value)) return value;  // std::max would pass over it
      largest = std::max(largest, std::abs(value));
    }
  }
  return largest;
}

Rows<double> Widen(const Rows<float>& rows) {
  Rows<double> result;
  for (const std::vector<float>& row : rows) result.emplace_back(row.begin(), row.end());
  return result;
}

std::string Describe(const ReferenceGroup& group) {
  static constexpr const char* kSites[] = {"self_attention", "cross_attention", "feed_forward"};
  return absl::StrFormat("{layer %d %s head %d width %d open %d bits %s margin %.9g}", group.layer,
                         kSites[static_cast<size_t>(group.site)], group.head, group.width, group.open,
                         absl::BytesToHexString(std::string(group.bits.begin(), group.bits.end())),
                         group.margin);
}

}  // namespace splineserve::testing
