#!/bin/sh
# Rounds of kill -9 of random servers under load: no acknowledged write may be lost.
#   tests/kazoo/kill9.sh ROUNDS [BINARY]     the release build if none is given
# SEED=n repeats the choices of an earlier run.
set -eu
ROUNDS="${1:?usage: kill9.sh ROUNDS [BINARY]}"
BINARY="${2:-}"
. "$(dirname "$0")/setup.sh"
exec "$PYTHON" "$(dirname "$0")/kill9.py" "$BINARY" "$ROUNDS" "${SEED:-}"
