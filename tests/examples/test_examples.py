"""The examples do what their first lines say: test_examples.py FOLDER [TEST]"""

import json
import os
import signal
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, HOME, Program, equal, get, main, own_address

FOLDER = sys.argv[1]
CORES = len(os.sched_getaffinity(0))


def example(name, *arguments, **environment):
    return Program(os.path.join(FOLDER, name), *arguments, **environment)


def test_fork_per_core():
    address = own_address()
    with example("fork_per_core", address, "300") as program:
        program.expect(r"Primary running on pid: \d+")
        for _ in range(5):
            program.expect(r"Worker running on pid: \d+")
            program.expect(r"Worker \d+ crashed \(code 1\), starting a new one")
        program.signal(signal.SIGINT)
        program.end()
    with example("fork_per_core", address, "3600000") as program:
        program.expect(r"Worker running on pid: \d+")
        equal(get(address).text, "okay")
        equal(get(address, "/other").text, "")
        program.signal(signal.SIGINT)
        program.end()


def test_messages():
    with example("messages", own_address()) as program:
        program.expect(r"Primary \d+ is running")
        order = [
            r"^fork: worker 1$",
            r"^online: worker 1$",
            r"^listening: worker 1 on 127\.[\d.]+ port 8080$",
            r"^message: worker 1 says 'Hello primary'$",
            r"^disconnect: worker 1$",
            r"^exit: worker 1 with code 0$",
        ]
        program.expect(r"Worker received: {\"msg\": \"Hello worker 1\"}")
        places = []
        for pattern in order:
            line = program.expect(pattern).string
            places.append(program.said.index(line))
        equal(places, sorted(places))
        program.end()


def test_shared_cache():
    with tempfile.TemporaryDirectory() as home:
        environment = {"MUSTER_HOME": home, "MUSTER_STORE": ""}
        with example("shared_cache", "4", **environment) as program:
            readers = set()
            for _ in range(4):
                line = program.expect(r"is reader (\d) of the report made by (.*)")
                readers.add(line.group(1))
            equal(readers, {"1", "2", "3", "4"})
            equal(sum("makes the report" in line for line in program.said), 1)
            program.signal(signal.SIGINT)
            program.end()


def test_hello_cluster():
    with tempfile.TemporaryDirectory() as home:
        environment = {"MUSTER_HOME": home, "MUSTER_STORE": ""}
        with example("hello_cluster", "3", **environment) as program:
            heard = {}
            # The last one speaks when all listen.
            while not any(len(hearers) == 3 for hearers in heard.values()):
                line = program.expect(r"^\S+-(\d) hears that \S+-(\d) greeted {")
                heard.setdefault(line.group(2), set()).add(line.group(1))
            for worker in 1, 2, 3:
                said = f"Hello from the node hello-cluster-worker-{worker}"
                assert said in program.said, program.said
            program.signal(signal.SIGINT)
            program.end()


def test_all_done():
    with example("all_done", "50") as program:
        program.expect("all done ✅")
        program.end()
        ended = [line for line in program.said if "process ended" in line]
        assert len(ended) >= 1
        equal(program.said.count("timeout"), len(ended))


def test_one_port():
    address = own_address()
    with example("one_port", address) as program:
        program.expect("Listening")
        program.expect("Listening")
        reply = get(address)
        equal(reply.text, "<h1>Hi 👋</h1>")
        equal(reply.type, "text/html; charset=utf-8")
        children = f"/proc/{program.pid}/task/{program.pid}/children"
        with open(children) as file:
            victim = int(file.read().split()[0])
        os.kill(victim, signal.SIGKILL)
        program.expect(f"process {victim} stopped: signal SIGKILL")
        program.expect("Listening")
        equal(get(address).status, 200)
        program.signal(signal.SIGTERM)
        program.end()


def test_blocking():
    address = own_address()
    with example("blocking", address, "2") as program:
        program.expect("serves port")
        program.expect("serves port")
        blocked = {}

        def block():
            blocked["text"] = get(address, "/block?ms=1500").text

        thread = threading.Thread(target=block)
        thread.start()
        # Whoever answers these is not the one that is blocked.
        quick = {get(address).text.split()[1] for _ in range(20)}
        was_blocked = thread.is_alive()
        thread.join(DEADLINE_S)
        assert was_blocked, "no request passed the blocked one"
        quick_after = blocked["text"].split()[1]
        assert len(quick) <= 2 and quick - {quick_after}, "one worker did it all"
        program.signal(signal.SIGINT)
        program.end()


def test_chosen_worker():
    address = own_address()
    with example("chosen_worker", address, "4") as program:
        program.expect("accepts at port")
        seen = {}
        for host in [f"127.0.0.{n}" for n in range(1, 17)] * 2:
            reply = get(address, source=host)
            words = reply.text.replace(",", "").split()
            equal(words[1], host)
            equal(seen.setdefault(host, words[3]), words[3])
        assert len(set(seen.values())) > 1, "one worker got everyone"
        program.signal(signal.SIGINT)
        program.end()


def test_own_loop():
    address = own_address()
    with example("own_loop", address, "20") as program:
        program.expect(r"own_loop-worker-1 is ready, 0 connections")
        program.expect(r"own_loop-worker-2 is ready, 0 connections")
        equal(get(address).text, "hello\n")
        program.signal(signal.SIGINT)
        program.end()


def test_tasks():
    with tempfile.TemporaryDirectory() as home:
        own = {"MUSTER_HOME": home, "STORE": f"lmdb:{home}/tasks"}
        with example("tasks", "--workers", "2", **own) as program:
            for _ in range(2):
                program.expect("tasks-worker-[12] takes tasks")

            def tasks(*arguments, code=0):
                with example("tasks", *arguments, **own) as producer:
                    producer.end(code)
                    return "\n".join(producer.said)

            tasks("enqueue", "resize", '{"picture":"cat.png","width":640}')
            program.expect("resize: cat.png is 640 wide")
            tasks("enqueue", "sendMail", '{"to":"ann@example.org"}')
            program.expect("sendMail: try again later")
            program.expect("sendMail: sent to ann@example.org at attempt 2")
            equal(tasks("produce", "20"), "enqueued 20 tasks")
            for number in range(1, 21):
                program.expect(f"resize: {number}.png is 100 wide")
            program.expect("report: [0-9]+ wait, 0 are dead")
            assert "no task 'nothing'" in tasks("enqueue", "nothing", code=1)
            assert "no JSON object" in tasks("enqueue", "resize", "{", code=1)
            assert "usage:" in tasks("enqueue", code=2)
            program.signal(signal.SIGTERM)
            program.end()


def test_rolling():
    address = own_address()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "greeting")

        def write(text):
            with open(path, "w") as file:
                file.write(text)

        write("one\n")
        with example("rolling", path, address) as program:
            for _ in range(2):
                program.expect("is ready")
            equal(get(address).text, "one\n")
            write("two\n")
            program.signal(signal.SIGHUP)
            for _ in range(2):
                program.expect("is ready")
                program.expect("has gone: code 0")
            equal(get(address).text, "two\n")
            os.unlink(path)
            program.signal(signal.SIGHUP)
            program.expect("greeting: No such file or directory")
            program.expect("has gone: code 1")
            equal(get(address).text, "two\n")
            program.signal(signal.SIGTERM)
            program.end()


def test_api():
    store = "lmdb:" + os.path.join(HOME.name, "store")
    arguments = ["--port", "0", "--workers", "2", "--store", store]
    with example("api", *arguments, ALLOW_CRASH="1") as program:
        port = program.expect(r"2 workers serve http://localhost:(\d+)")[1]
        address = "127.0.0.1:" + port
        program.expect("Ctrl-C stops it")

        status = json.loads(get(address, "/api/status").text)
        assert status["name"] == f"api-worker-{status['worker']}", status
        assert status["pid"] != program.pid and status["requests"] >= 1
        assert status["uptime_ms"] >= 0

        number = json.loads(get(address, "/api/randomNumber").text)
        assert 0 <= number["randomNumber"] < 1
        nap = json.loads(get(address, "/api/sleepTest?sleepDuration=30").text)
        assert nap["sleepDelta"] >= 29 and nap["sleepDuration"] == 30
        equal(get(address, "/api/sleepTest?sleepDuration=x").status, 422)

        equal(get(address, "/").status, 200)
        equal(get(address, "/healthz").status, 200)
        equal(get(address, "/readyz").status, 200)
        unknown = get(address, "/api/nope")
        equal((unknown.status, unknown.type), (404, "application/json"))
        assert "error" in json.loads(unknown.text)

        try:
            get(address, "/api/crash")
            raise AssertionError("a worker that crashes does not answer")
        except (ConnectionError, OSError):
            pass
        equal(get(address, "/api/status").status, 200)
        program.signal(signal.SIGINT)
        program.end()


def test_api_takes_its_settings_from_the_environment():
    address = own_address()
    store = os.path.join(HOME.name, "other")
    with example("api", PORT=address, WORKERS="1", STORE=store) as program:
        program.expect("1 workers serve")
        equal(get(address, "/api/crash").status, 403)
        assert os.listdir(store), "it keeps nothing where it was told to"
        program.signal(signal.SIGTERM)
        program.end()
    with example("api", "--nonsense") as program:
        program.expect("usage: api")
        program.end(2)


def test_a_port_that_is_taken_ends_it():
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        for name, code in (("api", 1), ("fork_per_core", 0), ("one_port", 0)):
            arguments = ["--port", port] if name == "api" else [port]
            with example(name, *arguments) as program:
                program.expect("cannot listen on .*in use")
                program.end(code)


if __name__ == "__main__":
    sys.exit(main(globals()))
