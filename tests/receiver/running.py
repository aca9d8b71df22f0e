"""A real receiver process for the tests, and senders that talk to it."""

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import secrets
import socket
import sqlite3
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from receiver import token
from receiver.registry import EndpointEntry, Registry
from receiver.spool import Spool, SpooledRow

ROOT = Path(__file__).resolve().parents[2]
SERVERS = Path(__file__).parent / "servers"
SCHEMA = "stitch_customerio"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Running:
    """One receiver process, started with the registry and spool in `home`."""

    home: Path
    process: subprocess.Popen[bytes]
    facts: dict[str, Any] = field(default_factory=dict)
    said: bytes = b""

    @property
    def port(self) -> int:
        port: int = self.facts["port"]
        return port

    def post(self, path: str, body: bytes | str, **headers: str) -> Reply:
        return self.request("POST", path, body, **headers)

    def request(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Reply:
        """One request on a connection of its own; header names are written with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def raw(self, *parts: bytes) -> socket.socket:
        """A connection that has sent `parts`."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        for part in parts:
            connection.sendall(part)
        return connection

    def log(self) -> str:
        return (self.home / "receiver.log").read_text()

    def output(self) -> bytes:
        """What it wrote to stdout and stderr until it ended."""
        if self.process.stdout and not self.process.stdout.closed:
            self.said += self.process.communicate()[0]
        return self.said

    def kill(self) -> None:
        """SIGKILL, without a word."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(30)


def start(home: Path, *args: str, server: str | None = None, port: int = 0) -> Running:
    """Starts a receiver (or the one in servers/<server>.py) and waits until it serves; raises what it said if not."""
    program = ["-m", "receiver"] if server is None else [os.fspath(SERVERS / f"{server}.py")]
    process = subprocess.Popen(
        [sys.executable, *program, "--home", os.fspath(home), "--port", str(port), *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    running = Running(home, process)
    give_up = time.monotonic() + 30
    while running.facts.get("pid") != process.pid:
        if process.poll() is not None or time.monotonic() > give_up:
            process.kill()
            raise AssertionError(f"no receiver: {process.communicate()[0].decode()}")
        with contextlib.suppress(OSError, ValueError):
            running.facts = json.loads((home / "receiver.json").read_text())
        time.sleep(0.01)
    return running


def end(running: Running) -> None:
    """Leaves no process, whatever the test did."""
    if running.process.poll() is None:
        running.process.kill()
    running.output()


def new_token() -> str:
    return token.printed("".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(43)))


def register(home: Path, *, schema: str = SCHEMA, signed: bool = False, keys: tuple[str, ...] = ()) -> str:
    """Makes a live endpoint in the registry of `home`; returns its path."""
    printed = new_token()
    with Registry(home / "registry.db") as registry:
        registry.put_endpoint(EndpointEntry(token.digest(printed), schema, "primary", "customerio", signed, keys))
    return f"/v1/{schema}/{printed}"


def token_of(path: str) -> str:
    return path.rsplit("/", 1)[1]


def hash_of(path: str) -> str:
    return token.digest(token_of(path))


def set_setting(home: Path, key: str, value: object | None) -> None:
    with Registry(home / "registry.db") as registry:
        registry.set_setting(key, None if value is None else str(value))


def spooled(home: Path, schema: str = SCHEMA, after: int = 0) -> list[SpooledRow]:
    """The rows that wait, of a sequence above `after`."""
    with Spool(home / "spool.db") as spool:
        return spool.read(schema, after, 10_000_000, 2**40)


def last_sequence(home: Path) -> int:
    """The last row's, whether it still waits or not."""
    with contextlib.closing(sqlite3.connect(home / "spool.db")) as connection:
        (sequence,) = connection.execute("SELECT last_sequence FROM state").fetchone()
    return int(sequence)


def event(event_id: str) -> bytes:
    return json.dumps(
        {"event_id": event_id, "object_type": "email", "metric": "sent", "timestamp": 1767225722, "data": {}}
    ).encode()


class Senders:
    """Concurrent senders that post events of their own as fast as they are answered, and note what they were told.

    They are strict as Customer.io is: a refused or reset connection, and an end without an answer, are errors.
    """

    def __init__(self, port: int, path: str, *, keep_alive: int, fresh: int, name: str = "") -> None:
        """`keep_alive` senders hold their connections, `fresh` ones make a new one for each event."""
        self.port = port
        self.path = path
        self.acked: set[str] = set()
        self.answers: dict[int, int] = {}
        self.errors: list[str] = []
        self._ids: Iterator[str] = (f"{name}{i}" for i in itertools.count())
        self._kinds = [False] * keep_alive + [True] * fresh
        self._is_over = False

    @contextlib.asynccontextmanager
    async def at_work(self) -> Any:
        senders = [asyncio.create_task(self._send(is_fresh)) for is_fresh in self._kinds]
        try:
            yield self
        finally:
            self._is_over = True
            await asyncio.wait_for(asyncio.gather(*senders), 30)

    async def _send(self, is_fresh: bool) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._is_over:
            event_id = next(self._ids)
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", self.port)
                status, closes = await self._deliver(*connection, event_id, is_fresh)
                self.answers[status] = self.answers.get(status, 0) + 1
                if status == 200:
                    self.acked.add(event_id)
            except (OSError, EOFError) as error:
                self.errors.append(repr(error))
                closes = True
                await asyncio.sleep(0.01)
            if closes and connection:
                connection[1].close()
                connection = None
        if connection:
            connection[1].close()

    async def _deliver(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, event_id: str, closes: bool
    ) -> tuple[int, bool]:
        body = event(event_id)
        head = f"POST {self.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + (b"Connection: close\r\n\r\n" if closes else b"\r\n") + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(answer.split(b"content-length: ")[1].split(b"\r\n")[0]))
        return int(answer.split()[1]), closes or b"connection: close" in answer


@contextlib.contextmanager
def ended(running: Running) -> Iterator[Running]:
    try:
        yield running
    finally:
        end(running)
