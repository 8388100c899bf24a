#!/bin/sh
# A real client (kazoo) that must say who it is: by digest, by a certificate over TLS, and by SASL.
#   tests/kazoo/auth.sh [BINARY]     the release build if none is given
set -eu
BINARY="${1:-}"
. "$(dirname "$0")/setup.sh"
"$PYTHON" -c 'import puresasl' 2>/dev/null ||
    "$PYTHON" -m pip install --quiet --disable-pip-version-check 'pure_sasl>=0.5.1'
exec "$PYTHON" "$(dirname "$0")/auth.py" "$BINARY"
