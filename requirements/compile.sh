#!/usr/bin/env bash
# Writes cpu.lock, gpu.lock, dev.lock, onnx.lock and beam.lock from the .in files, with the hash of
# every wheel.
#
#     requirements/compile.sh [--upgrade | --upgrade-package NAME]
#
# Needs uv (UV= chooses it). Without arguments, versions already locked are kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# lock NAME TENSORFLOW_OVERRIDE [uv arguments...]
# tf-keras and tf-models-no-deps ask for the distribution "tensorflow" of their own
# release; the override puts ours in its place (a marker that never holds: none).
lock() {
  local name=$1 override=$2
  shift 2
  "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
    --generate-hashes --only-binary :all: --no-config \
    --excludes requirements/excludes.txt --overrides <(printf '%s\n' "$override") \
    --custom-compile-command requirements/compile.sh \
    --output-file "requirements/$name.lock" "requirements/$name.in" "$@"
}

lock cpu "tensorflow ; python_version < '0'" "$@"
lock gpu "tensorflow[and-cuda]==2.21.*" "$@"
lock dev "tensorflow ; python_version < '0'" "$@"
lock onnx "tensorflow ; python_version < '0'" "$@"
# Beam asks for older releases than cpu.lock has (protobuf, dateutil and others). What is locked
# there wins: Beam runs on it, as the conformance suite shows.
lock beam "$(grep -oE '^[a-z0-9._-]+==[^ ;]+' requirements/cpu.lock)" "$@"
