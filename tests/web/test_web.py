"""Actions over HTTP, to the byte: test_web.py APP EXAMPLE [TEST]"""

import contextlib
import http.client
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

APP, EXAMPLE = sys.argv[1:3]
del sys.argv[2:3]

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import http2
from program import DEADLINE_S, WRAPPER, Program, Skipped, equal, main, own_address

HEX40 = "[0-9a-f]{40}"
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


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


def test_an_answer_to_the_byte():
    with serving() as (_, client):
        answer = client.get("/api/made")
        equal(answer.status, 201)
        pattern = (
            r'\{"serverInformation":\{"serverName":"webtest","apiVersion":"3.2.1",'
            r'"requestDuration":\d+,"currentTime":\d{13}\},"requesterInformation":\{'
            rf'"id":"({HEX40})-({UUID})","fingerprint":"({HEX40})","messageId":"({UUID})",'
            r'"remoteIP":"127.0.0.1","receivedParams":\{"action":"made"\}\}\}'
        )
        match = re.fullmatch(pattern, answer.body.decode())
        assert match, answer.body
        equal((match[1], match[2]), (match[3], match[4]))
        equal(
            answer.headers["set-cookie"],
            f"sessionID={match[1]}; Path=/; HttpOnly; SameSite=Lax",
        )
        equal(answer.headers["content-type"], "application/json")
        equal(answer.headers["access-control-allow-origin"], "*")


def test_both_blocks_can_be_switched_off():
    with serving(TEST_BARE="1") as (_, client):
        equal(client.get("/api/made").body, b"{}")
        equal(client.get("/api/teapot").json, {"error": 'I am "a teapot"'})
        equal(client.get("/api/nope?callback=f").body.decode()[:12], 'f({"error":"')


def test_a_session_is_given_once_and_believed():
    with serving() as (_, client):
        first = client.get("/api/echo")
        cookie = first.headers["set-cookie"].split(";")[0]
        second = client.get("/api/echo", Cookie=f"a=b; {cookie}; c=d")
        assert "set-cookie" not in second.headers
        equal(second.json["fingerprint"], first.json["fingerprint"])
        assert second.json["connection"] != first.json["connection"]
        fingerprint = second.json["requesterInformation"]["fingerprint"]
        equal(fingerprint, second.json["fingerprint"])
        for bad in ("", "a b", '"><script>', "x" * 129):
            odd = client.get("/api/echo", Cookie=f"sessionID={bad}")
            assert re.fullmatch(HEX40, odd.json["fingerprint"]), odd.body
            assert "set-cookie" in odd.headers


def test_where_an_action_is_found():
    with serving() as (_, client):
        for target in ("/api/made", "/api/made/", "/api?action=made"):
            equal(client.get(target).status, 201)
        equal(client.get("/api/%6dade").params, {"action": "made"})
        equal(client.get("/api/made?action=teapot").status, 201)
        equal(client.post("/api", '{"action":"made"}').status, 201)
        unknown = "unknown action or invalid apiVersion"
        for target in ("/api", "/api/", "/api/nope", "/api/made/x", "/api/mad"):
            complains(client.get(target), 404, unknown)
        complains(client.get("/api/made%00"), 404, unknown)
        complains(client.get("/apix/made"), 404, "there is nothing here")
        complains(client.get("/"), 404, "there is nothing here")
        complains(
            client.get("/api/hidden"),
            400,
            "this action does not support the connection type",
        )


def test_versions():
    with serving() as (_, client):
        equal(client.get("/api/echo").json["version"], 10)
        equal(client.get("/api/echo?apiVersion=2").json["version"], 2)
        equal(client.get("/api/echo?apiVersion=").json["version"], 10)
        answer = client.post("/api/echo", '{"apiVersion":1}')
        equal((answer.json["version"], answer.params["apiVersion"]), (1, "1"))
        for bad in ("3", "0", "x", "-1", "1.0", "99999999999"):
            answer = client.get(f"/api/echo?apiVersion={bad}")
            complains(answer, 404, "unknown action or invalid apiVersion")


def test_routes():
    with serving() as (_, client):
        number = client.get("/items/42").json
        equal((number["id"], number["version"]), ("42", 2))
        word = client.get("/ITEMS/caf%C3%A9%2fx+y").json
        equal((word["id"], word["version"]), ("café/x+y", 10))
        equal(client.get("/items/abc?apiVersion=1").json["version"], 1)
        equal(client.get("/items/42?apiVersion=1").json["version"], 2)
        equal(client.ask("PUT", "/items/42").status, 201)
        equal(client.ask("HEAD", "/items/42").status, 200)
        wrong = client.ask("DELETE", "/items/42")
        complains(wrong, 405, "the method is not allowed here")
        equal(wrong.headers["allow"], "GET, HEAD, PUT, OPTIONS")
        equal(client.get("/files/a/b%20c/d").json["rest"], "a/b c/d")
        equal(client.get("/files").json["rest"], None)
        equal(client.post("/api/teapot", "{}").status, 201)
        equal(client.get("/api/teapot").status, 418)
        equal(client.get("/items/").status, 404)
        equal(client.get("/items/a%00b").status, 404)


def test_later_parameters_win():
    with serving() as (_, client):
        equal(client.get("/items/1?id=2").json["id"], "2")
        answer = client.post("/files/x?text=query&id=query", '{"text":"body"}')
        equal((answer.json["text"], answer.json["id"]), ("body", "query"))
        equal(client.get("/api/echo?text=a&text=b").json["text"], "b")
        equal(client.get("/api/echo?text=a+b%26&nope=1").json["text"], "a b&")
        equal(client.get("/api/echo?text=1&nope=1").params, {"text": "1", "action": "echo"})


def test_bodies():
    form = "application/x-www-form-urlencoded"
    with serving() as (_, client):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            body = '{"text":{"a":[1,"\\u00e9"]}}'
            answer = client.post("/api/echo", body, method=method)
            equal(answer.json["text"], {"a": [1, "é"]})
        equal(client.post("/api/echo", "text=a+b", form).json["text"], "a b")
        equal(client.post("/api/echo", "[1, 2]").json["payload"], [1, 2])
        equal(client.post("/api/echo", '{"text":1}', "application/x+json").json["text"], 1)
        equal(client.post("/api/echo", "", "application/json").status, 200)
        equal(client.ask("GET", "/api/echo", b"nonsense").status, 200)
        parts = (
            '--B\r\nContent-Disposition: form-data; name="text"\r\n\r\n'
            "é\r\n--B--\r\n"
        )
        kind = "multipart/form-data; boundary=B"
        equal(client.post("/api/echo", parts, kind).json["text"], "é")


def test_bodies_that_are_not_what_they_say():
    form = "application/x-www-form-urlencoded"
    with serving() as (_, client):
        for body in ("{", "x", '{"a":1}}', "{'a':1}", '{"a":01}', b'{"text":"\xff"}'):
            complains(client.post("/api/echo", body), 400, "the body is not valid JSON")
        for body in ("1", '"x"', "null", "true"):
            text = "the body is no JSON object or array"
            complains(client.post("/api/echo", body), 400, text)
        twice = '{"text":1,"te\\u0078t":2}'
        text = "the body has two members of one name"
        complains(client.post("/api/echo", twice), 400, text)
        deep = '{"text":' + "[" * 31 + "]" * 31 + "}"
        equal(client.post("/api/echo", deep).status, 200)
        deep = '{"text":' + "[" * 32 + "]" * 32 + "}"
        complains(client.post("/api/echo", deep), 400, "the body is nested too deep")
        text = "a parameter is not valid UTF-8"
        complains(client.get("/api/echo?text=%ff"), 400, text)
        complains(client.post("/api/echo", "text=%c3", form), 400, text)
        many = "&".join(f"a{i}=1" for i in range(1001))
        text = "there are too many parameters"
        complains(client.post("/api/echo", many, form), 400, text)
        text = "the body's Content-Type is not understood"
        complains(client.post("/api/echo", "x", "text/plain"), 415, text)
        complains(client.ask("POST", "/api/echo", b"{}"), 415, "the body has no Content-Type")
        answer = client.ask(
            "POST", "/api/echo", b"{}", Content_Type="application/json", Content_Encoding="gzip"
        )
        complains(answer, 415, "the body's encoding is not understood")
        kind = "multipart/form-data; boundary=B"
        complains(client.post("/api/echo", "nonsense", kind), 400, "the form is not complete")


FORM = "multipart/form-data; boundary=B"


def form(*parts):
    """(name, content) and (name, content, filename, type) as a form."""
    text = b""
    for name, content, *more in parts:
        text += f'--B\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if more:
            text += f'; filename="{more[0]}"\r\nContent-Type: {more[1]}'.encode()
        text += b"\r\n\r\n" + content + b"\r\n"
    return text + b"--B--\r\n"


def is_left(pid, folder):
    """Is anything of that folder there, or open in a worker?"""
    for worker in children(pid):
        for name in os.listdir(f"/proc/{worker}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"/proc/{worker}/fd/{name}").startswith(folder + "/"):
                    return True
    return os.listdir(folder) != []


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


@contextlib.contextmanager
def uploading(**environment):
    with tempfile.TemporaryDirectory() as folder:
        with serving(TMPDIR=folder, **environment) as (process, client):
            yield process, client, folder


def test_files_are_parameters():
    with uploading() as (process, client, folder):
        content = b"begin" + bytes(range(256)) * 1000
        body = form(("title", "é".encode()), ("picture", content, "../a b.png", "image/png"))
        answer = client.post("/api/upload", body, FORM)
        equal(answer.status, 200)
        told = {"size": 256005, "mimetype": "image/png", "originalFilename": "../a b.png"}
        equal(answer.params, {"title": "é", "picture": told, "action": "upload"})
        equal(answer.json["as_json"], told)
        equal(answer.json["begin"][:5], "begin")
        equal((answer.json["name"], answer.json["size"]), ("../a b.png", 256005))
        equal(answer.json["title"], "é")
        assert folder.encode() not in answer.body, answer.body
        equal(is_left(process.pid, folder), False)

        path = os.path.join(folder, "kept")
        body = form(("picture", b"abc", "x", "text/plain"), ("path", path.encode()))
        equal(client.post("/api/upload", body, FORM).json["saved"], 0)
        with open(path, "rb") as kept:
            equal(kept.read(), b"abc")
        equal(os.stat(path).st_mode & 0o777, 0o600)
        equal(client.post("/api/upload", body, FORM).json["saved"], -17)
        os.unlink(path)
        other = tempfile.mkdtemp(dir="/dev/shm")
        path = os.path.join(other, "kept")
        body = form(("picture", b"abc" * 50000, "x", "text/plain"), ("path", path.encode()))
        equal(client.post("/api/upload", body, FORM).json["saved"], 0)
        equal(os.stat(path).st_size, 150000)
        os.unlink(path)
        os.rmdir(other)

        # Of one name the last counts; what nobody wants is not stored.
        body = form(
            ("picture", b"1", "one", "text/plain"),
            ("picture", b"22", "two", "text/plain"),
            ("other", b"3" * 400000, "three", "text/plain"),
        )
        answer = client.post("/api/upload", body, FORM)
        equal((answer.json["name"], answer.json["size"]), ("two", 2))
        assert "other" not in answer.params, answer.params
        # A page's field that was left empty.
        body = form(("picture", b"", "", "application/octet-stream"))
        equal(client.post("/api/upload", body, FORM).json["name"], "none")
        answer = client.post("/api/uploadSmall", body, FORM)
        complains(answer, 422, "picture is a required parameter for this action")
        equal(is_left(process.pid, folder), False)


def test_files_that_are_not_taken():
    with uploading() as (process, client, folder):

        def asks(target, body, kind=FORM):
            with Client(client.address) as other:
                return other.post(target, body, kind)

        answer = asks("/api/echo", form(("text", b"x", "x", "text/plain")))
        complains(answer, 422, "text has to be a value that is no file")
        complains(asks("/api/upload", form(("picture", b"x"))), 422, "picture has to be a file")
        answer = client.post("/api/upload", '{"picture":{"size":1}}')
        complains(answer, 422, "picture has to be a file")
        large = form(("picture", b"x" * 300001, "x", "text/plain"))
        complains(asks("/api/upload", large), 413, "the file is too large")
        large = form(("title", b"x" * 1000001))
        complains(asks("/api/upload", large), 413, "the body is too large")
        # What is as large as that can be for another action only.
        large = form(("picture", b"x" * 66000, "x", "text/plain"))
        complains(asks("/api/uploadSmall", large), 413, "the body is too large")
        many = form(*((f"a{i}", b"") for i in range(1001)))
        complains(asks("/api/upload", many), 413, "too many parts")
        complains(asks("/api/upload", b"--B\r\n\r\n"), 400, "a part without a name")
        half = form(("picture", b"x", "x", "text/plain"))[:-4]
        complains(asks("/api/upload", half), 400, "the form is not complete")
        bad = form(("title", b"\xff"))
        complains(asks("/api/upload", bad), 400, "a parameter is not valid UTF-8")
        answer = asks("/api/upload", b"", "multipart/form-data")
        equal(answer.status, 200)  # there is no body
        answer = asks("/api/upload", b"x", "multipart/form-data")
        complains(answer, 400, "the form is malformed")
        equal(is_left(process.pid, folder), False)
        equal(client.get("/api/made").status, 201)
    with serving(TMPDIR="/nonexistent") as (_, client):
        body = form(("picture", b"x", "x", "text/plain"))
        answer = client.post("/api/upload", body, FORM)
        complains(answer, 507, "the file cannot be stored")


def test_a_full_disk_is_said():
    small = "mount -t tmpfs -o size=64k none \"$TMPDIR\" && exec \"$@\""
    before = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", small, "sh")
    with tempfile.TemporaryDirectory() as folder:
        probe = subprocess.run([*before, "true"], env={**os.environ, "TMPDIR": folder}, check=False)
        if probe.returncode != 0:
            raise Skipped("no file system can be mounted here")
        with serving(before=before, TMPDIR=folder) as (process, client):
            body = form(("picture", b"x" * 200000, "x", "text/plain"))
            for _ in range(3):
                with Client(client.address) as other:
                    complains(other.post("/api/upload", body, FORM), 507, "the file cannot be stored")
            # What was written of them makes room again.
            small = form(("picture", b"x" * 40000, "x", "text/plain"))
            for _ in range(3):
                equal(client.post("/api/upload", small, FORM).json["size"], 40000)
            equal(is_left(process.pid, folder), False)


def test_nothing_is_left_of_files():
    with uploading() as (process, client, folder):
        body = form(("picture", b"x" * 200000, "x", "text/plain"), ("wait", b"1"))
        head = (
            "POST /api/upload HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        # A client that goes while it sends, and one that goes while it waits.
        with Client(client.address) as other:
            other.send(head + body[:150000])
            until(lambda: is_left(process.pid, folder))
            equal(os.listdir(folder), [])
        until(lambda: not is_left(process.pid, folder))
        with Client(client.address) as other:
            other.send(head + body)
            process.expect("upload waits")
            equal(is_left(process.pid, folder), True)
        process.expect("upload goes on -125")
        until(lambda: not is_left(process.pid, folder))
        # A worker that dies.
        with Client(client.address) as other:
            other.send(head + body)
            process.expect("upload waits")
            os.kill(int(children(process.pid)[0]), signal.SIGKILL)
        equal(os.listdir(folder), [])
        until(lambda: status_of(client.address, "/api/made") == 201)


def test_bodies_an_action_takes():
    with serving() as (_, client):
        equal(client.post("/api/jsonOnly", '{"text":1}').status, 201)
        text = "the action takes no such body"
        complains(client.post("/api/jsonOnly", "text=1", "application/x-www-form-urlencoded"), 415, text)
        large = '{"text":"' + "x" * 100 + '"}'
        complains(client.post("/api/jsonOnly", large), 413, "the body is too large")
        # However the action is named, and however its body comes.
        for target in ("/api?action=jsonOnly", "/api?action=echo&action=jsonOnly", "/api/jsonOnly?x=1"):
            with Client(client.address) as other:
                complains(other.post(target, large), 413, "the body is too large")
        named = '{"action":"jsonOnly","text":"' + "x" * 100 + '"}'
        complains(client.post("/api", named), 413, "the body is too large")
        # Nothing of it is waited for where that can be known.
        head = b"POST /api/jsonOnly HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        for more in (b"Content-Length: 101\r\n", b"Content-Length: 101\r\nExpect: 100-continue\r\n"):
            with Client(client.address) as other:
                other.send(head + more + b"\r\n")
                complains(other.answer(), 413, "the body is too large")
        with Client(client.address) as other:
            other.send(head.replace(b"application/json", FORM.encode()) + b"Content-Length: 9\r\n\r\n")
            complains(other.answer(), 415, text)
        with Client(client.address) as other:
            other.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            other.send(b"40\r\n" + b" " * 64 + b"\r\n40\r\n")
            complains(other.answer(), 413, "the body is too large")


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


TICK = "id: {}\nevent: tick\ndata: one\ndata: two\n\n"


def test_events():
    with serving() as (process, client):
        answer = client.get("/api/ticks?count=2&ms=1")
        equal(answer.status, 200)
        equal(answer.headers["content-type"], "text/event-stream")
        equal(answer.headers["cache-control"], "no-store")
        equal(answer.headers["x-ticks"], "yes")
        equal(answer.headers["access-control-allow-origin"], "*")
        assert answer.headers["set-cookie"].startswith("sessionID=")
        equal(chunks(client).decode(), ": \n\n" + TICK.format(1) + TICK.format(2))
        process.expect("ticks ended well")
        # The connection goes on, and a client that comes back says where it was.
        answer = client.get("/api/ticks?count=2&ms=1", Last_Event_ID="1")
        equal(chunks(client).decode(), ": \n\n" + TICK.format(2))
        # Who wants the head alone is not kept, nor is the action.
        equal(client.ask("HEAD", "/api/ticks?count=1000000&ms=1").status, 200)
        equal(client.get("/api/made").status, 201)
        metrics = client.get("/metrics").body.decode()
        assert re.search(r'requests_total\{.*status="200"\} 3\n', metrics), metrics


def test_events_as_they_are_sent():
    """curl -N, which shows each as it comes."""
    if shutil.which("curl") is None:
        raise Skipped("there is no curl")
    with serving() as (process, client):
        url = f"http://{client.address}/api/ticks?count=1000000&ms=20"
        with Program("curl", "-sN", url) as curl:
            for number in (1, 2, 3):
                curl.expect(f"^id: {number}$")
                curl.expect("^event: tick$")
        # It was killed.
        process.expect("ticks ended cancelled")
        metrics = client.get("/metrics").body.decode()
        assert re.search(r"muster_actions_running 0\n", metrics), metrics


def test_events_end_when_the_server_goes():
    with serving() as (process, client):
        answer = client.get("/api/ticks?count=1000000&ms=600000")
        equal(answer.status, 200)
        # Another one is still on its way, and is let finish.
        with Client(client.address) as other:
            other.send(b"GET /api/nap?ms=700 HTTP/1.1\r\nHost: x\r\n\r\n")
            process.expect("nap begun")
            process.signal(signal.SIGTERM)
            equal(chunks(client).decode(), ": \n\n" + TICK.format(1))
            process.expect("ticks ended cancelled")
            equal(other.answer().json["code"], 0)


def test_answers_in_pieces():
    with serving() as (process, client):
        answer = client.get("/api/pieces?count=40")
        equal(answer.headers["transfer-encoding"], "chunked")
        equal(chunks(client), b"p" * 40 * 65536)
        process.expect("pieces ended well")
        answer = client.get("/api/pieces?count=10&length=655360")
        equal((answer.status, answer.body), (200, b"p" * 655360))
        # Who fails half way is not taken for complete.
        for target in ("/api/pieces?count=2&fails=1", "/api/pieces?count=2&length=200000", "/api/pieces?count=2&length=200000&fails=1"):
            with Client(client.address) as other:
                other.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                text = all_of(other)
                assert not text.endswith(b"0\r\n\r\n"), text[-20:]
                assert text.count(b"p" * 1000) in (130, 131), len(text)
        with Client(client.address) as other:
            other.send(b"GET /api/pieces?count=2 HTTP/1.0\r\n\r\n")
            head, _, body = all_of(other).partition(b"\r\n\r\n")
            equal(body, b"p" * 131072)
            assert b"Connection: close" in head, head
        answer = client.get("/api/badlyBegun").json
        equal((answer["early"], answer["begun"], answer["header"]), (-22, -22, -22))
        answer = client.get("/api/nested").json
        equal((answer["error"], answer["inner"]), (0, {"early": -95, "begun": -95, "header": -95}))


def all_of(client):
    with contextlib.suppress(EOFError):
        while True:
            client.more()
    return client.rest


def test_the_same_over_http2():
    if shutil.which("curl") is None or "HTTP2" not in subprocess.run(
        ["curl", "--version"], capture_output=True, text=True, check=True
    ).stdout:
        raise Skipped("there is no curl with HTTP/2")
    with uploading() as (process, client, folder):

        def ask(target, *more, code=0):
            command = ["curl", "-sS", "--http2-prior-knowledge", "-w", "\n%{http_code}"]
            got = subprocess.run(
                [*command, *more, f"http://{client.address}{target}"],
                capture_output=True,
                timeout=DEADLINE_S,
                check=False,
            )
            equal(got.returncode, code)
            body, _, status = got.stdout.rpartition(b"\n")
            return body, int(status)

        with tempfile.NamedTemporaryFile() as file:
            file.write(b"begin" + b"x" * 200000)
            file.flush()
            body, status = ask("/api/upload", "-F", "title=t", "-F", f"picture=@{file.name};type=a/b")
            equal((status, json.loads(body)["size"], json.loads(body)["type"]), (200, 200005, "a/b"))
            body, status = ask("/api/uploadSmall", "-F", f"picture=@{file.name}")
            equal((status, json.loads(body)["error"]), (413, "the body is too large"))
        equal(is_left(process.pid, folder), False)
        body, status = ask("/api/jsonOnly", "-d", "a=b")
        equal((status, json.loads(body)["error"]), (415, "the action takes no such body"))
        body, status = ask("/api/ticks?count=2&ms=1")
        equal((status, body.decode()), (200, ": \n\n" + TICK.format(1) + TICK.format(2)))
        equal(ask("/api/pieces?count=40"), (b"p" * 40 * 65536, 200))
        # 92: a stream was reset, and 18: a file is not complete.
        try:
            ask("/api/pieces?count=2&fails=1", code=92)
        except AssertionError:
            ask("/api/pieces?count=2&fails=1", code=18)
        url = f"http://{client.address}/api/ticks?count=1000000&ms=20"
        with Program("curl", "-sN", "--http2-prior-knowledge", url) as curl:
            curl.expect("^id: 2$")
        process.expect("ticks ended cancelled")
        equal(running(client), 0)
        until(lambda: value_of(client, "muster_http_connections") == 1)


def test_a_slow_reader_holds_up_its_own_answer_only():
    with serving() as (process, client):
        with Client(client.address) as slow:
            slow.send(b"GET /api/pieces?count=16000 HTTP/1.1\r\nHost: x\r\n\r\n")
            slow.more()
            memory = None
            for _ in range(50):
                equal(client.get("/api/made").status, 201)
            with open(f"/proc/{children(process.pid)[0]}/status") as file:
                memory = int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])
            # 1 GB was to be sent; what waits is bounded.
            assert memory < 200000, memory
        process.expect("pieces ended cancelled")


def test_a_client_that_asks_too_often():
    with serving(TEST_RATE="1", TEST_BURST="5") as (_, client):
        answers = [client.get("/api/made") for _ in range(40)]
        equal({answer.status for answer in answers[:5]}, {201})
        refused = [answer for answer in answers if answer.status == 429]
        assert refused, answers
        complains(refused[0], 429, "you have asked too often, try again later")
        equal(refused[0].headers["retry-after"], "1")
        # What is no action is not counted, and one's address is one's own.
        equal(client.get("/healthz").status, 200)
        host, port = client.address.rsplit(":", 1)
        other = http.client.HTTPConnection(host, int(port), DEADLINE_S, ("127.0.0.9", 0))
        other.request("GET", "/api/made")
        equal(other.getresponse().status, 201)
        other.close()


def test_requests_of_a_connection():
    with serving(TEST_REQUESTS="3") as (_, client):
        with Client(client.address) as other:
            for connection in (None, None, "close"):
                answer = other.get("/api/made")
                equal((answer.status, answer.headers.get("connection")), (201, connection))
            equal(all_of(other), b"")


def test_connections_of_a_worker():
    with serving(TEST_CONNECTIONS="2") as (_, client):
        equal(client.get("/api/made").status, 201)
        with Client(client.address) as second:
            equal(second.get("/api/made").status, 201)
            third = Client(client.address)
            third.send(b"GET /api/made HTTP/1.1\r\nHost: x\r\n\r\n")
            # It waits until there is room.
            for _ in range(20):
                equal(client.get("/api/made").status, 201)
            equal(select.select([third.socket], [], [], 0)[0], [])
        equal(third.answer().status, 201)
        third.socket.close()


def test_slow_clients_harm_nobody():
    """A thousand of them, each in its own way, and one that is quick."""
    wanted = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * wanted:
        raise Skipped("too few files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * wanted), hard))
    begun = (
        b"",
        b"GET /api/made HTTP/1.1\r\nHo",
        b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"GET /api/pieces?count=1000 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/nap?ms=600000 HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    with serving(TEST_HEAD_MS="3000", TEST_BODY_MS="3000") as (process, client):
        # It is an idle one from here on, not one that never asked.
        equal(client.get("/api/made").status, 201)
        slow = []
        for number in range(wanted):
            other = Client(client.address)
            other.send(begun[number % len(begun)])
            slow.append(other)
        for number in range(500):
            answer = client.get(f"/api/echo?text={number}")
            equal((answer.status, answer.json["text"]), (200, str(number)))
        # Those who began something are told that it took too long.
        for kind in (1, 2, 3):
            for other in slow[kind :: len(begun)]:
                answer = other.answer()
                complains(answer, 408, "the request took too long")
        for other in slow[:: len(begun)]:
            with contextlib.suppress(ConnectionResetError):
                all_of(other)
        equal(client.get("/api/made").status, 201)
        for other in slow:
            other.socket.close()
        until(lambda: running(client) == 0)


def running(client):
    metrics = client.get("/metrics").body.decode()
    return int(re.search(r"^muster_actions_running (\d+)$", metrics, re.M)[1])


def test_ten_thousand_actions_wait_at_once():
    """On as many connections as there may be, and then on fewer."""
    wanted = 10000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = hard if hard != resource.RLIM_INFINITY else 1 << 20
    wanted = min(wanted, room - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(room, wanted + 200), hard))
    with serving() as (process, client):
        equal(client.get("/api/made").status, 201)
        worker = children(process.pid)[0]
        before = memory_of(worker)
        # Their output is not read: it tells of each.
        waiting = []
        for _ in range(wanted):
            other = Client(client.address)
            other.send(b"GET /api/longNap HTTP/1.1\r\nHost: x\r\n\r\n")
            waiting.append(other)
        until(lambda: running(client) == wanted)
        each = (memory_of(worker) - before) / wanted
        print(f"# {wanted} actions wait, {each:.1f} KiB each", flush=True)
        assert each < 200 or WRAPPER, each
        equal(client.get("/api/made").status, 201)
        for other in waiting:
            other.socket.close()
        until(lambda: running(client) == 0)
        equal(client.get("/api/made").status, 201)


def memory_of(pid):
    """Its own, in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M)[1])


def test_a_stack_that_overflows_is_named():
    with serving(WORKERS="2") as (process, client):
        with Client(client.address) as other:
            other.send(b"GET /api/overflow HTTP/1.1\r\nHost: x\r\n\r\n")
            process.expect("overflow")
            with contextlib.suppress(ConnectionResetError):
                equal(all_of(other), b"")
        until(lambda: status_of(client.address, "/api/made") == 201)


def raw(address, data):
    """All that it is answered with, until the server closes."""
    with Client(address) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(data)
        with contextlib.suppress(ConnectionResetError):
            all_of(client)
        return client.rest


def test_requests_that_smuggle():
    post = b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    second = b"GET /api/teapot HTTP/1.1\r\nHost: x\r\n\r\n"
    forms = [
        post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + second,
        post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}\n" + second,
        post + b"Content-Length: 2, 3\r\n\r\n{}" + second,
        post + b"Content-Length: +2\r\n\r\n{}" + second,
        post + b"Content-Length: 0x2\r\n\r\n{}" + second,
        post + b"Content-Length: -1\r\n\r\n{}" + second,
        post + b"Content-Length : 2\r\n\r\n{}" + second,
        post + b"Content-Length: 99999999999999999999\r\n\r\n{}" + second,
        post + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + second,
        post + b" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"X: a\nTransfer-Encoding: chunked\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\n\r\n2;a=\"\n\"\r\n{}\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n" + second,
        post + b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n" + second,
        post.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Host: y\r\nContent-Length: 2\r\n\r\n{}" + second,
        b"GET /api/made HTTP/1.1\r\n\r\n" + second,
        b"GET /api/made HTTP/1.1\r\nHost: a b\r\n\r\n" + second,
    ]
    with serving() as (_, client):
        for data in forms:
            answer = raw(client.address, data)
            status = int(answer[9:12])
            assert status in (400, 413, 501), (data, answer)
            assert b"Connection: close" in answer, (data, answer)
            # The second one is never seen as one.
            equal(answer.count(b"HTTP/1.1 "), 1)
            assert b"teapot" not in answer, (data, answer)
            error = json.loads(answer.partition(b"\r\n\r\n")[2])
            equal(list(error), ["error", "serverInformation", "requesterInformation"])
        # A body of a method that has none is not the next request.
        data = b"GET /api/made HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(second)
        client.send(data + second)
        equal(client.answer().status, 201)
        equal(client.get("/api/teapot").status, 418)


def test_heads_that_are_too_much():
    with serving() as (_, client):
        many = b"".join(b"X-%d: y\r\n" % i for i in range(100000))
        answer = raw(client.address, b"GET /api/made HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n")
        # What was sent behind the answer may have made the system drop it.
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 "), answer[:100]
        many = b"".join(b"X:\r\n" for i in range(101))
        answer = raw(client.address, b"GET /api/made HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 431 "), answer[:100]
        for data in (
            b"GET /api/made HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
            b"GET /api/made HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n",
            b"GET /api/made\0 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /api/made HTTP/1.1 \r\nHost: x\r\n\r\n",
            b"G\xc3\xa9T /api/made HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /api/m\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\0" * 100,
        ):
            answer = raw(client.address, data)
            assert answer.startswith(b"HTTP/1.1 400 "), (data, answer)
        for version, status in ((b"HTTP/2.0", 505), (b"HTTP/1.9", 201), (b"HTTP/0.9", 505)):
            answer = raw(client.address, b"GET /api/made %s\r\nHost: x\r\nConnection: close\r\n\r\n" % version)
            assert answer.startswith(b"HTTP/1.1 %d " % status), (version, answer)
        equal(client.get("/api/made").status, 201)


def test_nothing_outside_the_folder_is_reached():
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "public")
        os.makedirs(os.path.join(root, "sub"))
        for path, text in (("secret", "secret"), ("public/a.txt", "a"), ("public/.hidden", "secret"), ("public/sub/index.html", "index")):
            with open(os.path.join(folder, path), "w") as file:
                file.write(text)
        os.symlink("../secret", os.path.join(root, "relative"))
        os.symlink(os.path.join(folder, "secret"), os.path.join(root, "absolute"))
        os.symlink("..", os.path.join(root, "up"))
        os.symlink("a.txt", os.path.join(root, "inside"))
        os.mkfifo(os.path.join(root, "fifo"))
        with serving(TEST_PUBLIC=root) as (_, client):
            equal(client.get("/a.txt").body, b"a")
            equal(client.get("/%61.txt").body, b"a")
            equal(client.get("/sub/").body, b"index")
            for target in (
                "/../secret",
                "/sub/../../secret",
                "/%2e%2e/secret",
                "/%2E%2E%2fsecret",
                "/..%2fsecret",
                "/%252e%252e/secret",
                "/..%5csecret",
                "//../secret",
                "/./../secret",
                "/sub/%2e%2e/%2e%2e/secret",
                "/a.txt%00.html",
                "/a.txt/",
                "/a.txt/..%2f..%2fsecret",
                "/relative",
                "/absolute",
                "/up/secret",
                "/up/public/a.txt",
                "/.hidden",
                "/%2ehidden",
                "/fifo",
                "/etc/passwd",
                "/%c0%ae%c0%ae/secret",
                "/nothing",
                "/" + "a/" * 2000,
                "/" + "a" * 300,
            ):
                answer = client.get(target)
                assert answer.status in (400, 404), (target, answer.status)
                assert b"secret" not in answer.body.partition(b'"requester')[0], target
                assert "error" in answer.json, target
            # The target need not be a path.
            answer = client.get("http://x/../secret")
            assert answer.status in (400, 404), answer.body


def test_inputs():
    with serving() as (_, client):
        answer = client.get("/api/logIn")
        complains(
            answer,
            422,
            "user is a required parameter for this action; "
            "password is a required parameter for this action",
        )
        equal(client.get("/api/strict?text=1").status, 201)
        answer = client.get("/api/strict?text=1&apiVersion=1&callback=f")
        equal(answer.status, 201)
        complains(
            client.get("/api/strict?text=1&other=2"),
            422,
            "other is no parameter of this action",
        )
        complains(client.get("/api/nap?ms=x"), 422, "ms has to be an integer")


def test_secrets_are_not_shown():
    with serving() as (_, client):
        answer = client.post(
            "/api/logIn",
            '{"user":"u","password":"hush","person":{"city":"V","card":"hush","x":"hush"}}',
        )
        equal(
            answer.params,
            {
                "user": "u",
                "password": "[FILTERED]",
                "person": {"city": "V", "card": "[FILTERED]"},
                "action": "logIn",
            },
        )
        for target in (
            "/api/logIn?password=hush",
            "/api/guarded?password=hush",
            "/api/nope?password=hush",
            "/api/logIn?password=hush&apiVersion=9",
        ):
            answer = client.get(target)
            assert answer.status in (422, 403, 404), answer.status
            assert b"hush" not in answer.body, answer.body


def test_statuses():
    with serving() as (_, client):
        complains(client.get("/api/teapot"), 418, 'I am "a teapot"')
        complains(client.get("/api/guarded"), 403, "not you")
        complains(client.get("/api/broken"), 500, "it is broken")
        nothing = client.get("/api/nothing")
        equal((nothing.status, nothing.body), (204, b""))
        assert "content-length" not in nothing.headers
        equal(len(client.get("/api/big").json["text"]), 300 * 1024)
        late = client.get("/api/shortNap")
        complains(late, 504, "the action took too long")
        trace = client.ask("TRACE", "/api/made")
        complains(trace, 405, "the method is not allowed here")
        equal(trace.headers["allow"], "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        head = client.ask("HEAD", "/api/made")
        equal(head.status, 201)
        assert int(head.headers["content-length"]) > 300


def test_jsonp():
    with serving() as (_, client):
        answer = client.get("/api/teapot?callback=app.on[3]")
        equal(answer.status, 418)
        assert answer.body.startswith(b'app.on[3]({"error":"I am'), answer.body
        assert answer.body.endswith(b'"callback":"app.on[3]","action":"teapot"}}});')
        equal(answer.headers["content-type"], "application/javascript")
        equal(answer.headers["x-content-type-options"], "nosniff")
        for bad in ("cb(1)%3C", "a-b", "alert%281%29//", "x" * 129, "%2f%2f"):
            answer = client.get(f"/api/made?callback={bad}")
            complains(answer, 400, "callback is not the name of a function")


def test_pages_of_other_origins():
    with serving() as (_, client):
        answer = client.ask(
            "OPTIONS", "/api/made", Origin="https://b.example", Access_Control_Request_Method="PUT"
        )
        equal((answer.status, answer.body), (200, b""))
        equal(answer.headers["access-control-allow-origin"], "*")
        assert "PUT" in answer.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in answer.headers
    with serving(TEST_BARE="1") as (_, client):
        answer = client.get("/api/made", Origin="https://a.example")
        equal(answer.headers["access-control-allow-origin"], "https://a.example")
        equal(answer.headers["vary"], "Origin")
        answer = client.get("/api/made", Origin="https://b.example")
        assert "access-control-allow-origin" not in answer.headers


def test_what_http_refuses_is_answered_in_kind():
    with serving() as (_, client):
        cases = [
            (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20000 + b"\r\n\r\n", 431),
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
            (b"POST /api/made HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
            (
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n",
                400,
            ),
        ]
        for data, status in cases:
            with Client(client.address) as other:
                other.send(data)
                answer = other.answer()
                equal(answer.status, status)
                complains(answer, status, answer.error)
                equal(answer.headers["connection"], "close")
                equal(answer.json["requesterInformation"]["remoteIP"], "127.0.0.1")
        metrics = client.get("/metrics").body.decode()
        assert 'status="431"} 1\n' in metrics, metrics


def test_actions_over_http2():
    with serving() as (process, client), http2.connect(client.address, DEADLINE_S) as other:
        # Answers do not wait for one another.
        other.ask(1, "GET", "/api/nap")
        process.expect("nap begun")
        other.ask(3, "GET", "/api/echo?text=a%20b")
        status, body = other.reply(3)
        equal((status, json.loads(body)["text"]), (200, "a b"))
        other.send(http2.frame(http2.RST_STREAM, 0, 1, b"\0\0\0\x08"))
        process.expect("nap ended cancelled")
        asks = [
            ("POST", "/api/echo", b'{"text":"c"}', 200),
            ("GET", "/api/made", None, 201),
            ("GET", "/api/teapot", None, 418),
            ("GET", "/api/nope", None, 404),
            ("POST", "/api/echo", b"{", 400),
            ("POST", "/api/echo", b" " * 65537, 413),
        ]
        identity = None
        for stream, (method, target, content, wanted) in enumerate(asks):
            stream = 5 + 2 * stream
            fields = [("content-type", "application/json")] if content else []
            if identity:
                fields.append(("cookie", f"sessionID={identity}"))
            end = 0 if content else http2.END_STREAM
            head = http2.request(method, target, *fields)
            other.send(http2.frame(http2.HEADERS, http2.END_HEADERS | end, stream, head))
            for at in range(0, len(content or b""), 16384):
                some = content[at : at + 16384]
                end = http2.END_STREAM if at + len(some) == len(content) else 0
                other.send(http2.frame(http2.DATA, end, stream, some))
            status, body = other.reply(stream)
            equal((target, status), (target, wanted))
            who = json.loads(body)["requesterInformation"]
            equal(who["remoteIP"], "127.0.0.1")
            identity = identity or who["fingerprint"]
            if status < 400:
                equal(who["fingerprint"], identity)
        other.ask(31, "GET", "/api/ticks?count=2&ms=1")
        equal(other.reply(31), (200, (": \n\n" + TICK.format(1) + TICK.format(2)).encode()))
        process.expect("ticks ended well")
        metrics = client.get("/metrics").body.decode()
        assert 'status="418"} 1\n' in metrics, metrics
        assert 'status="413"} 1\n' in metrics, metrics
        assert re.search(r"^muster_actions_running 0$", metrics, re.M), metrics


def test_the_example_over_http2():
    if shutil.which("curl") is None:
        raise Skipped("there is no curl")
    with serving(EXAMPLE) as (_, client):
        url = f"http://{client.address}/openapi.json"
        old, new = (
            subprocess.run(
                ["curl", "-sS", "--compressed", version, url],
                capture_output=True,
                timeout=DEADLINE_S,
                check=True,
            ).stdout
            for version in ("--http1.1", "--http2-prior-knowledge")
        )
        equal(new, old)
        equal(json.loads(new)["openapi"], "3.1.0")
        with http2.connect(client.address, DEADLINE_S) as other:
            other.ask(1, "GET", "/api/randomNumber")
            status, body = other.reply(1)
            equal((status, "randomNumber" in json.loads(body)), (200, True))


def test_pages_for_machines():
    with serving() as (_, client):
        equal(client.get("/healthz").body, b"ok\n")
        equal(client.get("/readyz").body, b"ready\n")
        equal(client.ask("POST", "/healthz").status, 405)
        equal(client.ask("POST", "/healthz").headers["allow"], "GET, HEAD, OPTIONS")
        client.get("/api/teapot")
        metrics = client.get("/metrics")
        equal(metrics.headers["content-type"], "text/plain; version=0.0.4")
        samples = exposed(metrics.body.decode())
        equal(samples["muster_http_requests_total"]['{status="418"}'], 1)
        equal(samples["muster_fibers"].keys(), {'{node="webtest-worker-1"}'})


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


def test_one_scrape_tells_of_all_workers():
    with serving(WORKERS="3") as (process, client):
        others = []
        try:
            # Three of each worker's, not all of which listen yet.
            seen = {f"webtest-worker-{i}": 0 for i in (1, 2, 3)}

            def is_complete():
                other = Client(client.address)
                others.append(other)
                text = other.get("/metrics").body.decode()
                name = re.search('muster_fibers{node="(.*?)"}', text)[1]
                seen[name] += 1
                if seen[name] > 3:
                    others.pop().socket.close()
                return len(others) == 9

            until(is_complete)
            for other in others:
                equal(other.get("/api/teapot").status, 418)
            asked = len(others)
            until(lambda: value_of(client, "muster_http_connections") == asked + 1)
            for other in others:
                equal(value_of(other, "muster_http_requests_total", '{status="418"}'), asked)
            equal(value_of(client, "muster_actions_running"), 0)
            others[0].send(b"GET /api/longNap HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: value_of(client, "muster_actions_running") == 1)
            # One who dies, and one who takes its place, change no counter.
            for pid in children(process.pid):
                os.kill(int(pid), signal.SIGKILL)
        finally:
            for other in others:
                other.socket.close()
        until(lambda: status_of(client.address, "/api/teapot") == 418)
        with Client(client.address) as other:
            assert value_of(other, "muster_http_requests_total", '{status="418"}') > asked
            until(lambda: value_of(other, "muster_actions_running") == 0)
            until(lambda: value_of(other, "muster_http_connections") == 1)


def test_services_are_measured():
    with serving(EXAMPLE) as (process, client):
        equal(client.get("/api/cacheTest?key=kkk&value=vvv").status, 200)
        equal(value_of(client, "muster_cache_hits_total"), 1)
        client.post("/api/enqueueTask", '{"name":"sayHello","params":{}}')
        process.expect("hello, world")
        until(lambda: value_of(client, "muster_tasks_completed_total") == 1)
        equal(value_of(client, "muster_tasks_running"), 0)
        client.post("/api/enqueueTask", '{"name":"fail"}')
        until(lambda: value_of(client, "muster_tasks_failed_total") >= 1)


def test_openapi():
    with serving() as (_, client):
        document = client.get("/openapi.json").json
        equal(document["openapi"], "3.1.0")
        equal(document["info"], {"title": "webtest", "version": "3.2.1"})
        paths = document["paths"]
        assert "/api/hidden" not in paths and "/api/echo" in paths
        equal(list(paths["/items/{id}"]), ["get", "put"])
        equal(paths["/items/{id}"]["get"]["parameters"][0]["in"], "path")
        assert "/files/{rest}" in paths
        names = set()
        for path in paths.values():
            for operation in path.values():
                assert operation["operationId"] not in names, operation
                names.add(operation["operationId"])
        body = paths["/api/logIn"]["post"]["requestBody"]["content"]
        schema = body["application/json"]["schema"]
        equal(schema["required"], ["user", "password"])
        equal(schema["properties"]["person"]["properties"]["card"]["format"], "password")


def test_pipelined_answers_come_in_order():
    with serving() as (_, client):
        request = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
        targets = ["/api/nap?ms=20"] + [f"/api/echo?text={i}" for i in range(20)]
        client.send("".join(request.format(target) for target in targets).encode())
        equal(client.answer().json["code"], 0)
        for i in range(20):
            equal(client.answer().json["text"], str(i))


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


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


def frame_of(client):
    """The next short frame of a WebSocket: its first byte, and what is in it."""
    while len(client.rest) < 2 or len(client.rest) < 2 + client.rest[1]:
        client.more()
    end = 2 + client.rest[1]
    first, content, client.rest = client.rest[0], client.rest[2:end], client.rest[end:]
    return first, content


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


def test_clients_that_stay_are_told_to_go():
    for told in signal.SIGHUP, signal.SIGTERM:
        tcp = own_address().replace(":8080", ":5000")
        with serving(EXAMPLE, TCP_PORT=tcp) as (process, client):
            welcome = {"welcome": "Hello! Welcome to the muster api", "context": "api"}
            process.expect("http://localhost:8080/ in a browser")
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


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


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


def test_the_example_answers_as_its_forerunner():
    """What actionHero's example says, in the same order and types."""
    with serving(EXAMPLE) as (_, client):
        answer = client.get("/api/cacheTest?key=kkk&value=vvv").json
        results = answer["cacheTestResults"]
        equal(
            list(results), ["saveResp", "sizeResp", "loadResp", "deleteResp"]
        )
        equal(
            list(results["loadResp"]),
            ["key", "value", "expireTimestamp", "createdAt", "readAt"],
        )
        equal(results["loadResp"]["key"], "cacheTest_kkk")
        equal(results["loadResp"]["readAt"], None)
        equal(results["deleteResp"], True)
        equal(
            answer["requesterInformation"]["receivedParams"],
            {"key": "kkk", "value": "vvv", "action": "cacheTest"},
        )
        complains(
            client.get("/api/cacheTest"),
            422,
            "key is a required parameter for this action; "
            "value is a required parameter for this action",
        )
        nap = client.get("/api/sleepTest?sleepDuration=50").json
        equal(
            list(nap)[:4],
            ["sleepStarted", "sleepEnded", "sleepDelta", "sleepDuration"],
        )
        assert nap["sleepDelta"] >= 49 and nap["sleepDuration"] == 50
        assert nap["serverInformation"]["requestDuration"] >= 49
        documentation = client.get("/api/showDocumentation").json["documentation"]
        equal(
            list(documentation["cacheTest"]["1"]),
            ["name", "version", "description", "inputs", "outputExample"],
        )


def test_the_example_enqueues_tasks():
    with serving(EXAMPLE) as (process, client):
        body = '{"name":"sayHello","params":{"name":"Ann"}}'
        equal(client.post("/api/enqueueTask", body).json["enqueued"], True)
        process.expect("hello, Ann, from api-worker-1")
        equal(client.get("/api/enqueueTask?name=nope").status, 404)
        equal(client.get("/api/enqueueTask?name=sayHello&delay=-1").status, 422)


class Chatter:
    """A client that comes now and then, each time over a new connection."""

    def __init__(self, address):
        self.address = address
        self.cookie = os.urandom(20).hex()

    def ask(self, method, **params):
        query = urllib.parse.urlencode({"method": method, **params})
        with Client(self.address) as client:
            return client.get(
                f"/api/chat?{query}", Cookie=f"sessionID={self.cookie}"
            )

    def heard(self):
        return [each["message"] for each in self.ask("messages").json["messages"]]


def test_the_example_has_rooms_for_those_who_come_over_http():
    with serving(EXAMPLE, WORKERS="2") as (_, client):
        alice, bob = Chatter(client.address), Chatter(client.address)
        ids = []
        for chatter in [alice, bob]:
            details = chatter.ask("detailsView").json["details"]
            equal(details["rooms"], ["defaultRoom"])
            assert re.fullmatch("[0-9a-f]{32}", details["id"]), details
            ids.append(details["id"])
        status = alice.ask("roomView").json["roomStatus"]
        equal(list(status), ["room", "members", "membersCount"])
        equal((status["room"], status["membersCount"]), ("defaultRoom", 2))
        equal(sorted(status["members"]), sorted(ids))
        # Nobody learns who others are to the server.
        assert bob.cookie not in json.dumps(status)
        equal(bob.ask("say", message="hello from bob").status, 200)
        messages = alice.ask("messages").json["messages"]
        equal(len(messages), 1)
        sent_at = messages[0].pop("sentAt")
        assert abs(sent_at - time.time() * 1000) < 600000, sent_at
        equal(
            messages[0],
            {
                "message": "hello from bob",
                "room": "defaultRoom",
                "from": ids[1],
                "context": "user",
            },
        )
        equal(alice.heard(), [])
        equal(bob.heard(), ["hello from bob"])


def test_the_example_makes_rooms():
    with serving(EXAMPLE, WORKERS="2") as (_, client):
        alice, bob = Chatter(client.address), Chatter(client.address)
        made = client.get("/api/createChatRoom?name=room7").json
        equal((made["name"], made["didCreate"]), ("room7", True))
        made = client.get("/api/createChatRoom?name=room7").json
        equal(made["didCreate"], False)
        equal(client.get("/api/createChatRoom").status, 422)
        equal(client.get("/api/createChatRoom?name=a%7Cb").status, 422)
        equal(alice.ask("roomChange", room="room7").json["room"], "room7")
        equal(alice.ask("detailsView").json["details"]["rooms"], ["room7"])
        equal(alice.ask("roomAdd", room="defaultRoom").status, 200)
        equal(bob.ask("roomAdd", room="room7").json["room"], "room7")
        complains(
            bob.ask("roomAdd", room="room7"),
            409,
            "connection already in this room (room7)",
        )
        complains(bob.ask("roomChange", room="nope"), 404, "room does not exist")
        complains(
            bob.ask("say", room="defaultRoom", message="x"),
            409,
            "connection not in this room (defaultRoom)",
        )
        complains(
            bob.ask("roomView", room="defaultRoom"),
            409,
            "connection not in this room (defaultRoom)",
        )
        equal(bob.ask("say", room="room7").status, 422)
        equal(bob.ask("hum").status, 422)
        equal(bob.ask("say", room="room7", message="seven").status, 200)
        equal(alice.heard(), ["seven"])
        equal(alice.ask("roomLeave", room="room7").json["room"], "room7")
        equal(bob.ask("say", room="room7", message="eight").status, 200)
        equal(alice.heard(), [])
        equal(bob.heard(), ["seven", "eight"])


if __name__ == "__main__":
    sys.exit(main(globals()))
