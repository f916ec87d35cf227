"""muster tasks as a user meets it: test_tasks.py MUSTER BACKEND"""

import json
import os
import subprocess
import sys

MUSTER, BACK_END = sys.argv[1:3]
del sys.argv[2:3]  # what follows are names of tests

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, WRAPPER, equal, main
from store import OwnStore


class Store:
    """One of its own, and the command on it."""

    def __enter__(self):
        self.own = OwnStore(BACK_END)
        return self

    def __exit__(self, *failure):
        self.own.close(*failure)

    def run(self, *arguments):
        done = subprocess.run(
            WRAPPER + [MUSTER, "tasks", *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={**os.environ, **self.own.environment},
        )
        return done.returncode, done.stdout, done.stderr

    def does(self, *arguments):
        code, printed, complaint = self.run(*arguments)
        equal((code, complaint), (0, ""))
        return printed.strip()

    def says(self, *arguments):
        return json.loads(self.does(*arguments, "--json"))

    def complains(self, *arguments, about):
        code, _, complaint = self.run(*arguments)
        equal((code, complaint.count("\n")), (1, 1))
        assert complaint.startswith("muster: ") and about in complaint, complaint


def test_what_is_enqueued_is_shown_and_taken_back():
    with Store() as store:
        equal(store.does("enqueue", "mail", '{"to":"ann"}', "--id", "a"), "a")
        equal(
            store.says("enqueue", "mail", "--id", "a"),
            {"id": "a", "answer": "known"},
        )
        equal(store.does("enqueue", "mail", "-d", "1h", "--id", "b"), "b")
        made = store.says("enqueue", "post", "-q", "side", "--unique", "u")
        again = store.says("enqueue", "post", "--unique", "u")
        equal(again, {"id": made["id"], "answer": "duplicate"})
        listed = {task["id"]: task for task in store.says("ls")}
        equal(set(listed), {"a", "b"})
        equal(listed["a"]["params"], {"to": "ann"})
        equal(listed["a"]["state"], "queued")
        equal(listed["b"]["state"], "delayed")
        assert 3500000 < listed["b"]["inMs"] <= 3600000
        equal(len(store.says("ls", "--limit", "1")), 1)
        equal(store.says("ls", "queued", "-q", "side")[0]["task"], "post")
        equal(store.says("ls", "dead"), [])
        equal(store.says("show", "a"), listed["a"])
        shown = store.does("show", "a")
        assert 'params     {"to":"ann"}' in shown, shown
        table = store.does("ls").splitlines()
        equal(table[0].split(), ["ID", "TASK", "STATE", "QUEUE", "ATTEMPT"])
        equal(table[1].split(), ["a", "mail", "queued", "global", "0/25"])
        equal(table[2].split()[:5], ["b", "mail", "delayed", "global", "0/25"])
        counts = store.says("stats")
        equal((counts["queued"], counts["delayed"]), (2, 1))
        assert "queued 2  delayed 1  active 0" in store.does("stats")
        equal(store.does("cancel", "a", "b"), "cancelled 2")
        equal(store.says("remove", made["id"]), {"removed": 1})
        equal(store.says("ls"), [])


def test_queues_are_paused_and_limited():
    with Store() as store:
        store.does("enqueue", "mail", "--id", "a")
        assert "paused" in store.does("pause")
        assert "paused" not in store.does("resume", "global")
        equal(store.says("limits", "--depth", "1", "--running", "3")["depth"], 1)
        limits = store.says("limits", "--per-second", "9")
        equal(
            [limits[key] for key in ("depth", "runningMax", "perSecond")],
            [1, 3, 9],
        )
        store.complains("enqueue", "mail", about="the queue is full")
        equal(store.says("limits", "--depth", "0")["depth"], 0)
        store.does("enqueue", "mail")
        equal(store.says("limits", "elsewhere")["queued"], 0)


def test_what_cannot_be_done_is_said():
    with Store() as store:
        for verb in ("show", "cancel", "retry", "remove"):
            store.complains(verb, "none", about="no such task 'none'")
        equal(store.does("retry", "--all"), "retried 0")
        equal(store.does("failed", "--json"), "[]")
        store.complains("enqueue", "mail", "{", about="no JSON object")
        store.complains("enqueue", "mail", "--all", about="no server")
        store.complains("pause", "delayed", about="no queue can be called")


if __name__ == "__main__":
    sys.exit(main(globals()))
