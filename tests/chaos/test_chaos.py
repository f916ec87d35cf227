"""What the store promises, held against real processes that are killed, stopped
and cut off: test_chaos.py CHAOS CLOCK_OFFSET [TEST...]

CHAOS_SEED repeats a run as far as that goes: what is made, and the schedule of
the faults, but not which of two processes is faster. CHAOS_KEEP names a
directory for the logs of a run that failed. With `soak` in the place of
CLOCK_OFFSET it goes on for SOAK_TASKS (1,000,000).
"""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys

CHAOS, CLOCK_OFFSET = sys.argv[1:3]
del sys.argv[2]  # what follows are names of tests

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from driver import Run
from program import Skipped, main
from rules import Promise
from stores import Cluster, Embedded, Redis, Sentinel

# A long run is a flood of SOAK_TASKS, a short one takes SECONDS.
IS_LONG = CLOCK_OFFSET == "soak"
TASKS = int(os.environ.get("SOAK_TASKS", "1000000")) if IS_LONG else 2000
SECONDS = 5
ALL_KINDS = "sfbedqucp"


def run(store, title, promise=None, **options):
    promise = promise or Promise()
    if IS_LONG:  # a flood: what is due waits behind all that is there
        promise = dataclasses.replace(promise, concurrency=64,
                                      lateness_ms=24 * 3600 * 1000)
    return Run(CHAOS, store, title, promise=promise, **options)


def begin(run, workers=2, cluster=2, nodes=0, schedulers=2,
          kinds=ALL_KINDS + "k", tasks=TASKS, effects=True, **settings):
    """The usual crew: workers and producers of the public API, with a primary
    and without, beside some that speak to the store and know more of what it
    answers; tasks of all kinds, over about SECONDS."""
    run.promise.has_effects = effects
    run.start_other("watch", "watch")
    run.start_other("reaper", "reaper")
    run.start_workers(workers, children=1, lose=10, **settings)
    public = {"no_effects": int(not effects), "recurs": int(schedulers > 0)}
    if cluster:
        run.start_cluster(cluster, **public)
    run.start_nodes(nodes, **public)
    rate = 0 if IS_LONG else int(tasks / 2 / SECONDS)
    special = 5 if IS_LONG else 100
    for role, server in (("producer", "store-worker-1"),
                         ("client", "chaos-worker-1")):
        run.start_producer(role, tasks // 2, rate=rate, kinds=kinds, special=special,
                           batch=64 if IS_LONG else 8, server=server)
    for i in range(schedulers):
        run.start_other("scheduler", f"scheduler{i + 1}")


def end(run):
    run.finish(24 * 3600 if IS_LONG else 90)


def hurt_processes(run):
    run.often(0.7, run.kill_worker)
    run.often(0.4, run.stop_worker)
    run.often(2, run.end_worker)
    run.often(2, run.kill_producer)


def often_or_at(run, mean, shares, what):
    """Again and again in a long run; at these parts of SECONDS in a short one,
    as what it costs is out of proportion there."""
    if IS_LONG:
        run.often(mean, what)
    else:
        for share in shares:
            run.after(SECONDS * share, what)


# ---- workers, producers, hosts ----

def test_processes_die_and_freeze_on_the_embedded_store():
    with run(Embedded, "lmdb processes") as it:
        begin(it)
        hurt_processes(it)
        end(it)


def test_processes_die_and_freeze_on_redis():
    with run(Redis, "redis processes") as it:
        begin(it)
        hurt_processes(it)
        end(it)


def test_a_cluster_that_is_reloaded_loses_no_run():
    for store in Embedded, Redis:
        # Its workers take new names: nothing is meant for one of them.
        with run(store, f"{store.name} reload") as it:
            begin(it, workers=0, schedulers=0, kinds=ALL_KINDS.replace("q", ""))
            it.often(1, it.reload)
            end(it)
            again = it.checker.figures["run again"]
            assert set(again) <= {"failed", "released"}, again


def test_a_poison_task_is_buried_after_its_attempts():
    for store in Embedded, Redis:
        with run(store, f"{store.name} poison") as it:
            begin(it, kinds="x", tasks=TASKS // 2)
            end(it)


def test_a_host_dies_with_all_that_runs_on_it():
    with run(Embedded, "lmdb host") as it:
        begin(it)
        it.often(1.5, it.kill_all)
        end(it)


def test_a_host_that_sleeps_costs_no_lease():
    for store in Embedded, Redis:
        promise = Promise(outages=("freeze",))
        with run(store, f"{store.name} freeze", promise=promise) as it:
            begin(it)
            often_or_at(it, 20, (0.4,), it.freeze_all)
            end(it)


def test_a_servers_own_queue_is_not_starved():
    for store in Embedded, Redis:
        servers = ("store-worker-1", "chaos-worker-1")
        promise = Promise(never_killed=servers)
        with run(store, f"{store.name} saturated", promise=promise) as it:
            it.start_workers(1)
            it.start_cluster(1)
            for role, server in zip(("producer", "client"), servers):
                # A flood, and now and then one for the server itself.
                it.start_producer(role, 2 * TASKS, rate=0, batch=64, kinds="q",
                                  special=10, server=server)
            end(it)


# ---- one Redis ----

def hurt_redis(run):
    server = run.store.main

    def kill_and_start():
        run.fault("redis_killed", run.random.uniform(0, 0.3), server.stop,
                  server.start)

    def flush():
        run.fault("script_flush", 0, lambda: server.ask("SCRIPT", "FLUSH"))

    def disconnect():
        run.fault("client_kill", 0, lambda: server.ask(
            "CLIENT", "KILL", "TYPE", "NORMAL"))

    run.often(2.5, kill_and_start)
    run.often(1, flush)
    run.often(1, disconnect)


def test_redis_is_killed_and_keeps_each_write():
    with run(lambda home: Redis(home, "always"), "redis always") as it:
        begin(it)
        hurt_processes(it)
        hurt_redis(it)
        end(it)


def test_redis_is_killed_and_keeps_them_every_second():
    with run(lambda home: Redis(home, "everysec"), "redis everysec") as it:
        begin(it)
        hurt_processes(it)
        hurt_redis(it)
        end(it)


def test_an_outage_of_redis_costs_no_lease():
    promise = Promise(outages=("redis_stalled", "redis_down"))
    with run(lambda home: Redis(home, "always"), "redis outage",
             promise=promise) as it:
        begin(it)
        server = it.store.main
        often_or_at(it, 20, (0.2,), lambda: it.fault(
            "redis_stalled", it.leases(1.5, 2.5),
            lambda: server.signal(signal.SIGSTOP),
            lambda: server.signal(signal.SIGCONT)))
        often_or_at(it, 20, (0.8,), lambda: it.fault(
            "redis_down", it.leases(1.5, 2.5), server.stop, server.start))
        end(it)


def test_a_redis_whose_memory_is_full():
    with run(Redis, "redis memory") as it:
        begin(it)
        server = it.store.main

        def fill():
            used = next(int(line.split(":")[1]) for line in
                        server.ask("INFO", "memory").splitlines()
                        if line.startswith("used_memory:"))
            server.ask("CONFIG", "SET", "maxmemory", used * 3 // 4)

        it.often(1.5, lambda: it.fault(
            "memory_full", it.random.uniform(0.3, 0.8), fill,
            lambda: server.ask("CONFIG", "SET", "maxmemory", 0)))
        hurt_processes(it)
        end(it)


def test_clocks_that_are_wrong():
    with run(Redis, "redis clocks") as it:
        begin(it, schedulers=0)
        for i, offset in enumerate((7200, -7200, 86400 * 400)):
            for actor in it.all()[i::3]:
                actor.environment = {"LD_PRELOAD": CLOCK_OFFSET,
                                     "CLOCK_OFFSET_S": str(offset)}
                actor.kill()
        it.often(0.5, it.kill_worker)
        it.often(1, it.kill_producer)
        end(it)


def test_the_clock_of_redis_steps():
    # Leases and delays are over at once; what is recorded is not touched.
    promise = Promise(losing=("clock_step",), kept=(1, 2, 3, 12))
    with run(lambda home: Redis(home, "always"), "redis clock step",
             promise=promise) as it:
        begin(it, schedulers=0)
        server = it.store.main

        def step():
            server.stop()
            server.environment = {"LD_PRELOAD": CLOCK_OFFSET,
                                  "CLOCK_OFFSET_S": "3600"}
            server.start()

        it.after(SECONDS * 0.4, lambda: it.fault("clock_step", 3, step))
        end(it)


# ---- several ----

def fail_over(it):
    begin(it)
    it.often(0.7, it.kill_worker)
    gone = []
    often_or_at(it, 30, (0.3,), lambda: it.fault(
        "failover", 0.5, lambda: gone.append(it.store.fail_over()),
        lambda: it.store.restore(gone.pop())))
    end(it)


def test_a_replica_takes_over():
    promise = Promise(losing=("failover",))
    with run(Sentinel, "sentinel failover", promise=promise) as it:
        fail_over(it)


def test_a_replica_that_was_waited_for_takes_over():
    # Claims are not waited for: a task may run twice, and no more than that.
    promise = Promise(losing=("failover",), kept=(1, 2, 3, 9, 12))
    with run(lambda home: Sentinel(home, "?wait_replicas=1&wait_ms=1000"),
             "sentinel failover, waited for", promise=promise) as it:
        fail_over(it)


def test_a_primary_that_stood_still_comes_back():
    # Until it is told, it takes writes that go when it becomes a replica.
    promise = Promise(losing=("two_primaries",))
    with run(Sentinel, "sentinel two primaries", promise=promise) as it:
        begin(it)
        gone = []
        often_or_at(it, 30, (0.3,), lambda: it.fault(
            "two_primaries", 0.2, lambda: gone.append(it.store.freeze()),
            lambda: it.store.thaw(gone.pop())))
        end(it)


def test_a_slot_moves_and_a_node_dies():
    promise = Promise(losing=("node_killed",))
    with run(Cluster, "cluster", promise=promise) as it:
        # Its cache is on another node: completions cannot carry it.
        begin(it, effects=False)
        it.often(0.7, it.kill_worker)
        gone = []
        often_or_at(it, 20, (0.2, 0.5), lambda: it.fault(
            "slot_moved", 0, it.store.move_slot))
        # Of the first it is whose replica takes over: the tasks are back there.
        often_or_at(it, 60, (0.7,), lambda: it.fault(
            "node_killed", 0.5, lambda: gone.append(it.store.kill_main()),
            lambda: it.store.restore(gone.pop())))
        end(it)


# ---- in namespaces of their own ----

def inside(kinds, name):
    """Runs a function of this file in namespaces that nobody else sees."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", f"-Ur{kinds}"]
    for needed in ("setpriv", "unshare", "ip", "mount", "nsenter"):
        if shutil.which(needed) is None:
            raise Skipped(f"{needed} is missing (try: make deps)")
    tried = subprocess.run(command + ["true"], capture_output=True, text=True)
    if tried.returncode != 0:
        raise Skipped(f"no namespaces here: {tried.stderr.strip()}")
    done = subprocess.run(
        command + [sys.executable, os.path.abspath(__file__), CHAOS,
                   CLOCK_OFFSET, name],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("#") or done.returncode != 0:
            print(f"# {line.removeprefix('# ')}", flush=True)
    assert done.returncode == 0, "see above"


def do(*command):
    subprocess.run(command, check=True)


def test_a_worker_and_a_producer_are_cut_off():
    inside("n", "inside_partition")


def inside_partition():
    do("ip", "link", "set", "lo", "up")
    apart = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    there = ["nsenter", "-t", str(apart.pid), "-n"]
    try:
        # It has a network of its own once it answers.
        apart.stdin.write(b"?")
        apart.stdin.flush()
        apart.stdout.read(1)
        do("ip", "link", "add", "near", "type", "veth", "peer", "name", "far",
           "netns", str(apart.pid))
        do("ip", "address", "add", "10.77.0.1/24", "dev", "near")
        do("ip", "link", "set", "near", "up")
        do(*there, "ip", "address", "add", "10.77.0.2/24", "dev", "far")
        do(*there, "ip", "link", "set", "far", "up")
        cut_off(there)
    finally:
        apart.stdin.close()
        apart.wait()
        apart.stdout.close()


def cut_off(there):
    def at_the_veth(home):
        store = Redis(home, "no", "--bind", "127.0.0.1 10.77.0.1",
                      "--protected-mode", "no")
        store.url = f"redis://10.77.0.1:{store.main.port}"
        return store

    with run(at_the_veth, "redis partition") as it:
        begin(it)
        for actor in it.workers[0], it.producers[0]:
            actor.inside = there
            actor.kill()
        link = [*there, "ip", "link", "set", "far"]
        often_or_at(it, 15, (0.2, 0.7), lambda: it.fault(
            "partition", it.leases(0.5, 2.5), lambda: do(*link, "down"),
            lambda: do(*link, "up")))
        it.often(1, it.kill_worker)
        end(it)


def test_a_disk_is_full():
    inside("m", "inside_full_disk")


def inside_full_disk():
    home = "/mnt"
    do("mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", home)
    filler = os.path.join(home, "filler")

    def fill():
        with open(filler, "ab", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass

    with run(Embedded, "lmdb disk full", home=home) as it:
        begin(it)
        it.often(1.5, lambda: it.fault("disk_full", it.random.uniform(0.3, 0.8),
                                       fill, lambda: os.remove(filler)))
        it.often(0.7, it.kill_worker)
        it.often(1, it.kill_producer)
        end(it)


if __name__ == "__main__":
    sys.exit(main(globals()))
