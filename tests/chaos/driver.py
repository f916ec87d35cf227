"""Starts the programs of a run, hurts them as a seeded schedule says, waits
until all is done, and asks the rules.

One thread: it waits for the ends of its processes (pidfds), for what servers
say, and for the next moment of the schedule, all with one poll.
"""

import heapq
import os
import random
import select
import shutil
import signal
import subprocess
import tempfile
import time

from history import History
from program import DEADLINE_S
from rules import Checker, Promise

SHOWN = 5  # violations with their histories, and as many without
SLOW_S = 0.25  # late by more, the machine has other things to do
KEEP = os.environ.get("CHAOS_KEEP")  # the logs of what failed: a directory


class Actor:
    """A process of the chaos program, started again when it dies."""

    def __init__(self, run, role, name, **settings):
        self.run, self.role, self.name = run, role, name
        self.settings = settings
        self.salt = 0
        self.lives = 0
        self.process = self.pidfd = self.owner = None
        self.is_stopped = self.is_through = False
        self.environment = {}
        self.inside = []

    def start(self):
        self.lives += 1
        self.owner = f"{self.name}:{self.lives}"
        seed = self.run.seed + self.lives
        settings = {"url": self.run.store.url, "log": self.run.path(self.name),
                    "name": self.name, "seed": seed,
                    "lease": self.run.promise.lease_ms, **self.settings}
        if self.role == "worker":
            settings["owner"] = self.owner
        if self.role in ("producer", "client"):  # the same in each life
            settings["seed"] = self.run.seed + self.salt
        command = self.inside + [self.run.program, self.role]
        command += [f"{key}={value}" for key, value in settings.items()]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE if self.role == "reaper" else
            subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=self.run.errors, start_new_session=True,
            env={**os.environ, **self.environment})
        if self.role == "node":
            self.owner = f":{self.process.pid}"
        self.pidfd = os.pidfd_open(self.process.pid)
        self.run.poll.register(self.pidfd, select.POLLIN)
        self.run.by_pidfd[self.pidfd] = self

    def is_alive(self):
        return self.process is not None

    def kill(self):
        if self.is_alive():
            self.run.tell(f"kill {self.owner}")
            self.process.kill()
            self.is_stopped = False

    def signal(self, number):
        if self.is_alive():
            self.process.send_signal(number)

    def stop(self):
        if self.is_alive() and not self.is_stopped:
            self.run.tell(f"stop {self.owner}")
            self.is_stopped = True
            self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        if self.is_alive() and self.is_stopped:
            self.run.tell(f"resume {self.owner}")
            self.is_stopped = False
            self.process.send_signal(signal.SIGCONT)

    def ended(self):
        code = self.process.wait()
        self.run.poll.unregister(self.pidfd)
        del self.run.by_pidfd[self.pidfd]
        os.close(self.pidfd)
        if self.process.stdin:
            self.process.stdin.close()
        self.process = self.pidfd = None
        self.is_stopped = False
        return code


class Child:
    """A worker of a cluster: its primary's process, not ours."""

    def __init__(self, run, pid):
        self.run, self.pid = run, pid

    def signal(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass  # it was faster

    def kill(self):
        self.run.tell(f"kill :{self.pid}")
        self.signal(signal.SIGKILL)

    def stop(self):
        self.run.tell(f"stop :{self.pid}")
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.run.tell(f"resume :{self.pid}")
        self.signal(signal.SIGCONT)


class Run:
    """One run: a store, its actors, a schedule."""

    def __init__(self, program, store, title, seed=None, promise=None, home=None):
        self.program = program
        self.title = title
        self.seed = seed if seed is not None else int(
            os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1 << 31))
        self.random = random.Random(self.seed)
        self.promise = promise or Promise()
        self.home = home or tempfile.mkdtemp(prefix="muster-chaos-")
        self.logs = tempfile.mkdtemp(prefix="muster-chaos-logs-")
        self.errors = open(os.path.join(self.logs, "stderr"), "w+b")
        self.log = open(self.path("driver"), "ab", buffering=0)
        self.poll = select.poll()
        self.by_pidfd = {}
        self.schedule = []
        self.workers, self.producers, self.others = [], [], []
        self.reaper = self.cluster = None
        self.is_ending = False
        self.is_hurt = False
        self.reaped_share = 0.7
        self.began = time.monotonic()
        self.checker = None
        self.store = None
        try:
            self.store = store(self.home)
        except BaseException:
            self.close()
            raise

    def path(self, name):
        return os.path.join(self.logs, f"{name}.log")

    def tell(self, text):
        self.log.write(b"%d %s\n" % (time.monotonic_ns() // 1000, text.encode()))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.show_errors()
            if KEEP:
                shutil.copytree(self.logs, os.path.join(
                    KEEP, f"{self.title}-{self.seed}"), dirs_exist_ok=True)
        self.close()

    def close(self):
        for actor in list(self.by_pidfd.values()):
            actor.process.kill()
            actor.ended()
        if self.store:
            self.store.stop()
        self.log.close()
        self.errors.close()
        shutil.rmtree(self.logs, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def show_errors(self):
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").splitlines()
        for line in lines[-20:]:
            print(f"# {line}")

    # ---- actors ----

    def start_workers(self, count, **settings):
        for i in range(count):
            worker = Actor(self, "worker", f"store-worker-{i + 1}",
                           concurrency=self.promise.concurrency, **settings)
            self.workers.append(worker)
            worker.start()

    def start_cluster(self, workers, **settings):
        """Of the public API: a primary, and workers that it replaces."""
        self.cluster = Actor(self, "node", "cluster", workers=workers,
                             concurrency=self.promise.concurrency, **settings)
        self.others.append(self.cluster)
        self.cluster.start()

    def start_nodes(self, count, **settings):
        """Of the public API as well, each by itself."""
        for i in range(count):
            node = Actor(self, "node", f"node-{i + 1}",
                         concurrency=self.promise.concurrency, **settings)
            self.workers.append(node)
            node.start()

    def start_producer(self, role, count, **settings):
        """One that makes `count` tasks: producer, or client."""
        number = len(self.producers) + 1
        producer = Actor(self, role, f"p{number}", count=count, **settings)
        producer.salt = 1000 * number
        self.producers.append(producer)
        producer.start()

    def start_other(self, role, name, **settings):
        actor = Actor(self, role, name, **settings)
        self.others.append(actor)
        actor.start()
        if role == "reaper":
            self.reaper = actor
        return actor

    def all(self):
        return self.workers + self.producers + self.others

    def on_end(self, actor):
        code = actor.ended()
        owner = actor.owner
        self.tell(f"dead {owner}")
        if actor in self.producers and code == 0:
            actor.is_through = True  # it has made all of its tasks
            return
        if actor in self.workers and self.reaper and self.reaper.is_alive() \
                and self.random.random() < self.reaped_share:
            self.reaper.process.stdin.write(f"{owner}\n".encode())
            self.reaper.process.stdin.flush()
        if not self.is_ending or (actor in self.workers
                                  and actor.settings.get("recurs") != 0):
            pause = 0 if code < 0 else 0.1  # one that gave up tries again
            self.after(pause * (1 + self.random.random()), actor.start)

    # ---- time ----

    def after(self, seconds, what):
        heapq.heappush(self.schedule, (time.monotonic() + seconds,
                                       len(self.schedule) + self.random.random(),
                                       what))

    def often(self, mean, what):
        """Again and again, until the run ends."""

        def again():
            if not self.is_ending:
                what()
                self.after(self.random.uniform(0.5, 1.5) * mean, again)

        self.after(self.random.uniform(0.2, 1) * mean, again)

    def turn(self, until):
        now = time.monotonic()
        while self.schedule and self.schedule[0][0] <= now:
            heapq.heappop(self.schedule)[2]()
            now = time.monotonic()
        for server in self.store.servers:
            server.drain()
        wake = min([until, now + 1] + [at for at, *_ in self.schedule[:1]])
        ended = self.poll.poll(max(0, (wake - now) * 1000))
        if time.monotonic() - wake > SLOW_S:
            self.tell(f"slow {int(wake * 1e6)}")
        for descriptor, _ in ended:
            self.on_end(self.by_pidfd[descriptor])

    def go_on_for(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn(until)

    def go_on_until(self, condition, what, seconds):
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
            self.turn(until)

    # ---- faults ----

    def fault(self, name, seconds, begin, end=lambda: None):
        """`begin` now and `end` later; both are in the history. One at a time:
        a store that is away cannot be hurt."""
        if self.is_hurt:
            return
        self.is_hurt = True
        self.tell(f"fault {name}")
        begin()

        def heal():
            end()
            self.tell(f"healed {name}")
            self.is_hurt = False

        self.after(seconds, heal)

    def leases(self, least=0.5, most=2.5):
        return self.random.uniform(least, most) * self.promise.lease_ms / 1000

    def children(self):
        """The cluster's workers."""
        if not (self.cluster and self.cluster.is_alive()):
            return []
        pid = self.cluster.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [Child(self, int(child)) for child in file.read().split()]

    def any_worker(self):
        """One of them, or of the cluster's."""
        return self.random.choice(self.workers + self.children())

    def kill_worker(self):
        self.any_worker().kill()

    def stop_worker(self):
        worker = self.any_worker()
        worker.stop()
        self.after(self.leases(), worker.resume)

    def end_worker(self):
        self.random.choice(self.workers).signal(signal.SIGTERM)

    def reload(self):
        self.cluster.signal(signal.SIGHUP)

    def kill_producer(self):
        alive = [p for p in self.producers if p.is_alive()]
        if alive:
            self.random.choice(alive).kill()

    def kill_all(self):
        """As if the host had died, but for a Redis that is elsewhere."""
        self.tell("fault host")
        children = self.children()
        for child in children:
            child.stop()  # so that it does not see its primary go
        for actor in self.all():
            actor.kill()
        for child in children:
            child.kill()
        for actor in self.all():
            if actor.is_alive():
                code = actor.ended()
                self.tell(f"dead {actor.owner}")
                if actor in self.producers and code == 0:
                    actor.is_through = True
                else:
                    self.after(0, actor.start)
        self.tell("healed host")

    def freeze_all(self):
        """As if the host had slept."""
        frozen = self.children() + [a for a in self.all() if a.is_alive()]
        self.fault("freeze", self.leases(1.5, 2.5),
                   lambda: [actor.stop() for actor in frozen],
                   lambda: [actor.resume() for actor in frozen])

    # ---- the end ----

    def end_recurring(self, seconds):
        """Else it never comes to rest. Who is left drains."""
        ending = [actor for actor in self.others + self.workers
                  if actor.role == "scheduler" or actor.settings.get("recurs")]
        for actor in ending:
            actor.settings["recurs"] = 0
            actor.signal(signal.SIGTERM)
        self.go_on_until(lambda: not any(actor.is_alive() for actor in ending),
                         "those who fire", seconds)
        for actor in ending:
            if actor.role == "node":
                actor.start()

    def finish(self, seconds=60):
        """Waits until the producers are through, heals, lets it drain, looks,
        and checks."""
        # One that was killed is not alive for a moment, and not through.
        self.go_on_until(lambda: all(p.is_through for p in self.producers),
                         "the producers", seconds)
        self.is_ending = True
        # What heals is on the schedule, and so are those who come back.
        self.go_on_until(lambda: not self.schedule, "the schedule", seconds)
        self.end_recurring(seconds)
        self.read("look", seconds)
        ending = self.workers + [actor for actor in self.others
                                 if actor.role in ("node", "watch")]
        for actor in ending:
            actor.signal(signal.SIGTERM)
        self.workers = []
        self.go_on_until(lambda: not any(actor.is_alive() for actor in ending),
                         "those who were told to end", DEADLINE_S)
        if self.promise.has_effects:
            self.read("effects", seconds)
        self.check()

    def read(self, role, seconds):
        """Writes down what is in the store."""
        reader = Actor(self, role, role, deadline=int(seconds * 1000))
        reader.start()
        self.go_on_until(lambda: not reader.is_alive(), "the store at rest",
                         seconds + DEADLINE_S)
        for key, number in self.store.raw().items():
            self.tell(f"raw {key} {number}")

    def check(self):
        history = History.of_directory(self.logs)
        self.checker = checker = Checker(history, self.promise)
        violations = checker.check()
        print(f"# {self.title}: {checker.summary()}, "
              f"{time.monotonic() - self.began:.1f} s, CHAOS_SEED={self.seed}",
              flush=True)
        for number, (rule, id, text) in enumerate(violations[:2 * SHOWN]):
            print(f"# rule {rule}: {id} {text}")
            if number < SHOWN and id != "-":
                for line in history.of_id(id):
                    print(f"#     {line}")
        assert not violations, f"{len(violations)} violations"
