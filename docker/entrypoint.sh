#!/bin/sh
# What a container of the image runs: odapi with the arguments given, or, where the first of them
# is an interpreter or an absolute path, that program. Both by exec: the program is then process 1
# and gets the SIGTERM of `docker stop` itself.
set -eu

# Any --user may run this, so no home directory can be counted on: caches go where temporary files
# go. Under --read-only that is not /tmp, unless one is mounted; /dev/shm stays writable.
[ -w "${TMPDIR:-/tmp}" ] || export TMPDIR=/dev/shm
[ -w "${HOME:-/}" ] || export HOME="${TMPDIR:-/tmp}"

case ${1:-} in
  python | python3 | bash | sh | /*) exec "$@" ;;
  *) exec odapi "$@" ;;
esac
