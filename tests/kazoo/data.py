"""What becomes of data when disks are emptied, used alone, mixed up, or lack a file."""

import glob
import os
import shutil
import subprocess
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from ensemble import Ensemble

STEPS = []


def step(function):
    STEPS.append(function)
    return function


class Disks(Ensemble):
    """An ensemble whose servers can be stopped one by one, and started without the lines of the others."""

    def __init__(self, binary, count=3, **options):
        super().__init__(binary, count, **options)
        self.alone = set()

    def start(self, sid):
        everybody, self.ids = self.ids, [] if sid in self.alone else self.ids
        try:
            super().start(sid)
        finally:
            self.ids = everybody

    def stop(self, *sids):
        for sid in sids:
            process = self.processes.pop(sid)
            process.terminate()
            assert process.wait(15) == 0, f"server {sid}"

    def version_2(self, sid):
        return os.path.join(self.home(sid), "version-2")

    def log(self, sid):
        with open(os.path.join(self.home(sid), "log"), errors="replace") as log:
            return log.read()

    def write(self, sid, prefix, count):
        """Creates znodes by way of one server."""
        client = KazooClient(hosts=self.host(sid), timeout=10)
        client.start(timeout=30)
        for number in range(count):
            client.create(f"/{prefix}-{number:03}")
        client.stop()
        client.close()

    def names(self, sid):
        """The znodes that a server shows, or None if it serves nobody."""
        client = KazooClient(hosts=self.host(sid), timeout=4)
        try:
            client.start(timeout=3)
            client.sync("/")
            return sorted(name for name in client.get_children("/") if "-" in name)
        except (KazooTimeoutError, KazooException):
            return None
        finally:
            client.stop()
            client.close()


def wait_for(what, condition, limit=30):
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {limit} s"
        time.sleep(0.1)


def of(*parts):
    return sorted(f"{prefix}-{number:03}" for prefix, count in parts for number in range(count))


@step
def who_was_used_alone_is_kept_out_until_somebody_decides(binary):
    for has_election in (False, True):
        servers = Disks(binary)
        servers.start_all()
        servers.wait_serving()
        servers.write(2, "before", 5)
        servers.stop(1)
        if has_election:
            servers.stop(2, 3)
            servers.start(2)
            servers.start(3)
        servers.alone.add(1)
        servers.start(1)
        wait_for("server 1 serves alone", lambda: servers.mode(1) == "standalone")
        servers.write(1, "alone", 7)
        servers.stop(1)
        servers.alone.clear()
        servers.wait_serving()
        servers.write(2, "together", 9)
        servers.start(1)
        wait_for("server 1 says why", lambda: "found to have another history" in servers.log(1))
        told = [sid for sid in (2, 3) if "another history" in servers.log(sid)]
        assert told, "the other side says so, too"
        assert "Diverged from server" in servers.word(1, "quor"), servers.word(1, "quor")
        wait_for("the others serve", lambda: None not in (servers.mode(2), servers.mode(3)))
        expected = of(("before", 5), ("together", 9))
        assert [servers.names(sid) for sid in (2, 3)] == [expected] * 2
        assert servers.names(1) is None, "it serves nobody"
        # The same when all of them start at once.
        servers.stop(1, 2, 3)
        servers.start_all()
        wait_for("the others serve", lambda: None not in (servers.mode(2), servers.mode(3)))
        assert servers.names(2) == expected and servers.names(1) is None
        # Somebody decides.
        servers.stop(1)
        said = subprocess.run([servers.binary, "adopt", servers.home(1)], check=True, capture_output=True, text=True)
        assert "version-2.aside-1" in said.stdout, said.stdout
        servers.start(1)
        servers.wait_serving()
        assert servers.names(1) == expected
        assert set(servers.stop_all()) == {0}


@step
def a_server_alone_with_data_becomes_one_of_three(binary):
    servers = Disks(binary)
    servers.alone.add(1)
    servers.start(1)
    wait_for("server 1 serves alone", lambda: servers.mode(1) == "standalone")
    servers.write(1, "old", 8)
    servers.stop(1)
    servers.alone.clear()
    servers.start_all()
    servers.wait_serving()
    assert [servers.names(sid) for sid in servers.ids] == [of(("old", 8))] * 3
    assert set(servers.stop_all()) == {0}


@step
def an_emptied_voter_decides_nothing_and_counts_again_when_it_has_caught_up(binary):
    servers = Disks(binary)
    servers.start_all()
    servers.wait_serving()
    servers.write(1, "first", 3)
    servers.stop(3)
    wait_for("a leader", lambda: servers.leader() and servers.mode(1))
    servers.write(1, "second", 5)
    servers.stop(1, 2)
    shutil.rmtree(servers.version_2(2))
    servers.start(2)
    servers.start(3)
    time.sleep(5)
    assert (servers.mode(2), servers.mode(3)) == (None, None), "one is empty and one is behind"
    assert "Disk: " in servers.word(2, "quor"), servers.word(2, "quor")
    servers.start(1)
    servers.wait_serving()
    expected = of(("first", 3), ("second", 5))
    assert [servers.names(sid) for sid in servers.ids] == [expected] * 3
    # Nobody writes, and still it counts after a moment: then one of the others may go.
    wait_for("server 2 remembers", lambda: "Disk: " not in servers.word(2, "quor"))
    servers.kill(3)
    wait_for("two are a quorum", lambda: servers.leader() and servers.names(2) == expected)
    servers.write(2, "third", 2)
    assert servers.names(1) == of(("first", 3), ("second", 5), ("third", 2))
    assert set(servers.stop_all()) == {0}


@step
def without_autocreate_an_empty_server_must_be_told_that_it_is_new(binary):
    servers = Disks(binary, lines=lambda sid: ["db.autocreate=false"])
    servers.start_all()
    time.sleep(4)
    assert [servers.mode(sid) for sid in servers.ids] == [None] * 3
    assert "initialize" in servers.log(1)
    servers.stop(1, 2, 3)
    for sid in servers.ids:
        with open(os.path.join(servers.home(sid), "initialize"), "w"):
            pass
    servers.start_all()
    servers.wait_serving()
    assert not os.path.exists(os.path.join(servers.home(1), "initialize"))
    servers.write(1, "a", 2)
    assert set(servers.stop_all()) == {0}


@step
def a_stranger_with_a_directory_of_its_own_changes_nothing(binary):
    servers = Disks(binary, count=4)
    servers.alone.add(4)
    servers.start(4)
    wait_for("server 4 serves alone", lambda: servers.mode(4) == "standalone")
    servers.write(4, "foreign", 6)
    servers.stop(4)
    for name in ("acceptedEpoch", "currentEpoch"):
        with open(os.path.join(servers.version_2(4), name), "w") as file:
            file.write("9\n")
    servers.alone.clear()
    everybody, servers.ids = servers.ids, range(1, 4)
    for sid in servers.ids:
        servers.start(sid)
    servers.wait_serving()
    servers.write(1, "ours", 4)
    leader = servers.leader()
    servers.ids = everybody
    servers.start(4)
    time.sleep(5)
    assert servers.leader() == leader, "nobody has lost the leader"
    servers.write(2, "later", 4)
    expected = of(("ours", 4), ("later", 4))
    assert [servers.names(sid) for sid in (1, 2, 3)] == [expected] * 3
    assert servers.names(4) in (None, expected)
    # The members start again beside it.
    servers.kill(1, 2, 3)
    servers.ids = range(1, 4)
    for sid in servers.ids:
        servers.start(sid)
    wait_for("the members serve", lambda: all(servers.mode(sid) for sid in (1, 2, 3)))
    assert [servers.names(sid) for sid in (1, 2, 3)] == [expected] * 3
    assert set(servers.stop_all()) == {0}


@step
def a_log_from_which_another_goes_on_is_missed(binary):
    for missing in (0, 1):
        servers = Disks(binary, count=1)
        servers.alone.add(1)
        for epoch in (1, 2, 3):
            servers.start(1)
            wait_for("server 1 serves", lambda: servers.mode(1) == "standalone")
            servers.write(1, f"e{epoch}", 3)
            servers.stop(1)
        logs = sorted(glob.glob(os.path.join(servers.version_2(1), "log.*")), key=lambda path: int(path.rsplit(".", 1)[1], 16))
        assert len(logs) == 3, logs
        os.unlink(logs[missing])
        servers.start(1)
        assert servers.processes.pop(1).wait(15) == 1, f"it starts without log {missing}"
        assert "transactions are missing" in servers.log(1) or "is missing" in servers.log(1), servers.log(1)[-500:]
        fsck = subprocess.run([servers.binary, "fsck", servers.home(1)], capture_output=True, text=True)
        assert fsck.returncode == 1 and "REFUSES" in fsck.stdout, fsck.stdout


def main():
    binary = sys.argv[1]
    for function in STEPS:
        begun = time.monotonic()
        function(binary)
        print(f"ok: {function.__name__} ({time.monotonic() - begun:.1f} s)", flush=True)
    print(f"PASSED: {len(STEPS)} of {len(STEPS)}")


if __name__ == "__main__":
    main()
