"""HTTP over TLS, as clients see it: test_tls.py SERVER API [TEST]"""

import concurrent.futures
import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
API = sys.argv.pop(2)
from certificates import Certificate
from program import DEADLINE_S, Program, Skipped, equal, main, own_address
from test_http import SERVER, await_true, children, noise, receive, site, trusting

GET_WORKER = b"GET /worker HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"Connection: close\r\n"


def secure_site(workers=1, **options):
    return site(workers, secure=True, **options)


class Leaving(Exception):
    """The reply came, and is the connection's last."""


def ask(connection, request=GET_WORKER, expects_more=False):
    """The body of a reply that ends with a line."""
    connection.sendall(request)
    reply = b""
    while not re.search(rb"\r\n\r\n.*\n$", reply, re.S):
        block = connection.recv(65536)
        assert block, f"the server has closed after {reply!r}"
        reply += block
    head, _, body = reply.partition(b"\r\n\r\n")
    if expects_more and b"Connection: close" in head:
        raise Leaving
    return body.decode().strip()


def worker_of(connection):
    pid, how = ask(connection).split()
    equal(how, "secure")
    return int(pid)


def only(version, certificate):
    context = trusting(certificate)
    context.minimum_version = context.maximum_version = version
    return context


VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

# ---- Hands -------------------------------------------------------------------


def test_curl_is_answered_in_either_version():
    with secure_site() as one:
        shown = ("-o", "/dev/null", "-w", "%{http_version} %{http_code}")
        equal(one.curl("/", *shown, "--tlsv1.3"), b"1.1 200")
        equal(one.curl("/", *shown, "--tls-max", "1.2"), b"1.1 200")
        equal(one.curl("/", "--tlsv1.0", "--tls-max", "1.1", code=35), b"")
        equal(one.curl("/worker", "-0").split()[1], b"secure")
        # Two requests, one connection.
        equal(one.curl("/", f"https://{one.address}/"), b"hello\nhello\n")


def test_what_is_spoken_inside_is_agreed_on():
    with secure_site() as one:
        context = trusting(one.certificate)
        with one.connect(context) as connection:
            equal(connection.selected_alpn_protocol(), None)
            worker_of(connection)
        context.set_alpn_protocols(["spdy/1", "http/1.1"])
        with one.connect(context) as connection:
            equal(connection.selected_alpn_protocol(), "http/1.1")
            worker_of(connection)
        context.set_alpn_protocols(["smtp"])
        try:
            one.connect(context)
        except ssl.SSLError:
            return
        raise AssertionError("a protocol that nobody speaks was agreed on")


def test_http2_is_agreed_on():
    content = noise(5_000_000)
    shown = ("--http2", "-o", "/dev/null", "-w", "%{http_version} %{size_download}")
    with secure_site() as one:
        one.put("sent", content)
        equal(one.curl("/large", *shown), b"2 52428800")
        equal(one.curl("/files/sent", "--http2") == content, True)
        equal(one.curl("/echo", "--http2", "--data-binary", "@" + one.path("sent")) == content, True)
        equal(one.curl("/worker", "--http2").split()[1], b"secure")
        context = trusting(one.certificate)
        context.set_alpn_protocols(["http/1.1", "h2"])
        with one.connect(context) as connection:
            equal(connection.selected_alpn_protocol(), "h2")


def test_a_certificate_is_chosen_by_its_name():
    with tempfile.TemporaryDirectory() as folder:
        other = Certificate(folder, "other", ("other.example", "*.many.example"))
        with secure_site(OTHER_CERTIFICATE=other.path, OTHER_KEY=other.key) as one:
            context = trusting(one.certificate)
            context.load_verify_locations(other.path)

            def subject(name):
                with one.connect(context, server_hostname=name) as connection:
                    worker_of(connection)
                    return connection.getpeercert()["subject"][0][0][1]

            own = one.address.rsplit(":", 1)[0]
            equal(subject("other.example"), "other.example")
            equal(subject("a.many.example"), "other.example")
            equal(subject("localhost"), own)
            context.check_hostname = False
            equal(subject("unknown.example"), own)
            equal(subject(None), own)


def test_who_speaks_no_tls_is_told():
    with secure_site() as one:
        for method in (b"GET", b"OPTIONS", b"DELETE"):
            with one.connect_plain() as connection:
                connection.sendall(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
                reply = http.client.HTTPResponse(connection)
                reply.begin()
                equal((reply.status, b"https://" in reply.read()), (400, True))
                equal(receive(connection), b"")
        for garbage in (b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 20000, b"hello\r\n", b"\x80" * 4):
            with one.connect_plain() as connection:
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
                while block := receive(connection):  # at most an alert
                    equal(block[:1], b"\x15")
        with one.connect() as connection:
            worker_of(connection)


def client_hello(certificate):
    """What a client begins with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = trusting(certificate).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    return outgoing.read()


def is_cut(connection):
    try:
        return connection.recv(65536, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_hands_that_are_not_shaken_are_cut():
    with secure_site() as one, contextlib.ExitStack() as stack:
        hello = client_hello(one.certificate)
        slow = [stack.enter_context(one.connect_plain()) for _ in range(3)]
        slow[1].sendall(hello[: len(hello) // 2])
        cut = set()
        sent = 0
        until = time.monotonic() + DEADLINE_S
        while len(cut) < len(slow):
            assert time.monotonic() < until, f"only {cut} are cut"
            # One of them never stops sending, a byte at a time.
            if sent < len(hello) - 1:
                with contextlib.suppress(OSError):
                    sent += slow[2].send(hello[sent : sent + 1])
            time.sleep(0.05)
            cut |= {i for i, connection in enumerate(slow) if is_cut(connection)}
        with one.connect() as connection:
            worker_of(connection)


# ---- Ends --------------------------------------------------------------------


def test_ends_are_said():
    large = b"GET /large HTTP/1.0\r\nHost: a\r\n\r\n"
    with secure_site() as one:
        for version in VERSIONS:
            context = only(version, one.certificate)
            # Where an end is not said this raises.
            with one.connect(context, suppress_ragged_eofs=False) as connection:
                ask(connection, GET_WORKER.replace(b"\r\n\r\n", b"\r\n" + LAST + b"\r\n"))
                equal(connection.recv(100), b"")
            with one.connect(context, suppress_ragged_eofs=False) as connection:
                connection.sendall(large)
                length = 0
                while block := connection.recv(65536):
                    length += len(block)
                equal(length > 50 * 1024 * 1024, True)


def test_a_client_that_has_said_its_end_is_answered():
    with secure_site() as one:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inside = trusting(one.certificate).wrap_bio(incoming, outgoing, server_hostname="localhost")
        with one.connect_plain() as connection:

            def until_done(step):
                while True:
                    try:
                        return step()
                    except ssl.SSLWantReadError:
                        connection.sendall(outgoing.read())
                        block = connection.recv(65536)
                        assert block, "the server has closed"
                        incoming.write(block)

            until_done(inside.do_handshake)
            inside.write(GET_WORKER)
            with contextlib.suppress(ssl.SSLWantReadError):
                inside.unwrap()  # the request and the end leave together
            reply = b""
            while b"secure" not in reply:
                reply += until_done(lambda: inside.read(65536))


# ---- Sessions ----------------------------------------------------------------


def session_of(one, context):
    with one.connect(context) as connection:
        worker_of(connection)
        return connection.session


def resume(one, context, session):
    """Who has resumed it; None: nobody."""
    with one.connect(context, session=session) as connection:
        pid = worker_of(connection)
        return pid if connection.session_reused else None


def resume_until(one, context, session, wanted):
    """Each time the session has to be resumed, until all have done so."""
    missing = set(wanted)
    until = time.monotonic() + DEADLINE_S
    with contextlib.ExitStack() as stack:
        while missing:
            assert time.monotonic() < until, f"{missing} never resumed it"
            # They stay open, so that the others have a turn.
            connection = stack.enter_context(one.connect(context, session=session))
            pid = worker_of(connection)
            equal(connection.session_reused, True)
            missing.discard(pid)


def test_any_worker_resumes_a_session():
    with secure_site(workers=2) as one:
        workers = children(one.program.pid)
        equal(len(workers), 2)
        for version in VERSIONS:
            context = only(version, one.certificate)
            resume_until(one, context, session_of(one, context), workers)


def test_openssl_resumes_sessions():
    openssl = shutil.which("openssl")
    if not openssl:
        raise Skipped("openssl is not installed")
    with secure_site(workers=2) as one:

        def connect(*options):
            # It reads until the server closes, or a ticket might be missed.
            done = subprocess.run(
                [openssl, "s_client", "-connect", one.address, "-ign_eof"]
                + ["-CAfile", one.certificate.path, *options],
                input=GET_WORKER.replace(b"\r\n\r\n", b"\r\n" + LAST + b"\r\n"),
                capture_output=True,
                timeout=DEADLINE_S,
            )
            return done.stdout

        for version in ("-tls1_2", "-tls1_3"):
            path = os.path.join(one.temporary, "session" + version)
            equal(b"\nNew, TLS" in connect(version, "-sess_out", path), True)
            seen = set()
            until = time.monotonic() + DEADLINE_S
            while len(seen) < 2:
                assert time.monotonic() < until, f"only {seen} answered"
                shown = connect(version, "-sess_in", path)
                equal(b"\nReused, TLS" in shown, True)
                seen.add(re.search(rb"(\d+) secure", shown)[1])


def test_sessions_outlast_a_reload():
    with secure_site(workers=2) as one:
        before = children(one.program.pid)
        contexts = [only(version, one.certificate) for version in VERSIONS]
        sessions = [session_of(one, context) for context in contexts]
        one.program.signal(signal.SIGHUP)
        await_true(lambda: len(new_workers(one, before)) == 2)
        for context, session in zip(contexts, sessions):
            resume_until(one, context, session, new_workers(one, before))


def new_workers(one, before):
    """Those that are left once all from before have gone."""
    now = children(one.program.pid)
    return [] if set(now) & set(before) else now


def test_keys_are_forgotten():
    with secure_site(TICKET_MS="200") as one:
        for version in VERSIONS:
            context = only(version, one.certificate)
            session = session_of(one, context)
            await_true(lambda: resume(one, context, session) is None)


# ---- Certificates ------------------------------------------------------------


def peer_certificate(connection):
    return connection.getpeercert(binary_form=True)


def test_a_reload_brings_a_new_certificate_and_drops_nothing():
    is_over = threading.Event()
    with tempfile.TemporaryDirectory() as folder, secure_site(workers=2) as one:
        new = Certificate(folder, "new", ("localhost",))
        wanted = ssl.PEM_cert_to_DER_cert(open(new.path).read())
        context = trusting(one.certificate)
        context.load_verify_locations(new.path)

        def ask_again_and_again():
            """How many replies came; any failure is raised."""
            replies = 0
            seen = False
            while not (is_over.is_set() and seen):
                with one.connect(context) as connection:
                    seen = peer_certificate(connection) == wanted
                    with contextlib.suppress(Leaving):
                        for _ in range(3):
                            replies += 1
                            ask(connection, expects_more=True)
            return replies

        before = children(one.program.pid)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask_again_and_again) for _ in range(4)]
            try:
                one.certificate.becomes(new)
                one.program.signal(signal.SIGHUP)
                await_true(lambda: new_workers(one, before))
            finally:
                is_over.set()
            replies = [one.result(DEADLINE_S) for one in asking]
        equal(min(replies) > 0, True)


def test_a_certificate_of_no_use_leaves_the_old_workers():
    with secure_site(workers=2) as one, tempfile.TemporaryDirectory() as folder:
        before = children(one.program.pid)
        context = trusting(one.certificate)
        other = Certificate(folder, "other")
        shutil.copy(other.key, one.certificate.key)  # not the certificate's
        one.program.signal(signal.SIGHUP)
        one.program.expect("cannot use the key in .*own.key with the certificate")
        for _ in range(20):
            with one.connect(context) as connection:
                equal(worker_of(connection) in before, True)


def refused(url, **environment):
    """What the server says that cannot listen there."""
    with tempfile.TemporaryDirectory() as folder:
        with Program(SERVER, url, folder, folder + "/log", "1", **environment) as program:
            return program.expect("http_server: (cannot|the certificate) (.*)")[0]


def test_files_of_no_use_are_told():
    address = own_address()
    url = "https://" + address
    with tempfile.TemporaryDirectory() as folder:
        own = Certificate(folder, "own")
        other = Certificate(folder, "other")
        none = os.path.join(folder, "none")
        for told, where, certificate, key in (
            ("the certificate is missing", url, None, None),
            (f"cannot read the certificate in {none}: No such file", url, none, None),
            (f"cannot read the certificate in {own.key}: no start line", url, own.key, None),
            (f"cannot use the key in {none} .*: No such file", url, own.path, none),
            (f"cannot use the key in {own.path} ", url, own.path, None),
            (f"cannot use the key in {other.key} .*: key values mismatch", url, own.path, other.key),
            (f"cannot listen on '{address}': there is a certificate", address, own.path, own.key),
        ):
            environment = {}
            if certificate:
                environment["CERTIFICATE"] = certificate
            if key:
                environment["KEY"] = key
            said = refused(where, **environment)
            assert re.search(told, said), said


def test_what_is_odd_is_told_in_the_log():
    with tempfile.TemporaryDirectory() as folder:
        own = Certificate(folder, "own")
        own.expire()
        os.chmod(own.key, 0o644)
        with secure_site(workers=2, CERTIFICATE=own.path, KEY=own.key) as one:
            one.program.expect(f"warn .*the certificate has expired file={own.path}")
            one.program.expect(f"the key can be read by everybody file={own.key} mode=0644")
            # Once, whatever the number of workers; and it is used.
            equal([line for line in one.program.said if "warn" in line][2:], [])
            equal(one.curl("/worker", "-k").split()[1], b"secure")


def test_keys_are_not_shown():
    with secure_site(workers=2) as one:
        with open(one.certificate.key) as file:
            secret = file.read().splitlines()[1]
        for pid in [one.program.pid, *children(one.program.pid)]:
            with open(f"/proc/{pid}/environ") as file:
                equal(secret in file.read(), False)
            # What a core dump leaves out has "dd" among its flags.
            with open(f"/proc/{pid}/smaps") as file:
                boards = re.findall(r"muster-board.*?VmFlags: ([^\n]*)", file.read(), re.S)
            equal(any("dd" in flags.split() for flags in boards), True)


# ---- A whole application -----------------------------------------------------


@contextlib.contextmanager
def application(folder, **options):
    """examples/api with a certificate, its address for HTTP and that for lines."""
    own = Certificate(folder, "own")
    http_address = own_address()
    tcp_address = http_address.replace(":8080", ":8081")
    with Program(
        API,
        *("--listen", f"https://{http_address}", "--tcp", f"tls://{tcp_address}"),
        *("--certificate", own.path, "--key", own.key, "--workers", "2"),
        MUSTER_HOME=folder,
        **options,
    ) as program:
        program.expect("workers serve https://localhost:8080")
        program.expect("wss://localhost:8080/ws")
        program.expect("openssl s_client -connect localhost:8081")

        def connect(address):
            host, port = address.rsplit(":", 1)
            connection = socket.create_connection((host, int(port)), DEADLINE_S)
            return trusting(own).wrap_socket(connection, server_hostname="localhost")

        yield program, connect, http_address, tcp_address


def read_line(connection):
    line = b""
    while not line.endswith(b"\r\n"):
        block = connection.recv(1)
        assert block, f"the server has closed after {line!r}"
        line += block
    return line.decode().strip()


def test_an_application_speaks_tls_on_all_its_ports():
    with tempfile.TemporaryDirectory() as folder:
        with application(folder) as (program, connect, http_address, tcp_address):
            with connect(http_address) as connection:
                connection.sendall(b"GET /api/status HTTP/1.1\r\nHost: a\r\n" + LAST + b"\r\n")
                reply = b""
                while block := connection.recv(65536):
                    reply += block
                equal(reply[:15], b"HTTP/1.1 200 OK")
            # WebSocket: what came in one piece is answered, to the echo of a ping.
            with connect(http_address) as connection:
                key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                connection.sendall(
                    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\n" + key + b"\r\n" + b"\x89\x82\0\0\0\0hi"
                )
                reply = b""
                while b"\x8a\x02hi" not in reply:
                    block = connection.recv(65536)
                    assert block, f"the server has closed after {reply!r}"
                    reply += block
                equal(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in reply, True)
            with connect(tcp_address) as connection:
                equal("welcome" in read_line(connection), True)
                connection.sendall(b'{"action":"status"}\r\n')
                equal("Node Healthy" in read_line(connection), True)
                connection.sendall(b"quit\r\n")
                equal("Bye!" in read_line(connection), True)
                equal(connection.recv(1), b"")
            program.signal(signal.SIGTERM)
            program.end()


def test_lines_that_never_begin_are_cut():
    with tempfile.TemporaryDirectory() as folder:
        with application(folder) as (program, connect, _, tcp_address):
            host, port = tcp_address.rsplit(":", 1)
            with socket.create_connection((host, int(port)), 2 * DEADLINE_S) as silent:
                silent.settimeout(2 * DEADLINE_S)
                equal(receive(silent), b"")
            with connect(tcp_address) as connection:
                equal("welcome" in read_line(connection), True)


if __name__ == "__main__":
    sys.exit(main(globals()))
