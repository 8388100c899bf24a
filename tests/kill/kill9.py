"""Rounds of kill -9 under load: every acknowledged write must be there, on every server, and all the same.

A round also looks at some older rounds; the end looks at all of them, and at the files.
"""

import logging
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError
from kazoo.handlers.threading import KazooTimeoutError

from ensemble import Ensemble

WRITERS = 4
# Writers of older rounds that each round looks at.
OLDER = 12
# How often a server is read again after the connection was lost.
ATTEMPTS = 10


class Writer(threading.Thread):
    """Creates numbered znodes below its root, and counts up the root's own data."""

    def __init__(self, client, root):
        super().__init__(daemon=True)
        self.client = client
        self.root = root
        self.attempted = 0
        self.acknowledged = set()
        # The highest number that was acknowledged as the root's data.
        self.counted = 0
        self.problem = None
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            self.attempted += 1
            number = self.attempted
            try:
                if number % 4:
                    self.client.create(f"{self.root}/{number}", b"%d" % number)
                    self.acknowledged.add(number)
                else:
                    self.client.set(self.root, b"%d" % number)
                    self.counted = number
            except NodeExistsError:
                # Each name is tried once only.
                self.problem = f"{self.root}/{number} was there before it was written"
                return
            except KazooException:
                time.sleep(0.02)  # It may have happened or not.

    def verify(self, reader):
        """What is wrong with the writes as one server tells them; None if nothing is."""
        present = {int(name) for name in reader.get_children(self.root)}
        if missing := self.acknowledged - present:
            return f"{len(missing)} of {len(self.acknowledged)} lost below {self.root}: {sorted(missing)[:5]}"
        if strange := {number for number in present if number > self.attempted}:
            return f"nobody wrote {sorted(strange)[:5]} below {self.root}"
        value = int(reader.get(self.root)[0])
        if value < self.counted:
            return f"{self.root} holds {value}, but {self.counted} was acknowledged"
        for number in random.sample(sorted(present), min(20, len(present))):
            data = reader.get(f"{self.root}/{number}")[0]
            if data != b"%d" % number:
                return f"{self.root}/{number} holds {data[:20]}"
        return None


def connect(hosts):
    client = KazooClient(hosts=hosts, timeout=10)
    client.start(timeout=60)
    return client


def tree(reader, root):
    """Every znode at and below a path: its data and its stat."""
    nodes, waiting = {}, [root]
    while waiting:
        asked = [(path, reader.get_async(path), reader.get_children_async(path)) for path in waiting]
        waiting = []
        for path, node, children in asked:
            nodes[path] = node.get(60)
            above = "" if path == "/" else path
            waiting += [f"{above}/{name}" for name in children.get(60)]
    return nodes


def read_server(ensemble, sid, writers, whole):
    """Asks a server for the acknowledged writes. Returns what is wrong, and the trees of the writers in `whole`."""
    reader = connect(ensemble.host(sid))
    try:
        reader.sync("/")
        for writer in writers:
            if problem := writer.verify(reader):
                return f"server {sid}: {problem}", {}
        nodes = {}
        for writer in whole:
            nodes.update(tree(reader, writer.root))
        return None, nodes
    finally:
        reader.stop()
        reader.close()


def compare(ensemble, writers, whole):
    """Asks every server for the acknowledged writes, and compares the trees of the writers in `whole`."""
    trees = {}
    for sid in ensemble.ids:
        for attempt in range(ATTEMPTS):
            try:
                problem, trees[sid] = read_server(ensemble, sid, writers, whole)
                break
            except (KazooException, KazooTimeoutError):
                # On a busy machine a server may lose its leader, and with it its clients: reads may be repeated.
                ensemble.wait_serving()
        else:
            problem = f"server {sid} cannot be read in {ATTEMPTS} attempts"
        if problem:
            return problem
    first = trees[ensemble.ids[0]]
    for sid, other in trees.items():
        if other != first:
            paths = first.keys() | other.keys()
            path = min(path for path in paths if first.get(path) != other.get(path))
            return f"{path} is {other.get(path)} on server {sid}, and elsewhere {first.get(path)}"
    return None


def fsck(ensemble):
    """Looks at the files of every server, which has ended."""
    for sid in ensemble.ids:
        command = [ensemble.binary, "fsck", ensemble.home(sid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            return f"server {sid}: fsck says {done.stdout}{done.stderr}"
    return None


def play(ensemble, clients, number, choice, history):
    """One round. Returns what was wrong, or None."""
    clients[0].retry(clients[0].ensure_path, f"/round-{number}")
    writers = []
    for index, client in enumerate(clients):
        root = f"/round-{number}/writer-{index}"
        client.retry(client.ensure_path, root)
        client.retry(client.set, root, b"0")
        writers.append(Writer(client, root))
    for writer in writers:
        writer.start()
    events = []
    for _ in range(choice.randint(1, 3)):
        time.sleep(choice.uniform(0.2, 1.0))
        victims = choice.sample(list(ensemble.ids), choice.choice([1, 1, 1, 2, 3]))
        if choice.random() < 0.4 and (leader := ensemble.leader()) and leader not in victims:
            victims[0] = leader
        victims = [sid for sid in victims if sid in ensemble.processes]
        ensemble.kill(*victims)
        events.append("+".join(map(str, sorted(victims))))
        time.sleep(choice.uniform(0.0, 0.6))
        ensemble.start_all()
        if choice.random() < 0.7:
            ensemble.wait_serving()
    leader = ensemble.wait_serving()
    time.sleep(0.3)
    for writer in writers:
        writer.stopping.set()
    for writer in writers:
        writer.join(60)
        if writer.is_alive():
            return f"a write below {writer.root} hangs"
        if writer.problem:
            return writer.problem
    older = choice.sample(history, min(OLDER, len(history)))
    history += writers
    if problem := compare(ensemble, writers + older, writers):
        return problem
    count = sum(len(writer.acknowledged) for writer in writers)
    print(f"round {number}: killed {', '.join(events)}; server {leader} leads; {count} creates kept", flush=True)
    return None


def main():
    logging.basicConfig(level=logging.CRITICAL)
    # So that the servers are ended if this is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    binary, rounds = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if sys.argv[3:] and sys.argv[3] else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}; again with: SEED={seed} tests/kill/kill9.sh {rounds}", flush=True)
    choice = random.Random(seed)
    ensemble = Ensemble(binary)
    passed, failed, history = 0, 0, []
    try:
        ensemble.start_all()
        ensemble.wait_serving()
        clients = [connect(ensemble.hosts) for _ in range(WRITERS)]
        for number in range(1, rounds + 1):
            try:
                problem = play(ensemble, clients, number, choice, history)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            if problem:
                failed += 1
                print(f"round {number}: FAILED: {problem}", flush=True)
                break
            passed += 1
        for client in clients:
            client.stop()
            client.close()
        if not failed and (problem := compare(ensemble, history, history[-WRITERS:])):
            failed += 1
            print(f"in the end: FAILED: {problem}", flush=True)
    finally:
        ensemble.stop_all()
    if not failed and (problem := fsck(ensemble)):
        failed += 1
        print(f"the files: FAILED: {problem}", flush=True)
    total = sum(len(writer.acknowledged) for writer in history)
    print(f"{total} acknowledged creates were looked for on every server")
    print(f"{passed} passed, {failed} failed")
    if failed:
        sys.exit(f"the servers' directories are in {ensemble.dir}")
    shutil.rmtree(ensemble.dir)


main()
