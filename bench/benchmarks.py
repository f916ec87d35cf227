"""What is measured. Each benchmark fills a report with rows and goals."""

import collections
import json
import os
import signal
import statistics
import subprocess
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


@benchmark("memory (PSS) of two idle workers, and the time to the first answer")
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
    for key, text, goal in (
        ("primary_mib", "primary, MiB", 1.5),
        ("worker_mib", "idle worker, MiB", 2),
        ("start_ms", "start to first answer, ms", 20),
    ):
        run.report.goal(f"muster: {text}", samples.median("muster", key), "≤", goal)


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
