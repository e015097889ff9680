#!/usr/bin/env bash
# Compares compiled splines with SciPy, in one command: builds the binaries, installs SciPy into a virtual environment of its
# own, makes splines with every class of SciPy that fits, compiles them, starts a server on them and compares its answers with
# SciPy's. Exit status 0 only if all agree. `compare.sh --help` lists the options.
#
#   SPLINESERVE_SCIPY_VENV   the virtual environment (default: build/scipy/venv); it is filled if requirements.txt changed
#   SPLINESERVE_BUILD_JOBS   parallel compilers (default: all cores)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
venv="${SPLINESERVE_SCIPY_VENV:-$root/build/scipy/venv}"

name=scipy
# shellcheck source=tests/testing/comparison_environment.sh
source "$root/tests/testing/comparison_environment.sh"

case " $* " in *" --help "* | *" -h "*) ;; *)
  build "$root/build/scipy/build.log" splineserve splineserve-client splineserve-compile
  ;;
esac
cmp -s "$here/requirements.txt" "$venv/installed.txt" || {
  install "$venv" "$here/requirements.txt" SciPy
  cp "$here/requirements.txt" "$venv/installed.txt"
}
exec "$venv/bin/python" -B "$here/compare.py" "$@"
