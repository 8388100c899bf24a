#!/bin/sh
# A data directory of Apache ZooKeeper 3.8 is taken over by keepright, and one of keepright by ZooKeeper 3.8: the
# same znodes (data, ACL, every field of the stat), the same sessions, to which their clients come back.
#   tests/zookeeper/both-ways.sh [ZNODES [BINARY [STEP...]]]
# 100,000 znodes and the release build if none are given. Steps: 1 from ZooKeeper, 2 from keepright, 3 ZooKeeper killed
# in the middle of a snapshot under load, 4 to 7 the first two with snapshots compressed by gzip and snappy.
# Needs Debian's packages zookeeper and default-jre-headless; it installs them with apt-get if it may. Takes some
# minutes; every process that it starts it ends.
set -eu
ZNODES="${1:-100000}"
BINARY="${2:-}"
shift $(($# < 2 ? $# : 2))
here="$(cd "$(dirname "$0")" && pwd)"
if ! [ -e /usr/share/java/zookeeper.jar ] || ! command -v java > /dev/null; then
    echo "installing Debian's packages zookeeper and default-jre-headless"
    apt-get install -y -qq --no-install-recommends zookeeper default-jre-headless > /dev/null
fi
. "$here/../kazoo/setup.sh"
PYTHONPATH="$here/../kazoo" exec "$PYTHON" "$here/both_ways.py" "$BINARY" "$ZNODES" "$@"
