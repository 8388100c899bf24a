"""What the sessions of clients here share: real servers, and a client program whose words are read as they come.

Every process is started here and ended here, by its own handle. Every wait has a limit.
"""

import os
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "kazoo"))
from ensemble import Ensemble  # noqa: E402

# A client that has lost its server looks for another one in this time, by far.
LIMIT = 60


class Servers(Ensemble):
    """An ensemble of three in which the server of one client can be killed."""

    def server_of(self, session):
        """The server to which the client with this session (a number) is connected."""
        wanted = f"sid=0x{session % (1 << 64):x},"
        for sid in self.processes:
            if wanted in self.word(sid, "cons"):
                return sid
        raise AssertionError(f"no server has the session 0x{session:x}")

    def kill_server_of(self, session):
        sid = self.server_of(session)
        print(f"    server {sid} ({self.mode(sid)}), which has the session 0x{session:x}, is killed", flush=True)
        self.kill(sid)
        return sid


class Program:
    """A client program: lines go in, and what comes out is waited for."""

    def __init__(self, command, environment=None):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        self.text = ""
        self.seen = 0
        self.ended = False
        self.grown = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            with self.grown:
                self.text += data.decode(errors="replace")
                self.grown.notify_all()
        with self.grown:
            self.ended = True
            self.grown.notify_all()

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def expect(self, pattern, limit=LIMIT):
        """Waits for the pattern in what comes after the last one that was expected. Returns the match."""
        deadline = time.monotonic() + limit
        with self.grown:
            while not (match := re.compile(pattern, re.M).search(self.text, self.seen)):
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    said = self.text[self.seen :]
                    raise AssertionError(f"{'not said before its end' if self.ended else f'not said in {limit} s'}: {pattern}\nwhat was said instead:\n{said}")
                self.grown.wait(left)
            self.seen = match.end()
            return match

    def ask(self, line, pattern):
        self.say(line)
        return self.expect(pattern)

    def end(self):
        self.process.kill()
        self.process.wait(10)


def with_servers(binary, session, lines=lambda sid: []):
    """Runs `session` with three servers, and says what came of it."""
    servers = Servers(binary, 3, lines)
    try:
        servers.start_all()
        print(f"server {servers.wait_serving()} leads", flush=True)
        session(servers)
        servers.check_alive()
        if any(codes := servers.stop_all()):
            raise AssertionError(f"servers did not stop cleanly: {codes}")
    except AssertionError as error:
        sys.exit(f"FAILED: {error}\nthe servers' logs are in {servers.dir}")
    finally:
        servers.stop_all()
    print("PASSED")
