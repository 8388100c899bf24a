#!/bin/sh
# What kazoo has no words for, said by Apache's command line (the packages zookeeper and default-jre of Debian):
# containers, TTLs, watches that stay, quotas, getEphemerals, getAllChildrenNumber, whoami.
#   tests/clients/java-watches-quotas.sh [BINARY]     the release build if none is given
set -eu
BINARY="${1:-$(dirname "$0")/../../target/release/keepright}"
CLI="${ZKCLI:-/usr/share/zookeeper/bin/zkCli.sh}"
PORT="${PORT:-23191}"
[ -x "$CLI" ] || { echo "there is no $CLI: install zookeeper, or set ZKCLI"; exit 2; }
DIR=$(mktemp -d)
cat > "$DIR/zoo.cfg" <<CONFIG
tickTime=500
dataDir=$DIR/data
clientPort=$PORT
clientPortAddress=127.0.0.1
extendedTypesEnabled=true
enforceQuota=true
znode.container.checkIntervalMs=200
CONFIG
mkdir "$DIR/data"
"$BINARY" server --config "$DIR/zoo.cfg" 2> "$DIR/server.log" &
SERVER=$!
trap 'kill $SERVER; rm -rf "$DIR"' EXIT

say() {
    "$CLI" -server "127.0.0.1:$PORT" > "$DIR/said" 2>&1
}

expect() {
    grep -q -- "$1" "$DIR/said" || { cat "$DIR/said"; echo "not said: $1"; exit 1; }
}

say <<'COMMANDS'
create -c /cont
addWatch -m PERSISTENT_RECURSIVE /cont
create /cont/x
set /cont/x hello
delete /cont/x
create -t 3600000 /kept v
create -s -t 1 /brief- v
create -e /eph v
getEphemerals /
create /q v
setquota -N 2 /q
create /q/a v
create /q/b v
listquota /q
getAllChildrenNumber /q
removewatches /q -a
whoami
quit
COMMANDS
expect "type:NodeCreated path:/cont/x"
expect "type:NodeDataChanged path:/cont/x"
expect "type:NodeDeleted path:/cont/x"
expect "\[/eph\]"
expect "Quota has exceeded : /q/b"
expect "Output stat for /q count=2,bytes=2"
expect "^1$"
expect "No such watcher for /q"
expect "^ip: 127.0.0.1"
for round in 1 2 3 4 5 6 7 8 9 10; do
    echo "ls /" | say
    grep -q "\[kept, q, zookeeper\]" "$DIR/said" && break
    sleep 1
done
expect "\[kept, q, zookeeper\]"
echo "PASSED"
