#!/usr/bin/env bash
# From a bare Debian 12 or Ubuntu 24.04 to answers: installs what is missing, builds, starts the server with the shipped
# models on free local ports, and lets the sample client show them. Stops what it started, whatever happens.
#
#   deploy/demo.sh [--no-install] [--no-build] [--jobs N]
#
#   --no-install  leave the system's packages alone
#   --no-build    use the binaries in build/release/bin as they are
#   --jobs N      compile N files at a time (default: one per core)
#
# The first run takes some minutes, almost all of them for compiling; a later one takes seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,11s/^# \{0,1\}//p' deploy/demo.sh; }

install=1 build=1 jobs=$(nproc)
while (($#)); do
  case $1 in
    --no-install) install=0 ;;
    --no-build) build=0 ;;
    --jobs) shift; jobs=${1:?--jobs needs a number} ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
fail() { printf 'demo.sh: %s\n' "$*" >&2; exit 1; }

server_pid='' scratch=$(mktemp -d)
stop() {
  local status=$?
  trap - EXIT
  if [[ -n $server_pid ]] && kill -0 "$server_pid" 2>/dev/null; then
    kill -TERM "$server_pid" 2>/dev/null || true
    local ended=0
    wait "$server_pid" || ended=$?
    say "${dim}The server has drained and stopped (exit status $ended).${plain}"
    ((status != 0 || ended == 0)) || status=1
  fi
  rm -rf "$scratch"
  if ((status == 0)); then say "Done."; else say "The demo failed (exit status $status)." >&2; fi
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

server_binary=build/release/bin/splineserve client_binary=build/release/bin/splineserve-client compiler_binary=build/release/bin/splineserve-compile

if ((install)); then
  heading "1. Packages"
  deploy/install_dependencies.sh --build
fi

if ((build)); then
  heading "2. Build (release, $jobs jobs; the first time takes some minutes)"
  # In a build tree that is there already its own options stay, so that a developer's tests are not switched off.
  if [[ -e build/release/CMakeCache.txt ]]; then
    configure=(cmake build/release)
  else
    configure=(cmake --preset release -DSPLINESERVE_BUILD_TESTS=OFF -DSPLINESERVE_BUILD_BENCHMARKS=OFF)
  fi
  "${configure[@]}" >"$scratch/configure.log" 2>&1 || { cat "$scratch/configure.log" >&2; fail "${configure[*]} failed"; }
  cmake --build --preset release --parallel "$jobs" --target splineserve splineserve-client splineserve-compile
fi
[[ -x $server_binary && -x $client_binary && -x $compiler_binary ]] || fail "$server_binary is not built; run this without --no-build"

heading "3. Server"
# A free port of this machine: one that nobody answers at. If another program takes it first, the server says so and we try the
# next one.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}
start_server() {
  address=127.0.0.1:$(free_port)
  "$server_binary" --model-repository models/repository --listen "$address" --metrics off >"$scratch/server.log" 2>&1 &
  server_pid=$!
  # The binary's own health check decides; it is asked again until the server answers or has ended.
  local deadline=$((SECONDS + 60))
  until "$server_binary" --check-health "$address" >"$scratch/health.log" 2>&1; do
    if ! kill -0 "$server_pid" 2>/dev/null; then
      wait "$server_pid" || true
      server_pid=''
      return 1
    fi
    ((SECONDS < deadline)) || { cat "$scratch/server.log" "$scratch/health.log" >&2; fail "the server did not become healthy within 60 seconds"; }
    sleep 0.05
  done
}
for attempt in 1 2 3; do
  start_server && break
  ((attempt < 3)) || { cat "$scratch/server.log" >&2; fail "the server did not start"; }
done
export SPLINESERVE_SERVER=$address
say "splineserve --model-repository models/repository --listen $address is healthy (process $server_pid)."

client() {
  printf '%s$ splineserve-client' "$dim"
  printf ' %q' "$@"
  printf '%s\n' "$plain"
  "$client_binary" "$@"
}

heading "4. The models"
client models

heading "5. g2p: how English words are pronounced"
say "An encoder reads the spelling, a decoder writes ARPAbet phonemes. Greedy search, one result a line:"
printf '%s\n' spline transformer continuous polynomial kaleidoscope >"$scratch/words.txt"
client generate g2p --input "$scratch/words.txt" --tsv
say
say "One word with its pieces: for every token that the decoder wrote, which of its gates are open, by layer."
client generate g2p --text spline --pieces

heading "6. digits: handwriting"
say "Each image is eight tokens, its rows of eight grey values. Images that the model has not seen in training, and what it makes"
say "of them, with the number of open gates:"
# Line N of the test set as a picture, two characters a pixel.
picture() {
  sed -n "$1p" models/data/digits/test.csv | awk -F, '{
    shades = " .:-=+*#%@"
    for (row = 0; row < 8; row++) {
      line = "    "
      for (column = 0; column < 8; column++) {
        shade = substr(shades, 1 + int($(2 + 8 * row + column) * 9 / 16), 1)
        line = line shade shade
      }
      print line
    }
  }'
}
# The same as eight lines of eight numbers, as the client reads them.
rows() {
  sed -n "$1p" models/data/digits/test.csv | awk -F, '{
    for (row = 0; row < 8; row++)
      for (column = 0; column < 8; column++) printf "%s%s", $(2 + 8 * row + column), column < 7 ? "," : "\n"
  }'
}
for line in 1 2 3; do
  say
  picture "$line"
  say "    labelled $(sed -n "${line}p" models/data/digits/test.csv | cut -d, -f1)"
  rows "$line" >"$scratch/digit-$line.csv"
  # The pieces of all tokens for the first image, for the others the totals.
  if ((line == 1)); then
    client encode digits --vectors "$scratch/digit-$line.csv" --pieces --monitor
  else
    client encode digits --vectors "$scratch/digit-$line.csv" --pieces --monitor >"$scratch/digit.txt"
    grep -E '^\$ |^ +class |^ +[0-9]+ +-?[0-9.]+ +[0-9]+: |open gates:|^ +monitor ' "$scratch/digit.txt"
  fi
done
say
say "The first one upside down. The model names a digit whatever it is shown; its monitor has recorded the gates of the training"
say "images and warns."
tac "$scratch/digit-1.csv" >"$scratch/upside-down.csv"
client monitor check digits --vectors "$scratch/upside-down.csv"

say
say "From the first image to the second, exactly: the model is one polynomial between two knots. The first four of some five hundred"
say "pieces, then where the answer changes, and the gates nearest to flipping at the first image:"
client trace digits --from-vectors "$scratch/digit-1.csv" --to-vectors "$scratch/digit-2.csv" --max-pieces 4 >"$scratch/trace.txt"
grep -v '^Stopped' "$scratch/trace.txt"
client trace digits --from-vectors "$scratch/digit-1.csv" --to-vectors "$scratch/digit-2.csv" --top | grep -E 'largest output|pieces of degree|proven'
say
client differentiate digits --vectors "$scratch/digit-1.csv" --outputs 0:1,0:9 --nearest 1

heading "7. words: spellings that might be English"
say "A decoder writes one letter after another, drawn at random with a seed: the same on every machine."
client generate words --sample --temperature 0.8 --count 12

heading "8. cubic: a spline that is a transformer"
say "SciPy's cubic spline through the censuses of the United States, compiled. Millions of persons in the year 1995.5; of the first"
say "23 heads of the second layer the one of the year's own decade is open:"
printf '1995.5\n' >"$scratch/year.csv"
client encode cubic --vectors "$scratch/year.csv" --pieces >"$scratch/cubic.txt"
grep -vE '^$|^server:' "$scratch/cubic.txt"
say
say "Any spline compiles, here max(x y, 1/2) in two variables. The compiler checks that the encoder computes exactly it:"
printf '%s\n' '{"variables": 2, "outputs": [{"max": [0.5, {"polynomial": {"terms": [{"coefficient": 1, "powers": [1, 1]}]}}]}]}' \
  >"$scratch/corner.json"
say "$dim\$ splineserve-compile corner.json --out repository/corner/1$plain"
"$compiler_binary" "$scratch/corner.json" --out "$scratch/repository/corner/1" | sed "s|$scratch/||"

heading "Next"
say "Start it yourself:   build/release/bin/splineserve --model-repository models/repository"
say "Ask it:              build/release/bin/splineserve-client generate g2p --text hello --pieces"
say "Read on:             README.md"
say
