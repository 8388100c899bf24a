"""The command lines of the Java and of the C client, as their users type: both have the same story to tell."""

import base64
import hashlib
import os
import sys

from program import Program, with_servers

ZKCLI = os.environ.get("ZKCLI", "/usr/share/zookeeper/bin/zkCli.sh")
CLI_MT = os.environ.get("CLI_MT", "/usr/lib/zookeeper/bin/cli_mt")


def java(servers):
    def connect():
        cli = Program([ZKCLI, "-timeout", "10000", "-server", servers.hosts])
        # Its first line is the end of the connection's beginning: what is said now is not lost in it.
        cli.expect("state:SyncConnected type:None")
        return cli

    def session_of(cli, path):
        return int(cli.ask(f"stat {path}", r"^ephemeralOwner = 0x([0-9a-f]+)").group(1), 16)

    first, second = connect(), connect()
    try:
        print("  znodes: sequences, versions, what must fail", flush=True)
        first.ask("create /a one", "^Created /a$")
        first.ask("create /a two", "Node already exists: /a")
        first.ask("get /a", "^one$")
        first.say("set -v 0 /a two")
        first.ask("get -s /a", r"(?s)^two$.*^dataVersion = 1$")
        first.ask("set -v 0 /a three", "version No is not valid : /a")
        first.ask("create -s /a/n- x", "^Created /a/n-0000000000$")
        first.ask("create -s /a/n- x", "^Created /a/n-0000000001$")
        first.ask("ls /a", r"^\[n-0000000000, n-0000000001\]$")
        first.ask("delete /a", "Node not empty: /a")
        first.ask("get /nowhere", "Node does not exist: /nowhere")

        print("  ephemerals and watches, between two sessions", flush=True)
        first.ask("create -e /eph mine", "^Created /eph$")
        first.ask("create -e -s /a/e- mine", "^Created /a/e-0000000002$")
        first.ask("create /eph/child x", "Ephemerals cannot have children: /eph")
        second.ask("sync /", "Sync is OK")
        second.ask("get -w /eph", "^mine$")
        first.say("set /eph changed")
        second.expect("type:NodeDataChanged path:/eph")
        second.ask("stat -w /later", "Node does not exist: /later")
        first.ask("create /later x", "^Created /later$")
        second.expect("type:NodeCreated path:/later")
        second.ask("ls -w /a", r"^\[e-0000000002, n-0000000000, n-0000000001\]$")

        print("  ACLs", flush=True)
        proof = base64.b64encode(hashlib.sha1(b"user:pass").digest()).decode()
        first.ask(f"create /private mine digest:user:{proof}:cdrwa", "^Created /private$")
        first.ask("get /private", "Insufficient permission : /private")
        first.say("addauth digest user:pass")
        first.ask("get /private", "^mine$")
        first.ask("getAcl /private", r"(?s)^'digest,'user:.*^: cdrwa$")

        print("  the server is killed, the session goes on", flush=True)
        session = session_of(first, "/eph")
        first.say("addWatch -m PERSISTENT_RECURSIVE /a")
        first.ask("get -w /a", "^two$")
        killed = servers.kill_server_of(session)
        first.expect("state:Disconnected type:None")
        first.expect("state:SyncConnected type:None")
        first.ask("create -e /eph-again x", "^Created /eph-again$")
        assert session_of(first, "/eph-again") == session, "another session"
        assert session_of(first, "/eph") == session, "the ephemeral has gone"
        first.ask("get /private", "^mine$")
        second.say("set /a three")
        first.expect("type:NodeDataChanged path:/a$")
        for path in ["/a/b", "/a/b/c"]:
            second.ask(f"create {path} x", f"^Created {path}$")
            first.expect(f"type:NodeCreated path:{path}$")

        print("  the killed server is no member any more, and then one again", flush=True)
        first.ask(f"reconfig -remove {killed}", "Insufficient permission")
        first.say("addauth digest super:test")
        first.ask("config", f"(?s)^server.{killed}=.*^version=0$")
        second.ask("config -w", "^version=0$")
        first.ask(f"reconfig -remove {killed}", r"(?s)^Committed new configuration:$(?!.*^server.%d).*^version=0+[1-9]" % killed)
        second.expect("type:NodeDataChanged path:/zookeeper/config")
        first.ask("reconfig -v 77 -remove 1", "version No is not valid")
        first.ask(f"reconfig -add server.{killed}={servers.line(killed)}", f"(?s)^Committed new.*^server.{killed}=.*^version=0+[1-9]")
        servers.start(killed)
        servers.wait_serving()

        print("  the session ends, and its ephemerals with it", flush=True)
        second.ask("stat -w /eph", "^ephemeralOwner = 0x")
        first.say("quit")
        second.expect("type:NodeDeleted path:/eph")
        second.ask("sync /", "Sync is OK")
        second.ask("ls /", r"^\[a, later, private, zookeeper\]$")
    finally:
        first.end()
        second.end()


def c(servers):
    def connect():
        cli = Program([CLI_MT, "-h", servers.hosts])
        cli.session = int(cli.expect(r"Got a new session id: 0x([0-9a-f]+)").group(1), 16)
        return cli

    first, second = connect(), connect()
    try:
        print("  znodes: sequences, versions, what must fail", flush=True)
        first.ask("create /a", r"^\[/a\]: rc = 0$")
        first.ask("create /a", r"^\[/a\]: rc = -110$")
        first.ask("set /a one", r"(?s)^/a: rc = 0 Stat:.*^\tversion=1\t")
        first.ask("get /a", r"(?s)^/a: rc = 0$.*^one$")
        first.ask("create +s /a/n-", "^\tname = /a/n-0000000000$")
        first.ask("create2 +s /a/n-", r"(?s)^\tname = /a/n-0000000001$.*^\tversion=0\t")
        first.ask("ls /a", "(?s)^\tn-0000000000$.*^\tn-0000000001$")
        first.ask("delete /a", "^/a: rc = -111$")
        first.ask("get /nowhere", "^/nowhere: rc = -101$")

        print("  ephemerals and watches, between two sessions", flush=True)
        first.ask("create +e /eph", r"^\[/eph\]: rc = 0$")
        first.ask("create +es /a/e-", "^\tname = /a/e-0000000002$")
        first.ask("create /eph/child", "rc = -108$")
        second.ask("sync /", r"^\[/\]: rc = 0$")
        second.ask("get /eph", "^/eph: rc = 0$")
        first.ask("set /eph changed", "^/eph: rc = 0")
        second.expect("CHANGED_EVENT state = CONNECTED_STATE for path /eph$")
        second.ask("wexists /later", "^Error -101 for /later$")
        first.ask("create /later", r"^\[/later\]: rc = 0$")
        second.expect("CREATED_EVENT state = CONNECTED_STATE for path /later$")
        second.ask("ls /a", "^\tn-0000000001$")

        print("  the server is killed, the session goes on", flush=True)
        servers.kill_server_of(first.session)
        first.expect("SESSION_EVENT state = CONNECTING_STATE")
        first.expect("SESSION_EVENT state = CONNECTED_STATE")
        first.ask("create +e /eph-again", r"^\[/eph-again\]: rc = 0$")
        for path in ["/eph", "/eph-again"]:
            owner = int(first.ask(f"get {path}", "^\tephemeralOwner = ([0-9a-f]+)$").group(1), 16)
            assert owner == first.session, f"{path} is of the session 0x{owner:x}, not of 0x{first.session:x}"

        print("  the session ends, and its ephemerals with it", flush=True)
        second.ask("get /eph", "^/eph: rc = 0$")
        first.say("quit")
        second.expect("DELETED_EVENT state = CONNECTED_STATE for path /eph$")
    finally:
        first.end()
        second.end()


# What `super:test` may do is reconfigure.
LINES = [
    "reconfigEnabled=true",
    "DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
]

with_servers(sys.argv[2], {"java": java, "c": c}[sys.argv[1]], lambda sid: LINES)
