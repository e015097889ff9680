#!/usr/bin/env bash
# Compares SplineServe with other runtimes, in one command: builds our side, installs the peers into a virtual environment of its
# own, exports the same weights to each, checks that outputs agree, then measures in turns. `compare.sh --help` lists the options.
# `compare.sh growth` shows instead how our own time grows with tokens, layers and width (growth.py), `compare.sh trace` how that of
# Trace does, and how many pieces a segment crosses (trace_growth.py).
#
#   SPLINESERVE_COMPARE_VENV   the virtual environment (default: build/compare/venv); it is filled if requirements.txt changed
#   SPLINESERVE_TORCH_INDEX    a package index with CPU builds of torch, tried before pip's own index
#   SPLINESERVE_BUILD_JOBS     parallel compilers (default: all cores)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
venv="${SPLINESERVE_COMPARE_VENV:-$root/build/compare/venv}"
requirements="$here/compare/requirements.txt"
script="$here/compare/compare.py"
target=compare_worker
case "${1:-}" in
  growth)
    shift
    script="$here/growth.py"
    ;;
  trace)
    shift
    script="$here/trace_growth.py"
    target=trace_bench
    ;;
esac

name=compare
# shellcheck source=tests/testing/comparison_environment.sh
source "$root/tests/testing/comparison_environment.sh"

case " $* " in *" --help "* | *" -h "* | *" --list "*) ;; *)
  build "$root/build/compare/build.log" "$target"
  ;;
esac
cmp -s "$requirements" "$venv/installed.txt" || {
  install "$venv" "$requirements" "the peers (some GB; several minutes the first time)"
  cp "$requirements" "$venv/installed.txt"
}
exec "$venv/bin/python" "$script" "$@"
