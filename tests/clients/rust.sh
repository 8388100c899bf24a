#!/bin/sh
# A session of the crate zookeeper-client with three servers, of which one is killed.
#   tests/clients/rust.sh [BINARY]     the release build if none is given
# Needs cargo and Python; the crate and what it needs come from the registry.
set -eu
BINARY="${1:-}"
. "$(dirname "$0")/setup.sh"
echo "building the session, a program of its own, in $CACHE/rust"
CARGO_TARGET_DIR="$CACHE/rust" cargo build --quiet --locked --manifest-path "$HERE/rust/Cargo.toml"
exec python3 "$HERE/run.py" "$BINARY" "$CACHE/rust/debug/rust-session"
