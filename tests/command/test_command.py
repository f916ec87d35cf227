"""The muster command as a user meets it: test_command.py MUSTER API VERSION"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

MUSTER, API, VERSION = sys.argv[1:4]
del sys.argv[2:4]  # what follows are names of tests

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, WRAPPER, Program, equal, get, main, own_address


def muster(*arguments):
    """Its exit code, what it printed, and what it complained about."""
    done = subprocess.run(
        WRAPPER + [MUSTER, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return done.returncode, done.stdout, done.stderr


def complains(arguments, code, *parts):
    got, printed, complaint = muster(*arguments)
    equal((got, printed), (code, ""))
    equal(complaint.count("\n"), 1)
    for part in ("muster: ",) + parts:
        assert part in complaint, f"{part!r} is not in {complaint!r}"


def test_help_names_every_command():
    code, printed, _ = muster("help")
    equal(code, 0)
    for command in ("new", "start-cluster", "actions", "cache", "peers", "rooms", "stats", "tasks", "completion", "help", "version"):
        assert f"\n  {command} " in printed, printed
        code, own, _ = muster("help", command)
        assert code == 0 and own.startswith(f"usage: muster {command}"), own
        equal(muster(command, "-h"), (0, own, ""))
    equal(muster("--help")[1], printed)
    equal(muster("help", "startCluster"), muster("help", "start-cluster"))


def test_version():
    equal(muster("version"), (0, f"muster {VERSION}\n", ""))
    equal(muster("--version"), (0, f"muster {VERSION}\n", ""))


def test_wrong_usage_is_exit_code_2_and_one_line():
    equal(muster()[0], 2)
    complains(["hepl"], 2, "'hepl'", "did you mean 'help'?")
    complains(["start-clusters", "x"], 2, "did you mean 'start-cluster'?")
    complains(["zzzzzz"], 2, "there is no command 'zzzzzz' (see: muster help)")
    complains(["start-cluster"], 2, "needs a PROGRAM")
    complains(["start-cluster", "a", "b"], 2, "'b' is one program too many")
    complains(["start-cluster", "a", "--wokers", "2"], 2, "--workers?")
    complains(["start-cluster", "a", "--workers"], 2, "needs a value: N|max")
    complains(["start-cluster", "a", "-i", "0"], 2, "--workers", "'0'")
    complains(["start-cluster", "a", "-i2000"], 2, "1 to 1024", "'2000'")
    complains(["start-cluster", "a", "--kill-timeout", "5y"], 2, "10s", "'5y'")
    complains(["start-cluster", "a", "--schedule=fair"], 2, "least", "'fair'")
    complains(["start-cluster", "a", "--wait-ready=1"], 2, "takes no value")
    complains(["start-cluster", "a", "--env", "=x"], 2, "KEY=VALUE")
    complains(["start-cluster", "a", "--uid", "no such"], 2, "--uid")
    complains(["start-cluster", "a", "--log", "loud"], 2, "debug", "'loud'")
    complains(["new"], 2, "new needs a DIR")
    complains(["new", "a", "b"], 2, "'b' is one folder too many")
    complains(["actions"], 2, "actions needs a PROGRAM")
    complains(["actions", "a", "b"], 2, "'b' is one program too many")
    complains(["actions", "a", "-t", "soon"], 2, "--timeout", "'soon'")
    complains(["cache"], 2, "needs a verb", "muster cache get KEY")
    complains(["cache", "gte", "a"], 2, "'gte'", "did you mean 'get'?")
    complains(["cache", "get"], 2, "cache get needs KEY")
    complains(["cache", "get", "a", "b"], 2, "'b' is too many")
    complains(["cache", "size"], 2, "--store URL, or MUSTER_STORE")
    complains(["cache", "size", "--store", "ftp://x"], 2, "lmdb:PATH")
    complains(["cache", "size", "--raw"], 2, "--raw means nothing here")
    complains(["cache", "set", "a", "b", "--ttl", "soon"], 2, "--ttl", "'soon'")
    complains(["cache", "clear", "--store", "lmdb:/x"], 2, "PREFIX", "--all")
    complains(["tasks", "enqueue"], 2, "tasks enqueue needs NAME")
    complains(["tasks", "show", "a", "--all"], 2, "--all means nothing here")
    complains(["tasks", "retry", "--store", "lmdb:/x"], 2, "ID", "--all")
    complains(["tasks", "enqueue", "a", "--priority", "9"], 2, "0 to 3", "'9'")
    complains(["completion", "tcsh"], 2, "bash", "'tcsh'")
    complains(["version", "x"], 2, "'x'")


def test_a_program_that_cannot_be_started_is_exit_code_1():
    complains(["start-cluster", "no-such"], 1, "'no-such'", "PATH")
    complains(["start-cluster", "./no-such"], 1, "No such file")
    with tempfile.NamedTemporaryFile() as file:
        complains(["start-cluster", file.name], 1, "not an executable")


def test_actions_of_a_program():
    code, printed, complaint = muster("actions", API)
    equal((code, complaint), (0, ""))
    title, *rows = printed.splitlines()
    equal(title.split(), ["NAME", "VERSION", "OVER", "INPUTS", "DESCRIPTION"])
    row = next(row for row in rows if row.startswith("enqueueTask "))
    assert " 1 " in row and " web websocket tcp " in row, row
    assert " name [params] [delay] [queue] " in row, row
    assert row.endswith(" hands work to whichever server is free"), row
    code, printed, complaint = muster("actions", "--json", API)
    equal((code, complaint, printed.count("\n")), (0, "", 1))
    told = {action["name"]: action for action in json.loads(printed)}
    equal(len(told), len(rows))
    equal(told["enqueueTask"]["inputs"]["name"]["required"], True)


def test_actions_of_what_is_no_server():
    complains(["actions", "no-such"], 1, "'no-such'", "PATH")
    complains(["actions", "false"], 1, "'false' does not tell", "it has failed")
    complains(["actions", "true"], 1, "'true' does not tell", "something else")
    complains(["actions", "sh", "--", "-c", "echo {}"], 1, "something else")
    complains(["actions", "sh", "--", "-c", "echo no >&2; echo it is so >&2; exit 1"], 1, ": it is so\n")
    complains(["actions", "sh", "-t", "1s", "--", "-c", "exec sleep 1000"], 1, "on and on")
    complains(["actions", API, "--", "--workers", "x"], 1, "--workers wants a number")


def test_output_that_does_not_arrive_is_exit_code_1():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [MUSTER, "help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    equal(done.returncode, 1)
    assert "cannot write" in done.stderr


def test_start_cluster_runs_a_program():
    address = own_address()
    for spelling in (["start-cluster", "--workers"], ["startCluster", "-i"]):
        command = [MUSTER, spelling[0], API, spelling[1], "2", "--name", "web"]
        command += ["--schedule", "rr", "--kill-timeout", "10s"]
        command += ["--env", "ALLOW_CRASH=1", "--cwd", "/"]
        command += ["--", "--port", address]
        with Program(*command) as program:
            program.expect(r"worker ready id=1 ")
            program.expect(r"worker ready id=2 ")
            status = json.loads(get(address, "/api/status").text)
            equal(status["name"], f"web-worker-{status['worker']}")
            equal(os.readlink(f"/proc/{status['pid']}/cwd"), "/")
            try:
                get(address, "/api/crash")
            except OSError:
                pass
            program.expect(r"worker ready")
            equal(get(address, "/api/status").status, 200)
            program.signal(signal.SIGTERM)
            program.end()


def test_start_cluster_looks_in_PATH():
    folder, name = os.path.split(os.path.abspath(API))
    path = folder + ":" + os.environ["PATH"]
    command = [MUSTER, "start-cluster", name, "-i", "1"]
    with Program(*command, PATH=path, PORT=own_address()) as program:
        program.expect(r"worker ready")
        program.signal(signal.SIGINT)
        program.end()


NOTIFIER = """\
import os, signal, socket, sys, time
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
signal.signal(signal.SIGTERM, lambda *_: (to.send(b"STOPPING=1"), sys.exit(0)))
to.send(b"STATUS=not yet\\nnonsense\\n=\\n")
to.send(b"READY=1\\nSTATUS=fine")
time.sleep(600)
"""


def test_a_program_without_the_library_says_that_it_is_ready():
    # Longer than the test has: it is what it says that makes it ready.
    command = [MUSTER, "start-cluster", sys.executable, "-i", "1"]
    command += ["--wait-ready", "--", "-c", NOTIFIER]
    with Program(*command, NOTIFY_SOCKET="/somebody/else") as program:
        line = program.expect(r"worker started id=1 pid=(\d+)")
        worker = int(line.group(1))
        program.expect(r"worker ready id=1 ")
        # Nobody else may speak for it.
        with open(f"/proc/{worker}/environ") as file:
            name = file.read().split("NOTIFY_SOCKET=@")[1].split("\0")[0]
        to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        to.sendto(b"STOPPING=1", "\0" + name)
        to.close()
        os.kill(worker, signal.SIGTERM)
        program.expect(r"worker exited id=1 .* code 0")
        program.expect(r"worker ready id=1 ")
        program.signal(signal.SIGTERM)
        program.end()


def until_it_listens(address):
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        try:
            return get(address)
        except ConnectionRefusedError:
            os.sched_yield()
    raise AssertionError(f"nobody listens on {address}")


def test_a_program_that_starts_slowly_is_not_ready_before_it_listens():
    address = own_address()
    with tempfile.TemporaryDirectory() as folder:
        gate = os.path.join(folder, "gate")
        script = os.path.join(folder, "slow")
        with open(script, "w") as file:
            file.write(f'#!/bin/sh\nread line <{gate}\nexec {API} "$@"\n')
        os.chmod(script, 0o755)
        os.mkfifo(gate)

        def let_one_start():
            with open(gate, "w") as file:  # returns once it reads
                file.write("go\n")

        command = [MUSTER, "start-cluster", script, "-i", "1"]
        command += ["--min-uptime", "1s", "--", "--port", address]
        with Program(*command) as program:
            old = program.expect(r"worker started id=1 pid=(\d+)")[1]
            let_one_start()
            # Nobody knows yet that it speaks to us: it may be ready by now,
            # and yet not listen.
            until_it_listens(address)

            program.signal(signal.SIGHUP)
            new = program.expect(r"worker started id=1 pid=(\d+)")[1]
            until = time.monotonic() + 1.5  # longer than min-uptime
            while time.monotonic() < until:
                equal(json.loads(get(address, "/api/status").text)["pid"], int(old))
            let_one_start()
            program.expect(f"worker exited id=1 pid={old} code 0")
            equal(json.loads(get(address, "/api/status").text)["pid"], int(new))
            program.signal(signal.SIGTERM)
            program.end()


def test_start_cluster_does_not_try_again_what_cannot_work():
    script = "echo tried; exit 78"
    command = [MUSTER, "start-cluster", "/bin/sh", "-i", "1", "--", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    equal((done.returncode, done.stdout.count("tried")), (1, 1))
    assert "cannot work as it is set up" in done.stderr, done.stderr


def test_start_cluster_gives_up_on_a_program_that_keeps_failing():
    command = [MUSTER, "start-cluster", "false", "-i", "1"]
    with Program(*command, "--max-restarts", "2") as program:
        program.end(1)


def test_completion_is_understood_by_bash():
    code, script, _ = muster("completion", "bash")
    equal(code, 0)
    script += "\nCOMP_WORDS=(muster start-cluster --wor); COMP_CWORD=2; _muster"
    script += '; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    equal((done.stdout, done.stderr), ("--workers\n", ""))
    for shell in ("zsh", "fish"):
        code, script, _ = muster("completion", shell)
        assert code == 0 and "start-cluster" in script and "workers" in script


if __name__ == "__main__":
    sys.exit(main(globals()))
