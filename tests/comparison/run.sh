#!/usr/bin/env bash
# Compares Trace and Differentiate with PyTorch in float64, in one command: builds the server and the sample client, installs PyTorch
# into a virtual environment, and runs compare.py. `run.sh --help` lists the options.
#
#   SPLINESERVE_COMPARE_VENV   the virtual environment (default: build/compare/venv, as tests/bench/compare.sh); what is missing is
#                              installed into it
#   SPLINESERVE_TORCH_INDEX    a package index with CPU builds of torch, tried before pip's own index
#   SPLINESERVE_BIN_DIR        binaries that are built already, instead of building them
#   SPLINESERVE_BUILD_JOBS     parallel compilers (default: all cores)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
venv="${SPLINESERVE_COMPARE_VENV:-$root/build/compare/venv}"
requirements="$here/requirements.txt"

say() { echo "comparison: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# Whether the environment has exactly what requirements.txt names; a build of torch may add "+cpu" to its version.
complete() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" - "$requirements" <<'PYTHON'
import importlib.metadata
import sys

for line in open(sys.argv[1], encoding="utf-8"):
    name, _, version = line.split("#")[0].strip().partition("==")
    try:
        if name and importlib.metadata.version(name).split("+")[0] != version:
            sys.exit(1)
    except importlib.metadata.PackageNotFoundError:
        sys.exit(1)
PYTHON
}

install_torch() {
  command -v python3 >/dev/null || die "python3 is not installed (3.11 or newer is needed)"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed, found $(python3 --version)"
  say "installing PyTorch into $venv (a large download the first time)"
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || die "python3 -m venv failed (on Debian: apt-get install python3-venv)"
  if [ -n "${SPLINESERVE_TORCH_INDEX:-}" ]; then
    local torch
    torch="$(grep '^torch==' "$requirements")"
    "$venv/bin/pip" install --quiet --retries 0 --timeout 20 --index-url "$SPLINESERVE_TORCH_INDEX" "$torch" ||
      say "$torch is not to be had from SPLINESERVE_TORCH_INDEX; taking pip's own index"
  fi
  "$venv/bin/pip" install --quiet --requirement "$requirements" || die "PyTorch could not be installed; nothing was compared"
}

case " $* " in *" --help "* | *" -h "*) ;; *)
  if [ -z "${SPLINESERVE_BIN_DIR:-}" ]; then
    say "building the server and the client (release)"
    mkdir -p "$root/build/compare"
    log="$root/build/compare/build.log"
    (cd "$root" && cmake --preset release &&
      cmake --build --preset release -j "${SPLINESERVE_BUILD_JOBS:-$(nproc)}" --target splineserve splineserve-client) >"$log" 2>&1 || {
      tail -30 "$log" >&2
      die "the build failed; see $log"
    }
  fi
  ;;
esac
complete || install_torch
# FutureWarning: torch.func warns of its own use of torch.jit.
exec "$venv/bin/python" -W ignore::FutureWarning "$here/compare.py" "$@"
