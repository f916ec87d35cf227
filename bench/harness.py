"""Starts and ends what is measured, loads it, and reads what it cost."""

import collections
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BODY = b"hello, world\n"
READY_SECONDS = 10
STOP_SECONDS = 5
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """Something did not work; the sentence is for the reader of the table."""


def find_tool(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


# ---- Processes ------------------------------------------------------------


def read(path):
    with open(path, "rb") as file:
        return file.read()


def tree(pid):
    """A process and all that descend from it, as they are now."""
    found = []
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                children = read(f"/proc/{pid}/task/{task}/children")
                waiting += [int(child) for child in children.split()]
            found.append(pid)
        except OSError:
            pass  # it has ended meanwhile
    return found


def cpu_ns(pid):
    """The CPU time a tree has used: what its threads have, to the nanosecond,
    and what its reaped children had, to the tick."""
    total = 0
    for member in tree(pid):
        try:
            for task in os.listdir(f"/proc/{member}/task"):
                schedstat = read(f"/proc/{member}/task/{task}/schedstat")
                total += int(schedstat.split()[0])
            stat = read(f"/proc/{member}/stat").rsplit(b")", 1)[1].split()
            total += (int(stat[13]) + int(stat[14])) * TICK_NS
        except OSError:
            pass
    return total


def pss_kib(pid):
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1])
    raise Failure(f"no Pss of process {pid}")


def machine_busy_ns():
    """The CPU time that everything on this machine has used."""
    fields = [int(field) for field in read("/proc/stat").split(b"\n")[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) * TICK_NS


def clients_cpu_ns():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


def adopt_orphans():
    """What outlives its parent becomes a child of this process, so that
    end_all() finds it."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(pid):
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # not ours, or reaped already


def end_all():
    """Ends every process that descends from this one."""
    for pid in tree(os.getpid()):
        if pid != os.getpid():
            send_signal(pid, signal.SIGKILL)


def send_signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cores():
    """(where the server runs, where its client runs)"""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[0]


# ---- What is measured --------------------------------------------------------


class Running:
    """A program that was started, and the lines it says on its stdout."""

    def __init__(self, command, directory, env=None, core=None):
        if core is not None:
            command = ["taskset", "-c", str(core)] + command
        self.log = os.path.join(directory, f"stderr-{time.monotonic_ns()}")
        self.buffer = b""
        self.lines = collections.deque()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        members = tree(self.pid)
        self.process.stdin.close()
        send_signal(self.pid, signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in members:
            if pid in tree(os.getpid()):
                send_signal(pid, signal.SIGKILL)
                reap(pid)
        self.process.stdout.close()

    def line(self, seconds):
        """The next line of its output, as words."""
        deadline = time.monotonic() + seconds
        descriptor = self.process.stdout.fileno()
        while not self.lines:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise Failure(f"said nothing within {seconds} s{self.complaint()}")
            data = os.read(descriptor, 65536)
            if not data:
                raise Failure(f"has ended{self.complaint()}")
            *complete, self.buffer = (self.buffer + data).split(b"\n")
            self.lines.extend(complete)
        return self.lines.popleft().decode().split()

    def next_of(self, word, seconds=READY_SECONDS):
        """The rest of its next line that starts with that word."""
        while True:
            first, *rest = self.line(seconds) or [""]
            if first == word:
                return rest

    def complaint(self):
        text = read(self.log).decode(errors="replace").strip().splitlines()
        return f": {text[-1]}" if text else ""

    def workers(self):
        return [pid for pid in tree(self.pid) if pid != self.pid]


CLOSES_ASKED, CLOSES_ALWAYS, CLOSES_NEVER = range(3)


class Server:
    """A way to start an HTTP server. `command` is called with a port and a
    directory that is there for this run."""

    def __init__(self, name, command, workers=1, env=None, announces=False):
        self.name = name
        self.command = command
        self.worker_count = workers
        self.env = env
        self.announces = announces  # a line for each worker that listens
        self.closes = CLOSES_ASKED

    def launch(self, run, core=None):
        port = free_port()
        command = self.command(port, run.directory)
        running = Running(command, run.directory, self.env, core)
        running.port = port
        return running

    def start(self, run, core=None):
        """Returns when all its workers serve, and serve what is expected."""
        running = self.launch(run, core)
        try:
            if self.announces:
                running.announced = [
                    int(running.next_of("listening")[0])
                    for _ in range(self.worker_count)
                ]
            wait_answer(running)
            check_answers(running.port, self.closes)
        except BaseException:
            running.__exit__()
            raise
        return running


def ask(port, keep, connection=None):
    """One request; its status line and body, and the connection."""
    connection = connection or socket.create_connection(("127.0.0.1", port), 2)
    close = "" if keep else "Connection: close\r\n"
    request = f"GET / HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"
    connection.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < len(BODY):
        data = connection.recv(65536)
        if not data:
            raise Failure("an answer was cut")
        answer += data
    head, body = answer.split(b"\r\n\r\n", 1)
    return head.split(b"\r\n")[0], body, connection


def wait_answer(running):
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            ask(running.port, keep=False)[2].close()
            return
        except OSError as error:
            if running.process.poll() is not None:
                raise Failure(f"has ended{running.complaint()}") from error
            if time.monotonic() > deadline:
                raise Failure(f"does not answer: {error}") from error
            time.sleep(0.0002)


def check_answers(port, closes):
    """What a client sees: three requests on one connection, and its end."""
    connection = None
    for keep in (False,) if closes == CLOSES_ALWAYS else (True, True, False):
        status, body, connection = ask(port, keep, connection)
        if status != b"HTTP/1.1 200 OK" or body != BODY:
            raise Failure(f"answers {status!r} {body!r}")
    if closes != CLOSES_NEVER and connection.recv(1) != b"":
        raise Failure("does not close the connection as asked")
    connection.close()


# ---- Load ----------------------------------------------------------------------


def wrk_command(
    port, seconds, connections=64, core=None, close=False, path="/", headers=()
):
    command = ["taskset", "-c", str(core)] if core is not None else []
    command += [find_tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-s", os.path.join(HERE, "wrk.lua")]
    if close:
        command += ["-H", "Connection: close"]
    for header in headers:
        command += ["-H", header]
    return command + [f"http://127.0.0.1:{port}{path}"]


def wrk_environment(pipeline, body=None):
    posted = {"BODY": body} if body else {}
    return {**os.environ, "PIPELINE": str(pipeline), **posted}


def wrk_result(output):
    for line in output.splitlines():
        if line.startswith("{"):
            result = json.loads(line)
            result["rate"] = result["requests"] / result["seconds"]
            return result
    raise Failure(f"wrk: {output.strip()[-200:]}")


def wrk(port, seconds, pipeline=1, body=None, **options):
    done = subprocess.run(
        wrk_command(port, seconds, **options),
        env=wrk_environment(pipeline, body),
        capture_output=True,
        text=True,
        timeout=seconds + 20,
        start_new_session=True,
    )
    return wrk_result(done.stdout + done.stderr)


def conns_command(run, mode, port, **options):
    command = [run.program("conns"), mode, str(port)]
    return command + [f"{name}={value}" for name, value in options.items()]


def conns(run, mode, port, **options):
    done = subprocess.run(
        conns_command(run, mode, port, **options),
        capture_output=True,
        text=True,
        timeout=float(options.get("seconds", 5)) + 20,
        start_new_session=True,
    )
    if done.returncode != 0:
        raise Failure(f"conns: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if "seconds" in options:
        result["rate"] = result["requests"] / options["seconds"]
    return result


def with_cost(running, load):
    """The load's result, with the server's CPU time per request, and which
    share of the machine others used meanwhile."""
    members = set(tree(running.pid))
    server, clients = cpu_ns(running.pid), clients_cpu_ns()
    machine, start = machine_busy_ns(), time.monotonic()
    result = load()
    if set(tree(running.pid)) != members:
        raise Failure(f"a process of it has ended meanwhile{running.complaint()}")
    spent = cpu_ns(running.pid) - server
    ours = spent + clients_cpu_ns() - clients
    room = (time.monotonic() - start) * 1e9 * os.cpu_count()
    if result["requests"] == 0:
        raise Failure("nothing was answered")
    result["cpu_us"] = spent / 1000 / result["requests"]
    result["others"] = max(0.0, (machine_busy_ns() - machine - ours) / room)
    return result
