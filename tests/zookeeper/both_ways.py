"""Moves data directories between Apache ZooKeeper 3.8 and keepright, and compares what the servers hold.

Every process is started here and ended here, by its own handle. Every wait has a limit.
"""

import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import ZnodeStat
from kazoo.security import ACL, Permissions, make_acl, make_digest_acl

from ensemble import free_ports

# Long enough that no session ends while this runs.
SESSION_TIMEOUT = 600
SESSIONS = 5
EPHEMERALS = 200
# What a server writes there is its own configuration, or keepright's secret, which nobody may read.
NOT_COMPARED = {"/zookeeper/config", "/zookeeper/keepright"}

HOLDER = """
import sys
from kazoo.client import KazooClient
client = KazooClient(hosts=sys.argv[1], timeout=float(sys.argv[3]))
client.start(60)
number = sys.argv[2]
client.ensure_path("/sessions")
made = []
for i in range(int(sys.argv[4]) // 2):
    made.append(client.create_async(f"/sessions/{number}-{i}", b"ephemeral", ephemeral=True))
    made.append(client.create_async("/sessions/member-", number.encode(), ephemeral=True, sequence=True))
for each in made:
    each.get(60)
client.delete(f"/sessions/{number}-0")
print(client.client_id[0], client.client_id[1].hex(), flush=True)
sys.stdin.read()
"""


class Server:
    """One server of either kind on a directory."""

    def __init__(self, home, options=""):
        self.home = home
        self.options = options
        self.process = None
        os.makedirs(home, exist_ok=True)

    def start(self):
        self.port, peer, election = free_ports(3)
        with open(os.path.join(self.home, "myid"), "w") as file:
            file.write("1\n")
        config = os.path.join(self.home, "zoo.cfg")
        with open(config, "w") as file:
            file.write(
                f"tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={self.home}\nclientPort={self.port}\n"
                f"clientPortAddress=127.0.0.1\nmaxClientCnxns=0\nmaxSessionTimeout={SESSION_TIMEOUT * 1000}\n"
                f"snapCount=30000\n4lw.commands.whitelist=*\nadmin.enableServer=false\n"
                f"standaloneEnabled=false\nserver.1=127.0.0.1:{peer}:{election}\n{self.options}"
            )
        with open(os.path.join(self.home, "log"), "ab") as log:
            self.process = subprocess.Popen(
                self.command(config), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if b"Mode: " in self.word("srvr"):
                return self
            time.sleep(0.2)
        with open(os.path.join(self.home, "log"), errors="replace") as log:
            tail = "".join(log.readlines()[-15:])
        self.end(signal.SIGKILL)
        raise AssertionError(f"{self.home} does not serve:\n{tail}")

    def word(self, word):
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
                connection.sendall(word.encode())
                while data := connection.recv(65536):
                    answer += data
        except OSError:
            pass
        return answer

    def end(self, how):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    @property
    def hosts(self):
        return f"127.0.0.1:{self.port}"


class ZooKeeper(Server):
    name = "ZooKeeper"

    def command(self, config):
        return [
            "java",
            "-Xmx700m",
            "-Dzookeeper.4lw.commands.whitelist=*",
            "-Dzookeeper.preAllocSize=4096",
            "-Dzookeeper.snapshot.compression.method=" + self.compression(),
            "-cp",
            "/usr/share/java/zookeeper.jar:/usr/share/java/snappy-java.jar:/usr/share/java/slf4j-simple.jar",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            config,
        ]

    def compression(self):
        found = re.search(r"snapshot\.compression\.method=(\w*)", self.options)
        return found.group(1) if found else ""


class Keepright(Server):
    name = "keepright"
    binary = None

    def command(self, config):
        return [self.binary, "server", "--config", config]


def connect(server):
    client = KazooClient(hosts=server.hosts, timeout=60, auth_data=[("digest", "user:secret")])
    client.start(timeout=60)
    return client


def in_windows(calls, window=500):
    """Carries out asynchronous calls, so many at a time; gives back what came of each."""
    results = []
    pending = []
    for call in calls:
        pending.append(call())
        if len(pending) == window:
            results += [each.get(120) for each in pending]
            pending = []
    return results + [each.get(120) for each in pending]


def populate(server, count):
    """Writes some of everything, and leaves so many znodes at least. Returns the processes that hold sessions, and their
    ids with their passwords."""
    client = connect(server)
    # Every fiftieth is deleted again.
    count = count * 50 // 49 + 50
    acls = [
        None,
        [make_digest_acl("user", "secret", all=True), make_acl("world", "anyone", read=True)],
        [make_acl("ip", "127.0.0.1", all=True)],
        [ACL(Permissions.READ | Permissions.WRITE | Permissions.DELETE, make_acl("world", "anyone").id)],
    ]
    groups = max(1, count // 1000)
    in_windows(lambda group=group: client.create_async(f"/bulk-{group}") for group in range(groups))
    in_windows(
        lambda number=number: client.create_async(
            f"/bulk-{number % groups}/{number}", b"x" * (number % 100), acl=acls[number % 7 % 4]
        )
        for number in range(count)
    )
    in_windows(
        lambda number=number: client.set_async(f"/bulk-{number % groups}/{number}", bytes([number % 256]) * 9)
        for number in range(0, count, 10)
    )
    in_windows(
        lambda number=number: client.delete_async(f"/bulk-{number % groups}/{number}")
        for number in range(5, count, 50)
    )
    in_windows(
        lambda number=number: client.set_acls_async(f"/bulk-{number % groups}/{number}", acls[1])
        for number in range(0, count, 49 * 50)
    )
    client.ensure_path("/queue/deep/er")
    client.ensure_path("/zookeeper/quota/queue")
    client.create("/zookeeper/quota/queue/zookeeper_limits", b"count=5000,bytes=-1")
    client.create("/zookeeper/quota/queue/zookeeper_stats", b"count=0,bytes=0")
    in_windows(
        lambda number=number: client.create_async("/queue/item-", b"%d" % number, sequence=True)
        for number in range(1000)
    )
    for name in client.get_children("/queue")[:5]:
        if name.startswith("item-"):
            client.delete(f"/queue/{name}")
    transaction = client.transaction()
    transaction.create("/queue/in-multi", b"1")
    transaction.set_data("/queue/deep", b"multi")
    transaction.delete("/queue/deep/er")
    transaction.commit()
    failing = client.transaction()
    failing.create("/queue/not", b"1")
    failing.delete("/nowhere")
    failing.commit()
    client.create("/empty", b"")
    client.sync("/")
    holders, ids = [], []
    for number in range(SESSIONS):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, server.hosts, str(number), str(SESSION_TIMEOUT), str(EPHEMERALS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        holders.append(holder)
        line = holder.stdout.readline()
        if not line:
            raise AssertionError(f"session {number} does not come to be")
        number, password = line.split()
        ids.append((int(number), bytes.fromhex(password.decode())))
    client.stop()
    client.close()
    return holders, ids


def end_holders(holders):
    for holder in holders:
        holder.kill()
        holder.wait(10)


def tree(server):
    """Every znode: its data, its stat, its ACL."""
    client = connect(server)
    client.sync("/")
    nodes, waiting = {}, ["/"]
    while waiting:
        waiting = [path for path in waiting if path not in NOT_COMPARED]
        found = in_windows(lambda path=path: client.get_async(path) for path in waiting)
        acls = in_windows(lambda path=path: client.get_acls_async(path) for path in waiting)
        parents = []
        for path, (data, stat), (acl, _) in zip(waiting, found, acls):
            nodes[path] = (data, tuple(stat), tuple(acl))
            if stat.numChildren:
                parents.append(path)
        children = in_windows(lambda path=path: client.get_children_async(path) for path in parents)
        waiting = [
            ("" if path == "/" else path) + "/" + name for path, names in zip(parents, children) for name in names
        ]
    client.stop()
    client.close()
    # The secret is one znode more.
    data, stat, acl = nodes["/zookeeper"]
    stat = ZnodeStat(*stat)._replace(cversion=0, pzxid=0, numChildren=0)
    return {**nodes, "/zookeeper": (data, tuple(stat), acl)}


def owned_by(client, session):
    """The ephemerals of a session."""
    client.sync("/sessions")
    paths = [f"/sessions/{name}" for name in client.get_children("/sessions")]
    stats = in_windows(lambda path=path: client.exists_async(path) for path in paths)
    return [path for path, stat in zip(paths, stats) if stat and stat.ephemeralOwner == session]


def come_back(server, session, kept):
    """A client comes back with a session's id and password. It has the session if that is `kept`, and ends it."""
    client = KazooClient(hosts=server.hosts, timeout=SESSION_TIMEOUT, client_id=session)
    client.start(timeout=60)
    number = session[0]
    if (client.client_id[0] == number) != kept:
        raise AssertionError(f"session {number:x} is {'lost' if kept else 'kept'} in {server.name}")
    owned = owned_by(client, number)
    if len(owned) != EPHEMERALS - 1:
        raise AssertionError(f"session {number:x} owns {len(owned)} ephemerals, not {EPHEMERALS - 1}")
    client.stop()
    client.close()
    client = connect(server)
    owned = owned_by(client, number)
    if bool(owned) == kept:
        raise AssertionError(f"session {number:x} owns {len(owned)} ephemerals after its client has closed {client}")
    client.stop()
    client.close()
    print(f"    a client comes back to {server.name}, which {'keeps' if kept else 'refuses'} its session", flush=True)


def compare(expected, found, what):
    if expected == found:
        ephemeral = sum(1 for _, stat, _ in found.values() if stat[7])
        print(f"    {what}: the same {len(found)} znodes, {ephemeral} of them ephemeral", flush=True)
        return
    paths = sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))
    for path in paths[:5]:
        print(f"    {path}\n      expected {expected.get(path)}\n      found    {found.get(path)}")
    raise AssertionError(f"{what}: {len(paths)} znodes differ")


def version_dir(server):
    return os.path.join(server.home, "version-2")


def epochs(server):
    found = []
    for name in ["acceptedEpoch", "currentEpoch"]:
        with open(os.path.join(version_dir(server), name)) as file:
            found.append(int(file.readline()))
    return found


def last_of(kind, server):
    names = [name for name in os.listdir(version_dir(server)) if name.startswith(kind + ".")]
    return max(names, key=lambda name: int(name.split(".")[1], 16), default=None)


def open_sessions(home):
    """The sessions that keepright finds in a directory: those of the snapshot and the log."""
    run = subprocess.run(
        [Keepright.binary, "dump", home, "--json"], capture_output=True, text=True, timeout=300, check=True
    )
    sessions, after = set(), 0
    for line in run.stdout.splitlines():
        shown = json.loads(line)
        if shown["kind"] == "snapshot":
            after = int(shown["zxid"], 16)
        elif shown["kind"] == "session":
            sessions.add(int(shown["session"], 16))
        elif shown["kind"] == "txn" and int(shown["zxid"], 16) > after:
            session = int(shown["session"], 16)
            if shown["type"] == "CreateSession":
                sessions.add(session)
            elif shown["type"] == "CloseSession":
                sessions.discard(session)
    return sessions


def signed(number):
    return number - (1 << 64) if number >= 1 << 63 else number


def fsck(home):
    run = subprocess.run([Keepright.binary, "fsck", home], capture_output=True, text=True, timeout=300)
    if run.returncode != 0:
        raise AssertionError(f"fsck of {home}: {run.stdout}{run.stderr}")


def move(home, origin, target, count, options, keep_going):
    """Writes with a server of one kind, kills it, and starts one of the other kind on a copy."""
    print(f"{origin.name} to {target.name}, {count} znodes{', ' + options.strip() if options else ''}", flush=True)
    first = origin(os.path.join(home, "first"), options)
    holders = []
    second = target(os.path.join(home, "second"), options)
    try:
        first.start()
        holders, sessions = populate(first, count)
        expected = tree(first)
        print(f"    {len(expected)} znodes written; {last_of('snapshot', first)}", flush=True)
        end_holders(holders)
        first.end(signal.SIGKILL)
        shutil.copytree(version_dir(first), version_dir(second))
        missing = {number for number, _ in sessions} - {signed(session) for session in open_sessions(second.home)}
        if missing:
            raise AssertionError(f"sessions {missing} are not in the files")
        fsck(second.home)
        second.start()
        compare(expected, tree(second), f"what {target.name} serves")
        before, after = epochs(first), epochs(second)
        if not before[0] <= after[0] or not before[1] <= after[1]:
            raise AssertionError(f"the epochs went from {before} to {after}")
        print(f"    epochs {before}, then {after}; {len(sessions)} open sessions", flush=True)
        # ZooKeeper cannot know the passwords that are made with our secret.
        come_back(second, sessions[0], kept=origin is ZooKeeper)
        # It goes on, and the other one understands that again.
        client = connect(second)
        client.create("/written-after", b"on")
        client.stop()
        client.close()
        again = tree(second)
        second.end(signal.SIGTERM if keep_going else signal.SIGKILL)
        third = origin(os.path.join(home, "third"), options)
        try:
            shutil.copytree(version_dir(second), version_dir(third))
            third.start()
            compare(again, tree(third), f"and back in {origin.name}")
            come_back(third, sessions[1], kept=True)
        finally:
            third.end(signal.SIGKILL)
    finally:
        end_holders([holder for holder in holders if holder.poll() is None])
        first.end(signal.SIGKILL)
        second.end(signal.SIGKILL)
    shutil.rmtree(home)


def blurred(home):
    """Kills ZooKeeper while it writes znodes and snapshots at once: both must make the same of its files."""
    print("ZooKeeper killed while it writes a snapshot under load: the same tree in both", flush=True)
    options = "snapCount=600\n"
    first = ZooKeeper(os.path.join(home, "first"), options)
    ours = Keepright(os.path.join(home, "ours"), options)
    theirs = ZooKeeper(os.path.join(home, "theirs"), options)
    stop = threading.Event()

    def write(number, client):
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                transaction = client.transaction()
                transaction.create(f"/load-{number}/{turn}", b"m")
                transaction.set_data(f"/load-{number}/turn", b"%d" % turn)
                if turn > 20:
                    transaction.delete(f"/load-{number}/{turn - 20}")
                transaction.commit_async().get(20)
                if turn % 7 == 0:
                    client.create_async(f"/load-{number}/seq-", sequence=True).get(20)
            except KazooException:
                return

    try:
        first.start()
        clients = [connect(first) for _ in range(4)]
        # Something for the snapshots to be busy with.
        in_windows(lambda n=n: clients[0].create_async(f"/ballast-{n}", b"b" * 200) for n in range(10000))
        for number, client in enumerate(clients):
            client.create(f"/load-{number}/turn", b"0", makepath=True)
        threads = [threading.Thread(target=write, args=pair, daemon=True) for pair in enumerate(clients)]
        for thread in threads:
            thread.start()
        time.sleep(8)
        first.end(signal.SIGKILL)
        stop.set()
        for client in clients:
            client.stop()
            client.close()
        for other in [ours, theirs]:
            shutil.copytree(version_dir(first), version_dir(other))
        fsck(ours.home)
        print(f"    {last_of('snapshot', first)}, then {last_of('log', first)}", flush=True)
        theirs.start()
        ours.start()
        compare(tree(theirs), tree(ours), "what both serve")
    finally:
        stop.set()
        for server in [first, ours, theirs]:
            server.end(signal.SIGKILL)
    shutil.rmtree(home)


def main():
    logging.basicConfig(level=logging.CRITICAL)
    # So that what was started is ended if this is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    Keepright.binary, count = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    only = {int(number) for number in sys.argv[3:]}
    few = max(1000, count // 20)
    # More znodes than it takes for a snapshot.
    small = "snapCount=700\n"
    home = tempfile.mkdtemp(prefix="keepright-both-ways-")
    steps = [
        lambda dir: move(dir, ZooKeeper, Keepright, count, "", True),
        lambda dir: move(dir, Keepright, ZooKeeper, count, "", True),
        blurred,
    ]
    for method in ["gz", "snappy"]:
        options = f"{small}snapshot.compression.method={method}\n"
        steps.append(lambda dir, options=options: move(dir, ZooKeeper, Keepright, few, options, False))
        steps.append(lambda dir, options=options: move(dir, Keepright, ZooKeeper, few, options, False))
    passed = 0
    for number, step in enumerate(steps, 1):
        if only and number not in only:
            continue
        try:
            step(os.path.join(home, str(number)))
        except Exception as error:
            sys.exit(f"step {number} FAILED: {type(error).__name__}: {error}\nthe directories are in {home}")
        passed += 1
    shutil.rmtree(home)
    print(f"{passed} passed, 0 failed")


main()
