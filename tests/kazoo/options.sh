#!/bin/sh
# A real client (kazoo) with three servers that are told to do things otherwise: a leader that serves nobody, and sessions
# that are local to a server.
#   tests/kazoo/options.sh [BINARY]     the release build if none is given
set -eu
BINARY="${1:-}"
. "$(dirname "$0")/setup.sh"
exec "$PYTHON" "$(dirname "$0")/options.py" "$BINARY"
