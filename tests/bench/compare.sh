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

say() { echo "compare: $*" >&2; }
die() {
  say "$*"
  exit 1
}

install_peers() {
  command -v python3 >/dev/null || die "python3 is not installed (3.11 or newer is needed)"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed, found $(python3 --version)"
  say "installing the peers into $venv (some GB; several minutes the first time)"
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || die "python3 -m venv failed (on Debian: apt-get install python3-venv)"
  if [ -n "${SPLINESERVE_TORCH_INDEX:-}" ]; then
    local torch
    torch="$(grep '^torch==' "$requirements")"
    "$venv/bin/pip" install --quiet --retries 0 --timeout 20 --index-url "$SPLINESERVE_TORCH_INDEX" "$torch" ||
      say "$torch is not to be had from SPLINESERVE_TORCH_INDEX; taking pip's own index"
  fi
  "$venv/bin/pip" install --quiet --requirement "$requirements" || die "the peers could not be installed; nothing was measured"
  cp "$requirements" "$venv/installed.txt"
}

case " $* " in *" --help "* | *" -h "* | *" --list "*) ;; *)
  say "building $target (release)"
  mkdir -p "$root/build/compare"
  log="$root/build/compare/build.log"
  (cd "$root" && cmake --preset release && cmake --build --preset release -j "${SPLINESERVE_BUILD_JOBS:-$(nproc)}" --target "$target") \
    >"$log" 2>&1 || {
    tail -30 "$log" >&2
    die "the build failed; see $log"
  }
  ;;
esac
cmp -s "$requirements" "$venv/installed.txt" || install_peers
exec "$venv/bin/python" "$script" "$@"
