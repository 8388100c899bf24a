"""Runs a client program with three servers: HOSTS in its environment is their connect string. When it says
KILL and the number of its session, the server to which it is connected is killed; it says what it does after a
dash, and PASSED at its end."""

import sys

from program import Program, with_servers


def session(servers):
    program = Program(sys.argv[2:], {"HOSTS": servers.hosts})
    try:
        while not (said := program.expect(r"^(?:KILL 0x([0-9a-f]+)|- (.*)|(PASSED))$")).group(3):
            if said.group(1):
                servers.kill_server_of(int(said.group(1), 16))
            else:
                print(f"  {said.group(2)}", flush=True)
    finally:
        program.end()


with_servers(sys.argv[1], session)
