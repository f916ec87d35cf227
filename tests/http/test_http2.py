"""What clients get over HTTP/2, without TLS: test_http2.py SERVER [TEST]"""

import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import http2
from http2 import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PING,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
    request,
)
from program import DEADLINE_S, Program, Skipped, equal, main, own_address

SERVER = sys.argv[1]
OPEN_NOTICE = 0x7FFFFFFF


class Site:
    def __init__(self, home, workers, patience_ms):
        self.folder = os.path.join(home, "public")
        self.log = os.path.join(home, "access.log")
        os.mkdir(self.folder)
        self.address = own_address()
        self.program = Program(
            SERVER,
            self.address,
            self.folder,
            self.log,
            str(workers),
            PATIENCE_MS=str(patience_ms),
        )

    def put(self, name, content):
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(content)

    def curl(self, path, *options, version="--http2-prior-knowledge"):
        curl = shutil.which("curl")
        if not curl:
            raise Skipped("curl is not installed")
        done = subprocess.run(
            [curl, "--silent", "--show-error", "--max-time", str(DEADLINE_S)]
            + [version, *options, f"http://{self.address}{path}"],
            capture_output=True,
        )
        equal((path, options, done.stderr, done.returncode), (path, options, b"", 0))
        return done.stdout

    def connect(self, **values):
        return http2.connect(self.address, DEADLINE_S, **values)


@contextlib.contextmanager
def site(workers=1, patience_ms=60000):
    with tempfile.TemporaryDirectory() as home:
        one = Site(home, workers, patience_ms)
        with one.program:
            for _ in range(workers):
                one.program.expect("^listening$")
            yield one


def open_request(stream, *arguments):
    """Its body is still to come."""
    return frame(HEADERS, END_HEADERS, stream, request(*arguments))


def whole_request(stream, *arguments):
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, request(*arguments))


def goaway_code(client):
    got = client.until_kind(GOAWAY)
    return got and got.code()


# ---- What is asked as ever ----


def head_and_body(reply):
    """The status, the headers in order, and the body."""
    head, body = reply.split(b"\r\n\r\n", 1)
    first, *lines = head.decode().split("\r\n")
    return first.split()[1], sorted(line.lower() for line in lines), body


def test_replies_are_those_of_http1():
    with site() as one:
        one.put("small.txt", b"small")
        one.put("page.html", b"<p>" * 3000)
        one.put("large.bin", os.urandom(1 << 20))
        for path, *options in (
            ("/",),
            ("/?a=b",),
            ("/client", "--header", "X-Forwarded-For: 192.0.2.1"),
            ("/cookie", "--cookie", "a=b; visits=4; c=d"),
            ("/cookie", "--header", "Cookie: visits=4", "--header", "X-A: b"),
            ("/files/small.txt",),
            ("/files/small.txt", "--head"),
            ("/files/large.bin",),
            ("/files/large.bin", "--range", "1000-200000"),
            ("/files/large.bin", "--range", "9999999-"),
            ("/files/page.html", "--compressed"),
            ("/files/none",),
            ("/files/small.txt", "--data", "a"),
            ("/echo", "--data-binary", "x" * 100000),
            ("/upload", "--form", "a=b", "--form", "c=d"),
            ("/upload", "--data", "a=b"),
            ("/small", "--data", "0123456789"),
            ("/small", "--data", "0123456789a"),
            ("/" + "a" * 8200,),
            ("/", "--header", "X-A: " + "b" * 17000),
            ("/", "--request", "OPTIONS"),
        ):
            old, new = (
                head_and_body(one.curl(path, "--include", *options, version=version))
                for version in ("--http1.1", "--http2-prior-knowledge")
            )
            for which in (old, new):
                which[1][:] = [
                    line
                    for line in which[1]
                    if not re.match("date:|connection:|transfer-encoding:", line)
                ]
            assert old == new, f"{path[:40]}: {str(old)[:300]} is not {str(new)[:300]}"
        one.program.signal(signal.SIGTERM)
        one.program.end()
        with open(one.log) as file:
            log = file.read()
        assert '"GET /files/small.txt HTTP/2.0" 200 5 "-" "curl' in log, log
        assert '"GET /files/small.txt HTTP/1.1" 200 5 "-" "curl' in log, log
        assert '192.0.2.1 - - ' in log, log


def test_a_body_of_a_mebibyte_goes_both_ways():
    content = os.urandom(1 << 20)
    with site() as one:
        one.put("body", content)
        path = os.path.join(one.folder, "body")
        equal(one.curl("/echo", "--data-binary", f"@{path}") == content, True)
        equal(one.curl("/", "--data-binary", f"@{path}"), b"hello\n")
        got = one.curl("/upload", "--form", f"a=@{path};type=a/b")
        equal(got, b"a body a/b 1048576 file\n")
        with open(os.path.join(one.folder, "kept"), "rb") as file:
            equal(file.read() == content, True)
        one.put("body", content + b"a")
        code = ("--write-out", " %{http_code}")
        got = one.curl("/", *code, "--data-binary", f"@{path}")
        equal(got, b"the body is too large\n 413")
        got = one.curl("/", *code, "--form", f"a=@{path}", "--header", "Expect: 100-continue")
        equal(got, b"the body is too large\n 413")
        equal(len(one.curl("/large")), 50 << 20)


def test_many_upload_at_once():
    """More bodies than may fill memory at a time: the rest waits its turn."""
    length = 300000
    with site() as one, one.connect() as client:
        client.send(*(open_request(1 + 2 * i, "POST", "/") for i in range(30)))
        windows = {1 + 2 * i: 65535 for i in range(30)}
        left = {stream: length for stream in windows}
        connection_window = 65535
        answered = {}
        while len(answered) < 30:
            for stream in left:
                some = min(16384, left[stream], windows[stream], connection_window)
                if some > 0:
                    left[stream] -= some
                    windows[stream] -= some
                    connection_window -= some
                    end = END_STREAM if left[stream] == 0 else 0
                    client.send(frame(DATA, end, stream, b"x" * some))
                    break
            else:
                got = client.next()
                if got.kind == WINDOW_UPDATE:
                    more = struct.unpack(">I", got.payload)[0]
                    if got.stream:
                        windows[got.stream] += more
                    else:
                        connection_window += more
                elif got.kind == HEADERS:
                    answered[got.stream] = http2.status(got.payload)
                assert got.kind not in (RST_STREAM, GOAWAY), got
        equal(set(answered.values()), {200})


def test_replies_come_as_they_are_ready():
    with site() as one, one.connect() as client:
        client.send(
            whole_request(1, "GET", "/events"),
            open_request(3, "POST", "/echo"),
            whole_request(5),
        )
        equal(client.reply(5), (200, b"hello\n"))
        client.send(frame(DATA, END_STREAM, 3, b"echoed"))
        equal(client.reply(3)[1], b"echoed")
        assert b"tick" in client.until(lambda got: b"tick" in got.payload).payload
        # The server notices who is gone, and goes on for the others.
        client.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
        one.program.expect("^gone /events$")
        client.ask(7)
        equal(client.reply(7), (200, b"hello\n"))


def test_whoever_leaves_is_noticed():
    with site() as one:
        with one.connect() as client:
            client.send(whole_request(1, "GET", "/events"), whole_request(3, "GET", "/large"))
            client.until_kind(DATA, 3)
        one.program.expect("^gone /events$")
        one.program.expect("^gone /large$")


def test_a_client_is_not_sent_more_than_it_takes():
    """Nor is it read from, so that the echo fills no memory."""
    with site() as one, one.connect(initial_window_size=0) as client:
        client.send(open_request(1, "POST", "/echo"))
        sent, window = 0, 65535
        # The ping's answer tells that all before it has been dealt with.
        while window > 0:
            some = min(window, 16384)
            client.send(frame(DATA, 0, 1, b"x" * some), frame(PING, 0, 0, b"12345678"))
            sent += some
            window -= some
            while (got := client.next()).kind != PING:
                assert got.kind != DATA, got
                if got.kind == WINDOW_UPDATE and got.stream == 1:
                    window += struct.unpack(">I", got.payload)[0]
                assert sent + window < 400000, "it takes without end"
        client.send(
            frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 20)),
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20)),
            frame(DATA, END_STREAM, 1),
        )
        equal(client.reply(1)[1] == b"x" * sent, True)


def test_cookies_may_come_in_crumbs():
    with site() as one, one.connect() as client:
        client.ask(1, "GET", "/cookie", ("cookie", "a=b"), ("cookie", "visits=4"), ("cookie", "c=d"))
        equal(client.reply(1), (200, b"5"))


def test_trailers_are_dropped():
    with site() as one, one.connect() as client:
        client.send(
            open_request(1, "POST", "/echo"),
            frame(DATA, 0, 1, b"body"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, block(("x-a", "b"))),
        )
        equal(client.reply(1), (200, b"body"))


def test_a_head_may_be_in_pieces():
    with site() as one, one.connect() as client:
        head = request("GET", "/", ("x-a", "b" * 3000))
        client.send(
            frame(HEADERS, END_STREAM, 1, head[:10]),
            frame(CONTINUATION, 0, 1, head[10:20]),
            frame(CONTINUATION, END_HEADERS, 1, head[20:]),
        )
        equal(client.reply(1), (200, b"hello\n"))


# ---- What is refused ----


def test_the_preface_may_come_byte_by_byte():
    with site() as one:
        with http2.connect(one.address, DEADLINE_S, hello=False) as client:
            for byte in http2.PREFACE + frame(SETTINGS):
                client.send(bytes([byte]))
            client.ask(1)
            equal(client.reply(1)[1], b"hello\n")
        # What only begins like it is a request that HTTP/1 refuses.
        with http2.connect(one.address, DEADLINE_S, hello=False) as client:
            client.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
            client.fill(12)
            equal(client.received[:12], b"HTTP/1.1 400")


def test_garbage_after_the_preface_ends_the_connection():
    cases = (
        b"\xff" * 9,  # a frame that is too long
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 10,
        frame(DATA, 0, 0, b"x"),  # of no stream
        frame(DATA, 0, 1, b"x"),  # of one that is not open
        frame(HEADERS, END_HEADERS, 2, request()),  # not a client's
        frame(HEADERS, END_HEADERS, 1, b"\xff" * 20),  # no HPACK
        frame(CONTINUATION, END_HEADERS, 1, request()),  # of nothing
        frame(SETTINGS, 0, 0, b"12345"),
        frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
        frame(PING, 0, 0, b"1"),
    )
    with site() as one:
        for garbage in cases:
            with one.connect() as client:
                client.send(garbage)
                assert goaway_code(client) not in (None, NO_ERROR), garbage
                equal(client.next(), None)


def test_malformed_requests_are_reset():
    method, scheme, path = (":method", "GET"), (":scheme", "http"), (":path", "/")
    with site() as one, one.connect() as client:
        for index, fields in enumerate(
            (
                [method, scheme, path],  # no authority
                [method, scheme, (":authority", "a")],  # no path
                [method, path, (":authority", "a")],
                [scheme, path, (":authority", "a")],
                [method, method, scheme, path],
                [method, scheme, path, (":status", "200")],
                [method, scheme, path, (":other", "a")],
                [method, scheme, path, ("a", "b"), (":authority", "a")],
                [method, scheme, (":path", "")],
                [method, scheme, (":path", "none")],
                [method, scheme, (":path", "/a b")],
                [method, scheme, (":path", "/a HTTP/1.1\r\nX: y")],
                [(":method", "G T"), scheme, path],
                [method, scheme, path, ("connection", "close")],
                [method, scheme, path, ("transfer-encoding", "chunked")],
                [method, scheme, path, ("upgrade", "websocket")],
                [method, scheme, path, ("keep-alive", "1")],
                [method, scheme, path, ("te", "gzip")],
                [method, scheme, path, ("X-Upper", "a")],
                [method, scheme, path, ("a b", "c")],
                [method, scheme, path, ("a", "b\r\nc: d")],
                [method, scheme, path, ("a", "b\0c")],
                [method, scheme, path, ("content-length", "x")],
                [method, scheme, path, ("content-length", "5")],  # none comes
            )
        ):
            stream = 2 * index + 1
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block(*fields)))
            got = client.until(lambda got: got.stream == stream)
            assert got and got.kind == RST_STREAM, (fields, got)
            equal((fields, got.code()), (fields, PROTOCOL_ERROR))
        # The connection is none the worse.
        client.ask(101)
        equal(client.reply(101), (200, b"hello\n"))


def test_what_is_too_much_is_answered():
    with site() as one, one.connect() as client:
        client.ask(1, "GET", "/" + "a" * 8192)
        equal(client.reply(1)[0], 414)
        client.ask(3, "GET", "/", *[("x-a", "b" * 1000)] * 10, *[("x-c", "d")] * 95)
        equal(client.reply(3)[0], 431)
        client.ask(5, "CONNECT", "/")
        equal(client.until(lambda got: got.stream == 5).kind, RST_STREAM)
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 7, block((":method", "CONNECT"), (":authority", "a:1"))))
        equal(client.reply(7)[0], 501)
        # In frames as large as may be: 30 KiB.
        head = request("GET", "/", ("x-a", "b" * 15000), ("x-c", "d" * 15000))
        client.send(
            frame(HEADERS, END_STREAM, 11, head[:16000]),
            frame(CONTINUATION, END_HEADERS, 11, head[16000:]),
        )
        equal(client.reply(11)[0], 431)
        # Of a length that nobody has told.
        client.send(open_request(13, "POST", "/small"), frame(DATA, 0, 13, b"0123456789a"))
        equal(client.reply(13), (413, b"the body is too large\n"))
        client.ask(15)
        equal(client.reply(15), (200, b"hello\n"))


def test_a_head_that_does_not_end_ends_the_connection():
    with site() as one:
        # Much of little: an entry of the table again and again.
        with one.connect() as client:
            bomb = b"\x40" + http2.text("x-a") + http2.text("b" * 3000) + b"\xbe" * 3000
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request() + bomb))
            equal(goaway_code(client), ENHANCE_YOUR_CALM)
        # In ever more frames.
        with one.connect() as client:
            client.send(frame(HEADERS, END_STREAM, 1, request()))
            more = frame(CONTINUATION, 0, 1, block(("x-a", "b" * 1000)))
            for _ in range(1000):
                if not client.send(more):
                    break
            got = client.until_kind(GOAWAY)
            assert got is None or got.code() != NO_ERROR, got
    # Slowly: cut by time.
    with site(patience_ms=1000) as one:
        with one.connect() as client:
            client.until_kind(SETTINGS)
            client.send(frame(HEADERS, END_STREAM, 1, request()))
            equal(goaway_code(client), ENHANCE_YOUR_CALM)


def is_told_to_be_calm(client, frames, times):
    for _ in range(times):
        if not client.send(frames):
            break
    try:
        got = client.until_kind(GOAWAY)
    except ConnectionError:
        got = None
    # With what we send on the way the GOAWAY itself may be lost.
    return got is None or got.code() == ENHANCE_YOUR_CALM


def test_rapid_resets_end_the_connection():
    with site() as one:
        with one.connect() as client:
            pairs = [
                whole_request(stream) + frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))
                for stream in range(1, 2401, 2)
            ]
            client.send(*pairs)
            equal(goaway_code(client), ENHANCE_YOUR_CALM)
        # The same by mistakes that make the server reset.
        with one.connect() as client:
            for batch in range(24):
                streams = range(1 + 100 * batch, 101 + 100 * batch, 2)
                client.send(
                    *(
                        open_request(stream, "POST", "/", ("content-length", "5"))
                        + frame(DATA, END_STREAM, stream)
                        for stream in streams
                    )
                )
                got = client.until(lambda got: got.stream == streams[-1] or got.kind == GOAWAY)
                if got is None or got.kind == GOAWAY:
                    break
            equal(got and (got.kind, got.code()), (GOAWAY, ENHANCE_YOUR_CALM))
        # A page that is left takes back what is under way.
        with one.connect() as client:
            client.send(
                *(open_request(stream, "POST", "/") for stream in range(1, 161, 2)),
                *(
                    frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))
                    for stream in range(1, 161, 2)
                ),
            )
            client.ask(161)
            equal(client.reply(161), (200, b"hello\n"))


def test_floods_end_the_connection():
    with site() as one:
        for flood in (
            frame(PING, 0, 0, b"12345678"),
            frame(SETTINGS),
            frame(http2.PRIORITY, 0, 1, struct.pack(">IB", 0, 1)),
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)),
        ):
            with one.connect() as client:
                assert is_told_to_be_calm(client, flood * 500, 40), flood
        with one.connect() as client:
            client.send(open_request(1, "POST", "/echo"))
            assert is_told_to_be_calm(client, frame(DATA, 0, 1) * 500, 40)
        with one.connect() as client:
            client.ask(1)
            equal(client.reply(1), (200, b"hello\n"))


def test_more_streams_than_may_be_are_not_taken():
    with site() as one, one.connect() as client:
        client.until_kind(SETTINGS)
        client.send(*(open_request(1 + 2 * i, "POST", "/") for i in range(101)))
        got = client.until(lambda got: got.kind in (RST_STREAM, GOAWAY))
        assert got.kind == GOAWAY or got.stream == 201, got


# ---- What takes too long ----


def test_a_reader_that_gives_no_window_is_cut():
    with site(patience_ms=1000) as one, one.connect(initial_window_size=0) as client:
        client.send(whole_request(1), whole_request(3, "GET", "/large"))
        resets = {client.until_kind(RST_STREAM).stream for _ in range(2)}
        equal(resets, {1, 3})
        one.program.expect("^gone /large$")
        equal(goaway_code(client), NO_ERROR)


def test_a_body_that_does_not_come_is_not_waited_for():
    with site(patience_ms=1000) as one, one.connect() as client:
        client.send(
            open_request(1, "POST", "/"),
            open_request(3, "POST", "/echo"),
            frame(DATA, 0, 1, b"a"),
            frame(DATA, 0, 3, b"a"),
        )
        seen = {}
        while len(seen) < 2:
            got = client.next()
            if got.stream == 1 and got.kind == HEADERS:
                seen[1] = http2.status(got.payload)
            if got.stream == 3 and got.kind == RST_STREAM:
                seen[3] = "reset"
        equal(seen, {1: 408, 3: "reset"})
        one.program.expect("^gone /echo$")


def test_an_idle_connection_is_closed():
    with site(patience_ms=1000) as one:
        for frames in ((), (whole_request(1),)):
            with one.connect() as client:
                client.send(*frames)
                equal(goaway_code(client), NO_ERROR)
                equal(client.next(), None)


# ---- Leaving ----


def test_what_runs_is_finished_before_the_worker_goes():
    with site() as one, one.connect() as client:
        client.send(open_request(1, "POST", "/echo"), frame(DATA, 0, 1, b"one "))
        client.until_kind(DATA)
        one.program.signal(signal.SIGTERM)
        equal(client.until_kind(GOAWAY).last_stream(), OPEN_NOTICE)
        # It was on its way when the server said that, which the server finds
        # out by a PING, or gives up after a while.
        client.ask(3)
        body, goodbye = b"", None
        while not goodbye or (body != b"hello\n" and goodbye.last_stream() == 3):
            got = client.next()
            if got.kind == DATA and got.stream == 3:
                body += got.payload
            if got.kind == GOAWAY:
                goodbye = got
        equal(goodbye.code(), NO_ERROR)
        client.send(frame(DATA, END_STREAM, 1, b"two"))
        equal(client.reply(1)[1], b"two")
        equal(client.next(), None)
        one.program.end()


class Browser:
    """Asks as clients are to: what was not taken is asked again elsewhere."""

    def __init__(self, one):
        self.one = one
        self.answered = 0
        self.connections = 0

    def ask(self, client, wanted):
        """Of one connection, until it says goodbye; how many were answered."""
        stream, open_streams, last, answered = 1, set(), None, 0
        while answered < wanted:
            while last is None and len(open_streams) < 10 and answered + len(open_streams) < wanted:
                client.ask(stream)
                open_streams.add(stream)
                stream += 2
            if last is not None and not open_streams:
                break
            got = client.next()
            assert got is not None, f"closed with {open_streams} open, last {last}"
            assert got.kind != RST_STREAM, got
            if got.kind == GOAWAY:
                equal(got.code(), NO_ERROR)
                last = got.last_stream()
                open_streams = {each for each in open_streams if each <= last}
            if got.kind == HEADERS:
                equal(http2.status(got.payload), 200)
            if got.kind == DATA and got.flags & END_STREAM:
                open_streams.remove(got.stream)
                answered += 1
        return answered

    def run(self, wanted):
        while self.answered < wanted:
            with self.one.connect() as client:
                self.connections += 1
                self.answered += self.ask(client, wanted - self.answered)
        return self.connections


def test_no_request_fails_in_a_reload():
    with site(workers=2) as one, concurrent.futures.ThreadPoolExecutor(4) as pool:
        browsers = [Browser(one) for _ in range(4)]
        runs = [pool.submit(browser.run, 4000) for browser in browsers]
        one.program.signal(signal.SIGHUP)
        for _ in range(2):
            one.program.expect("^listening$")
        connections = sum(run.result() for run in runs)
        assert connections > 4, "nobody had to go elsewhere"
        equal([browser.answered for browser in browsers], [4000] * 4)


def test_h2load_fails_nowhere():
    h2load = shutil.which("h2load")
    if not h2load:
        raise Skipped("h2load is not installed")
    with site(workers=2) as one:
        one.put("file", b"f" * 40000)
        for path in ("/", "/files/file"):
            done = subprocess.run(
                [h2load, "-n", "2000", "-c", "4", "-m", "10", f"http://{one.address}{path}"],
                capture_output=True,
                text=True,
                timeout=DEADLINE_S * 4,
            )
            assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout


if __name__ == "__main__":
    sys.exit(main(globals()))
