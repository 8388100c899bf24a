#!/bin/sh
# A session of node-zookeeper-client with three servers, of which one is killed.
#   tests/clients/node.sh [BINARY]     the release build if none is given
# Needs Node.js with npm, and Python; the client comes from npm, into the user's cache directory.
set -eu
BINARY="${1:-}"
. "$(dirname "$0")/setup.sh"
command -v node > /dev/null && command -v npm > /dev/null || { echo "install Node.js and npm"; exit 2; }
if ! [ -d "$CACHE/node/node_modules/node-zookeeper-client" ]; then
    echo "installing node-zookeeper-client into $CACHE/node"
    mkdir -p "$CACHE/node"
    cp "$HERE/node/package.json" "$CACHE/node"
    npm install --prefix "$CACHE/node" --silent --no-audit --no-fund
fi
MODULES="$CACHE/node/node_modules" exec python3 "$HERE/run.py" "$BINARY" node "$HERE/node/session.js"
