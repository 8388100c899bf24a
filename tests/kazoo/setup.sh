# Sourced by the scripts here: sets PYTHON to an interpreter with kazoo, BINARY to the server.
# The environment is made once, in the user's cache directory.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/keepright/kazoo-2.11.0"
PYTHON="$cache/bin/python"
if ! "$PYTHON" -c 'import kazoo' 2>/dev/null; then
    echo "installing kazoo 2.11.0 into $cache"
    python3 -m venv "$cache"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check kazoo==2.11.0
fi
if [ -z "${BINARY:-}" ]; then
    root="$(cd "$(dirname "$0")/../.." && pwd)"
    cargo build --release --quiet --manifest-path "$root/Cargo.toml" --bin keepright
    BINARY="${CARGO_TARGET_DIR:-$root/target}/release/keepright"
fi
