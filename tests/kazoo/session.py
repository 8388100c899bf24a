"""What an existing client does with the ensemble, with servers killed in between."""

import logging
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from kazoo.protocol.states import EventType
from kazoo.security import make_digest_acl

from ensemble import Ensemble

STEPS = []


def step(function):
    STEPS.append(function)
    return function


def connect(hosts, **options):
    client = KazooClient(hosts=hosts, timeout=10, **options)
    client.start(timeout=30)
    return client


def wait_for(what, condition, limit=20):
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {limit} s"
        time.sleep(0.02)


def raises(error, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except error:
        return
    raise AssertionError(f"{function} did not raise {error}")


@step
def create_read_update_delete(ensemble, client):
    assert client.create("/a", b"one") == "/a"
    raises(NodeExistsError, client.create, "/a", b"two")
    data, stat = client.get("/a")
    assert (data, stat.version, stat.dataLength) == (b"one", 0, 3)
    stat = client.set("/a", b"two", version=0)
    assert stat.version == 1 and stat.mzxid > stat.czxid
    raises(BadVersionError, client.set, "/a", b"three", version=0)
    client.create("/a/b", None)
    data, stat = client.get("/a/b")
    assert (data, stat.dataLength) == (None, 0), "null data is not empty data"
    raises(NotEmptyError, client.delete, "/a")
    children, stat = client.get_children("/a", include_data=True)
    assert children == ["b"] and (stat.numChildren, stat.cversion) == (1, 1)
    client.delete("/a/b")
    raises(BadVersionError, client.delete, "/a", version=7)
    client.delete("/a", version=1)
    assert client.exists("/a") is None
    raises(NoNodeError, client.get, "/a")


@step
def every_server_reads_what_one_has_written(ensemble, client):
    client.create("/seen", b"by all")
    for sid in ensemble.ids:
        other = connect(ensemble.host(sid))
        other.sync("/seen")
        assert other.get("/seen")[0] == b"by all", sid
        other.stop()
        other.close()


@step
def watches_fire_once_and_in_order(ensemble, client):
    client.create("/watched", b"0")
    events = []
    client.get("/watched", watch=events.append)
    client.get_children("/watched", watch=events.append)
    client.exists("/watched/later", watch=events.append)
    client.set("/watched", b"1")
    client.set("/watched", b"2")
    client.create("/watched/later")
    wait_for("three events", lambda: len(events) == 3)
    kinds = {(event.type, event.path) for event in events}
    assert kinds == {
        (EventType.CHANGED, "/watched"),
        (EventType.CHILD, "/watched"),
        (EventType.CREATED, "/watched/later"),
    }, events


@step
def ephemerals_go_with_their_session_and_sequences_count(ensemble, client):
    client.create("/queue")
    other = connect(ensemble.hosts)
    first = other.create("/queue/n-", ephemeral=True, sequence=True)
    second = client.create("/queue/n-", sequence=True)
    assert (first, second) == ("/queue/n-0000000000", "/queue/n-0000000001")
    assert client.get(first)[1].ephemeralOwner == other.client_id[0]
    gone = threading.Event()
    assert client.exists(first, watch=lambda event: gone.set())
    other.stop()
    other.close()
    assert gone.wait(10), "the ephemeral outlives its session"
    assert client.get_children("/queue") == ["n-0000000001"]


@step
def a_transaction_happens_as_a_whole_or_not_at_all(ensemble, client):
    transaction = client.transaction()
    transaction.create("/t", b"")
    transaction.create("/t/u", b"")
    transaction.set_data("/t", b"x")
    transaction.check("/t", 1)
    results = transaction.commit()
    assert results[0:2] == ["/t", "/t/u"] and results[2].version == 1, results
    transaction = client.transaction()
    transaction.delete("/t/u")
    transaction.create("/t/v")
    transaction.check("/t", 99)
    results = transaction.commit()
    assert isinstance(results[2], BadVersionError), results
    assert client.get_children("/t") == ["u"]


@step
def an_acl_keeps_strangers_out(ensemble, client):
    owner = connect(ensemble.hosts)
    owner.add_auth("digest", "user:secret")
    owner.create("/private", b"mine", acl=[make_digest_acl("user", "secret", all=True)])
    assert owner.get("/private")[0] == b"mine"
    raises(NoAuthError, client.get, "/private")
    raises(NoAuthError, client.set, "/private", b"yours")
    client.add_auth("digest", "user:secret")
    assert client.get("/private")[0] == b"mine"
    acls, _ = client.get_acls("/private")
    assert acls[0].id.scheme == "digest" and acls[0].id.id.startswith("user:")
    owner.stop()
    owner.close()


@step
def a_znode_of_1_mb_is_served_by_every_server(ensemble, client):
    # jute.maxbuffer is for the whole request; so is ZooKeeper's limit.
    data = bytes(range(256)) * 4000
    client.create("/large", data)
    for sid in ensemble.ids:
        other = connect(ensemble.host(sid))
        other.sync("/large")
        assert other.get("/large")[0] == data, sid
        other.stop()
        other.close()


class Writer:
    """Writes numbered znodes and notes what was acknowledged."""

    def __init__(self, hosts, root):
        self.client = connect(hosts)
        self.client.ensure_path(root)
        self.root = root
        self.acknowledged = []
        self.failed = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        number = 0
        while not self.stopping.is_set():
            number += 1
            name = f"{number:08}"
            try:
                self.client.create(f"{self.root}/{name}", name.encode())
                self.acknowledged.append(name)
            except KazooException:
                # It may have happened or not; nobody has promised anything.
                self.failed += 1
                time.sleep(0.02)

    def wait_for_more(self, count=20):
        aim = len(self.acknowledged) + count
        wait_for("writes go on", lambda: len(self.acknowledged) >= aim, 60)

    def stop(self):
        self.stopping.set()
        self.thread.join(30)
        assert not self.thread.is_alive(), "the writer hangs"
        self.client.stop()
        self.client.close()

    def check(self, ensemble):
        for sid in ensemble.ids:
            reader = connect(ensemble.host(sid))
            reader.sync(self.root)
            present = set(reader.get_children(self.root))
            missing = [name for name in self.acknowledged if name not in present]
            assert not missing, f"server {sid} lacks {len(missing)}, the first {missing[0]}"
            reader.stop()
            reader.close()
        print(f"  {len(self.acknowledged)} acknowledged writes, all there on every server", flush=True)


@step
def the_leader_is_killed_and_the_client_carries_on(ensemble, client):
    session = client.client_id
    client.create("/survivor", b"still mine", ephemeral=True)
    writer = Writer(ensemble.hosts, "/failover")
    writer.wait_for_more(100)
    leader = ensemble.leader()
    ensemble.kill(leader)
    killed = time.monotonic()
    writer.wait_for_more()
    print(f"  server {leader} led and was killed; writes went on after {time.monotonic() - killed:.2f} s")
    new_leader = ensemble.wait_serving()
    assert new_leader != leader
    wait_for("the client is back", lambda: client.connected)
    assert client.client_id == session, "the session was lost"
    assert client.retry(client.get, "/survivor")[0] == b"still mine"
    writer.wait_for_more()
    ensemble.start(leader)
    assert ensemble.wait_serving() == new_leader, "the old leader follows the new one"
    writer.stop()
    writer.check(ensemble)


@step
def a_server_that_was_away_for_long_is_brought_back_by_a_snapshot(ensemble, client):
    # More than the transactions that the others keep beside their snapshots (see snapCount).
    count = 6000
    away = next(sid for sid in ensemble.ids if ensemble.mode(sid) == "follower")
    ensemble.kill(away)
    wait_for("the client is back", lambda: client.connected)
    client.retry(client.ensure_path, "/many")
    for start in range(0, count, 500):
        results = [client.create_async(f"/many/{i:05}", b"x" * 100) for i in range(start, start + 500)]
        for result in results:
            result.get(timeout=30)
    ensemble.start(away)
    ensemble.wait_serving()
    # What it has taken over must also survive it.
    for _ in range(2):
        reader = connect(ensemble.host(away))
        reader.sync("/many")
        assert len(reader.get_children("/many")) == count
        assert reader.get("/many/05999")[0] == b"x" * 100
        reader.stop()
        reader.close()
        ensemble.kill(away)
        ensemble.start(away)
        ensemble.wait_serving()


@step
def all_servers_are_killed_in_the_middle_of_writes(ensemble, client):
    writer = Writer(ensemble.hosts, "/outage")
    writer.wait_for_more(200)
    ensemble.kill(*ensemble.ids)
    time.sleep(0.5)
    ensemble.start_all()
    ensemble.wait_serving()
    writer.wait_for_more()
    writer.stop()
    writer.check(ensemble)
    wait_for("the client is back", lambda: client.connected)
    assert client.retry(client.get, "/seen")[0] == b"by all"


def main():
    logging.basicConfig(level=logging.CRITICAL)
    ensemble = Ensemble(sys.argv[1])
    failed = 0
    try:
        ensemble.start_all()
        print(f"server {ensemble.wait_serving()} leads", flush=True)
        client = connect(ensemble.hosts)
        for function in STEPS:
            start = time.monotonic()
            try:
                function(ensemble, client)
                verdict = "ok"
            except Exception as error:
                failed += 1
                verdict = f"FAILED: {type(error).__name__}: {error}"
            name = function.__name__.replace("_", " ")
            print(f"{name}: {verdict} ({time.monotonic() - start:.1f} s)", flush=True)
        client.stop()
        client.close()
        codes = ensemble.stop_all()
        if any(codes):
            failed += 1
            print(f"servers did not stop cleanly: {codes}")
    finally:
        ensemble.stop_all()
    passed = len(STEPS) - failed
    print(f"{passed} passed, {failed} failed")
    if failed:
        sys.exit(f"the servers' logs are in {ensemble.dir}")


main()
