# splineserve_library(NAME SRCS ... DEPS ... [PRIVATE_DEPS ...]) declares one layer.
# splineserve_test(NAME SRCS ... DEPS ...) declares one GoogleTest binary and registers it with CTest.

add_library(splineserve_options INTERFACE)
target_include_directories(splineserve_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(splineserve_options INTERFACE
  -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers
  # One number is one chain of fma calls: the compiler must neither fuse nor split on its own. GCC fuses by default.
  -ffp-contract=off
  # GCC 12 reports an overlap in `"a" + std::string()` that cannot happen (GCC bug 105329).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  $<$<BOOL:${SPLINESERVE_WERROR}>:-Werror>)
# Assertions of the standard library stay on in every build: they cost nothing measurable outside the kernels, which use pointers.
target_compile_definitions(splineserve_options INTERFACE _GLIBCXX_ASSERTIONS)

function(splineserve_library NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${NAME} STATIC ${ARG_SRCS})
  target_link_libraries(${NAME} PUBLIC splineserve_options ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
endfunction()

function(splineserve_test NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${NAME} ${ARG_SRCS})
  target_link_libraries(${NAME} PRIVATE splineserve_options ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${NAME} COMMAND ${NAME})
  set_tests_properties(${NAME} PROPERTIES TIMEOUT 600
    ENVIRONMENT "SPLINESERVE_SOURCE_DIR=${CMAKE_SOURCE_DIR};SPLINESERVE_BIN_DIR=${CMAKE_BINARY_DIR}/bin")
endfunction()
