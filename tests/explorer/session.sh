#!/bin/sh
# Opens the explorer in a real browser, headless Chromium, on a counterexample, and looks at the page.
#   tests/explorer/session.sh [BINARY [PICTURE.png]]    the release build of check if none is given
# Needs chromium; installs Debian's package if it may. The page is served and opened on localhost only.
set -eu
root="$(cd "$(dirname "$0")/../.." && pwd)"
BINARY="${1:-}"
PICTURE="${2:-}"
PORT="${PORT:-3917}"
if ! command -v chromium >/dev/null; then
    echo "installing chromium"
    apt-get update -qq >/dev/null && apt-get install -y -qq chromium >/dev/null
fi
if [ -z "$BINARY" ]; then
    cargo build --release --quiet --manifest-path "$root/Cargo.toml" --bin check
    BINARY="${CARGO_TARGET_DIR:-$root/target}/release/check"
fi
work="$(mktemp -d)"
"$BINARY" explore zab --mutant keep_own_history --port "$PORT" >"$work/server.txt" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

# The link that check prints with a counterexample: the address is that of its last state.
link="$("$BINARY" mutants keep_own_history 2>/dev/null | sed -n 's|.*\(#/steps/.*\)|\1|p' | head -n 1)"
url="http://localhost:$PORT/$link"

browse() {
    timeout 60 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$work/profile" --window-size=1700,1300 --virtual-time-budget=20000 \
        "$@" "$url" 2>/dev/null
}

browse --dump-dom >"$work/page.html"
[ -z "$PICTURE" ] || browse --screenshot="$PICTURE" >/dev/null

passed=0
failed=0
expect() {
    if grep -qF -- "$1" "$work/page.html"; then
        passed=$((passed + 1))
        echo "on the page: $2"
    else
        failed=$((failed + 1))
        echo "MISSING on the page: $2 ($1)"
    fi
}
expect "server 1 is told to lead" "actions as sentences"
expect "FollowerInfo(accepted" "messages by their names"
expect "a client asks leader 1 for a write" "the path to the counterexample"
expect "<svg" "the sequence diagram"
expect "server 3</text>" "the diagram's line of each server"
expect "BROKEN: committed_survives" "the invariant that the state breaks"
expect "epochs 2/2; [-]" "the servers, a line each"
expect "has been delivered, and is on the disk of" "why it is broken"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
