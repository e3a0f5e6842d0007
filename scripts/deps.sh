#!/bin/bash
# deps.sh [--tests]: installs the Debian packages that xylem is built with, and tested with if asked, those that are missing.
# Prints nothing when none is.
set -euo pipefail

packages=(
  # build
  g++ cmake ninja-build ccache mold pkg-config
  # libraries
  libboost1.81-dev nlohmann-json3-dev libsimdjson-dev libcli11-dev libspdlog-dev libfmt-dev prometheus-cpp-dev
  libpcre2-dev libutf8proc-dev liblzma-dev libedit-dev ocl-icd-opencl-dev opencl-headers
  libpng-dev libjpeg62-turbo-dev libwebp-dev libcurl4-openssl-dev libxxhash-dev
  # test programs are part of the build; Python asks the first question of ./start
  libgtest-dev python3 curl
)
# PoCL runs OpenCL kernels on the CPU, oclgrind simulates them and watches their memory; clang has libFuzzer
[[ ${1:-} != --tests ]] || packages+=(python3-venv pocl-opencl-icd oclgrind clang libclang-rt-14-dev)

missing=()
for p in "${packages[@]}"; do
  [[ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)" == installed ]] || missing+=("$p")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "These Debian 12 packages are needed and there is no apt-get to install them: ${missing[*]}" >&2
  exit 1
fi
sudo=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "Run as root, or install these packages first: ${missing[*]}" >&2
    exit 1
  fi
  sudo=(sudo)
fi
echo "Installing ${#missing[@]} packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { "${sudo[@]}" apt-get update -q && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "Installing the packages failed; the lines above say why." >&2
  exit 1
fi
