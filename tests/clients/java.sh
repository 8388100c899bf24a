#!/bin/sh
# A session of the Java command line with three servers, of which one is killed.
#   tests/clients/java.sh [BINARY]     the release build if none is given
# Needs Debian's packages zookeeper and default-jre-headless, and Python; installs the packages with apt-get if it may.
set -eu
BINARY="${1:-}"
. "$(dirname "$0")/setup.sh"
needs "${ZKCLI:-/usr/share/zookeeper/bin/zkCli.sh}" zookeeper default-jre-headless
exec python3 "$HERE/command_lines.py" java "$BINARY"
