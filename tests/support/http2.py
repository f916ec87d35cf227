"""Frames of HTTP/2 by hand, for what no client would send.

The server is told to keep no table of headers, so that each block stands for
itself; of a reply's head only the status is read.
"""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM = ACK = 1
END_HEADERS = 4

NO_ERROR, PROTOCOL_ERROR = 0, 1
REFUSED_STREAM, CANCEL = 7, 8
ENHANCE_YOUR_CALM = 11

HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4

# RFC 7541, appendix A.
STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}


def text(value):
    """A string literal."""
    if isinstance(value, str):
        value = value.encode()
    return integer(len(value), 7) + value


def integer(value, bits, first=0):
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    coded = bytes([first | most])
    value -= most
    while value >= 128:
        coded += bytes([value & 127 | 128])
        value >>= 7
    return coded + bytes([value])


def block(*fields):
    """Headers as literals that are never indexed."""
    return b"".join(b"\x10" + text(name) + text(value) for name, value in fields)


def request(method="GET", path="/", *fields, authority="a.example"):
    return block(
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        *fields,
    )


def digits(coded):
    """Digits in the Huffman code of RFC 7541, appendix B."""
    bits = "".join(f"{byte:08b}" for byte in coded)
    found = ""
    while bits and not bits.startswith("1"):
        length = 5 if bits[:5] in ("00000", "00001", "00010") else 6
        code = int(bits[:length], 2)
        if len(bits) < length:
            break
        found += str(code if length == 5 else code - 0b011001 + 3)
        bits = bits[length:]
    return int(found)


def status(block_bytes):
    while block_bytes[0] & 0xE0 == 0x20:
        block_bytes = block_bytes[1:]  # that the table is empty
    first = block_bytes[0]
    if first & 0x80:
        return STATUSES[first & 0x7F]
    # A literal whose name is that of an entry, for ":status".
    length = block_bytes[1] & 0x7F
    value = block_bytes[2 : 2 + length]
    return digits(value) if block_bytes[1] & 0x80 else int(value)


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind = kind
        self.flags = flags
        self.stream = stream
        self.payload = payload

    def code(self):
        """Of RST_STREAM and GOAWAY."""
        return struct.unpack(">I", self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8])[0]

    def last_stream(self):
        return struct.unpack(">I", self.payload[:4])[0] & 0x7FFFFFFF

    def __repr__(self):
        return f"<{self.kind} {self.flags:#x} {self.stream} {self.payload[:40]!r}>"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values):
    names = {"header_table_size": 1, "initial_window_size": 4}
    return frame(
        SETTINGS,
        payload=b"".join(struct.pack(">HI", names[name], value) for name, value in values.items()),
    )


class Client:
    """A connection; acknowledges SETTINGS and PING by itself."""

    def __init__(self, connection, hello=True, **values):
        self.connection = connection
        self.received = b""
        if hello:
            self.send(PREFACE, settings(header_table_size=0, **values))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def send(self, *frames):
        """False: the server has closed."""
        try:
            self.connection.sendall(b"".join(frames))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def ask(self, stream, *arguments, **named):
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, request(*arguments, **named)))

    def fill(self, length):
        while len(self.received) < length:
            try:
                some = self.connection.recv(65536)
            except ConnectionResetError:
                some = b""
            if not some:
                return False
            self.received += some
        return True

    def next(self):
        """The next frame; None: the server has closed."""
        if not self.fill(9):
            return None
        length = struct.unpack(">I", b"\0" + self.received[:3])[0]
        if not self.fill(9 + length):
            return None
        kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
        got = Frame(kind, flags, stream & 0x7FFFFFFF, self.received[9 : 9 + length])
        self.received = self.received[9 + length :]
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK))
        if kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, got.payload))
        return got

    def until(self, wanted):
        """The next frame for which wanted(frame) is true; None: there is none."""
        while got := self.next():
            if wanted(got):
                return got
        return None

    def until_kind(self, kind, stream=None):
        return self.until(
            lambda got: got.kind == kind and (stream is None or got.stream == stream)
        )

    def reply(self, stream):
        """(status, body); the status is None where the stream was reset."""
        got_status, body = None, b""
        while got := self.next():
            if got.stream != stream:
                continue
            if got.kind == RST_STREAM:
                return None, body
            if got.kind == HEADERS:
                got_status = status(got.payload)
            if got.kind == DATA:
                body += got.payload
            if got.kind in (HEADERS, DATA) and got.flags & END_STREAM:
                return got_status, body
        return None, body


def connect(address, deadline_s, **values):
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), deadline_s)
    connection.settimeout(deadline_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Client(connection, **values)
