"""What clients get from the HTTP server: test_http.py SERVER [TEST]

With MUSTER_TEST_TLS in the environment, over TLS.
"""

import concurrent.futures
import contextlib
import email.utils
import gzip
import hashlib
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from certificates import Certificate
from program import DEADLINE_S, Program, Skipped, equal, main, own_address

SERVER = sys.argv[1]
SECURE = "MUSTER_TEST_TLS" in os.environ
# Python takes its time to shake hands, and they are not to be cut meanwhile.
SLOW_CLIENTS = 200 if SECURE else 1000


class Site:
    """The server, its folder, and a curl that asks it."""

    def __init__(self, home, workers, secure=SECURE, **environment):
        self.folder = os.path.join(home, "public")
        self.temporary = os.path.join(home, "temporary")
        self.log = os.path.join(home, "access.log")
        os.mkdir(self.folder)
        os.mkdir(self.temporary)
        self.address = own_address()
        self.certificate = None
        if secure:
            host = self.address.rsplit(":", 1)[0]
            self.certificate = Certificate(home, "own", (host, "localhost"))
            environment.setdefault("CERTIFICATE", self.certificate.path)
            environment.setdefault("KEY", self.certificate.key)
        self.scheme = "https" if secure else "http"
        self.program = Program(
            SERVER,
            f"{self.scheme}://{self.address}",
            self.folder,
            self.log,
            str(workers),
            TMPDIR=self.temporary,
            **environment,
        )

    def path(self, name):
        return os.path.join(self.folder, name)

    def put(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)

    def curl(self, path, *options, code=0):
        curl = shutil.which("curl")
        if not curl:
            raise Skipped("curl is not installed")
        trust = []
        if self.certificate:
            # HTTP/2 is what it would agree on.
            version = [] if {"--http2", "-0"} & set(options) else ["--http1.1"]
            trust = ["--cacert", self.certificate.path, *version]
        done = subprocess.run(
            [curl, "--silent", "--show-error", "--max-time", str(DEADLINE_S), *trust]
            + [*options, f"{self.scheme}://{self.address}{path}"],
            capture_output=True,
        )
        equal(done.returncode, code)
        return done.stdout

    def connect_plain(self):
        host, port = self.address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), DEADLINE_S)
        connection.settimeout(DEADLINE_S)
        return connection

    def connect(self, context=None, **options):
        connection = self.connect_plain()
        if not self.certificate:
            return connection
        context = context or trusting(self.certificate)
        options.setdefault("server_hostname", "localhost")
        return context.wrap_socket(connection, **options)

    def ask_raw(self, request):
        """All that comes back until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            reply = b""
            while block := receive(connection):
                reply += block
            return reply


def trusting(certificate):
    return ssl.create_default_context(cafile=certificate.path)


def receive(connection):
    try:
        return connection.recv(65536)
    except (ConnectionResetError, ssl.SSLError):
        return b""


@contextlib.contextmanager
def site(workers=1, **options):
    with tempfile.TemporaryDirectory() as home:
        one = Site(home, workers, **options)
        with one.program:
            for _ in range(workers):
                one.program.expect("^listening$")
            yield one


def noise(length):
    """Bytes that no compression makes smaller, the same each time."""
    blocks = (hashlib.sha256(str(i).encode()).digest() for i in range(length // 32 + 1))
    return b"".join(blocks)[:length]


# ---- Bodies ------------------------------------------------------------------


def test_a_body_is_echoed_as_it_comes():
    content = noise(20_000_000)
    with site() as one:
        one.put("sent", content)
        for options in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]):
            got = one.curl("/echo", "--data-binary", "@" + one.path("sent"), *options)
            equal(hashlib.sha256(got).digest(), hashlib.sha256(content).digest())
        equal(one.curl("/echo", "-0", "--data-binary", "x" * 1000), b"x" * 1000)


def test_an_upload_is_kept_and_nothing_is_left():
    content = noise(5_000_000)
    with site() as one:
        one.put("sent.bin", content)
        got = one.curl(
            "/upload",
            *("-F", "a=text", "-F", f"f=@{one.path('sent.bin')};type=image/x"),
            *("-F", "b=;type=text/x"),
        )
        equal(
            got.decode().splitlines(),
            ["a - - 4 memory", "f sent.bin image/x 5000000 file", "b - text/x 0 memory"],
        )
        with open(one.path("kept"), "rb") as file:
            equal(file.read() == content, True)
        equal(os.listdir(one.temporary), [])
        equal(one.curl("/upload", "-d", "a=b"), b"no multipart form\n")


def test_an_upload_that_breaks_off_leaves_nothing():
    head = (
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        b"Content-Disposition: form-data; name=f; filename=x\r\n\r\n"
    )
    with site() as one:

        def files():
            """What the worker has open among its temporary files."""
            found = [path for worker in children(one.program.pid) for path in opened(worker)]
            return [path for path in found if path.startswith(one.temporary)]

        with one.connect() as connection:
            connection.sendall(head + b"x" * 100000)
            await_true(lambda: len(files()) == 1)
        await_true(lambda: not files())
        with one.connect() as connection:
            connection.sendall(head + b"x" * 100000)
            await_true(lambda: len(files()) == 1)
            for worker in children(one.program.pid):
                os.kill(worker, signal.SIGKILL)
            one.program.expect("^listening$")
        equal(os.listdir(one.temporary), [])


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def opened(pid):
    """What its descriptors are, but those that it closes meanwhile."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def await_true(is_so):
    until = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < until, "the deadline passed"
        time.sleep(0.005)


def test_what_is_too_large_is_not_even_sent():
    with site() as one:
        one.put("sent", noise(200_000))
        written = one.curl(
            "/small",
            *("-H", "Expect: 100-continue", "--data-binary", "@" + one.path("sent")),
            *("-o", "/dev/null", "-w", "%{http_code} %{size_upload}"),
        )
        equal(written, b"413 0")
        equal(one.curl("/small", "-d", "0123456789"), b"hello\n")


# ---- Replies -----------------------------------------------------------------


def test_a_large_reply_comes_whole_to_any_client():
    with site() as one:
        for options in ([], ["-0"], ["--limit-rate", "60M"]):
            length = one.curl("/large", *options, "-o", "/dev/null", "-w", "%{size_download}")
            equal(length, b"52428800")
        equal(one.curl("/large", "-I", "-o", "/dev/null", "-w", "%{size_download}"), b"0")


def test_a_client_that_leaves_is_noticed():
    with site() as one:
        for path in ("/events", "/large"):
            with one.connect() as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                got = b""
                while b"tick 3" not in got and b"xxx" not in got:
                    got += connection.recv(1000)
                # With a reset, as a process that dies with unread bytes.
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            one.program.expect(f"^gone {path}$")
        with one.connect() as connection:
            connection.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(1000)
        one.program.expect("^gone /events$")


def test_cookies_are_kept_by_a_client():
    with site() as one:
        jar = os.path.join(one.temporary, "jar")
        for visit in (b"1", b"2", b"3"):
            equal(one.curl("/cookie", "-b", jar, "-c", jar), visit)


def test_the_client_is_who_the_proxy_says():
    with site() as one:
        equal(one.curl("/client").startswith(b"127."), True)
        equal(one.curl("/client", "-H", "X-Forwarded-For: 1.2.3.4, 203.0.113.9"), b"203.0.113.9")


# ---- Files -------------------------------------------------------------------


def test_files_are_sent_as_asked():
    content = noise(3_000_000)
    text = b"a line of text\n" * 1000
    with site() as one:
        one.put("large.bin", content)
        one.put("a.txt", text)
        old = time.time() - 3600
        for name in ("large.bin", "a.txt"):
            os.utime(one.path(name), (old, old))
        equal(one.curl("/files/large.bin") == content, True)
        equal(one.curl("/files/large.bin", "-r", "100-199"), content[100:200])
        equal(one.curl("/files/large.bin", "-r", "-7"), content[-7:])
        # What broke off is taken up again.
        partial = os.path.join(one.temporary, "partial")
        with open(partial, "wb") as file:
            file.write(content[:1_234_567])
        one.curl("/files/large.bin", "-C", "-", "-o", partial)
        with open(partial, "rb") as file:
            equal(file.read() == content, True)
        equal(one.curl("/files/a.txt", "--compressed"), text)
        packed = one.curl("/files/a.txt", "-H", "Accept-Encoding: gzip")
        equal(len(packed) < len(text) / 10, True)
        equal(gzip.decompress(packed), text)
        tags = os.path.join(one.temporary, "tag")
        equal(one.curl("/files/a.txt", "--etag-save", tags), text)
        status = ("-o", "/dev/null", "-w", "%{http_code}")
        equal(one.curl("/files/a.txt", "--etag-compare", tags, *status), b"304")
        for seconds, wanted in ((old + 60, b"304"), (old - 60, b"200")):
            date = email.utils.formatdate(seconds, usegmt=True)
            equal(one.curl("/files/a.txt", "-z", date, *status), wanted)


def test_nothing_outside_the_folder_is_sent():
    with site() as one:
        with open(os.path.join(one.temporary, "secret"), "w") as file:
            file.write("secret")
        os.symlink(one.temporary, one.path("out"))
        os.symlink("/", one.path("root"))
        for path in (
            "/files/../temporary/secret",
            "/files/%2e%2e/temporary/secret",
            "/files/..%2ftemporary%2fsecret",
            "/files/out/secret",
            "/files/root/etc/passwd",
            "/files//etc/passwd",
            "/files/%00",
            "/files/\\..\\..\\etc\\passwd",
        ):
            equal(one.curl(path, "--path-as-is"), b"no file\n")


# ---- Bad clients -------------------------------------------------------------


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


def test_what_two_readers_could_understand_differently_is_refused():
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    post = b"POST / HTTP/1.1\r\nHost: a\r\n"
    with site() as one:
        for request in (
            post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            post + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
            post + b"Content-Length: 4, 4\r\n\r\nabcd",
            post + b"Content-Length: +4\r\n\r\nabcd",
            post + b"Content-Length: 0x4\r\n\r\nabcd",
            post + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            post + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            post + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
            post + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            post + b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            post + b"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\n0;\r\rx\r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\n0 \r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\n00000000000000000\r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\n0;" + b"x" * 10000 + b"\r\n\r\n",
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
        ):
            reply = one.ask_raw(request + smuggled)
            equal((request, reply[9:12]), (request, b"400"))
            equal(reply.count(b"HTTP/1.1"), 1)
        with open(one.log) as file:
            equal("smuggled" in file.read(), False)


def test_too_much_is_refused():
    with site() as one:
        for request, status in (
            (GET + b"X: y\r\n" * 100_000 + b"\r\n", b"431"),
            (GET + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n", b"431"),
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
            (b"GET /" + b"a" * 1_000_000, b"414"),
            (b"X" * 1000 + b" / HTTP/1.1\r\n\r\n", b"501"),
            (GET + b"Cookie: a=1\r\n" * 101 + b"\r\n", b"431"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", b"413"),
        ):
            equal(one.ask_raw(request)[9:12], status)


def slow_clients(one, stack):
    """Many that each do what costs a server most, or nothing at all."""
    kinds = (
        b"",
        b"GET / HT",
        GET + b"X: y\r\n",
        b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\nx",
        b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
        GET + b"\r\n",
        b"GET /files/large.bin HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    clients = []
    context = trusting(one.certificate) if SECURE else None
    for i in range(SLOW_CLIENTS):
        client = stack.enter_context(one.connect(context))
        client.sendall(kinds[i % len(kinds)])
        clients.append(client)
    return clients


def test_a_thousand_slow_clients_slow_nobody_and_are_cut():
    with site() as one, contextlib.ExitStack() as stack:
        one.put("large.bin", noise(3_000_000))
        clients = slow_clients(one, stack)
        fast = stack.enter_context(one.connect())
        begun = time.monotonic()
        slowest = 0
        for i in range(2000):
            asked = time.monotonic()
            fast.sendall(GET + b"\r\n")
            reply = b""
            while not reply.endswith(b"hello\n"):
                reply += fast.recv(1000)
            slowest = max(slowest, time.monotonic() - asked)
            if i % 10 == 0:  # one that trickles
                with contextlib.suppress(OSError):
                    clients[(2 + 8 * (i // 10)) % SLOW_CLIENTS].sendall(b"Z: y\r\n")
        # Generous: the machine may be busy with others. A server that waited
        # for one of them would take its three seconds.
        equal(time.monotonic() - begun < DEADLINE_S, True)
        equal(slowest < 2.5, True)
        worker = children(one.program.pid)[0]
        # One is left: the fast one keeps asking.
        until = time.monotonic() + 2 * DEADLINE_S

        def connections():
            fast.sendall(GET + b"\r\n")
            fast.recv(1000)
            return sum(name.startswith("socket:") for name in opened(worker))

        few = 20  # its channel and such
        while connections() > few:
            assert time.monotonic() < until, f"{connections()} are still open"
            time.sleep(0.05)


# ---- The access log ----------------------------------------------------------


def test_each_request_of_all_workers_has_a_whole_line():
    line = re.compile(
        r'^127\.\d+\.\d+\.\d+ - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]'
        r' "GET /n\d+ HTTP/1\.1" 200 6 "-" "x{300}"$'
    )

    def ask_many(first):
        with one.connect() as connection:
            for number in range(first, first + 500):
                connection.sendall(
                    f"GET /n{number} HTTP/1.1\r\nHost: a\r\nUser-Agent: {'x' * 300}\r\n\r\n".encode()
                )
                reply = b""
                while not reply.endswith(b"hello\n"):
                    reply += connection.recv(1000)

    with site(workers=3) as one:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(ask_many, range(0, 4000, 500)))
        one.program.signal(signal.SIGTERM)
        one.program.end()
        with open(one.log) as file:
            lines = file.read().splitlines()
        for got in lines:
            assert line.match(got), got
        equal(len(lines), 4000)
        equal(len({re.search(r"/n\d+", got).group() for got in lines}), 4000)


def test_a_log_that_cannot_be_written_is_told():
    with tempfile.TemporaryDirectory() as home:
        path = os.path.join(home, "none", "access.log")
        with Program(SERVER, own_address(), home, path, "1") as program:
            program.expect(
                f"cannot write the access log {re.escape(path)}: "
                "No such file or directory .name a file that this process may write."
            )


if __name__ == "__main__":
    sys.exit(main(globals()))
