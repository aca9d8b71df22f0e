"""A client that writes whatever bytes it likes, and the field in which it does: a real receiver, a good sender at work
beside it, and the counts, logs and rows by which it is told what became of the bytes."""

import contextlib
import itertools
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from receiver.control import ask_sync, socket_path
from receiver.spool import SpooledRow
from tests.receiver import admin, running
from tests.receiver.running import SCHEMA, Running, event, last_sequence, register, set_setting, spooled, token_of
from tests.support.postgres import free_port
from tests.support.secrecy import places_of
from tests.support.waiting import until

OTHER = "other"
GOOD = "good"
DELIVERIES = "sluice_deliveries_total"  # to live URLs, by schema and code
UNMATCHED = "sluice_unmatched_requests_total"  # to none, by code
REFUSED_DELIVERIES = "sluice_refused_deliveries_total"  # answered 401
MEMORY_BYTES = 64 * 2**20  # what the receiver may grow by, whatever is done to it
DESCRIPTORS = 6  # files of its own that it may just have open: a transaction's, a status page's
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


class Heard(NamedTuple):
    """What came back on a connection, until its end or until nothing more came."""

    statuses: list[int]
    raw: bytes
    closed: bool  # by the receiver


def connect(port: int, **options: int) -> socket.socket:
    """`options`: of the socket's level, by their names (SO_RCVBUF=4096)."""
    connection = socket.socket()
    connection.settimeout(20)
    for name, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    connection.connect(("127.0.0.1", port))
    return connection


def listen_to(connection: socket.socket, seconds: float = 20) -> Heard:
    """Reads until the other side closes or resets, or says nothing for so long."""
    connection.settimeout(seconds)
    raw, closed = b"", True
    try:
        while chunk := connection.recv(2**16):
            raw += chunk
    except TimeoutError:
        closed = False
    except OSError:
        pass
    connection.close()
    return Heard([int(status) for status in _STATUS.findall(raw)], raw, closed)


def talk(port: int, message: bytes, *, half_close: bool = False) -> Heard:
    """Writes `message` in one go; `half_close` says after it that no more will come."""
    connection = connect(port)
    with contextlib.suppress(OSError):  # it may have heard enough
        connection.sendall(message)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
    return listen_to(connection)


def reset(connection: socket.socket) -> None:
    """Ends it so that the other side gets an error, not an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def head(path: str, *headers: str, method: str = "POST", version: str = "HTTP/1.1") -> bytes:
    return "".join(f"{line}\r\n" for line in (f"{method} {path} {version}", "Host: x", *headers, "")).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    """As it should be."""
    return head(path, f"Content-Length: {len(body)}", *headers) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


BODY = event("e")
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKS = chunk(BODY) + b"0\r\n\r\n"


class GoodSender:
    """Posts events one after another, each on a connection of its own, and holds every answer against the receiver."""

    def __init__(self, receiver: Running, path: str) -> None:
        self.acked: list[bytes] = []
        self.wrong: list[str] = []
        self.answered = 0
        self._receiver = receiver
        self._path = path
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "GoodSender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "its last delivery was answered"

    def _run(self) -> None:
        for number in itertools.count():
            if self._ended.wait(0.02):
                return
            body = event(f"good{number}")
            try:
                status = self._receiver.post(self._path, body).status
                if status == 200:
                    self.acked.append(body)
                else:
                    self.wrong.append(str(status))
            except Exception as error:
                self.wrong.append(repr(error))
            self.answered += 1


class Field:
    """A running receiver under attack. `path` and `other` are live endpoints, of SCHEMA and of OTHER."""

    def __init__(self, receiver: Running, admin_port: int, path: str, other: str, good: GoodSender) -> None:
        self.receiver = receiver
        self.port = receiver.port
        self.path = path
        self.other = other
        self.good = good
        self.process = psutil.Process(receiver.process.pid)
        self._admin_port = admin_port
        self._sequence = 0

    def send(self, message: bytes) -> Heard:
        """Writes `message` on a connection that will be kept: one on which something was answered just now."""
        for _ in range(20):
            connection = connect(self.port)
            connection.sendall(head("/", method="GET"))
            first = connection.recv(2**16)
            if b"connection: close" not in first:  # as it is after a pause
                with contextlib.suppress(OSError):  # it may have heard enough
                    connection.sendall(message)
                return listen_to(connection)
            connection.close()
        raise AssertionError("no connection is kept")

    def rows(self, schema: str = SCHEMA) -> list[SpooledRow]:
        """What was spooled for it since the test's beginning."""
        return spooled(self.receiver.home, schema, self._sequence)

    def bodies(self, schema: str = SCHEMA) -> list[bytes]:
        return [row.body for row in self.rows(schema)]

    def count(self, name: str, **labels: str) -> float:
        """What /metrics tells by that name and these labels; 0 if it doesn't yet."""
        found = (its for its in admin.samples(self._admin_port) if its.name == name)
        return next((its.value for its in found if labels.items() <= its.labels.items()), 0.0)

    def rises(self, name: str, above: float, **labels: str) -> None:
        """Waits for the counter to be above; it is told at most a second late."""
        until(lambda: self.count(name, **labels) > above, 20)

    def logged(self, event: str, **facts: object) -> list[dict[str, Any]]:
        """The receiver's lines of that event that have these facts."""
        lines = [json.loads(line) for line in self.receiver.log().splitlines()]
        return [line for line in lines if line["event"] == event and facts.items() <= line.items()]

    @contextlib.contextmanager
    def holds(self, descriptors: int = DESCRIPTORS) -> Iterator[None]:
        """What is done meanwhile does no harm, and leaves nothing behind: neither descriptors nor memory."""
        self._sequence = last_sequence(self.receiver.home)
        open_before, memory_before = self.process.num_fds(), self.process.memory_info().rss
        yield
        assert self.receiver.process.poll() is None
        until(lambda: self.process.num_fds() <= open_before + descriptors, 30)
        assert self.process.memory_info().rss - memory_before < MEMORY_BYTES
        assert self.good.wrong == []
        answered = self.good.answered
        until(lambda: self.good.answered > answered, 30)
        assert ask_sync(self.receiver.home, "ping")["pid"] == self.process.pid

    def finish(self) -> None:
        """Stops it, and looks at what it leaves."""
        assert self.good.wrong == []
        assert {row.body for row in spooled(self.receiver.home, GOOD)} >= set(self.good.acked)
        assert len(self.good.acked) > 0
        assert self.receiver.stop() == 0
        said = {"log": self.receiver.log().encode(), "output": self.receiver.output()}
        assert said["output"] == b""
        for path in (self.path, self.other):
            assert places_of(token_of(path), said) == []


@contextlib.contextmanager
def opened(folder: Path, *args: str, server: str = "quick") -> Iterator[Field]:
    """A field in the new folder `folder`; `args` are the receiver's, `server` which of servers/ it is."""
    folder.mkdir(mode=0o700)
    admin_port = free_port()
    set_setting(folder, "admin_port", admin_port)
    path, other, good = (register(folder, schema=schema) for schema in (SCHEMA, OTHER, GOOD))
    with running.ended(running.start(folder, *args, server=server)) as receiver:
        with GoodSender(receiver, good) as sender:
            field = Field(receiver, admin_port, path, other, sender)
            until(lambda: sender.answered, 30)
            yield field
        field.finish()
    socket_path(folder).unlink(missing_ok=True)
