#!/bin/bash
# build.sh FOLDER TARGET [CMAKE_OPTION...]: configures and builds quietly; on failure prints the compiler's messages.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 target=$2
shift 2

mkdir -p "$folder"
log=$folder/build.log
fail() {
  grep -E -A 12 'error|FAILED|undefined|CMake Error' "$log" | head -n 80 >&2 || tail -n 40 "$log" >&2
  echo "$1; all of its output is in $log" >&2
  exit 1
}
# A folder configured in another place (a copied tree) is started anew.
if [[ -f $folder/CMakeCache.txt ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$folder/CMakeCache.txt"; then
  rm -rf "$folder"/CMakeCache.txt "$folder"/CMakeFiles
fi
if [[ ! -f $folder/build.ninja ]] || [[ $# -gt 0 ]]; then
  cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release "$@" >"$log" 2>&1 || fail "Configuring failed"
fi
progress() {  # one line that counts
  local line
  while IFS= read -r line; do
    [[ $line =~ ^\[([0-9]+/[0-9]+)\] ]] && printf '\rBuilding %s ' "${BASH_REMATCH[1]}"
  done
  printf '\r%30s\r' ''
}
if [[ -t 1 ]]; then
  ninja -C "$folder" -j "$(nproc)" "$target" 2>&1 | tee "$log" | progress || fail "Building failed"
else
  ninja -C "$folder" -j "$(nproc)" "$target" >"$log" 2>&1 || fail "Building failed"
fi
