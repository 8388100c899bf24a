# Sourced by the scripts here: sets BINARY to the server (the release build, made now, if none is given), HERE, and
# CACHE to a directory for what is built or downloaded; knows how to install packages of Debian.
HERE="$(cd "$(dirname "$0")" && pwd)"
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/keepright/clients"
mkdir -p "$CACHE"
if [ -z "${BINARY:-}" ]; then
    root="$(cd "$HERE/../.." && pwd)"
    cargo build --release --quiet --manifest-path "$root/Cargo.toml" --bin keepright
    BINARY="${CARGO_TARGET_DIR:-$root/target}/release/keepright"
fi

# needs FILE PACKAGE...: installs the packages, if the file is not there.
needs() {
    if ! [ -e "$1" ]; then
        shift
        echo "installing Debian's packages $*"
        apt-get install -y -qq --no-install-recommends "$@" > /dev/null
    fi
}
