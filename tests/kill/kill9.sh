#!/bin/sh
# Rounds of kill -9 of random servers of three, under load: no acknowledged write may be lost, and all
# servers must hold the same tree, on the wire and on the disk.
#   tests/kill/kill9.sh [ROUNDS] [BINARY]     5 rounds and the release build if none are given
# SEED=n repeats the choices of an earlier run. A round takes about 8 s.
set -eu
ROUNDS="${1:-5}"
BINARY="${2:-}"
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/../kazoo/setup.sh"
PYTHONPATH="$here/../kazoo" exec "$PYTHON" "$here/kill9.py" "$BINARY" "$ROUNDS" "${SEED:-}"
