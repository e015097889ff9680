#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests. Debian 12 or Ubuntu 24.04; from a bare system or from a build tree.
#
#   tests/run.sh [--quick | --sanitizers] [--jobs N] [--no-install] [CTEST ARGUMENTS...]
#
#   (default)      every test of the release build, then core's tests under the address and undefined-behaviour sanitizers
#   --quick        the release build alone
#   --sanitizers   every test three times: release, asan-ubsan, tsan
#   --jobs N       compile and test N at a time (default: one per core)
#   --no-install   leave the system's packages alone
#
# Further arguments go to ctest, e.g. `tests/run.sh --quick -R kernels`. Exit status 0 only if every test was built, ran and
# passed; a build without tests is a failure. CTest's closing lines come last. With CI set, warnings are errors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,13s/^# \{0,1\}//p' tests/run.sh; }

mode=default install=1 jobs=$(nproc)
ctest_arguments=()
while (($#)); do
  case $1 in
    --quick) mode=quick ;;
    --sanitizers) mode=sanitizers ;;
    --jobs) shift; jobs=${1:?--jobs needs a number} ;;
    --no-install) install=0 ;;
    -h | --help) usage; exit 0 ;;
    *) ctest_arguments+=("$1") ;;
  esac
  shift
done

summaries=()

# run_preset NAME [CMAKE OPTIONS...]: configures, builds and tests one preset; its log goes to the terminal, too.
run_preset() {
  local preset=$1
  shift
  local werror=OFF log=build/$preset/ctest.log started=$SECONDS
  # GCC warns falsely under sanitizers, so only the release build is held to none.
  [[ -z ${CI:-} || $preset != release ]] || werror=ON
  echo
  echo "== $preset: configure and build ($jobs jobs)"
  cmake --preset "$preset" -DSPLINESERVE_BUILD_TESTS=ON -DSPLINESERVE_WERROR=$werror "$@"
  cmake --build --preset "$preset" --parallel "$jobs"
  echo
  echo "== $preset: tests (built in $((SECONDS - started)) s)"
  local status=0
  ctest --preset "$preset" --no-tests=error --parallel "$jobs" "${ctest_arguments[@]}" 2>&1 | tee "$log" || status=$?
  local closing
  closing=$(grep -E '^[0-9]+% tests passed' "$log" | tail -n 1) || closing="no test ran"
  summaries+=("$preset, $((SECONDS - started)) s: $closing")
  if ((status != 0)); then
    report
    echo "tests/run.sh: the tests of preset $preset failed (ctest exit status $status)" >&2
    echo "$closing"
    exit "$status"
  fi
  last_closing=$closing
}

report() {
  echo
  echo "== Summary"
  printf '%s\n' "${summaries[@]}"
}

((install == 0)) || deploy/install_dependencies.sh --test

run_preset release -DSPLINESERVE_BUILD_SERVER=ON -DSPLINESERVE_BUILD_BENCHMARKS=ON
case $mode in
  default) run_preset asan-ubsan -DSPLINESERVE_BUILD_SERVER=OFF ;;
  sanitizers)
    run_preset asan-ubsan -DSPLINESERVE_BUILD_SERVER=ON
    run_preset tsan -DSPLINESERVE_BUILD_SERVER=ON
    ;;
esac
report
echo "$last_closing"
