// Golden vectors: tests/golden/NAME/expected.json in structs (tests/golden/README.md describes the file).
#ifndef SPLINESERVE_TESTS_TESTING_GOLDEN_H_
#define SPLINESERVE_TESTS_TESTING_GOLDEN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/testing/reference_model.h"

namespace splineserve::testing {

struct GoldenCase {
  ReferenceInput source;  // encoder_decoder only
  ReferenceInput input;   // of the stack whose rows are given: `input` of an encoder, else `target`
  Rows<float> hidden;
  Rows<float> head;                                     // empty without a head
  std::vector<std::string> piece_ids;                   // one a token: 16 bytes, or empty
  std::string sequence_id;                              // 16 bytes, or empty
  std::vector<ReferenceGroup> first_token, last_token;  // margins as written: float64 where not exact
};

struct GoldenModel {
  std::string name;
  std::string directory;  // the model directory
  bool exact = false;
  std::string digest;
  uint64_t degree_bound = 0;
  std::vector<GoldenCase> cases;
};

// Names of all golden models, sorted: the folders of $SPLINESERVE_SOURCE_DIR/tests/golden. Throws
// std::runtime_error if there is none.
std::vector<std::string> GoldenNames();

// Throws std::runtime_error (or nlohmann's exceptions) for a file that is not as the README says.
GoldenModel ReadGolden(const std::string& name);

}  // namespace splineserve::testing

#endif  // SPLINESERVE_TESTS_TESTING_GOLDEN_H_
