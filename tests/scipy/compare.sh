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

say() { echo "scipy: $*" >&2; }
die() {
  say "$*"
  exit 1
}

case " $* " in *" --help "* | *" -h "*) ;; *)
  say "building splineserve, splineserve-client and splineserve-compile (release)"
  mkdir -p "$root/build/scipy"
  log="$root/build/scipy/build.log"
  (cd "$root" && cmake --preset release && cmake --build --preset release -j "${SPLINESERVE_BUILD_JOBS:-$(nproc)}" \
    --target splineserve splineserve-client splineserve-compile) >"$log" 2>&1 || {
    tail -30 "$log" >&2
    die "the build failed; see $log"
  }
  ;;
esac
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
  command -v python3 >/dev/null || die "python3 is not installed (3.11 or newer is needed)"
  say "installing SciPy into $venv"
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || die "python3 -m venv failed (on Debian: apt-get install python3-venv)"
  "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt" || die "SciPy could not be installed; nothing was compared"
  cp "$here/requirements.txt" "$venv/installed.txt"
fi
exec "$venv/bin/python" -B "$here/compare.py" "$@"
