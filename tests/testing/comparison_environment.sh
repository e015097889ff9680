# shellcheck shell=bash
# What the comparisons with other programs share: sourced by tests/bench/compare.sh, tests/comparison/run.sh and
# tests/scipy/compare.sh, which set `name` (it begins every message) and `root` (the source tree).

say() { echo "$name: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# build LOG TARGET...: the release preset. The last lines of the log are shown if it fails.
build() {
  local log=$1
  shift
  say "building $* (release)"
  mkdir -p "$(dirname "$log")"
  (cd "$root" && cmake --preset release &&
    cmake --build --preset release -j "${SPLINESERVE_BUILD_JOBS:-$(nproc)}" --target "$@") >"$log" 2>&1 || {
    tail -30 "$log" >&2
    die "the build failed; see $log"
  }
}

# install VENV REQUIREMENTS WHAT: makes the virtual environment if need be and installs into it what the file names.
# SPLINESERVE_TORCH_INDEX, if set, is a package index with CPU builds of torch that is tried before pip's own.
install() {
  local venv=$1 requirements=$2 what=$3 torch
  command -v python3 >/dev/null || die "python3 is not installed (3.11 or newer is needed)"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed, found $(python3 --version)"
  say "installing $what into $venv"
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || die "python3 -m venv failed (on Debian: apt-get install python3-venv)"
  # Not every comparison needs torch: grep then finds nothing, which is no failure.
  torch="$(grep '^torch==' "$requirements" || true)"
  if [ -n "${SPLINESERVE_TORCH_INDEX:-}" ] && [ -n "$torch" ]; then
    "$venv/bin/pip" install --quiet --retries 0 --timeout 20 --index-url "$SPLINESERVE_TORCH_INDEX" "$torch" ||
      say "$torch is not to be had from SPLINESERVE_TORCH_INDEX; taking pip's own index"
  fi
  "$venv/bin/pip" install --quiet --requirement "$requirements" || die "$what could not be installed; nothing was compared"
}
