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

name=comparison
# shellcheck source=tests/testing/comparison_environment.sh
source "$root/tests/testing/comparison_environment.sh"

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

case " $* " in *" --help "* | *" -h "*) ;; *)
  [ -n "${SPLINESERVE_BIN_DIR:-}" ] || build "$root/build/compare/build.log" splineserve splineserve-client
  ;;
esac
complete || install "$venv" "$requirements" "PyTorch (a large download the first time)"
# FutureWarning: torch.func warns of its own use of torch.jit.
exec "$venv/bin/python" -W ignore::FutureWarning "$here/compare.py" "$@"
