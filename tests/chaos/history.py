"""What happened to each task, read from logs that were written outside the
store: those of the programs (chaos.h), and the driver's.

A line is MICROSECONDS WORD FIELDS..., of the monotonic clock, which the
processes of a host share and which nobody can set:

  open NAME PID, close      a process begins and ends
  try ID KIND DELAY MAX QUEUE UNIQUE   about to enqueue ("-": none)
  ack ID RESULT             the store's answer to that, as the next ones
  undo ID, undone ID RESULT             to cancel it
  owner OWNER               under that name this process claims
  got ID TOKEN ATTEMPT MAX ASKED QUEUE  a claim that was asked for at ASKED; 0
                            where only the library knows
  missed ID TOKEN ASKED     the same, and its answer was taken for lost
  run ID TOKEN              the task's code begins
  poison ID TOKEN           and is about to kill this process
  beat ID TOKEN RESULT ASKED
  fenced ID TOKEN           the run knows that it has lost its lease
  fin ID TOKEN CHILD        about to complete; with a child in the same step?
  done ID TOKEN RESULT
  fail ID TOKEN FINAL, failed ID TOKEN RESULT
  release ID TOKEN, released ID TOKEN RESULT
  fire NAME EXPECTED NEXT, fired NAME EXPECTED RESULT
  reap OWNER, reaped OWNER COUNT
  error ID TOKEN WORD       a call failed
  kill OWNER, stop OWNER, resume OWNER, dead OWNER    by the driver; :PID is
                            whoever has that pid
  fault NAME, healed NAME   by the driver
  state ID STATE TOKEN ATTEMPT          what is in the store at the end
  event ID KIND DETAIL...   the store's own word for what was out of the ordinary
  slow BEGIN                somebody waited since then for a turn, or an answer
  effect ID COUNT           how often the effect of its completion was made
  audit DIFFERENCE COUNT    what does not agree in the store's own books
  raw KEY COUNT             what is under a key of Redis
  counts QUEUED DELAYED ACTIVE DEAD DONE ORPHANS
"""

import glob
import os

# enum store_result
DONE, KNOWN, DUPLICATE, FULL, NOT_FOUND, LOST, CANCELLED, RETRYING, DEAD = range(1, 10)
# enum kind of producer.c
(PLAIN, SLOW, FAILS, BURIED, FINAL, LATER, THERE, UNIQUE, UNDONE, PARENT,
 POISON, BLOCKS) = range(12)

SECOND = 1_000_000
NEVER = 1 << 62


class Run:
    """One claim of a task."""

    __slots__ = ("id", "token", "owner", "attempt", "most", "queue", "asked",
                 "got", "ran", "renewed", "beats", "fenced", "fin", "has_child",
                 "results", "fail", "failed", "release", "released", "poison")

    def __init__(self, id, token, owner, asked, got):
        self.id, self.token, self.owner = id, token, owner
        self.asked, self.got = asked, got
        self.attempt = self.most = 0
        self.queue = ""
        self.ran = self.fin = self.fail = self.release = self.poison = None
        self.fenced = self.failed = self.released = None
        self.has_child = False
        self.renewed = asked  # the lease lasts at least from then
        self.beats = ()  # of (asked, result)
        self.results = ()  # of (when, result)

    def has(self, result):
        return any(got == result for _, got in self.results)


class Task:
    __slots__ = ("id", "kind", "tries", "acks", "delay", "most", "queue",
                 "unique", "runs", "undo", "undone", "state", "events", "effect")

    def __init__(self, id):
        self.id = id
        self.kind = PLAIN
        self.delay = self.most = 0
        self.queue = self.unique = ""
        self.tries = ()  # when
        self.acks = ()  # of (when, result)
        self.runs = {}  # by token
        self.events = ()  # of (when, kind, token): 0 where it tells none
        self.effect = None
        self.undo = self.undone = self.state = None

    def winner(self):
        """The run whose completion is recorded; None."""
        for run in self.runs.values():
            if run.has(DONE):
                return run
        if self.state and self.state[0] == "done":
            return self.runs.get(self.state[1])
        return None

    def events_of(self, run, *kinds):
        return any(token == run.token and kind in kinds
                   for _, kind, token in self.events)

    def is_acknowledged(self):
        return any(result in (DONE, KNOWN) for _, result in self.acks)

    def ordered(self):
        return [self.runs[token] for token in sorted(self.runs)]

    def moments(self):
        """When the store is known to have changed something about it, or may
        have."""
        yield from self.tries
        yield from (when for when, _ in self.acks)
        for run in self.runs.values():
            yield from (run.asked, run.got, run.fin, run.fail, run.release)
            yield from (when for when, _ in run.results)


class History:
    def __init__(self):
        self.tasks = {}
        self.owned = {}  # by owner: its runs
        self.killed = {}  # owner -> when
        self.died = {}
        self.reaped = {}
        self.stops = []  # of [owner, begin, end]
        self.faults = []  # of [name, begin, end]
        self.fires = []  # of (when, name, expected, next)
        self.fired = []  # of (when, name, expected, result)
        self.counts = None
        self.looked = False
        self.events = []  # of (when, id, kind, token)
        self.slow = []  # of (begin, end)
        self.audit = {}  # what of the store's books does not agree
        self.raw = {}  # what a Redis has under its keys at the end
        self.errors = 0
        self.stray = []  # lines nobody understands
        self.paths = []

    def task(self, id):
        task = self.tasks.get(id)
        if task is None:
            task = self.tasks[id] = Task(id)
        return task

    def run(self, id, token):
        return self.task(id).runs.get(int(token))

    @classmethod
    def of_directory(cls, directory):
        history = cls()
        for path in sorted(glob.glob(os.path.join(directory, "*.log"))):
            history.paths.append(path)
            with open(path) as file:
                history.read(file)
        history.resolve()
        return history

    @classmethod
    def of_lines(cls, *logs):
        """Each text is a log of its own: for the checker's own tests."""
        history = cls()
        for text in logs:
            history.read(text.strip().splitlines())
        history.resolve()
        return history

    def resolve(self):
        """The driver knows some owners by their pids."""
        by_pid = {owner[owner.rindex(":"):]: owner for owner in self.owned
                  if owner and ":" in owner}
        for when, id, kind, token in self.events:
            if id in self.tasks:  # others are of queues
                self.tasks[id].events += ((when, kind, token),)
        for known in self.killed, self.died:
            for pid in [key for key in known if key in by_pid]:
                known[by_pid[pid]] = known.pop(pid)

    def was_disturbed(self, begin, end):
        """Was anybody stopped, or the store away, or the machine busy with
        other things, in that time?"""
        spans = [(first, last) for _, first, last in self.stops + self.faults]
        return any(first < end and last > begin for first, last
                   in spans + self.slow)

    def read(self, lines):
        owner = None
        open_faults = {}
        for line in lines:
            field = line.split()
            if len(field) < 2:
                continue
            when, word = int(field[0]), field[1]
            if word == "got":
                run = Run(field[2], int(field[3]), owner, int(field[6]), when)
                run.attempt, run.most = int(field[4]), int(field[5])
                run.queue = field[7] if len(field) > 7 else ""
                self.add(run)
            elif word == "run":
                self.run(field[2], field[3]).ran = when
            elif word == "fin":
                run = self.run(field[2], field[3])
                run.fin = when
                run.has_child = field[4] == "1"
            elif word == "done":
                run = self.run(field[2], field[3])
                run.results += ((when, int(field[4])),)
            elif word == "try":
                task = self.task(field[2])
                task.tries += (when,)
                task.kind, task.delay = int(field[3]), int(field[4])
                task.most = int(field[5])
                task.queue = "" if field[6] == "-" else field[6]
                task.unique = "" if field[7] == "-" else field[7]
            elif word == "ack":
                self.task(field[2]).acks += ((when, int(field[3])),)
            elif word == "beat":
                run = self.run(field[2], field[3])
                result, asked = int(field[4]), int(field[5])
                run.beats += ((asked, result),)
                if result in (DONE, CANCELLED):
                    run.renewed = max(run.renewed, asked)
            elif word == "owner":
                owner = field[2]
            elif word == "state":
                self.task(field[2]).state = (field[3], int(field[4]), int(field[5]))
            elif word == "missed":
                self.add(Run(field[2], int(field[3]), owner, int(field[4]), when))
            elif word == "fenced":
                self.run(field[2], field[3]).fenced = when
            elif word == "fail":
                self.run(field[2], field[3]).fail = when
            elif word == "failed":
                self.run(field[2], field[3]).failed = int(field[4])
            elif word == "release":
                self.run(field[2], field[3]).release = when
            elif word == "released":
                self.run(field[2], field[3]).released = int(field[4])
            elif word == "poison":
                self.run(field[2], field[3]).poison = when
                self.killed[owner] = when
            elif word == "undo":
                self.task(field[2]).undo = when
            elif word == "undone":
                self.task(field[2]).undone = (when, int(field[3]))
            elif word == "fire":
                self.fires.append((when, field[2], int(field[3]), int(field[4])))
            elif word == "fired":
                self.fired.append((when, field[2], int(field[3]), int(field[4])))
            elif word == "kill":
                self.killed[field[2]] = when
            elif word == "dead":
                self.died[field[2]] = when
            elif word == "reaped":
                self.reaped[field[2]] = when
            elif word == "stop":
                self.stops.append([field[2], when, NEVER])
            elif word == "resume":
                for stop in self.stops:
                    if stop[0] == field[2] and stop[2] == NEVER:
                        stop[2] = when
            elif word == "event":
                token = next((int(part[6:]) for part in field[4:]
                              if part.startswith("token=")), 0)
                self.events.append((when, field[2], field[3], token))
            elif word == "slow":
                self.slow.append((int(field[2]), when))
            elif word == "effect":
                self.task(field[2]).effect = int(field[3])
            elif word == "fault":
                open_faults[field[2]] = [field[2], when, NEVER]
                self.faults.append(open_faults[field[2]])
            elif word == "healed":
                open_faults.pop(field[2])[2] = when
            elif word == "counts":
                self.counts = [int(number) for number in field[2:]]
            elif word == "looked":
                self.looked = field[2] == "1"
            elif word == "audit":
                self.audit[field[2]] = int(field[3])
            elif word == "raw":
                self.raw[field[2]] = int(field[3])
            elif word == "error":
                self.errors += 1
            elif word not in ("open", "close", "reap", "produced"):
                self.stray.append(line.strip())

    def add(self, run):
        self.task(run.id).runs[run.token] = run
        self.owned.setdefault(run.owner, []).append(run)

    def of_id(self, id):
        """All that the logs say about a task, in the order it happened."""
        found = []
        for path in self.paths:
            name = os.path.basename(path).removesuffix(".log")
            with open(path) as file:
                for line in file:
                    if id in line.split():
                        when, rest = line.rstrip().split(" ", 1)
                        found.append((int(when), f"{name}: {rest}"))
        return [f"{when} {text}" for when, text in sorted(found)]


def overlap(begin, end, spans):
    """How much of the time from begin to end lies within one of the spans."""
    total = 0
    for first, last in sorted(spans):
        total += max(0, min(end, last) - max(begin, first))
        begin = max(begin, last)
    return total


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
