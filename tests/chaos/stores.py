"""Stores to run against: a directory, and Redis in its forms, each with the
faults that it can have. Servers are started on free ports of a loopback address
of their own, and killed when their directory goes."""

import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, Program

PAUSE_S = 0.02  # between two looks at what nobody tells


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, condition):
    """Waits for what no descriptor tells."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        select.select([], [], [], PAUSE_S)


class RedisError(Exception):
    pass


class Client:
    """Enough of RESP to give a server orders."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def ask(self, *words):
        words = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("the server is gone")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest.decode()
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2].decode(errors="replace")
        return [self.answer() for _ in range(int(rest))]


class Server:
    """A redis-server, which can be killed and started again where it was."""

    def __init__(self, directory, *options, port=None, sentinel=None, inside=()):
        self.directory = tempfile.mkdtemp(dir=directory, prefix="redis-")
        self.port = port or free_port()
        self.inside = list(inside)  # a command that runs it somewhere
        self.options = list(options)
        self.sentinel = sentinel
        self.environment = {}
        self.program = None
        self.start()

    def start(self, *more):
        command = [*self.inside, "setpriv", "--pdeathsig", "KILL", "redis-server"]
        if self.sentinel:
            command += [self.sentinel, "--sentinel"]
        else:
            command += ["--dir", self.directory, "--save", ""]
            command += ["--port", str(self.port), *self.options, *more]
            if "--bind" not in self.options:
                command += ["--bind", "127.0.0.1"]
        self.program = Program(*command, **self.environment)
        self.program.expect(r"eady to accept|\+monitor")

    def client(self):
        return Client(self.port)

    def ask(self, *words):
        client = self.client()
        try:
            return client.ask(*words)
        finally:
            client.close()

    def signal(self, number):
        self.program.signal(number)

    def stop(self):
        if self.program:
            self.program.__exit__(None)
        self.program = None

    def drain(self):
        """Reads what it says, so that it never waits for a reader."""
        try:
            while self.program and self.program.read(time.monotonic()):
                pass
        except AssertionError:
            pass
        if self.program:
            del self.program.said[:-100]


class Embedded:
    name = "lmdb"
    has_servers = False

    def __init__(self, directory):
        self.url = f"lmdb:{directory}/store"
        self.servers = []

    def raw(self):
        return {}

    def stop(self):
        pass


class Redis:
    """One server. `durability`: everysec, always, or no: nothing is kept."""

    name = "redis"

    def __init__(self, directory, durability="no", *options):
        keep = [] if durability == "no" else [
            "--appendonly", "yes", "--appendfsync", durability]
        self.servers = [Server(directory, *keep, *options)]
        self.url = f"redis://127.0.0.1:{self.servers[0].port}"

    @property
    def main(self):
        return self.servers[0]

    # What Cluster puts in braces.
    names = {key: f"muster:tasks:{key}" for key in (
        "processing", "delayed", "data", "global", "_meta", "_dead")}

    def raw(self):
        """How much is left under the keys, by what they are."""
        client = self.main.client()
        count = {
            "processing": client.ask("ZCARD", self.names["processing"]),
            "delayed": client.ask("ZCARD", self.names["delayed"]),
            "data": client.ask("HLEN", self.names["data"]),
            "meta": client.ask("HLEN", self.names["_meta"]),
            "dead": client.ask("ZCARD", self.names["_dead"]),
        }
        client.close()
        return count

    def stop(self):
        for server in self.servers:
            server.stop()


class Sentinel(Redis):
    """A primary, a replica, and one who watches them."""

    name = "sentinel"

    def __init__(self, directory, query=""):
        quick = ["--repl-diskless-sync-delay", "0", "--repl-timeout", "5",
                 "--repl-ping-replica-period", "1"]
        primary = Server(directory, *quick)
        replica = Server(directory, *quick, "--replicaof",
                         f"127.0.0.1 {primary.port}")
        replica.program.expect("sync: Finished with success")
        path = os.path.join(directory, "sentinel.conf")
        port = free_port()
        with open(path, "w") as file:
            file.write(f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
                       f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
                       "sentinel down-after-milliseconds main 300\n"
                       "sentinel failover-timeout main 2000\n")
        self.watcher = Server(directory, port=port, sentinel=path)
        self.watcher.program.expect(r"\+slave ")
        self.servers = [primary, replica, self.watcher]
        self.url = f"redis+sentinel://127.0.0.1:{port}/main{query}"

    @property
    def main(self):
        _, port = self.watcher.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        return next(server for server in self.servers if server.port == int(port))

    def fail_over(self):
        """Kills the primary; when this returns its replica is the primary."""
        old = self.main
        old.stop()
        self.watcher.program.expect(r"\+switch-master")
        return old

    def freeze(self):
        """Stops the primary until its replica is the primary as well."""
        old = self.main
        old.signal(signal.SIGSTOP)
        self.watcher.program.expect(r"\+switch-master")
        return old

    def thaw(self, old):
        """It takes what clients send until Sentinel tells it who it is."""
        old.signal(signal.SIGCONT)
        self.watcher.program.expect(r"\+convert-to-slave|\+slave-reconf-done|-sdown slave")
        def follows():
            try:
                role = old.ask("ROLE")
            except OSError:  # it hangs up when it learns who it is
                return False
            return role[0] == "slave" and role[3] == "connected"

        until("that it is a replica", follows)

    def restore(self, old):
        """What was the primary comes back as the replica, with nothing."""
        main = self.main
        shutil.rmtree(old.directory)
        os.mkdir(old.directory)
        if "--replicaof" in old.options:
            at = old.options.index("--replicaof")
            del old.options[at:at + 2]
        old.start("--replicaof", f"127.0.0.1 {main.port}")
        old.program.expect("sync: Finished with success")
        until("a replica that Sentinel knows", lambda: any(
            str(old.port) in row and "disconnected" not in str(row)
            for row in self.watcher.ask("SENTINEL", "REPLICAS", "main")))


class Cluster(Redis):
    """Three primaries, and a replica for the one that has the tasks."""

    name = "cluster"
    names = {key: f"{{muster:tasks}}:{key}" for key in (
        "processing", "delayed", "data", "global", "_meta", "_dead")}
    NODES = 3

    def __init__(self, directory):
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
                   "--repl-diskless-sync-delay", "0",
                   "--cluster-replica-validity-factor", "0"]
        self.servers = [Server(directory, *options, "--cluster-port", free_port_text())
                        for _ in range(self.NODES + 1)]
        share = 16384 // self.NODES
        for i, server in enumerate(self.servers[:self.NODES]):
            last = 16383 if i == self.NODES - 1 else (i + 1) * share - 1
            server.ask("CLUSTER", "ADDSLOTSRANGE", i * share, last)
        first = self.servers[0]
        for server in self.servers[1:]:
            bus = server.options[server.options.index("--cluster-port") + 1]
            first.ask("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        for server in self.servers:
            until("a whole cluster", lambda: self.knows_all(server))
        self.slot = first.ask("CLUSTER", "KEYSLOT", self.names["data"])
        self.spare = self.servers[self.NODES]
        self.spare.ask("CLUSTER", "REPLICATE", self.id_of(self.main))
        self.spare.program.expect("sync: Finished with success")
        ports = ",".join(f"127.0.0.1:{s.port}" for s in self.servers)
        self.url = f"redis+cluster://{ports}"

    def knows_all(self, server):
        info = server.ask("CLUSTER", "INFO")
        return ("cluster_state:ok" in info
                and f"cluster_known_nodes:{len(self.servers)}" in info)

    def id_of(self, server):
        return server.ask("CLUSTER", "MYID")

    @property
    def main(self):
        """The primary that has the tasks' slot, as the first that is up says."""
        for server in self.servers:
            if server.program is None:
                continue
            for first, last, primary, *_ in server.ask("CLUSTER", "SLOTS"):
                if first <= self.slot <= last:
                    return next(s for s in self.servers if s.port == primary[1])
        raise AssertionError("no node is up")

    def move_slot(self):
        """Takes the tasks to another primary, while they are worked on."""
        source = self.main
        roles = [(s, s.ask("ROLE")[0]) for s in self.servers if s.program]
        target = next(s for s, role in roles
                      if role == "master" and s is not source)
        source_id, target_id = self.id_of(source), self.id_of(target)
        target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", target_id)
        client = source.client()
        while True:
            keys = client.ask("CLUSTER", "GETKEYSINSLOT", self.slot, 10)
            if not keys:
                break
            client.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS",
                       *keys)
        client.close()
        # The new owner first, as the manual says.
        for server in [target, source] + [s for s, role in roles
                                          if role == "master"
                                          and s not in (target, source)]:
            server.ask("CLUSTER", "SETSLOT", self.slot, "NODE", target_id)

    def kill_main(self):
        """Kills the node with the tasks; its replica takes over."""
        old = self.main
        replicas = [s for s in self.servers if s is not old and s.program
                    and s.ask("ROLE")[0] == "slave"]
        assert replicas, "nobody can take over"
        old.stop()
        until("a replica that takes over",
              lambda: replicas[0].ask("ROLE")[0] == "master")
        until("a cluster that is whole again", lambda: "cluster_state:ok" in
              replicas[0].ask("CLUSTER", "INFO"))
        return old

    def restore(self, old):
        """What was a primary comes back, and finds that it is a replica."""
        old.start()
        until("a replica", lambda: old.ask("ROLE")[0] == "slave"
              and old.ask("ROLE")[3] == "connected")


def free_port_text():
    return str(free_port())
