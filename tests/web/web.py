"""Clients of servers of HTTP, to the byte, and the servers of these tests.

They are called as FILE.py APP EXAMPLE [TEST], and import this before "program":
it says where that is.
"""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import tempfile
import time

APP, EXAMPLE = sys.argv[1:3]
del sys.argv[2:3]

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, Program, equal, own_address

HEX40 = "[0-9a-f]{40}"
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
FORM = "multipart/form-data; boundary=B"
TICK = "id: {}\nevent: tick\ndata: one\ndata: two\n\n"
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # names in lower case; the last of a name
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def params(self):
        return self.json["requesterInformation"]["receivedParams"]


class Client:
    """One connection, spoken to in bytes."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), DEADLINE_S)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        block = self.socket.recv(65536)
        if not block:
            raise EOFError(self.rest)
        self.rest += block

    def answer(self, method="GET"):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            headers[name.lower()] = value
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return Answer(int(lines[0].split()[1]), headers, body)

    def ask(self, method, target, body=None, **headers):
        lines = [f"{method} {target} HTTP/1.1", "Host: x"]
        for name, value in headers.items():
            lines.append(f"{name.replace('_', '-')}: {value}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines + ["", ""]).encode() + (body or b""))
        return self.answer(method)

    def get(self, target, **headers):
        return self.ask("GET", target, **headers)

    def post(self, target, body, kind="application/json", method="POST"):
        if isinstance(body, str):
            body = body.encode()
        return self.ask(method, target, body, Content_Type=kind)


@contextlib.contextmanager
def serving(program=APP, before=(), **environment):
    address = own_address()
    with tempfile.TemporaryDirectory() as home:
        environment = {"MUSTER_HOME": home, "WORKERS": "1", **environment}
        with Program(*before, program, "--listen", address, **environment) as process:
            process.expect("workers serve")
            with Client(address) as client:
                client.address = address
                yield process, client
            process.signal(signal.SIGTERM)
            process.end()


def complains(answer, status, text):
    equal((answer.status, answer.error), (status, text))
    equal(answer.headers["content-type"], "application/json")
    equal(list(answer.json)[-2:], ["serverInformation", "requesterInformation"])


def form(*parts):
    """(name, content) and (name, content, filename, type) as a form."""
    text = b""
    for name, content, *more in parts:
        text += f'--B\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if more:
            text += f'; filename="{more[0]}"\r\nContent-Type: {more[1]}'.encode()
        text += b"\r\n\r\n" + content + b"\r\n"
    return text + b"--B--\r\n"


@contextlib.contextmanager
def uploading(**environment):
    with tempfile.TemporaryDirectory() as folder:
        with serving(TMPDIR=folder, **environment) as (process, client):
            yield process, client, folder


def is_left(pid, folder):
    """Is anything of that folder there, or open in a worker?"""
    for worker in children(pid):
        for name in os.listdir(f"/proc/{worker}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"/proc/{worker}/fd/{name}").startswith(folder + "/"):
                    return True
    return os.listdir(folder) != []


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


def until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the deadline passed"
        time.sleep(0.01)


def status_of(address, target):
    """None where whoever was to answer has died."""
    try:
        with Client(address) as client:
            return client.get(target).status
    except (EOFError, OSError):
        return None


def until_leaving(client, address):
    """It says that it leaves, or no longer listens; and then goes on."""
    while True:
        try:
            answer = client.get("/readyz")
        except (EOFError, OSError):
            return
        if answer.status == 503:
            equal(answer.error, "the server is shutting down")
            equal(answer.headers["connection"], "close")
            return
        if answer.headers.get("connection") == "close":
            return


def chunks(client):
    """A chunked body, to its end."""
    body = b""
    while True:
        while b"\r\n" not in client.rest:
            client.more()
        size, _, client.rest = client.rest.partition(b"\r\n")
        length = int(size, 16)
        while len(client.rest) < length + 2:
            client.more()
        body, client.rest = body + client.rest[:length], client.rest[length + 2 :]
        if length == 0:
            return body


def all_of(client):
    with contextlib.suppress(EOFError):
        while True:
            client.more()
    return client.rest


def raw(address, data):
    """All that it is answered with, until the server closes."""
    with Client(address) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(data)
        with contextlib.suppress(ConnectionResetError):
            all_of(client)
        return client.rest


NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'\{[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*")*\}'


def exposed(text):
    """{name: {labels: value}} of what Prometheus would take: text format 0.0.4."""
    types, helps, samples, name_at = {}, set(), {}, None
    assert text.endswith("\n"), text[-100:]
    for line in text.splitlines():
        head = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line)
        if head:
            kind, name, value = head.groups()
            assert name not in (helps if kind == "HELP" else types), line
            if kind == "HELP":
                helps.add(name)
            else:
                assert value in ("counter", "gauge", "histogram"), line
                types[name] = value
            name_at = name
            continue
        match = re.fullmatch(rf"({NAME})({LABELS})? (\d+(?:\.\d+)?)", line)
        assert match, line
        name, labels, value = match[1], match[2] or "", float(match[3])
        # All of one name are together, behind its head.
        base = re.sub("_(bucket|sum|count)$", "", name) if types.get(name_at) == "histogram" else name
        equal(base, name_at)
        assert labels not in samples.setdefault(name, {}), line
        samples[name][labels] = value
        assert (types[base] == "counter") == name.endswith("_total"), line
    equal(helps, set(types))
    for name in (name for name, kind in types.items() if kind == "histogram"):
        counts = list(samples[name + "_bucket"].items())
        equal([count for _, count in counts], sorted(count for _, count in counts))
        equal(counts[-1], ('{le="+Inf"}', samples[name + "_count"][""]))
        bounds = [float(re.search('le="(.*?)"', labels)[1]) for labels, _ in counts]
        equal(bounds, sorted(bounds))
        assert name + "_sum" in samples
    return samples


def value_of(client, name, labels=""):
    return exposed(client.get("/metrics").body.decode()).get(name, {}).get(labels, 0)


def running(client):
    metrics = client.get("/metrics").body.decode()
    return int(re.search(r"^muster_actions_running (\d+)$", metrics, re.M)[1])
