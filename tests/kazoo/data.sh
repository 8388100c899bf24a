#!/bin/sh
# A real client (kazoo) with real servers whose disks are emptied, used alone, mixed up, or lack a file: what was acknowledged stays
# or is refused aloud, and no two servers differ (spec/10-lineage.md).
#   tests/kazoo/data.sh [BINARY]     the release build if none is given
set -eu
BINARY="${1:-}"
. "$(dirname "$0")/setup.sh"
exec "$PYTHON" "$(dirname "$0")/data.py" "$BINARY"
