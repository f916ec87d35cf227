"""Nodes as processes, which are killed, stopped and drained while they run
tasks, on a store that goes away and comes back.

test_workers.py BUILD lmdb|redis [TEST]
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, Program, equal, main

BUILD, BACK_END = sys.argv[1], sys.argv[2]
del sys.argv[1]
MUSTER = os.path.join(BUILD, "muster")
WORKER = os.path.join(BUILD, "tests", "service", "task_worker")
LEASE_MS = 1500


class Store:
    """A store of the test's own, and the environment that names it."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="muster-workers-")
        self.server = None
        home = self.folder.name
        self.url = f"lmdb:{home}/tasks"
        if BACK_END == "redis":
            self.url = f"unix:{home}/redis.sock"
            self.start()
        self.environment = {
            "MUSTER_STORE": self.url,
            "MUSTER_TOKEN": "a secret of this test",
            "MUSTER_HOME": home,
            "MUSTER_LOG": "info",
        }

    def start(self):
        home = self.folder.name
        command = ["redis-server", "--port", "0", "--dir", home]
        command += ["--unixsocket", f"{home}/redis.sock", "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always"]
        self.server = Program(*command)
        self.server.expect("Ready to accept connections|ready to accept")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.server:
            self.server.__exit__(None)
        self.folder.cleanup()

    def worker(self, **environment):
        own = {"LEASE_MS": str(LEASE_MS), **self.environment, **environment}
        return Program(WORKER, **own)

    def tasks(self, *arguments, code=0, limit=DEADLINE_S):
        done = subprocess.run(
            [MUSTER, "tasks", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=limit,
        )
        equal((done.returncode, done.stderr if code == 0 else ""), (code, ""))
        return done.stdout.strip()

    def enqueue(self, task, ident, *more, **params):
        given = json.dumps(params)
        self.tasks("enqueue", task, given, "--id", ident, *more)

    def stop(self, worker):
        """Stops it, and not while it writes, as all others would wait."""
        for _ in range(50):
            worker.signal(signal.SIGSTOP)
            try:
                self.tasks("resume", "nothing", limit=0.8)
                return
            except (AssertionError, subprocess.TimeoutExpired):
                # It did, or somebody else found that it did and woke it.
                worker.signal(signal.SIGCONT)
        raise AssertionError("it writes all the time")

    def show(self, ident):
        return json.loads(self.tasks("show", ident, "--json"))

    def await_state(self, ident, state):
        until = time.monotonic() + DEADLINE_S
        while True:
            task = self.show(ident)
            if task["state"] == state:
                return task
            assert time.monotonic() < until, f"{task} is never {state}"
            time.sleep(0.02)  # there is nothing to wait for but the store


def name_of(worker):
    return worker.expect("^ready (.*) ").group(1)


def test_what_a_killed_worker_ran_runs_again():
    with Store() as store, store.worker() as first:
        name_of(first)
        store.enqueue("hold", "a", first=3600000)
        _, token = first.expect("^start .* hold a 1 (.*)").group(0, 1)
        with store.worker() as second:
            name_of(second)
            first.signal(signal.SIGKILL)
            began = time.monotonic()
            again = second.expect("^start .* hold a [0-9]+ (.*)").group(1)
            took = time.monotonic() - began
            assert int(again) > int(token)
            equal(store.await_state("a", "done")["result"], again)
            second.signal(signal.SIGTERM)
            second.end()
            print(f"# it ran again after {took * 1000:.0f} ms")


def test_in_a_cluster_it_runs_again_at_once():
    """The primary tells the others of the death."""
    with Store() as store, store.worker(WORKERS="2") as cluster:
        pids = dict(
            cluster.expect("^ready (.*) ([0-9]+)").groups() for _ in range(2)
        )
        for ident in "abcde":
            store.enqueue("hold", ident, first=3600000)
            name = cluster.expect(f"^start (.*) hold {ident} 1 ").group(1)
            began = time.monotonic()
            os.kill(int(pids[name]), signal.SIGKILL)
            cluster.expect(f"^start .* hold {ident} 2 ")
            took = time.monotonic() - began
            cluster.expect(f"^end .* hold {ident} ")
            pids.update([cluster.expect("^ready (.*) ([0-9]+)").groups()])
            print(f"# it ran again after {took * 1000:.0f} ms")
        cluster.signal(signal.SIGTERM)
        cluster.end()


def test_a_stopped_worker_is_fenced_and_its_completion_refused():
    with Store() as store, store.worker() as first:
        name_of(first)
        store.enqueue("block", "a", first=400)
        first.expect("^start .* block a 1 ")
        store.stop(first)
        with store.worker() as second:
            name_of(second)
            token = second.expect("^start .* block a 2 (.*)").group(1)
            equal(store.await_state("a", "done")["result"], token)
            first.signal(signal.SIGCONT)
            first.expect("^end .* block a ")
            first.expect("came too late, its end is not recorded .*id=a")
            equal(store.show("a")["result"], token)
            # It goes on, as another one if it was buried meanwhile.
            store.enqueue("hold", "b")
            store.await_state("b", "done")
            for worker in (first, second):
                worker.signal(signal.SIGTERM)
                worker.end()


def test_a_stopped_worker_that_waits_is_told_that_it_lost_its_lease():
    with Store() as store, store.worker() as first:
        name_of(first)
        store.enqueue("hold", "a", first=3600000)
        first.expect("^start .* hold a 1 ")
        store.stop(first)
        with store.worker() as second:
            name_of(second)
            token = second.expect("^start .* hold a 2 (.*)").group(1)
            first.signal(signal.SIGCONT)
            first.expect(r"^end .* hold a [0-9]+ -[0-9]+ fenced")
            equal(store.await_state("a", "done")["result"], token)


def test_a_worker_that_is_told_to_stop_finishes_and_leaves_the_rest():
    with Store() as store, store.worker(CONCURRENCY="1") as first:
        name_of(first)
        store.enqueue("hold", "a", ms=600)
        store.enqueue("hold", "b")
        first.expect("^start .* hold a 1 ")
        first.signal(signal.SIGTERM)
        first.expect(r"^end .* hold a [0-9]+ 0$")
        first.end()
        equal(store.show("a")["state"], "done")
        equal(store.show("b")["state"], "queued")
        with store.worker() as second:
            second.expect(r"^end .* hold b [0-9]+ 0$")


def test_a_worker_that_may_not_finish_gives_back_what_it_ran():
    with Store() as store, store.worker(DRAIN_MS="100") as first:
        name_of(first)
        store.enqueue("hold", "a", first=3600000, ms=3600000)
        first.expect("^start .* hold a 1 ")
        first.signal(signal.SIGTERM)
        first.end()
        with store.worker() as second:
            second.expect("^start .* hold a 1 ")  # it did not count
            equal(store.tasks("cancel", "a"), "cancelled 1")
            second.expect(r"^end .* hold a [0-9]+ -[0-9]+ cancelled")


def test_a_server_has_a_queue_of_its_own():
    with Store() as store, store.worker() as first, store.worker() as second:
        names = name_of(first), name_of(second)
        for ident in "abcd":
            store.enqueue("hold", ident, "--server", names[0])
            first.expect(f"^end {names[0]} hold {ident} ")
        store.enqueue("hold", "e", "--all")
        for worker, name in zip((first, second), names):
            worker.expect(f"^end {name} hold e.{name} ")


def test_each_due_time_has_one_run():
    runs = []
    with Store() as store:
        workers = [store.worker(TICK_MS="150") for _ in range(3)]
        for worker in workers:
            name_of(worker)
        store.enqueue("hold", "end", "--delay", "2s")
        store.await_state("end", "done")
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            worker.end()
            for line in worker.said:
                if line.startswith("start") and " tick " in line:
                    runs.append(line.split()[3])
            worker.__exit__(None)
    assert len(runs) >= 8, runs
    equal(len(runs), len(set(runs)))
    times = sorted(int(run.split(":")[-1]) for run in runs)
    gaps = {later - earlier for earlier, later in zip(times, times[1:])}
    assert all(gap % 150 == 0 for gap in gaps), gaps


def test_nothing_is_lost_while_the_store_is_away():
    """A server that is stopped for longer than a lease, then killed."""
    if BACK_END != "redis":
        return  # it has no server
    with Store() as store, store.worker() as worker, store.worker() as other:
        for one in (worker, other):
            name_of(one)
        store.enqueue("hold", "a", ms=LEASE_MS * 3)
        for number in range(50):
            store.enqueue("hold", f"n{number}", "--delay", "1s", ms=20)
        store.await_state("a", "active")
        store.server.signal(signal.SIGSTOP)
        time.sleep(LEASE_MS * 1.5 / 1000)  # that is what it is about
        store.server.signal(signal.SIGCONT)
        for number in range(50):
            store.await_state(f"n{number}", "done")
        store.await_state("a", "done")
        # Killed, and there again with all it had answered.
        store.enqueue("hold", "b", ms=LEASE_MS * 2)
        for number in range(50):
            store.enqueue("hold", f"m{number}", "--delay", "500", ms=20)
        store.await_state("b", "active")
        store.server.signal(signal.SIGKILL)
        store.server.end(-signal.SIGKILL)
        store.server.__exit__(None)
        store.start()
        for number in range(50):
            store.await_state(f"m{number}", "done")
        store.await_state("b", "done")
        for one in (worker, other):
            one.signal(signal.SIGTERM)
            one.end()
        said = [line.split() for line in worker.said + other.said]
        for ident in "ab":
            runs = [w[0] for w in said if w[2:4] == ["hold", ident]]
            equal(runs, ["start", "end"])


if __name__ == "__main__":
    sys.exit(main(globals()))
