#!/usr/bin/env bash
# Installs the packages that SplineServe needs on Debian 12 or Ubuntu 24.04, through apt. Packages that are there already
# are left alone; where all are, nothing is run and no privileges are needed.
#
#   deploy/install_dependencies.sh [--build] [--test] [--runtime] [--list]
#
#   --build    what compiles the server and the sample client (the default)
#   --test     what the tests, the benchmarks and their scripts need, --build included
#   --runtime  the shared libraries that the built binaries load, nothing else
#   --list     print the packages instead of installing them
set -euo pipefail

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; }
fail() { echo "install_dependencies.sh: $*" >&2; exit 1; }

libraries=(
  libabsl-dev
  libcivetweb-dev
  libfmt-dev
  libgrpc++-dev
  libhwy-dev
  libprotobuf-dev
  libspdlog-dev
  libxxhash-dev
  libzip-dev
  prometheus-cpp-dev
)
header_only=(libcli11-dev libeigen3-dev nlohmann-json3-dev)
build_tools=(cmake g++ ninja-build pkg-config protobuf-compiler protobuf-compiler-grpc)
test_packages=(gnuplot-nox libbenchmark-dev libgmock-dev libgtest-dev python3)

want_build=0 want_test=0 want_runtime=0 list=0
for argument in "$@"; do
  case $argument in
    --build) want_build=1 ;;
    --test) want_build=1 want_test=1 ;;
    --runtime) want_runtime=1 ;;
    --list) list=1 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
((want_build || want_runtime)) || want_build=1

command -v apt-get >/dev/null || fail "apt-get not found: this script knows Debian 12 and Ubuntu 24.04 only"
privileged=()
if [[ $(id -u) != 0 ]]; then privileged=(sudo); fi
export DEBIAN_FRONTEND=noninteractive
apt_options=(-q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)

# apt-get update has no lock timeout of its own for the package lists, so another apt at work is waited for here.
updated=0
update_lists() {
  ((updated)) && return
  if ((${#privileged[@]})); then
    command -v sudo >/dev/null || fail "run this as root, or install sudo"
  fi
  local attempt
  for attempt in 1 2 3 4 5 6; do
    if "${privileged[@]}" apt-get "${apt_options[@]}" update >&2; then
      updated=1
      return
    fi
    echo "install_dependencies.sh: apt-get update failed (attempt $attempt of 6), trying again in 10 seconds" >&2
    sleep 10
  done
  fail "apt-get update failed; see its messages above"
}

known() { [[ -n $(apt-cache show --no-all-versions "$1" 2>/dev/null) ]]; }
installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

packages=()
((want_build)) && packages+=("${build_tools[@]}" "${libraries[@]}" "${header_only[@]}")
((want_test)) && packages+=("${test_packages[@]}")
if ((want_runtime)); then
  # Names of shared libraries change with every release of a distribution, those of development packages do not: ask which
  # libraries the development packages stand for.
  known libgrpc++-dev || update_lists
  for library in "${libraries[@]}"; do
    mapfile -t found < <(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
      --no-enhances "$library" 2>/dev/null | awk '$1 == "Depends:" && $2 ~ /^lib/ && $2 !~ /-dev$/ && $2 !~ /-push/ {print $2}')
    ((${#found[@]})) || fail "apt knows no package $library (on Ubuntu, is the component 'universe' enabled?)"
    packages+=("${found[@]}")
  done
fi

if ((list)); then
  printf '%s\n' "${packages[@]}" | sort -u
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "All ${#packages[@]} packages are installed."
  exit 0
fi

echo "Installing ${#missing[@]} packages with apt: ${missing[*]}"
update_lists
for package in "${missing[@]}"; do
  known "$package" || fail "apt knows no package $package (on Ubuntu, is the component 'universe' enabled?)"
done
"${privileged[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" install -y --no-install-recommends \
  ca-certificates "${missing[@]}"
