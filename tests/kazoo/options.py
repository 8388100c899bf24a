"""Servers with options that change whom they serve, and how: each step has an ensemble of its own."""

import logging
import sys
import time

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import EphemeralOnLocalSessionError
from kazoo.handlers.threading import KazooTimeoutError

from ensemble import Ensemble

STEPS = []


def step(lines):
    def note(function):
        STEPS.append((function, lines))
        return function

    return note


def connect(hosts, **options):
    client = KazooClient(hosts=hosts, timeout=10, randomize_hosts=False, **options)
    client.start(timeout=30)
    return client


def close(*clients):
    for client in clients:
        client.stop()
        client.close()


def wait_for(what, condition, limit=30):
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {limit} s"
        time.sleep(0.02)


def figure(ensemble, sid, name):
    """A number that `mntr` shows."""
    for line in ensemble.word(sid, "mntr").splitlines():
        if line.startswith(f"zk_{name}\t"):
            return int(line.split("\t")[1])
    raise AssertionError(f"server {sid} shows no {name}")


@step(["leaderServes=no"])
def a_leader_that_must_not_serve_sends_clients_to_the_others(ensemble):
    leader = ensemble.leader()
    others = [sid for sid in ensemble.ids if sid != leader]
    stranger = KazooClient(hosts=ensemble.host(leader), timeout=10)
    try:
        stranger.start(timeout=3)
        raise AssertionError("the leader serves a client")
    except KazooTimeoutError:
        pass
    finally:
        close(stranger)
    # The leader is the first that the client asks.
    client = connect(",".join(ensemble.host(sid) for sid in [leader, *others]))
    client.create("/e", b"mine", ephemeral=True)
    assert figure(ensemble, leader, "num_alive_connections") <= 1, "the question itself"
    session = client.client_id
    # A follower leads now, and sends its clients away.
    ensemble.kill(leader)
    new_leader = ensemble.wait_serving()
    last = next(sid for sid in others if sid != new_leader)
    wait_for("the client is back", lambda: client.connected and figure(ensemble, last, "ephemerals_count") == 1)
    assert client.retry(client.get, "/e")[0] == b"mine"
    assert client.client_id == session, "the session was lost"
    ensemble.start(leader)
    assert ensemble.wait_serving() == new_leader
    late = connect(ensemble.host(leader))
    assert late.get("/e")[0] == b"mine", "as a follower it serves"
    close(late, client)


@step(["localSessionsEnabled=true"])
def a_local_session_is_known_to_its_server_alone_and_ends_with_it(ensemble):
    home, other = [sid for sid in ensemble.ids if sid != ensemble.leader()]
    client = connect(ensemble.host(home))
    client.create("/a", b"written")
    assert figure(ensemble, home, "local_sessions") == 1
    assert figure(ensemble, other, "local_sessions") == 0
    assert {figure(ensemble, sid, "global_sessions") for sid in ensemble.ids} == {0}
    try:
        client.create("/e", ephemeral=True)
        raise AssertionError("a local session makes an ephemeral")
    except EphemeralOnLocalSessionError:
        pass
    assert client.create("/a/n-", sequence=True) == "/a/n-0000000000"
    # The same server takes it back, another one does not. The two that share it may take it from each other again and again.
    session = client.client_id
    back = connect(ensemble.host(home), client_id=session)
    assert back.client_id == session and back.retry(back.get, "/a")[0] == b"written"
    moved = connect(ensemble.host(other), client_id=session)
    wait_for("a session of its own", lambda: moved.client_id != session)
    close(moved, back, client)
    wait_for("nothing is left", lambda: figure(ensemble, home, "local_sessions") == 0)

    lasting = connect(ensemble.hosts)
    session = lasting.client_id
    states = []
    lasting.add_listener(states.append)
    ensemble.kill(next(sid for sid in ensemble.processes if figure(ensemble, sid, "local_sessions") == 1))
    wait_for("the session is over", lambda: KazooState.LOST in states)
    wait_for("another session", lambda: lasting.connected and lasting.client_id != session)
    close(lasting)


@step(["localSessionsEnabled=true", "localSessionsUpgradingEnabled=true"])
def a_local_session_that_makes_an_ephemeral_is_one_of_the_ensemble(ensemble):
    for home in ensemble.ids:
        others = [sid for sid in ensemble.ids if sid != home]
        client = connect(",".join(ensemble.host(sid) for sid in [home, *others]))
        assert figure(ensemble, home, "global_sessions") == 0
        transaction = client.transaction()
        transaction.create("/p")
        transaction.create("/p/e", b"mine", ephemeral=True)
        assert transaction.commit() == ["/p", "/p/e"]
        assert client.get("/p/e")[1].ephemeralOwner == client.client_id[0]
        assert figure(ensemble, home, "global_sessions") == 1
        assert figure(ensemble, home, "local_sessions") == 0
        session = client.client_id
        ensemble.kill(home)
        ensemble.wait_serving()
        wait_for("the client is back", lambda: client.connected)
        assert client.retry(client.get, "/p/e")[0] == b"mine"
        assert client.client_id == session, "the session was lost"
        client.retry(client.create, "/f", ephemeral=True)
        close(client)
        ensemble.start(home)
        ensemble.wait_serving()
        witness = connect(ensemble.host(home))
        witness.sync("/")
        assert witness.exists("/p/e") is None and witness.exists("/f") is None
        witness.delete("/p")
        close(witness)


def main():
    logging.basicConfig(level=logging.CRITICAL)
    failed = 0
    for function, lines in STEPS:
        ensemble = Ensemble(sys.argv[1], lines=lambda sid: lines)
        start = time.monotonic()
        try:
            ensemble.start_all()
            ensemble.wait_serving()
            function(ensemble)
            ensemble.check_alive()
            verdict = "ok"
        except Exception as error:
            failed += 1
            verdict = f"FAILED: {type(error).__name__}: {error}; the servers' logs are in {ensemble.dir}"
        finally:
            ensemble.stop_all()
        name = function.__name__.replace("_", " ")
        print(f"{name}: {verdict} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{len(STEPS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
