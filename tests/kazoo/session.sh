#!/bin/sh
# A session of a real client (kazoo) with a real ensemble of three servers, some of which are killed.
#   tests/kazoo/session.sh [BINARY]     the release build if none is given
set -eu
BINARY="${1:-}"
. "$(dirname "$0")/setup.sh"
exec "$PYTHON" "$(dirname "$0")/session.py" "$BINARY"
