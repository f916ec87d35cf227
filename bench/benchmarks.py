"""What is measured. Each benchmark fills a report with rows and goals."""

import collections
import contextlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

import servers
from harness import (
    HERE,
    Failure,
    Running,
    conns,
    conns_command,
    cores,
    cpu_ns,
    free_port,
    pss_kib,
    wait_answer,
    with_cost,
    wrk,
    wrk_command,
    wrk_environment,
    wrk_result,
)

WARM_SECONDS = 1  # wrk takes whole seconds only
LATE_US = 25_000  # a client this late cannot tell what takes 50 ms
BENCHMARKS = {}


def benchmark(title):
    def add(function):
        BENCHMARKS[function.__name__] = (title, function)
        return function

    return add


# ---- Rounds -------------------------------------------------------------------


class Samples:
    """What each round measured, by subject; None where that failed."""

    def __init__(self):
        self.rounds = collections.defaultdict(list)

    def good(self, name):
        return [sample for sample in self.rounds.get(name, []) if sample]

    def median(self, name, key):
        values = [sample[key] for sample in self.good(name) if key in sample]
        return statistics.median(values) if values else None

    def worst(self, name, key):
        values = [sample[key] for sample in self.good(name)]
        return max(values) if values else None

    def total(self, name, key):
        return sum(sample[key] for sample in self.good(name))

    def ratio(self, one, other, key):
        """The median of what the ratio was in each round."""
        pairs = zip(self.rounds.get(one, []), self.rounds.get(other, []))
        ratios = [a[key] / b[key] for a, b in pairs if a and b and b[key]]
        return statistics.median(ratios) if ratios else None


def interleave(run, subjects, measure, rounds=None):
    """Measures each subject once a round, in turn, every other round in
    reverse."""
    samples = Samples()
    subjects = [subject for subject in subjects if subject]
    for number in range(rounds or run.rounds):
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            run.progress(f"round {number + 1}: {subject.name}")
            try:
                sample = measure(subject)
            except (Failure, OSError, ValueError, subprocess.TimeoutExpired) as failure:
                run.report.note(f"{subject.name}: {failure}")
                sample = None
            samples.rounds[subject.name].append(sample)
            if sample and sample.get("failed"):
                failures = {k: v for k, v in sample["failures"].items() if v}
                run.report.note(f"{subject.name}: failed requests: {failures}")
            if sample and "others" in sample:
                run.report.others = max(run.report.others, sample["others"])
    return samples


def rate_rows(run, samples):
    run.report.columns("requests/s", "CPU µs", "p50 µs", "p99 µs", "failed")
    for name in samples.rounds:
        run.report.row(
            name,
            *(samples.median(name, key) for key in ("rate", "cpu_us")),
            *(samples.median(name, key) for key in ("p50_us", "p99_us")),
            samples.total(name, "failed"),
        )


# ---- Requests --------------------------------------------------------------------


def pinned(run, pipeline):
    server_core, client_core = cores()

    def measure(server):
        with server.start(run, server_core) as running:
            options = {"core": client_core, "pipeline": pipeline}
            wrk(running.port, WARM_SECONDS, **options)
            return with_cost(
                running, lambda: wrk(running.port, run.seconds, **options)
            )

    subjects = [
        servers.muster(run, name="muster"),
        servers.floor(run),
        servers.nginx(run),
        servers.node(run, "single", name="node"),
    ]
    samples = interleave(run, subjects, measure)
    rate_rows(run, samples)
    return samples


@benchmark("keep-alive, 64 connections, one worker on a core of its own")
def http(run):
    if not run.tool("wrk"):
        return
    samples = pinned(run, 1)
    for peer, goal in (("epoll, parses nothing", 1.08), ("nginx", 1.00)):
        run.report.goal(
            f"CPU per request, muster / {peer}",
            samples.ratio("muster", peer, "cpu_us"),
            "≤",
            goal,
        )
    run.report.ratio(
        "requests/s, muster / node", samples.ratio("muster", "node", "rate")
    )


@benchmark("the same, 16 requests in each write")
def pipelined(run):
    if not run.tool("wrk"):
        return
    samples = pinned(run, 16)
    run.report.goal(
        "requests/s, muster / nginx", samples.ratio("muster", "nginx", "rate"), "≥", 5
    )
    run.report.ratio(
        "requests/s, muster / epoll, parses nothing",
        samples.ratio("muster", "epoll, parses nothing", "rate"),
    )


ACTION = {
    "path": "/api/randomNumber",
    "headers": ("Cookie: sessionID=86a0320a5496e6797dacbc445223f001a74c89ca",),
}


def order(size):
    """JSON of that many bytes, as a shop might send it."""
    lines = [
        {"article": 1000 + i, "name": f"article {i}", "count": i, "price": i * 1.25}
        for i in range(10)
    ]
    made = {"customer": 4711, "paid": True, "lines": lines, "note": ""}
    made["note"] = "x" * (size - len(json.dumps(made)))
    return json.dumps(made)


POSTED = {**ACTION, "body": order(1024)}


@benchmark("an action: parameters, cookie and JSON envelope; nginx returns a text")
def actions(run):
    if not run.tool("wrk"):
        return
    server_core, client_core = cores()

    def measure(server):
        with server.start(run, server_core) as running:
            options = {"core": client_core, "pipeline": server.pipeline, **server.load}
            wrk(running.port, WARM_SECONDS, **options)
            return with_cost(
                running, lambda: wrk(running.port, run.seconds, **options)
            )

    subjects = []
    for pipeline, suffix in ((1, ""), (16, ", 16 a write")):
        for server, load in (
            (servers.actions(run, f"muster{suffix}"), ACTION),
            (servers.nginx(run, name=f"nginx{suffix}"), {}),
            (servers.actions(run, f"muster, 1 KiB posted{suffix}"), POSTED),
        ):
            if server:
                server.load, server.pipeline = load, pipeline
            subjects.append(server)
    samples = interleave(run, subjects, measure)
    rate_rows(run, samples)
    run.report.goal(
        "CPU per request, muster / nginx",
        samples.ratio("muster", "nginx", "cpu_us"),
        "≤",
        1.05,
    )
    run.report.goal(
        "p99 of 64 connections, muster / nginx",
        samples.ratio("muster", "nginx", "p99_us"),
        "≤",
        1.2,
    )
    run.report.goal(
        "requests/s, 16 a write, muster / nginx",
        samples.ratio("muster, 16 a write", "nginx, 16 a write", "rate"),
        "≥",
        4,
    )
    run.report.goal(
        "requests/s, 1 KiB of JSON posted / none",
        samples.ratio("muster, 1 KiB posted", "muster", "rate"),
        "≥",
        0.8,
    )


# ---- Files -----------------------------------------------------------------------


FILE_SIZES = {"4 KiB": 4096, "64 KiB": 65536, "1 MiB": 1 << 20}


@benchmark("files, keep-alive, 64 connections, one worker on a core of its own")
def files(run):
    if not run.tool("wrk"):
        return
    server_core, client_core = cores()
    folder = os.path.join(run.directory, "files")
    os.makedirs(folder)
    subjects = [
        servers.muster(run, name="muster", env={"HELLO_FILES": run.directory}),
        servers.nginx(run),
        servers.nginx(run, name="nginx, open_file_cache", caches=True),
    ]
    run.report.columns("requests/s", "CPU µs", "p50 µs", "p99 µs", "failed")
    for text, size in FILE_SIZES.items():
        path = f"/files/{size}.bin"
        with open(run.directory + path, "wb") as file:
            file.write(os.urandom(size))

        def measure(server, path=path):
            with server.start(run, server_core) as running:
                options = {"core": client_core, "path": path}
                wrk(running.port, WARM_SECONDS, **options)
                return with_cost(
                    running, lambda: wrk(running.port, run.seconds, **options)
                )

        run.report.heading(text)
        samples = interleave(run, subjects, measure)
        for name in samples.rounds:
            run.report.row(
                name,
                *(samples.median(name, key) for key in ("rate", "cpu_us")),
                *(samples.median(name, key) for key in ("p50_us", "p99_us")),
                samples.total(name, "failed"),
            )
        for peer in ("nginx", "nginx, open_file_cache"):
            for key, what in (("rate", "requests/s"), ("cpu_us", "CPU per request")):
                ratio = samples.ratio("muster", peer, key)
                name = f"{text}, {what}, muster / {peer}"
                if key == "rate" and peer == "nginx" and size != 65536:
                    run.report.goal(name, ratio, "≥", 1.00)
                else:
                    run.report.ratio(name, ratio)


# ---- New connections -----------------------------------------------------------------


@benchmark("new connections: connect, request, close; 64 at a time, two workers")
def close(run):
    def measure(server):
        with server.start(run) as running:
            conns(run, "closed", running.port, seconds=WARM_SECONDS)
            return with_cost(
                running,
                lambda: conns(run, "closed", running.port, seconds=run.seconds),
            )

    floor = servers.floor(run, close=True)
    if floor:
        floor.name += ", one process"
    subjects = [servers.muster(run, policy, 2) for policy in servers.POLICIES] + [
        servers.node(run, "rr", 2),
        servers.node(run, "none", 2),
        servers.nginx(run, 2),
        servers.nginx(run, 2, reuseport=True),
        floor,
    ]
    samples = interleave(run, subjects, measure)
    rate_rows(run, samples)
    for policy, peer, goal in (
        ("least", "node cluster rr", 3),
        ("rr", "node cluster rr", 3),
        ("least", "nginx", 0.85),
        ("rr", "nginx", 0.85),
        ("shared", "nginx", 1.00),
    ):
        run.report.goal(
            f"requests/s, muster {policy} / {peer}",
            samples.ratio(f"muster {policy}", peer, "rate"),
            "≥",
            goal,
        )
    for key, text in (("rate", "requests/s"), ("cpu_us", "CPU per request")):
        run.report.ratio(
            f"{text}, muster reuseport / nginx reuseport",
            samples.ratio("muster reuseport", "nginx reuseport", key),
        )


@benchmark("400 kept connections over four workers")
def balance(run):
    def held(server, rate):
        with server.start(run) as running:
            result = conns(
                run, "hold", running.port, connections=400, rate=rate, path="/worker"
            )
        counts = sorted(result["workers"].values(), reverse=True)
        return result, counts + [0] * (4 - len(counts))

    def measure(server):
        burst, burst_counts = held(server, 0)
        paced, paced_counts = held(server, 1000)
        failures = collections.Counter(burst["failures"])
        failures.update(paced["failures"])
        return {
            "burst": burst_counts,
            "paced": paced_counts,
            "off": max(abs(count - 100) for count in burst_counts + paced_counts),
            "failed": burst["failed"] + paced["failed"],
            "failures": failures,
        }

    subjects = [servers.muster(run, policy, 4) for policy in servers.POLICIES] + [
        servers.node(run, "rr", 4),
        servers.node(run, "none", 4),
        servers.nginx(run, 4),
    ]
    samples = interleave(run, subjects, measure)
    run.report.columns("in a burst", "at 1,000/s", "off 100 by", "failed")
    for name in samples.rounds:
        rounds = samples.good(name)
        worst = max(rounds, key=lambda sample: sample["off"]) if rounds else {}
        run.report.row(
            name,
            " ".join(map(str, worst.get("burst", ["-"]))),
            " ".join(map(str, worst.get("paced", ["-"]))),
            worst.get("off"),
            samples.total(name, "failed"),
        )
    run.report.goal(
        "muster least: off 100 by, worst round",
        samples.worst("muster least", "off"),
        "≤",
        0,
    )


@benchmark("one of four workers blocked, 200 ms at a time; 1,000 new connections/s")
def blocked(run):
    seconds = max(2, run.seconds)

    def measure(server):
        with server.start(run) as running:
            conns(run, "open", running.port, rate=500, seconds=1)
            result = with_cost(
                running,
                lambda: conns(
                    run, "open", running.port, seconds=seconds, block_ms=200
                ),
            )
        if result["blocked"] < seconds * 4:
            raise Failure("the worker was not blocked all the time")
        if result["late_us"] > LATE_US:
            raise Failure("the client was late itself: the machine is too busy")
        result["over_percent"] = 100 * result["over"] / result["requests"]
        return result

    subjects = [servers.muster(run, policy, 4) for policy in servers.POLICIES] + [
        servers.node(run, "rr", 4),
        servers.node(run, "none", 4),
    ]
    samples = interleave(run, subjects, measure)
    run.report.columns(
        "over 50 ms, %", "p99 µs", "max µs", "CPU µs", "client late µs", "failed"
    )
    for name in samples.rounds:
        run.report.row(
            name,
            samples.median(name, "over_percent"),
            samples.median(name, "p99_us"),
            samples.worst(name, "max_us"),
            samples.median(name, "cpu_us"),
            samples.worst(name, "late_us"),
            samples.total(name, "failed"),
        )
    for policy in ("least", "rr", "shared"):
        run.report.goal(
            f"muster {policy}: requests over 50 ms, %, worst round",
            samples.worst(f"muster {policy}", "over_percent"),
            "≤",
            0,
        )


# ---- Messages --------------------------------------------------------------------------


MESSAGE_MODES = {  # what is measured: the programs' mode, and on one core?
    "one way, to the primary": ("up", False),
    "one way, to the worker": ("down", False),
    "there and back, one at a time": ("ping", False),
    "there and back, one at a time, on one core": ("ping", True),
    "there and back, 64 at a time": ("ping64", False),
    "with a socket each, to the worker": ("descriptors", False),
}

Program = collections.namedtuple("Program", "name command")


@benchmark("messages of 100 bytes between the primary and a worker")
def messages(run):
    program, node = run.program("messages"), run.tool("node")
    floor = run.program("floor_ping")
    script = os.path.join(HERE, "peers", "messages.js")
    seconds = str(run.seconds)

    def measure_one(command, core):
        with Running(command, run.directory, core=core) as running:
            running.next_of("start")
            before = cpu_ns(running.pid)
            count, spent = running.next_of("done", run.seconds * 4 + 20)
            cpu = cpu_ns(running.pid) - before
        if int(count) == 0:
            raise Failure("no message arrived")
        return {
            "rate": int(count) / float(spent),
            # Making sockets is not what is measured, but costs Node CPU time.
            "cpu_us": cpu / 1000 / int(count),
        }

    run.report.columns("messages/s", "CPU µs")
    for text, (mode, is_on_one) in MESSAGE_MODES.items():
        core = cores()[0] if is_on_one else None
        subjects = []
        if program:
            command = [program, mode, seconds]
            subjects.append(Program("muster", command))
            subjects.append(Program("muster, JSON", command + ["json"]))
        if node:
            subjects.append(Program("node, JSON", [node, script, mode, seconds]))
        if floor and mode == "ping":
            subjects.append(Program("bare socketpair", [floor, seconds]))
        run.report.heading(text)
        samples = interleave(
            run, subjects, lambda one, core=core: measure_one(one.command, core)
        )
        for name in samples.rounds:
            run.report.row(
                name, samples.median(name, "rate"), samples.median(name, "cpu_us")
            )
        rate = samples.median("muster", "rate")
        ratio = samples.ratio("muster", "node, JSON", "rate")
        if mode in ("up", "down"):
            run.report.goal(f"{text}, per second", rate, "≥", 2_000_000)
        if mode == "descriptors":
            run.report.goal(f"{text}, per second", rate, "≥", 100_000)
        if mode == "ping":
            run.report.goal(f"{text}, muster / node", ratio, "≥", 2)
            run.report.ratio(
                f"{text}, muster / bare socketpair",
                samples.ratio("muster", "bare socketpair", "rate"),
            )
        else:
            run.report.ratio(f"{text}, muster / node", ratio)


# ---- Lives of workers ----------------------------------------------------------------------


@benchmark("a worker is killed (SIGKILL): until its replacement listens")
def respawn(run):
    kills = 10

    def measure(server):
        times = []
        with server.start(run) as running:
            alive = list(running.announced)
            # Each has lived for more than a second by its turn: what dies
            # young may be replaced later.
            time.sleep(1)
            for _ in range(kills):
                time.sleep(0.35)
                start = time.monotonic()
                os.kill(alive.pop(0), signal.SIGKILL)
                alive.append(int(running.next_of("listening")[0]))
                times.append((time.monotonic() - start) * 1000)
        return {"ms": statistics.median(times), "max_ms": max(times)}

    subjects = [servers.muster(run, workers=4, name="muster"), servers.node(run, "rr", 4)]
    samples = interleave(run, subjects, measure)
    run.report.columns("median ms", "max ms")
    for name in samples.rounds:
        run.report.row(
            name, samples.median(name, "ms"), samples.worst(name, "max_ms")
        )
    run.report.goal("muster, median ms", samples.median("muster", "ms"), "≤", 5)
    run.report.ratio(
        "muster / node", samples.ratio("muster", "node cluster rr", "ms")
    )


@benchmark("ten reloads (SIGHUP) of two workers under load, one after the other")
def reload(run):
    if not run.tool("wrk"):
        return
    reloads = 10

    def reload_once(running):
        before = set(running.workers())
        deadline = time.monotonic() + 10
        os.kill(running.pid, signal.SIGHUP)
        while before & set(running.workers()):
            if time.monotonic() > deadline:
                raise Failure("the old workers are still there after 10 s")
            time.sleep(0.01)
        if len(running.workers()) != len(before):
            raise Failure("there are not as many workers as before")
        time.sleep(0.2)

    def under_load(running, keep):
        """wrk for the load, conns for the judgement, both until told to end"""
        loads = [
            wrk_command(running.port, 600, connections=48, close=not keep),
            conns_command(
                run, "closed", running.port, connections=16, seconds=600, keep=int(keep)
            ),
        ]
        clients = [
            subprocess.Popen(
                load,
                env=wrk_environment(1),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            for load in loads
        ]
        try:
            time.sleep(0.5)
            for _ in range(reloads):
                reload_once(running)
            for client in clients:
                client.send_signal(signal.SIGINT)
            outputs = [client.communicate(timeout=15)[0] for client in clients]
        finally:
            for client in clients:
                if client.poll() is None:
                    client.kill()
                    client.wait()
        return wrk_result(outputs[0]), json.loads(outputs[1])

    def measure(server):
        start = time.monotonic()
        with server.start(run) as running:
            results = under_load(running, server.keep)
        failures = collections.Counter()
        for result in results:
            failures.update(result["failures"])
        return {
            "requests": sum(result["requests"] for result in results),
            "failed": sum(result["failed"] for result in results),
            "failures": failures,
            "seconds": time.monotonic() - start,
        }

    subjects = []
    for keep, kind in ((True, "keep-alive"), (False, "close")):
        for delay_ms in (0, 20):
            name = f"muster, {kind}, {delay_ms} ms"
            subjects.append(servers.muster(run, "least", 2, delay_ms, name))
        subjects.append(servers.nginx(run, 2))
        if subjects[-1]:
            subjects[-1].name = f"nginx, {kind}, 0 ms"
        for subject in filter(None, subjects):
            subject.keep = getattr(subject, "keep", keep)

    samples = interleave(run, subjects, measure, rounds=1)
    run.report.columns("requests", "failed", "seconds")
    for name in samples.rounds:
        run.report.row(
            name,
            samples.median(name, "requests"),
            samples.median(name, "failed"),
            samples.median(name, "seconds"),
        )
    for name in samples.rounds:
        if name.startswith("muster"):
            run.report.goal(
                f"{name}: failed requests", samples.worst(name, "failed"), "≤", 0
            )


# ---- Memory --------------------------------------------------------------------------------


@benchmark("memory (PSS) of idle workers, and the time to the first answer")
def memory(run):
    starts = 5

    def first_answer_ms(server):
        start = time.monotonic()
        with server.launch(run) as running:
            wait_answer(running)
            return (time.monotonic() - start) * 1000

    def measure(server):
        sample = {
            "start_ms": statistics.median(
                first_answer_ms(server) for _ in range(starts)
            )
        }
        with server.start(run) as running:
            conns(run, "closed", running.port, connections=8, seconds=1, keep=1)
            time.sleep(0.3)
            workers = [pss_kib(pid) / 1024 for pid in running.workers()]
            sample["primary_mib"] = pss_kib(running.pid) / 1024
            sample["worker_mib"] = statistics.mean(workers)
        return sample

    subjects = [
        servers.muster(run, workers=2, name="muster"),
        servers.actions(run, "muster, an API server"),
        servers.node(run, "rr", 2),
        servers.nginx(run, 2),
    ]
    samples = interleave(run, subjects, measure)
    run.report.columns("primary MiB", "worker MiB", "first answer ms")
    for name in samples.rounds:
        run.report.row(
            name,
            *(
                samples.median(name, key)
                for key in ("primary_mib", "worker_mib", "start_ms")
            ),
        )
    for name, key, text, goal in (
        ("muster", "primary_mib", "primary, MiB", 1.5),
        ("muster", "worker_mib", "idle worker, MiB", 2),
        ("muster", "start_ms", "start to first answer, ms", 20),
        ("muster, an API server", "worker_mib", "idle worker, MiB", 3),
        ("muster, an API server", "start_ms", "start to first answer, ms", 20),
    ):
        run.report.goal(f"{name}: {text}", samples.median(name, key), "≤", goal)


# ---- Fibers ------------------------------------------------------------------------------------


FIBER_MODES = {  # the program's mode: what it is, and ucontext's mode
    "bare": ("to another stack and back, nothing else", "bare"),
    "switch": ("resume and park", None),
    "many": ("resume and park, 10,000 in turn", None),
    "start": ("start and end, without a wait", "start"),
}


@benchmark("what straight-line code costs: switches, short fibers, parked fibers")
def fiber(run):
    program = run.program("fiber")
    if not program:
        return

    def number_of(command):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=run.seconds + 30
        )
        words = done.stdout.split()
        if done.returncode != 0 or words[:1] != ["done"]:
            raise Failure(done.stderr.strip() or f"exit code {done.returncode}")
        return float(words[2]) / int(words[1])

    def measure(one):
        return {"each": number_of(one.command)}

    run.report.columns("CPU ns")
    samples = {}
    for mode, (text, peer_mode) in FIBER_MODES.items():
        subjects = [Program("muster", [program, mode, str(run.seconds)])]
        if peer_mode:
            command = [program, peer_mode, str(run.seconds), "ucontext"]
            subjects.append(Program("ucontext", command))
        run.report.heading(text)
        samples[mode] = interleave(run, subjects, measure)
        for name in samples[mode].rounds:
            each = samples[mode].median(name, "each")
            run.report.row(name, each and each * 1e9)

    def ns(mode, share=1):
        each = samples[mode].median("muster", "each")
        return each and each * 1e9 / share

    run.report.goal("a bare switch, ns", ns("bare", 2), "≤", 10)
    run.report.goal("a switch within resume and park, ns", ns("switch", 2), "≤", 10)
    run.report.goal("start and end, ns", ns("start"), "≤", 60)
    for mode in ("bare", "start"):
        run.report.ratio(
            f"{FIBER_MODES[mode][0]}, ucontext / muster",
            samples[mode].ratio("ucontext", "muster", "each"),
        )
    parked = number_of([program, "memory", "1"]) / 1024
    run.report.goal("a parked fiber, KiB resident", parked, "≤", 8)


# ---- WebSocket -----------------------------------------------------------------


@benchmark("WebSocket actions of 20 connections, beside a bare echo; idle connections")
def sockets(run):
    program = run.program("sockets")
    if not program:
        return

    def numbers_of(command):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=run.seconds + 60
        )
        if done.returncode != 0:
            raise Failure(done.stderr.strip() or f"exit code {done.returncode}")
        return done.stdout.split()

    def measure(one):
        words = numbers_of(one.command)
        return {"rate": float(words[2]), "cpu": float(words[4])}

    run.report.columns("requests/s", "CPU us")
    samples = {}
    for at_once in ("1", "4"):
        more = [str(run.seconds), "20", at_once]
        subjects = [
            Program("muster", [program, "actions", *more]),
            Program("bare echo", [program, "echo", *more]),
        ]
        run.report.heading(f"{at_once} at once of each connection")
        samples[at_once] = interleave(run, subjects, measure)
        for name in samples[at_once].rounds:
            one = samples[at_once]
            run.report.row(name, one.median(name, "rate"), one.median(name, "cpu"))
        run.report.ratio(
            "CPU, muster / bare echo",
            samples[at_once].ratio("muster", "bare echo", "cpu"),
        )
    run.report.columns("deliveries/s", "CPU us")
    run.report.heading("messages to a room of 1,000 members")
    subjects = [
        Program(f"{count} at once", [program, "room", str(run.seconds), "1000", count])
        for count in ("1", "8", "32")
    ]
    spoken = interleave(run, subjects, measure)
    for name in spoken.rounds:
        run.report.row(name, spoken.median(name, "rate"), spoken.median(name, "cpu"))
    cpu = spoken.median("32 at once", "cpu")
    run.report.goal("a delivery to one of 1,000 members, CPU us", cpu, "≤", 1)
    idle = float(numbers_of([program, "idle", "10000"])[3])
    run.report.goal("an idle connection of 10,000, bytes resident", idle, "≤", 4096)


@benchmark("messages between servers: signed, between workers, through Redis")
def bus(run):
    program = run.program("bus")
    if not program:
        return

    def ask(mode):
        done = subprocess.run(
            [program, mode], capture_output=True, text=True, timeout=120
        )
        if done.returncode != 0:
            raise Failure(done.stderr.strip() or f"exit code {done.returncode}")
        return json.loads(done.stdout)

    goal = run.report.goal
    one = ask("hmac")
    goal("sign a message of 200 bytes, ns", one["sign_ns"], "≤", 2000)
    goal("check one, ns", one["check_ns"], "≤", 2000)
    one = ask("stream")
    goal("messages/s between two workers", one["messages_per_second"], "≥", 500000)
    one = ask("fanout")
    goal("deliveries/s to eight servers", one["deliveries_per_second"], "≥", 1000000)
    one = ask("round")
    goal(
        "a round trip, bare socket pair / bus",
        one["bare_p50_us"] / one["bus_p50_us"],
        "≥",
        0.8,
    )
    if shutil.which("redis-server"):
        one = ask("redis")
        goal("published through Redis, of bare PUBLISH", one["ratio"], "≥", 0.85)


@benchmark("calls between servers: from one worker to another, through Redis")
def rpc(run):
    program, bare = run.program("rpc"), run.program("bus")
    if not program or not bare:
        return

    def ask(mode, url, count, fibers=64):
        command = [program, mode, url, str(count), str(fibers)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise Failure(done.stderr.strip() or f"exit code {done.returncode}")
        return json.loads(done.stdout)

    goal = run.report.goal
    embedded = f"lmdb:{os.path.join(run.directory, 'calls')}"
    done = subprocess.run([bare, "round"], capture_output=True, text=True, timeout=120)
    pair = json.loads(done.stdout)["bare_p50_us"]
    one = ask("alone", embedded, 5000)
    goal("one call at a time, p50 in µs", one["p50_us"], "≤", 60)
    run.report.ratio("the same beside a bare socket pair", one["p50_us"] / pair)
    one = ask("call", embedded, 200000)
    goal("calls/s with 64 under way", one["calls_per_second"], "≥", 200000)
    used = max(one["cpu_us"], one["other_cpu_us"])
    goal("CPU of a call, the busier of both, µs", used, "≤", 5)
    one = ask("publish", embedded, 500000)
    goal("messages/s to a subscription", one["messages_per_second"], "≥", 500000)
    used = max(one["cpu_us"], one["other_cpu_us"])
    goal("CPU of a message, the busier of both, µs", used, "≤", 2)
    if shutil.which("redis-server"):
        with Redis(run, "calls") as redis:
            one = ask("alone", f"unix:{redis.socket}", 5000)
            goal("one call at a time through Redis, p50 in µs", one["p50_us"], "≤", 60)
            one = ask("call", f"unix:{redis.socket}", 50000)
            run.report.ratio(
                "calls/s through Redis, with 64 under way", one["calls_per_second"]
            )


# ---- Tasks ---------------------------------------------------------------------------

TASKS = 50_000
TASKS_AT_ONCE = 50
TASK_PEERS = {"BullMQ": "bullmq.js", "node-resque": "resque.js"}


class Redis:
    """A server for one measure, on a socket, that keeps nothing."""

    def __init__(self, run, name, port=0):
        self.socket = os.path.join(run.directory, f"{name}.sock")
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port)]
        command += ["--unixsocket", self.socket]
        self.running = Running([*command, "--save", ""], run.directory)

    def __enter__(self):
        self.running.__enter__()
        deadline = time.monotonic() + 20
        while not os.path.exists(self.socket):
            if time.monotonic() > deadline:
                raise Failure("redis-server does not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *error):
        self.running.__exit__(*error)

    def cpu_us(self):
        return cpu_ns(self.running.pid) / 1000

    def commands(self):
        """Those that clients sent; what scripts call does not count."""
        shown = subprocess.run(
            ["redis-cli", "-s", self.socket, "info", "commandstats"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        sent = 0
        for line in shown.splitlines():
            name, _, rest = line.removeprefix("cmdstat_").partition(":calls=")
            if name in ("evalsha", "blpop", "eval", "ping"):
                sent += int(rest.split(",")[0])
        return sent


def npm_packages(run, *wanted):
    """A folder with the peers' packages: kept, as they are fetched once."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "muster-bench")
    modules = os.path.join(folder, "node_modules")
    names = [name.partition("@")[0] for name in wanted]
    if all(os.path.isdir(os.path.join(modules, name)) for name in names):
        return modules
    npm = run.tool("npm")
    if npm is None:
        return None
    os.makedirs(folder, exist_ok=True)
    command = [npm, "install", "--prefix", folder, "--no-audit", "--no-fund"]
    done = subprocess.run([*command, *wanted], capture_output=True, timeout=300)
    if done.returncode == 0:
        return modules
    run.report.is_partial = True
    run.report.note(f"npm cannot fetch {' and '.join(wanted)}: skipped")
    return None


Subject = collections.namedtuple("Subject", "name measure")


# ---- actionHero -----------------------------------------------------------------

ACTIONHERO_CALLS = 5000


class ActionHero:
    """How its processes are started: each in a folder of its own."""

    def __init__(self, run, modules):
        self.run, self.modules = run, modules
        self.script = os.path.join(HERE, "peers", "actionhero.js")

    def environment(self, redis_port, port):
        return {
            **os.environ,
            "NODE_PATH": self.modules,
            "REDIS_PORT": str(redis_port),
            "PORT": str(port),
            "OTHER_PORT": str(free_port()),
            "FOLDER": self.run.directory,
        }

    @contextlib.contextmanager
    def served(self, redis_port, core):
        port = free_port()
        command = ["node", self.script, "serve"]
        environment = self.environment(redis_port, port)
        with Running(command, self.run.directory, environment, core) as running:
            running.next_of("listening", 60)
            running.port = port
            yield running

    def calls(self, redis_port):
        done = subprocess.run(
            ["node", self.script, "rpc", str(ACTIONHERO_CALLS), "64"],
            capture_output=True,
            text=True,
            timeout=300,
            env=self.environment(redis_port, free_port()),
        )
        if done.returncode != 0:
            raise Failure(done.stderr.strip()[-200:])
        return json.loads(done.stdout)


def compared(run, what, samples, goal=None):
    if goal:
        ratio = samples.ratio("muster", "actionHero", "rate")
        run.report.goal(f"{what}, muster / actionHero", ratio, "≥", goal)
    run.report.columns("per second", "p50 µs")
    run.report.heading(what)
    for name in samples.rounds:
        median = samples.median
        run.report.row(name, median(name, "rate"), median(name, "p50_us"))


def calls_beside(run, peer):
    """On one Redis, over TCP as its clients are; ours to a server by name."""
    program = run.program("rpc")

    def ours(redis_port):
        url = f"redis://127.0.0.1:{redis_port}"
        given = {}
        for mode, key in (("alone", "p50_us"), ("call", "calls_per_second")):
            count = str(ACTIONHERO_CALLS * (1 if mode == "alone" else 10))
            done = subprocess.run(
                [program, mode, url, count, "64"],
                capture_output=True,
                text=True,
                timeout=120,
                env={**os.environ, "MUSTER_TOKEN": "of this benchmark alone"},
            )
            if done.returncode != 0:
                raise Failure(done.stderr.strip() or f"exit code {done.returncode}")
            given[key] = json.loads(done.stdout)[key]
        return given

    def measure(subject):
        port = free_port()
        with Redis(run, "actionhero", port):
            given = subject.measure(port)
        return {"rate": given["calls_per_second"], "p50_us": given["p50_us"]}

    subjects = [Subject("muster", ours), Subject("actionHero", peer.calls)]
    samples = interleave(run, program and subjects or [], measure)
    compared(run, "calls, 64 under way", samples, 4)
    run.report.ratio(
        "calls one at a time, p50, actionHero / muster",
        samples.ratio("actionHero", "muster", "p50_us"),
    )


def requests_beside(run, peer, redis_port):
    if not run.tool("wrk"):
        return
    server_core, client_core = cores()
    options = {**ACTION, "core": client_core}

    def load(running):
        wrk(running.port, WARM_SECONDS, **options)
        return with_cost(running, lambda: wrk(running.port, run.seconds, **options))

    def ours():
        with servers.actions(run, "muster").start(run, server_core) as running:
            return load(running)

    def theirs():
        with peer.served(redis_port, server_core) as running:
            return load(running)

    subjects = [Subject("muster", ours), Subject("actionHero", theirs)]
    samples = interleave(run, subjects, lambda subject: subject.measure())
    compared(run, "randomNumber over HTTP", samples, 8)


def sockets_beside(run, peer, redis_port):
    program = run.program("sockets")
    if not program:
        return
    more = [str(run.seconds), "20", "1"]

    def rate_of(*words):
        done = subprocess.run(
            [program, *words, *more],
            capture_output=True,
            text=True,
            timeout=run.seconds + 60,
        )
        if done.returncode != 0:
            raise Failure(done.stderr.strip() or f"exit code {done.returncode}")
        return {"rate": float(done.stdout.split()[2])}

    def theirs():
        with peer.served(redis_port, cores()[1]) as running:
            return rate_of("at", str(running.port), str(running.pid))

    subjects = [
        Subject("muster", lambda: rate_of("actions")),
        Subject("actionHero", theirs),
    ]
    samples = interleave(run, subjects, lambda subject: subject.measure())
    compared(run, "randomNumber over WebSocket, 20 connections", samples)
    run.report.ratio(
        "actions over WebSocket, muster / actionHero",
        samples.ratio("muster", "actionHero", "rate"),
    )


@benchmark("beside actionHero: calls between servers, actions over HTTP and WebSocket")
def actionhero(run):
    if not run.tool("redis-server") or not run.tool("node"):
        return
    modules = npm_packages(run, "actionhero@29", "ioredis")
    if not modules:
        return
    for folder in ("log", "pids", "public"):
        os.makedirs(os.path.join(run.directory, folder), exist_ok=True)
    peer = ActionHero(run, modules)
    calls_beside(run, peer)
    port = free_port()
    with Redis(run, "actionhero", port):
        requests_beside(run, peer, port)
        sockets_beside(run, peer, port)


@benchmark("tasks that do nothing, 50 at once, one worker; and one when idle")
def tasks(run):
    program, node = run.program("tasks"), run.tool("node")
    if not program or not run.tool("redis-server"):
        return
    wanted = ("bullmq", "node-resque", "ioredis")
    modules = npm_packages(run, *wanted) if node else None

    def rates(command, **environment):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "NODE_PATH": modules or "", **environment},
        )
        if done.returncode != 0:
            raise Failure(done.stderr.strip()[-200:])
        return {k: float(v) for k, v in map(str.split, done.stdout.splitlines())}

    def beside_redis(name, *command):
        def measure():
            with Redis(run, "tasks") as redis:
                own = resource.getrusage(resource.RUSAGE_CHILDREN)
                before = redis.cpu_us()
                sample = rates(
                    [*command[:-1], command[-1] + redis.socket]
                    + [str(TASKS), str(TASKS_AT_ONCE)]
                )
                spent = resource.getrusage(resource.RUSAGE_CHILDREN)
                sample["redis_us"] = (redis.cpu_us() - before) / TASKS
            used = spent.ru_utime + spent.ru_stime - own.ru_utime - own.ru_stime
            return {**sample, "cpu_us": used * 1e6 / TASKS}

        return Subject(name, measure)

    def embedded(**environment):
        store = f"lmdb:{os.path.join(run.directory, f'tasks{time.monotonic_ns()}')}"
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [program, "run", store, str(TASKS), str(TASKS_AT_ONCE)]
        sample = rates(command, **environment)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = spent.ru_utime + spent.ru_stime - own.ru_utime - own.ru_stime
        return {**sample, "cpu_us": used * 1e6 / TASKS}

    subjects = [
        Subject("muster, embedded", embedded),
        Subject("muster, embedded, fast", lambda: embedded(FAST="1")),
        beside_redis("muster, Redis", program, "run", "unix:"),
    ]
    for name, script in TASK_PEERS.items() if modules else ():
        path = os.path.join(HERE, "peers", script)
        subjects.append(beside_redis(name, node, path, ""))
    samples = interleave(run, subjects, lambda subject: subject.measure())
    run.report.columns("enqueue/s", "run/s", "own CPU µs", "Redis CPU µs")
    for name in samples.rounds:
        keys = ("enqueue", "run", "cpu_us", "redis_us")
        run.report.row(name, *(samples.median(name, key) for key in keys))
    for peer, goal in (("BullMQ", 2.5), ("node-resque", 6)):
        run.report.goal(
            f"run/s, muster, Redis / {peer}",
            samples.ratio("muster, Redis", peer, "run"),
            "≥",
            goal,
        )
    measure_idle(run, program, samples)


def measure_idle(run, program, samples):
    def latency(store, **environment):
        done = subprocess.run(
            [program, "latency", store, "500"],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **environment},
        )
        if done.returncode != 0:
            raise Failure(done.stderr.strip()[-200:])
        return float(done.stdout.split()[1])

    run.progress("one at a time, and none")
    own = f"lmdb:{os.path.join(run.directory, 'idle')}"
    start = "enqueue to start, p50 µs"
    run.report.ratio(f"embedded, which waits for the disk twice: {start}", latency(own))
    run.report.goal(
        f"embedded, fast: {start}", latency(own + "-fast", FAST="1"), "≤", 100
    )
    with Redis(run, "idle") as redis:
        url = f"unix:{redis.socket}"
        run.report.goal(f"Redis: {start}", latency(url), "≤", 1000)
        with Running([program, "idle", url], run.directory) as idle:
            idle.next_of("idle")
            before = redis.commands()
            time.sleep(5)
            run.report.ratio(
                "Redis: commands/s of an idle worker, heartbeats included",
                (redis.commands() - before) / 5,
            )


# ---- The cache -----------------------------------------------------------------


CACHE_OPERATIONS = 200_000
CACHE_FIBERS = (64, 256)


def cache_numbers(command):
    """What bench/cache.c says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Failure(done.stderr.strip() or f"exit code {done.returncode}")
    found = json.loads(done.stdout)
    return {"rate": found["per_second"], "ns": found["ns"], "cpu_us": found["cpu_us"]}


def wait_for_file(path, seconds=10):
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise Failure(f"{path} is not there after {seconds} s")
        time.sleep(0.01)


def redis_benchmark(tool, socket, depth, operations):
    """The very command a load is, at the same depth, for the same keys."""
    command = [tool, "-s", socket, "-c", "1", "-P", str(depth), "-n", str(operations)]
    command += ["-r", "10000", "--csv"]
    command += ["HMGET", "muster:cache:key%3A__rand_int__", "v", "t", "c", "x", "r"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    cells = done.stdout.strip().splitlines()[-1].split('","')
    if done.returncode != 0 or len(cells) < 2:
        raise Failure(done.stderr.strip() or "redis-benchmark said nothing")
    rate = float(cells[1])
    return {"rate": rate, "ns": 1e9 / rate}


@benchmark("the cache through the public API, embedded and on Redis")
def cache(run):
    program = run.program("cache")
    server = run.tool("redis-server")
    peer = run.tool("redis-benchmark")
    if not program:
        return
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else run.directory
    folder = tempfile.mkdtemp(prefix="muster-bench-", dir=memory)
    socket = os.path.join(folder, "redis.sock")
    os.environ["XDG_RUNTIME_DIR"] = folder  # where what is embedded lies

    def ours(name, mode, url, *more, operations=CACHE_OPERATIONS):
        command = [program, mode, url, str(operations), *map(str, more)]
        return Program(name, command)

    def theirs(name, depth, operations=CACHE_OPERATIONS):
        return Program(name, (depth, operations))

    def measure(one):
        if isinstance(one.command, tuple):
            return redis_benchmark(peer, socket, *one.command)
        return cache_numbers(one.command)

    lmdb = f"lmdb:{folder}/store"
    subjects = [ours("get, embedded", "get", lmdb)]
    subjects += [ours("put, embedded, 256 fibers", "put", lmdb, 256)]
    try:
        if server:
            options = ["--port", "0", "--unixsocket", socket, "--dir", folder]
            redis = Running([server, *options, "--save", ""], run.directory)
        with redis if server else contextlib.nullcontext():
            if server:
                wait_for_file(socket)
                url = f"unix:{socket}"
                subjects += [ours("get, Redis, alone", "alone", url, operations=20_000)]
                for depth in CACHE_FIBERS:
                    subjects += [ours(f"get, Redis, {depth} fibers", "load", url, depth)]
                    if peer:
                        subjects += [theirs(f"redis-benchmark, depth {depth}", depth)]
                subjects += [ours("put, Redis, 256 fibers", "put", url, 256)]
            samples = interleave(run, subjects, measure)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    run.report.columns("operations/s", "ns", "CPU µs")
    for name in samples.rounds:
        run.report.row(
            name, *(samples.median(name, key) for key in ("rate", "ns", "cpu_us"))
        )
    get, put = "get, embedded", "put, embedded, 256 fibers"
    run.report.goal("a get, embedded, ns", samples.median(get, "ns"), "≤", 1000)
    run.report.goal(
        "a round trip to Redis / a get, embedded",
        samples.ratio("get, Redis, alone", get, "ns"),
        "≥",
        50,
    )
    run.report.goal("puts/s, embedded", samples.median(put, "rate"), "≥", 400_000)
    for depth in CACHE_FIBERS:
        run.report.goal(
            f"gets/s, Redis, {depth} fibers / redis-benchmark at that depth",
            samples.ratio(
                f"get, Redis, {depth} fibers", f"redis-benchmark, depth {depth}", "rate"
            ),
            "≥",
            0.9,
        )
