"""The twelve rules that a history must obey, whatever was killed meanwhile."""

import dataclasses

from history import (BURIED, CANCELLED, DONE, DUPLICATE, FINAL, KNOWN, LATER,
                     LOST, POISON, RETRYING, SECOND, THERE, UNDONE, overlap,
                     percentile)

SLACK = 5_000  # the store keeps milliseconds; clocks are read one after another
EVERY_MS = 200  # of the recurring task
BUSY_MS = 30_000  # at the most, however many wait for a free worker
OTHERS_FIRST = 8  # every so many claims begin with the server's own queue


@dataclasses.dataclass
class Promise:
    """What is to hold in this run."""

    lease_ms: int = 1000
    concurrency: int = 8
    # Faults in whose time, and `lag_ms` before, the store may lose what it has
    # acknowledged: a failover, as replication does not wait.
    losing: tuple = ()
    lag_ms: int = 1000
    kept: tuple = ()  # rules that hold all the same
    # Faults during which nobody could prolong a lease: they do not count.
    outages: tuple = ()
    done_count: int = 100_000  # completions that the store remembers
    lateness_ms: int = 15000  # of what was delayed, at most, for 99 of 100
    reaped_ms: int = 500  # half of what a killed worker's tasks wait, at most
    has_effects: bool = False  # completions of the public API count themselves
    never_killed: tuple = ()  # servers whose queue must not be starved


class Checker:
    def __init__(self, history, promise=None):
        self.history = history
        self.promise = promise or Promise()
        self.violations = []  # of (rule, id, text)
        self.excused = []  # the same, in a time when the store may lose
        self.figures = {}
        self.done = sum(1 for task in history.tasks.values()
                        if task.state and task.state[0] == "done")
        names = self.promise.losing
        lag = self.promise.lag_ms * 1000
        self.losses = [(begin - lag, end) for name, begin, end in history.faults
                       if name in names]
        self.outages = [(begin, end) for name, begin, end in history.faults
                        if name in self.promise.outages
                        and end - begin > self.promise.lease_ms * 500]

    def violated(self, rule, id, text, task=None):
        is_excused = task is not None and rule not in self.promise.kept and any(
            begin <= moment <= end
            for moment in task.moments() if moment is not None
            for begin, end in self.losses)
        (self.excused if is_excused else self.violations).append((rule, id, text))

    def check(self):
        if self.history.stray:
            self.violated(0, "-", f"not understood: {self.history.stray[:3]}")
        for rule in (self.nothing_is_lost, self.completed_once, self.tokens,
                     self.runs_again_for_a_reason, self.stale_runs_are_told,
                     self.at_rest, self.retried_enqueue, self.not_early,
                     self.recurring, self.recovery, self.own_queues,
                     self.attempts, self.effects, self.unique_keys):
            rule()
        return self.violations

    # ---- 1 ----

    def is_forgotten(self, task):
        """Done, and its completion is older than those the store remembers."""
        return self.done >= self.promise.done_count and any(
            run.fin for run in task.runs.values())

    def nothing_is_lost(self):
        for task in self.history.tasks.values():
            if task.state and task.state[0] in ("queued", "delayed", "active"):
                self.violated(1, task.id, f"is still {task.state[0]}", task)
            elif task.is_acknowledged() and task.state is None:
                if task.undo is not None:
                    continue  # see 7: nothing else takes a record away
                if any(run.has(DONE) for run in task.runs.values()):
                    if self.is_forgotten(task):
                        continue
                    self.violated(1, task.id, "its completion is forgotten", task)
                elif not self.is_forgotten(task):
                    self.violated(1, task.id, "was acknowledged and is gone", task)
        for task in self.history.tasks.values():
            if task.undone and task.undone[1] == DONE and task.state:
                self.violated(1, task.id, f"was cancelled and is {task.state[0]}",
                              task)
            if task.undone and task.undone[1] == DONE and any(
                    run.asked > task.undone[0] for run in task.runs.values()):
                self.violated(1, task.id, "was cancelled and runs", task)

    # ---- 2 ----

    def completed_once(self):
        for task in self.history.tasks.values():
            times = [run for run in task.runs.values()
                     for _, result in run.results if result == DONE]
            if len(times) > 1:
                self.violated(2, task.id, f"was completed {len(times)} times", task)
            recorded = {run.token for run in task.runs.values()
                        if run.has(DONE) or run.has(KNOWN)}
            if len(recorded) > 1:
                self.violated(2, task.id, "two runs were told that theirs is the "
                              f"completion: {sorted(recorded)}", task)
            for run in task.runs.values():
                first = True
                for _, result in run.results:
                    if not first and result not in (KNOWN, LOST):
                        self.violated(2, task.id, "the same completion, asked "
                                      f"again, was answered with {result}", task)
                    first = False

    # ---- 3 ----

    def tokens(self):
        seen = {}
        for task in self.history.tasks.values():
            for run in task.runs.values():
                other = seen.setdefault(run.token, task.id)
                if other != task.id:
                    self.violated(3, task.id, f"token {run.token} was also "
                                  f"that of {other}", task)
            ordered = task.ordered()
            for older, newer in zip(ordered, ordered[1:]):
                if newer.got < older.asked:
                    self.violated(3, task.id, f"token {older.token} was given "
                                  f"after {newer.token}", task)
            if not task.state or task.state[0] != "done":
                continue
            winner = task.runs.get(task.state[1])
            told = [run for run in ordered if run.has(DONE)]
            if told and winner is not told[0]:
                self.violated(3, task.id, f"recorded with {task.state[1]}, but "
                              f"{told[0].token} was told", task)
            elif winner is not None and winner.fin is None:
                self.violated(3, task.id, "recorded with a run that did not "
                              "complete it", task)
            elif winner is None:
                self.violated(3, task.id, f"recorded with {task.state[1]}, "
                              "which nobody had", task)

    # ---- 4 ----

    def reason(self, older, newer):
        """Why the task could be handed out again; None."""
        if older.fail and older.fail <= newer.got:
            # Asked again by the store itself, as an answer was lost, it is told
            # that the lease is over: by its own failure.
            task = self.history.tasks[older.id]
            was_recorded = any(kind == "failed" and when >= older.fail
                               for when, kind, _ in task.events)
            if older.failed in (None, RETRYING) or was_recorded:
                return "failed"
        if older.release and older.release <= newer.got:
            return "released"
        if self.history.killed.get(older.owner, newer.got) < newer.got:
            return "killed"
        if self.history.died.get(older.owner, newer.got) < newer.got:
            return "ended"
        if not older.asked:  # the store's word has to do
            task = self.history.tasks[older.id]
            for kind in "expired", "reaped", "released":
                if task.events_of(older, kind):
                    return kind
            return None
        away = overlap(older.renewed, newer.got, self.outages)
        if (newer.got - older.renewed - away
                >= self.promise.lease_ms * 1000 - SLACK):
            return "lease"
        return None

    def runs_again_for_a_reason(self):
        again = {}
        for task in self.history.tasks.values():
            ordered = task.ordered()
            for older, newer in zip(ordered, ordered[1:]):
                why = self.reason(older, newer)
                if older.has(DONE):
                    self.violated(4, task.id, "was handed out after its "
                                  f"completion, with {newer.token}", task)
                elif why is None:
                    self.violated(4, task.id, f"was handed out with {newer.token} "
                                  f"though {older.token} held it", task)
                again[why] = again.get(why, 0) + 1
                if newer.attempt <= older.attempt and newer.attempt and \
                        not (older.release and newer.attempt == older.attempt):
                    self.violated(4, task.id, f"attempt {newer.attempt} followed "
                                  f"attempt {older.attempt}", task)
        self.figures["run again"] = again
        self.leases_last()

    def leases_last(self):
        """The library prolongs them: none runs out where nobody was hurt."""
        lease = self.promise.lease_ms * 1000
        for task in self.history.tasks.values():
            for when, kind, token in task.events:
                run = task.runs.get(token)
                if kind != "expired" or run is None or run.asked:
                    continue
                owner = run.owner
                if owner in self.history.killed or owner in self.history.died:
                    continue
                if not self.history.was_disturbed(when - 3 * lease, when):
                    self.violated(4, task.id, f"the lease of {token} ran out "
                                  "though nobody was hurt", task)

    # ---- 5 ----

    def stale_runs_are_told(self):
        refused = 0
        for task in self.history.tasks.values():
            ordered = task.ordered()
            for i, run in enumerate(ordered):
                if run.has(LOST):
                    refused += 1
                    if run.fenced is None:
                        self.violated(5, task.id, f"{run.token} was refused and "
                                      "does not know it", task)
                if task.events_of(run, "stale") and not run.asked:
                    refused += 1
                if i + 1 == len(ordered):
                    continue
                newer = ordered[i + 1]
                lease = self.promise.lease_ms * 1000
                if not run.asked and run.fin and run.fenced is None and \
                        run.fin > newer.got + lease and \
                        not self.history.was_disturbed(newer.got, run.fin):
                    self.violated(5, task.id, f"{run.token} had lost it for "
                                  "longer than a lease and does not know it", task)
                for asked, result in run.beats:
                    if asked > newer.got and result == DONE:
                        self.violated(5, task.id, f"{run.token} was prolonged "
                                      f"after {newer.token} was given", task)
                if run.fin and run.fin > newer.got and run.has(DONE):
                    self.violated(5, task.id, f"{run.token} completed it after "
                                  f"{newer.token} was given", task)
        self.figures["refused"] = refused

    # ---- 6 ----

    def at_rest(self):
        counts = self.history.counts
        if counts is None or not self.history.looked:
            self.violated(6, "-", "the store did not come to rest")
            return
        for name, number in zip(("queued", "delayed", "active"), counts):
            if number:
                self.violated(6, "-", f"{number} tasks are {name} at rest")
        listed = {}
        for task in self.history.tasks.values():
            if task.state:
                listed[task.state[0]] = listed.get(task.state[0], 0) + 1
        for name, number in zip(("queued", "delayed", "active", "dead", "done"),
                                counts):
            if listed.get(name, 0) != number:
                self.violated(6, "-", f"{number} are counted as {name}, "
                              f"{listed.get(name, 0)} are listed")
        for name, number in self.history.audit.items():
            if number:
                self.violated(6, "-", f"the audit found {number} of {name}")
        raw = self.history.raw
        for key in ("processing", "delayed", "queued", "running"):
            if raw.get(key, 0):
                self.violated(6, "-", f"{raw[key]} left in the {key} of Redis")
        for key in ("data", "meta"):
            if key in raw and raw[key] != raw["dead"]:
                self.violated(6, "-", f"{raw[key]} records in {key}, and "
                              f"{raw['dead']} dead")

    # ---- 7 ----

    def retried_enqueue(self):
        retried = 0
        for task in self.history.tasks.values():
            known = None
            for when, result in task.acks:
                # Of a retry that was sent after an answer had come.
                if known is not None and result != KNOWN and any(
                        known < asked < when for asked in task.tries):
                    self.violated(7, task.id, f"enqueued again, the answer was "
                                  f"{result}", task)
                if known is not None:
                    retried += 1
                if result in (DONE, KNOWN):
                    known = known or when
                if result == DUPLICATE and task.runs:
                    self.violated(7, task.id, "was refused as a duplicate and "
                                  "runs", task)
            added = sum(result == DONE for _, result in task.acks)
            if added > 1:
                self.violated(7, task.id, f"was added {added} times", task)
        self.figures["enqueued again"] = retried

    # ---- 8 ----

    def not_early(self):
        late = []
        for task in self.history.tasks.values():
            if not task.delay or not task.runs or not task.tries:
                continue
            first = task.ordered()[0]
            if first.got < task.tries[0] + task.delay * 1000 - SLACK:
                early = task.tries[0] + task.delay * 1000 - first.got
                self.violated(8, task.id, f"came {early / 1000:.1f} ms early", task)
            if task.kind == LATER and task.acks:
                due = task.acks[0][0] + task.delay * 1000
                late.append(max(0, first.got - due) / 1000)
        if late:
            self.figures["late"] = percentile(late, 0.99)
            if self.figures["late"] > self.promise.lateness_ms:
                self.violated(8, "-", "1 of 100 delayed tasks is more than "
                              f"{self.figures['late']:.0f} ms late")

    # ---- 9 ----

    def recurring(self):
        won = {}
        nexts = {}
        for _, name, expected, after in self.history.fires:
            nexts.setdefault((name, expected), set()).add(after)
        for _, name, expected, result in self.history.fired:
            if result == DONE:
                won[name, expected] = won.get((name, expected), 0) + 1
        for (name, expected), times in won.items():
            id = f"cron:{name}:{expected}"
            if times > 1:
                self.violated(9, id, f"{times} servers fired it",
                              self.history.tasks.get(id))
            if expected and id not in self.history.tasks:
                self.violated(9, id, "was fired and is gone")
        due = {}
        for id in self.history.tasks:
            if id.startswith("cron:"):
                _, name, at = id.split(":")
                due.setdefault(name, []).append(int(at))
        for name, times in due.items():
            times.sort()
            for one, other in zip(times, times[1:]):
                if other - one != EVERY_MS:
                    id = f"cron:{name}:{other}"
                    self.violated(9, id, "the one before it was "
                                  f"{other - one} ms earlier",
                                  self.history.tasks[id])
        self.figures["fired"] = sum(map(len, due.values()))

    # ---- 10 ----

    def recovery(self):
        reaped, alone = [], []
        # After an outage that the guard notices, leases begin anew.
        lease = self.promise.lease_ms * 1000
        spans = [(begin, end + (lease if end - begin > lease / 2 else 0))
                 for _, begin, end in self.history.faults]
        for owner, when in self.history.killed.items():
            for run in self.history.owned.get(owner, ()):
                if run.results or run.fin or run.fail or run.release or \
                        run.got > when:
                    continue
                ordered = self.history.tasks[run.id].ordered()
                after = ordered.index(run) + 1
                if after == len(ordered):
                    continue  # 1 and 12 have an eye on those
                newer = ordered[after]
                if newer.got < when:
                    continue  # it had lost it before
                away = overlap(when, newer.got, spans)
                took = (newer.got - when - away) / 1000
                was_reaped = owner in self.history.reaped or \
                    self.history.tasks[run.id].events_of(run, "reaped")
                (reaped if was_reaped else alone).append(took)
                if took > self.promise.lease_ms + BUSY_MS:
                    self.violated(10, run.id, f"ran again after {took:.0f} ms",
                                  self.history.tasks[run.id])
        self.figures["reaped"], self.figures["alone"] = reaped, alone
        both = reaped + alone
        if both and percentile(both, 0.9) > self.promise.lease_ms + 5000:
            self.violated(10, "-", "one of ten ran again after more than "
                          f"{percentile(both, 0.9):.0f} ms")
        if len(reaped) >= 5 and percentile(reaped, 0.5) > self.promise.reaped_ms:
            self.violated(10, "-", "half of what was reaped waited for "
                          f"{percentile(reaped, 0.5):.0f} ms")

    # ---- 11 ----

    def own_queues(self):
        by_server = {}
        for task in self.history.tasks.values():
            for run in task.runs.values():
                if task.queue and not run.owner.startswith(task.queue + ":"):
                    self.violated(11, task.id, f"is of {task.queue} and ran on "
                                  f"{run.owner}", task)
        for server in self.promise.never_killed:
            runs = [run for owner, runs in self.history.owned.items()
                    if owner.startswith(server + ":") for run in runs]
            others = sorted(run.got for run in runs if run.queue == "")
            waits = by_server.setdefault(server, [])
            for task in self.history.tasks.values():
                if task.queue == server and task.acks and task.runs:
                    waits.append((task.acks[0][0], task.ordered()[0].got, task))
            for asked, got, task in waits:
                before = sum(begin < got and end > asked for begin, end, _ in waits)
                passed = sum(asked < moment < got for moment in others)
                most = OTHERS_FIRST * self.promise.concurrency * (before + 1)
                if passed > most:
                    self.violated(11, task.id, f"{passed} others were served "
                                  f"before it, at most {most} may", task)

    # ---- 12 ----

    def attempts(self):
        for task in self.history.tasks.values():
            if not task.state or not task.is_acknowledged():
                continue
            state, _, attempt = task.state
            if task.kind in (BURIED, POISON):
                runs = [run for run in task.runs.values() if not run.release]
                if state != "dead":
                    self.violated(12, task.id, f"is to end among the dead, and is "
                                  f"{state}", task)
                elif attempt != task.most or len(runs) > task.most:
                    self.violated(12, task.id, f"died after {len(runs)} runs and "
                                  f"attempt {attempt} of {task.most}", task)
            elif state == "dead" and task.kind != FINAL:
                self.violated(12, task.id, f"is dead after attempt {attempt}", task)

    # ---- what completions carry, and keys ----

    def effects(self):
        """Rule 2, for what is made in the same step."""
        for task in self.history.tasks.values():
            child = self.history.tasks.get(task.id + ".c")
            winner = task.winner()
            if winner and winner.has_child and child is None:
                self.violated(2, task.id, "its completion is recorded, its effect "
                              "is not", task)
            if child is not None and child.runs and not (
                    task.state and task.state[0] == "done") and \
                    not self.is_forgotten(task):
                self.violated(2, task.id, "its effect was made, its completion "
                              "was not", task)
            if self.promise.has_effects:
                # A worker at the level of the store carries none.
                wanted = int(bool(winner) and not winner.asked)
                if (task.effect or 0) != wanted and not self.is_forgotten(task):
                    self.violated(2, task.id, f"its effect was made {task.effect} "
                                  f"times, not {wanted}", task)

    def unique_keys(self):
        """Of two tasks with a key the second is added when the first is over."""
        by_key = {}
        for task in self.history.tasks.values():
            if task.unique and any(result == DONE for _, result in task.acks):
                by_key.setdefault(task.unique, []).append(task)
        for key, tasks in by_key.items():
            tasks.sort(key=lambda task: task.tries[0])
            for one, other in zip(tasks, tasks[1:]):
                added = next(when for when, result in other.acks if result == DONE)
                begun = next(when for when, result in one.acks if result == DONE)
                winner = one.winner()
                over = winner and (winner.fin or winner.got)
                if over is not None and begun < other.tries[0] and over > added:
                    self.violated(7, other.id, f"was added while {one.id} had the "
                                  f"key {key}", other)

    # ---- in a sentence ----

    def summary(self):
        history, figures = self.history, self.figures
        again = figures.get("run again", {})
        text = (f"{sum(task.is_acknowledged() for task in history.tasks.values())} "
                f"tasks, {len(history.killed)} kills, {len(history.stops)} stops, ")
        names = {}
        for name, _, _ in history.faults:
            names[name] = names.get(name, 0) + 1
        text += "".join(f"{number} {name}, " for name, number in names.items())
        text += (f"{sum(again.values())} run again "
                 f"({', '.join(f'{n} {why}' for why, n in again.items()) or 'none'}), "
                 f"{figures.get('refused', 0)} stale completions refused, "
                 f"{figures.get('fired', 0)} recurring, "
                 f"{history.errors} failed calls")
        for name in ("reaped", "alone"):
            if figures.get(name):
                text += (f", recovery {name} p50 {percentile(figures[name], .5):.1f} "
                         f"max {max(figures[name]):.1f} ms")
        if self.excused:
            text += f", {len(self.excused)} in the window of a failover"
        return text
