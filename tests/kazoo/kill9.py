"""Rounds of kill -9 under load: every acknowledged write must be there, on every server."""

import logging
import random
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError

from ensemble import Ensemble

WRITERS = 4


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


def play(ensemble, clients, number, choice, history):
    """One round. Returns what was wrong, or None."""
    clients[0].retry(clients[0].ensure_path, f"/round-{number}")
    writers = []
    for index, client in enumerate(clients):
        root = f"/round-{number}/writer-{index}"
        client.retry(client.create, root, b"0")
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
    history += writers
    for sid in ensemble.ids:
        reader = connect(ensemble.host(sid))
        try:
            reader.sync("/")
            for writer in history:
                if problem := writer.verify(reader):
                    return f"server {sid}: {problem}"
        finally:
            reader.stop()
            reader.close()
    count = sum(len(writer.acknowledged) for writer in writers)
    print(f"round {number}: killed {', '.join(events)}; server {leader} leads; {count} creates kept", flush=True)
    return None


def main():
    logging.basicConfig(level=logging.CRITICAL)
    binary, rounds = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if sys.argv[3:] and sys.argv[3] else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}; again with: SEED={seed} tests/kazoo/kill9.sh {rounds}", flush=True)
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
    finally:
        ensemble.stop_all()
    total = sum(len(writer.acknowledged) for writer in history)
    print(f"{total} acknowledged creates were looked for on every server")
    print(f"{passed} passed, {failed} failed")
    if failed:
        sys.exit(f"the servers' directories are in {ensemble.dir}")


main()
