"""Real keepright servers on loopback, for tests with kazoo.

Every process is started here and ended here, by its own handle. Every wait has a limit.
"""

import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time


class Ensemble:
    """Servers 1..count, each a process with a directory of its own."""

    def __init__(self, binary, count=3, lines=lambda sid: []):
        """`lines` gives what a server's zoo.cfg holds beside the usual."""
        self.binary = os.path.abspath(binary)
        self.lines = lines
        self.dir = tempfile.mkdtemp(prefix="keepright-kazoo-")
        self.ids = range(1, count + 1)
        ports = free_ports(2 * count)
        self.client_ports = dict(zip(self.ids, ports[:count]))
        self.peer_ports = dict(zip(self.ids, ports[count:]))
        self.processes = {}
        self.ended = []
        print(f"ensemble of {count} in {self.dir}", flush=True)

    def line(self, sid):
        """Where a server is, as its line for others says, with its port for clients."""
        port = self.peer_ports[sid]
        return f"127.0.0.1:{port}:{port};127.0.0.1:{self.client_ports[sid]}"

    def host(self, sid):
        return f"127.0.0.1:{self.client_ports[sid]}"

    @property
    def hosts(self):
        return ",".join(self.host(sid) for sid in self.ids)

    def home(self, sid):
        return os.path.join(self.dir, f"server-{sid}")

    def start(self, sid):
        home = self.home(sid)
        os.makedirs(home, exist_ok=True)
        with open(os.path.join(home, "myid"), "w") as file:
            file.write(f"{sid}\n")
        lines = [
            "tickTime=1000",
            "initLimit=10",
            "syncLimit=5",
            "maxClientCnxns=0",
            # Small, so that snapshots are taken and needed under load.
            f"snapCount={os.environ.get('KEEPRIGHT_SNAP_COUNT', '2000')}",
            f"dataDir={home}",
            f"clientPort={self.client_ports[sid]}",
            "clientPortAddress=127.0.0.1",
        ]
        for peer in self.ids:
            port = self.peer_ports[peer]
            lines.append(f"server.{peer}=127.0.0.1:{port}:{port}")
        lines += self.lines(sid)
        config = os.path.join(home, "zoo.cfg")
        with open(config, "w") as file:
            file.write("\n".join(lines) + "\n")
        with open(os.path.join(home, "log"), "ab") as log:
            self.processes[sid] = subprocess.Popen(
                [self.binary, "server", "--config", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start_all(self):
        for sid in self.ids:
            if sid not in self.processes:
                self.start(sid)

    def kill(self, *sids):
        """SIGKILL to these servers, at once."""
        processes = [self.processes.pop(sid) for sid in sids]
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for process in processes:
            process.wait(10)

    def stop_all(self):
        """SIGTERM to all that run. Returns the exit codes."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        codes = []
        for process in self.processes.values():
            try:
                codes.append(process.wait(10))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait(10))
        self.processes.clear()
        return codes

    def check_alive(self):
        """Fails if a server has ended that nobody has ended."""
        for sid, process in self.processes.items():
            if process.poll() is not None:
                with open(os.path.join(self.home(sid), "log"), errors="replace") as log:
                    tail = "".join(log.readlines()[-10:])
                raise AssertionError(f"server {sid} has ended ({process.returncode}):\n{tail}")

    def word(self, sid, word):
        """What a server answers to a four-letter word."""
        address = ("127.0.0.1", self.client_ports[sid])
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(word.encode())
            answer = b""
            while data := connection.recv(65536):
                answer += data
        return answer.decode()

    def mode(self, sid):
        """What `srvr` says of the server's role; None if it does not serve."""
        try:
            answer = self.word(sid, "srvr")
        except OSError:
            return None
        for line in answer.splitlines():
            if line.startswith("Mode: "):
                return line[len("Mode: ") :]
        return None

    def leader(self):
        for sid in self.processes:
            if self.mode(sid) == "leader":
                return sid
        return None

    def wait_serving(self, limit=60):
        """Waits until every server that runs serves, and one leads. Returns the leader."""
        deadline = time.monotonic() + limit
        modes = {}
        while time.monotonic() < deadline:
            self.check_alive()
            modes = {sid: self.mode(sid) for sid in self.processes}
            if None not in modes.values() and list(modes.values()).count("leader") == 1:
                return next(sid for sid, mode in modes.items() if mode == "leader")
            time.sleep(0.1)
        raise AssertionError(f"not serving after {limit} s: {modes}; logs are in {self.dir}")


# Below the ports that the system itself hands out (from 32768 on Linux, by default): what asks for any
# port, as each client does, does not get one that a server is about to use, or will use again.
PORTS = range(10_000, 32_000)
numbers = itertools.count(os.getpid() * 61)


def free_ports(count):
    """Ports that nobody uses at this moment, for TCP and for UDP; each time others."""
    ports = []
    for number in itertools.islice(numbers, len(PORTS)):
        if len(ports) == count:
            return ports
        port = PORTS[number % len(PORTS)]
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    tcp.bind(("127.0.0.1", port))
                    udp.bind(("127.0.0.1", port))
                except OSError:
                    continue
        ports.append(port)
    sys.exit("there are no free ports")
