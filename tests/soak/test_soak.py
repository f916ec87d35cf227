"""A cluster under load that is reloaded, scaled and killed for SOAK_SECONDS
(60), and afterwards serves as well, and weighs no more, than at the beginning:
test_soak.py MUSTER API"""

import http.client
import os
import signal
import sys
import threading
import time

MUSTER, API = sys.argv[1:3]
del sys.argv[2]  # what follows are names of tests
SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
WORKERS = 3
CLIENTS = 6

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, Program, equal, main, own_address


class Client(threading.Thread):
    """Asks without a pause; keeps its connection, or opens one each time."""

    def __init__(self, address, path, is_keeping):
        super().__init__(daemon=True)
        self.host, port = address.rsplit(":", 1)
        self.port = int(port)
        self.path = path
        self.is_keeping = is_keeping
        self.answered = 0
        self.failures = []
        self.may_fail = threading.Event()
        self.is_over = threading.Event()

    def ask(self, connection):
        headers = {} if self.is_keeping else {"Connection": "close"}
        connection.request("GET", self.path, headers=headers)
        response = connection.getresponse()
        response.read()
        assert response.status == 200, response.status
        return response.will_close

    def run(self):
        connection = None
        while not self.is_over.is_set():
            # Asked before it fails: a kill while it runs is its excuse too.
            was_excused = self.may_fail.is_set()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(
                        self.host, self.port, timeout=DEADLINE_S
                    )
                will_close = self.ask(connection)
                self.answered += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                will_close = True
                if not (was_excused or self.may_fail.is_set()):
                    self.failures.append(repr(error))
            if will_close:
                connection.close()
                connection = None
        if connection:
            connection.close()


def weigh(pid):
    """Resident KiB, and how many descriptors."""
    with open(f"/proc/{pid}/status") as file:
        resident = next(line for line in file if line.startswith("VmRSS"))
    return int(resident.split()[1]), len(os.listdir(f"/proc/{pid}/fd"))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def reload(program, _):
    program.signal(signal.SIGHUP)
    program.expect("reload done")


def scale(program, _):
    program.signal(signal.SIGTTIN)
    program.expect("worker ready id=%d " % (WORKERS + 1))
    program.signal(signal.SIGTTOU)
    program.expect("worker exited id=%d .* code 0" % (WORKERS + 1))


def kill(program, clients):
    for client in clients:
        client.may_fail.set()
    victim = children(program.pid)[0]
    os.kill(victim, signal.SIGKILL)
    slot = program.expect(f"worker exited id=(\\d+) pid={victim} signal")[1]
    program.expect(f"worker ready id={slot} ")
    # Whoever was being served by it has been answered, or has failed, once
    # each client has had another answer.
    seen = [client.answered for client in clients]
    until = time.monotonic() + DEADLINE_S
    for client, before in zip(clients, seen):
        while client.answered < before + 2:
            assert time.monotonic() < until, "a client got no more answers"
            os.sched_yield()
    for client in clients:
        client.may_fail.clear()


def test_nothing_is_lost_and_nothing_grows():
    address = own_address()
    command = [MUSTER, "start-cluster", API, "--workers", str(WORKERS)]
    command += ["--max-restarts", "1000000"]  # we kill them young
    with Program(*command, "--", "--port", address) as program:
        for _ in range(WORKERS):
            program.expect("worker ready")
        paths = ["/api/status", "/api/sleepTest?sleepDuration=5", "/healthz"]
        clients = [
            Client(address, paths[i % len(paths)], i % 2 == 0)
            for i in range(CLIENTS)
        ]
        for client in clients:
            client.start()

        began = time.monotonic()
        rounds = 0
        first = None
        while time.monotonic() - began < SECONDS or rounds < 2:
            for step in (reload, scale, kill):
                step(program, clients)
                program.lines.clear()  # what nobody waits for any more
            del program.said[:-100]
            rounds += 1
            if rounds == 2:  # by then it has all that it ever needs
                first = weigh(program.pid)

        for client in clients:
            client.is_over.set()
        for client in clients:
            client.join(DEADLINE_S)
        last = weigh(program.pid)
        answered = sum(client.answered for client in clients)
        print(f"# {rounds} rounds, {answered} answers, KiB and descriptors "
              f"{first} then {last}")
        equal([f for client in clients for f in client.failures], [])
        assert last[0] <= first[0] + 512, f"{first} KiB became {last}"
        assert last[1] <= first[1] + CLIENTS, f"{first} became {last}"
        program.signal(signal.SIGTERM)
        program.end()


if __name__ == "__main__":
    sys.exit(main(globals()))
