"""Beginning, rolling over and going, and what happens to clients."""

import json
import re
import signal
import socket
import sys
import tempfile
import time

from web import APP, EXAMPLE, UPGRADE, Client, children, complains, serving, until_leaving

from program import DEADLINE_S, Program, equal, main, own_address


def test_what_cannot_work_is_said():
    with tempfile.TemporaryDirectory() as home:
        environment = {"MUSTER_HOME": home, "WORKERS": "2", "PORT": own_address()}
        for arguments, text in (
            (["--workers", "0"], "--workers wants a number"),
            (["--log", "loud"], "--log wants off, error"),
            (["--nonsense"], "usage: webtest"),
            (["more"], "usage: webtest"),
        ):
            with Program(APP, *arguments, **environment) as process:
                process.expect(text)
                process.end(2)
        with Program(APP, **{**environment, "WORKERS": "x"}) as process:
            process.expect("WORKERS wants a number from 1 to 1024, or max, not 'x'")
            process.end(2)
        with Program(APP, "--help") as process:
            process.expect("usage: webtest")
            process.expect("--store URL")
            process.end()
        with Program(APP, "--store", "redis://127.0.0.1:1", **environment) as process:
            process.expect("webtest-worker-.: there is no token .*set MUSTER_TOKEN")
            process.end(1)
        arguments = ["--store", "nonsense://x", "--token", "of our own"]
        with Program(APP, *arguments, **environment) as process:
            process.expect("webtest-worker-.: .*its scheme is unknown")
            process.end(1)


def test_a_port_for_lines_that_is_taken_ends_it():
    tcp = own_address().replace(":8080", ":5000")
    host, port = tcp.split(":")
    with socket.socket() as holder, tempfile.TemporaryDirectory() as home:
        holder.bind((host, int(port)))
        holder.listen()
        settings = {"MUSTER_HOME": home, "WORKERS": "2", "TCP_PORT": tcp}
        with Program(EXAMPLE, "--listen", own_address(), **settings) as process:
            process.expect("cannot listen on .*in use")
            told = time.monotonic()
            process.end(1)
            # HTTP does not hold it: that would be until the drain's deadline.
            assert time.monotonic() - told < 20, "it took its time"


def test_a_client_that_leaves_cancels_its_action():
    with serving() as (process, client):
        with Client(client.address) as other:
            other.send(b"GET /api/nap HTTP/1.1\r\nHost: x\r\n\r\n")
            process.expect("nap begun")
        process.expect("nap ended cancelled")
        equal(client.get("/api/made").status, 201)
        metrics = client.get("/metrics").body.decode()
        assert re.search(r"muster_actions_running 0\n", metrics), metrics


def test_what_is_under_way_is_finished():
    with serving() as (process, client):
        client.send(b"GET /api/nap?ms=700 HTTP/1.1\r\nHost: x\r\n\r\n")
        process.expect("nap begun")
        with Client(client.address) as other:
            # An idle connection, which may ask once more.
            equal(other.get("/readyz").status, 200)
            process.signal(signal.SIGTERM)
            until_leaving(other, client.address)
        answer = client.answer()
        equal((answer.status, answer.json["code"]), (200, 0))
        equal(answer.headers["connection"], "close")
        process.expect("nap ended well")
        process.expect("stopped")


def test_what_does_not_end_is_ended():
    """At the end of the time that a worker has to finish."""
    with serving(MUSTER_DRAIN_TIME="1s") as (process, client):
        client.send(b"GET /api/nap HTTP/1.1\r\nHost: x\r\n\r\n")
        process.expect("nap begun")
        process.signal(signal.SIGTERM)
        answer = client.answer()
        complains(answer, 503, "the server is shutting down")
        equal(answer.headers["connection"], "close")
        process.expect("nap ended cancelled")
        process.expect("stopped")


def test_a_reload_drops_nothing():
    with serving(WORKERS="2") as (process, client):
        pids = children(process.pid)
        process.signal(signal.SIGHUP)
        asked = 0
        other = Client(client.address)
        while set(children(process.pid)) & set(pids) or asked < 50:
            # Not one that prints: nobody reads that here.
            answer = other.get(f"/api/echo?text={asked}")
            equal((answer.status, answer.json["text"]), (200, str(asked)))
            asked += 1
            if answer.headers.get("connection") == "close":
                other.socket.close()
                other = Client(client.address)
        other.socket.close()


class Lines:
    """A client of TCP."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), DEADLINE_S)
        self.file = self.socket.makefile("rwb")

    def take(self):
        return json.loads(self.file.readline())

    def ask(self, line):
        self.file.write(line.encode() + b"\r\n")
        self.file.flush()
        return self.take()


def frame_of(client):
    """The next short frame of a WebSocket: its first byte, and what is in it."""
    while len(client.rest) < 2 or len(client.rest) < 2 + client.rest[1]:
        client.more()
    end = 2 + client.rest[1]
    first, content, client.rest = client.rest[0], client.rest[2:end], client.rest[end:]
    return first, content


def test_clients_that_stay_are_told_to_go():
    for told in signal.SIGHUP, signal.SIGTERM:
        tcp = own_address().replace(":8080", ":5000")
        with serving(EXAMPLE, TCP_PORT=tcp) as (process, client):
            welcome = {"welcome": "Hello! Welcome to the muster api", "context": "api"}
            process.expect("http://localhost:8080/ in a browser")
            process.expect(" curl http://localhost:8080/api/status$")
            process.expect(r" curl 'http://localhost:8080/api/sleepTest\?sleepDuration=500'$")
            process.expect("ws://localhost:8080/ws")
            process.expect("telnet localhost 5000")
            lines = Lines(tcp)
            equal(lines.take(), welcome)
            equal(lines.ask("status")["nodeStatus"], "Node Healthy")
            with Client(client.address) as socket_client:
                answer = socket_client.get("/ws", **UPGRADE)
                equal(answer.status, 101)
                equal(json.loads(frame_of(socket_client)[1]), welcome)
                # An action that runs keeps its client; the others go.
                lines.file.write(b"paramAdd sleepDuration=300\nsleepTest\n")
                lines.file.flush()
                equal(lines.take()["status"], "OK")
                process.signal(told)
                first, content = frame_of(socket_client)
                equal((first, content[:2]), (0x88, b"\x03\xe9"))
                socket_client.send(b"\x88\x80\0\0\0\0")
            equal(lines.take()["sleepDuration"], 300)
            equal(lines.take(), {"status": "Bye!", "context": "api"})
            equal(lines.file.read(), b"")


if __name__ == "__main__":
    sys.exit(main(globals()))
