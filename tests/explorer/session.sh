#!/bin/sh
# Opens the explorer in a real browser, headless Chromium, on a counterexample of each kind of model, and looks
# at the pages.
#   tests/explorer/session.sh [BINARY [FOLDER]]    the release build of check if none is given; pictures to FOLDER
# Needs chromium; installs Debian's package if it may. The pages are served and opened on localhost only.
set -eu
root="$(cd "$(dirname "$0")/../.." && pwd)"
BINARY="${1:-}"
PICTURES="${2:-}"
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
server=
close() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}
trap 'close; rm -rf "$work"' EXIT
passed=0
failed=0

browse() {
    timeout 60 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$work/profile" --window-size=1700,1300 --virtual-time-budget=20000 \
        "$@" 2>/dev/null
}

# look MODEL COMMAND NAME: the last state of the counterexample that check COMMAND NAME prints. The link that it
# prints leads there.
look() {
    echo "$1, with $3:"
    close
    "$BINARY" explore "$1" --mutant "$3" --port "$PORT" >"$work/server.txt" 2>&1 &
    server=$!
    link="$("$BINARY" "$2" "$3" 2>/dev/null | sed -n 's|.*\(#/steps/.*\)|\1|p' | head -n 1)"
    url="http://localhost:$PORT/$link"
    browse --dump-dom "$url" >"$work/page.html"
    [ -z "$PICTURES" ] || browse --screenshot="$PICTURES/$1.png" "$url" >/dev/null
}

# The first of the next choices.
go_on() {
    browse --dump-dom "$url/0" >"$work/page.html"
}

expect() {
    if grep -qF -- "$1" "$work/page.html"; then
        passed=$((passed + 1))
        echo "  on the page: $2"
    else
        failed=$((failed + 1))
        echo "  MISSING on the page: $2 ($1)"
    fi
}

look zab mutants keep_own_history
expect "server 1 is told to lead" "actions as sentences"
expect "FollowerInfo(accepted" "messages by their names"
expect "a client asks leader 1 for a write" "the path to the counterexample"
expect "<svg" "the sequence diagram"
expect "server 3</text>" "the diagram's line of each server"
expect "BROKEN: committed_survives" "the invariant that the state breaks"
expect "epochs 2/2; [-]" "the servers, a line each"
expect "- s2 FOLLOWING 3 in epoch 2; epochs 1/2; [1.1=w1]" "what the last step has changed, as it was"
expect "+ s2 FOLLOWING 3 in epoch 2; epochs 1/2; [-]" "and as it is"
expect "has been delivered, and is on the disk of" "why it is broken"

go_on
expect "Nothing changes." "a step that changes nothing"
expect "  s2 FOLLOWING 3 in epoch 2; epochs 1/2; [-]" "the state after it"

look ensemble bugs zk975
expect "server 3</text>" "the diagram's line of each server"
expect "Notification(round 0.1, votes for 3 with 0/0)" "votes in words"
expect "LOOKING in round 0.1 for 2 with 2" "how the election stands"
expect "+ s1 FOLLOWING 3 in epoch 1, serving" "what the last step has changed"
expect "BROKEN: leader_undisturbed" "the invariant that the state breaks"

look service mutants old_connection_taken
expect "client 1 sends delete /a to server 2" "actions as sentences"
expect "client 1</text>" "the diagram's line of each client"
expect "c1 no connection" "the clients, a line each"
expect "proposed 2.3=delete /a" "what the last step has changed, as it was"
expect "+ log ... 2.1=open session, 2.2=nothing, 2.3=delete /a" "and as it is"
expect "BROKEN: requests_in_order" "the invariant that the state breaks"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
