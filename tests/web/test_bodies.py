"""Bodies of requests, and files in them."""

import os
import signal
import subprocess
import sys
import tempfile

from web import (
    FORM,
    Client,
    children,
    complains,
    form,
    is_left,
    serving,
    status_of,
    until,
    uploading,
)

from program import Skipped, equal, main


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


if __name__ == "__main__":
    sys.exit(main(globals()))
