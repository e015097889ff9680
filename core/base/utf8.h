// Walking UTF-8 that may not be well-formed.
#ifndef SPLINESERVE_CORE_BASE_UTF8_H_
#define SPLINESERVE_CORE_BASE_UTF8_H_

#include <cstddef>
#include <string_view>

namespace splineserve {

// Length in bytes (1..4) of the code point that `text` begins with, or 0 where that is no well-formed UTF-8:
// stray or missing continuation bytes, overlong forms, surrogates, code points above U+10FFFF. `text` must
// not be empty.
size_t CodePointLength(std::string_view text);

// Offset of the first byte that is not well-formed UTF-8, or text.size().
size_t ValidUtf8Prefix(std::string_view text);

}  // namespace splineserve

#endif  // SPLINESERVE_CORE_BASE_UTF8_H_
