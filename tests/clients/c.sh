#!/bin/sh
# Sessions of the C command line (cli_mt) and of the C library with three servers, of which one is killed.
#   tests/clients/c.sh [BINARY]     the release build if none is given
# Needs Debian's packages zookeeper-bin, libzookeeper-mt-dev and gcc, and Python; installs the packages with apt-get if it
# may.
set -eu
BINARY="${1:-}"
. "$(dirname "$0")/setup.sh"
needs "${CLI_MT:-/usr/lib/zookeeper/bin/cli_mt}" zookeeper-bin
needs /usr/include/zookeeper/zookeeper.h libzookeeper-mt-dev gcc libc6-dev
python3 "$HERE/command_lines.py" c "$BINARY"
cc -DTHREADED -Wall -Wextra -Wno-unused-parameter -o "$CACHE/c-session" "$HERE/c/session.c" -lzookeeper_mt
exec python3 "$HERE/run.py" "$BINARY" "$CACHE/c-session"
