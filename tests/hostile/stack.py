"""A whole local stack to be attacked: a receiver with its loader, a real warehouse, and what its status page tells."""

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
from psycopg import sql

from receiver import warehouse
from receiver.control import socket_path
from receiver.registry import Loading, Registry, SchemaEntry
from tests.receiver import admin, running
from tests.receiver.running import SCHEMA, Running, event, register, set_setting, spooled
from tests.support.postgres import PostgresServer, free_port
from tests.support.waiting import until


class Landed(NamedTuple):
    """A row of the warehouse: of `data` if it has an `event_id`, else of `_sdc_rejected`."""

    event_id: str | None
    payload: str | None  # as PostgreSQL writes it
    reason: str | None
    raw: bytes | None


class Stack:
    """One receiver process and the warehouse behind it; `path` is a live endpoint of schema `SCHEMA`."""

    def __init__(self, receiver: Running, dsn: str, path: str, admin_port: int) -> None:
        self.receiver = receiver
        self.dsn = dsn
        self.path = path
        self.admin_port = admin_port
        self.process = psutil.Process(receiver.process.pid)

    def sequence(self) -> int:
        """The last row's that the warehouse has."""
        query = f"SELECT greatest((SELECT max(_sdc_sequence) FROM {SCHEMA}.data),"
        last: int = self.rows(f"{query} (SELECT max(_sdc_sequence) FROM {SCHEMA}._sdc_rejected), 0)")[0][0]
        return last

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def landed(self, count: int, after: int = 0, seconds: float = 60) -> list[Landed]:
        """The `count` rows that came after that sequence, in their order, once the loader has brought them all."""
        here = f"_sdc_sequence > {after}"
        counting = (
            f"SELECT (SELECT count(*) FROM {SCHEMA}.data WHERE {here})"
            f" + (SELECT count(*) FROM {SCHEMA}._sdc_rejected WHERE {here})"
        )
        until(lambda: self.rows(counting)[0][0] >= count, seconds)
        found = self.rows(
            f"SELECT event_id, payload::text, NULL::text, NULL::bytea, _sdc_sequence FROM {SCHEMA}.data WHERE {here}"
            f" UNION ALL SELECT NULL, NULL, reason, _sdc_raw, _sdc_sequence FROM {SCHEMA}._sdc_rejected WHERE {here}"
            " ORDER BY 5"
        )
        assert len(found) == count, "no more than were sent"
        return [Landed(*row[:4]) for row in found]

    def metrics(self) -> dict[tuple[str, ...], float]:
        return admin.metrics(self.admin_port)

    def lines(self) -> list[dict[str, Any]]:
        """What the receiver has logged, each line of it."""
        return [json.loads(line) for line in self.receiver.log().splitlines()]

    def is_well(self) -> bool:
        """Whether the same process takes a good sender's event, and all that it ever took is in the warehouse."""
        assert self.receiver.process.poll() is None
        event_id = secrets.token_hex(8)
        assert self.receiver.post(self.path, event(event_id)).status == 200
        until(lambda: self.rows(f"SELECT 1 FROM {SCHEMA}.data WHERE event_id = '{event_id}'"), 60)
        return spooled(self.receiver.home) == []


@contextlib.contextmanager
def standing(
    folder: Path, postgres: PostgresServer, *, server: str = "quick", loading: Loading = "append"
) -> Iterator[Stack]:
    """A stack in the new folder `folder`, with the receiver of `servers/<server>.py`."""
    folder.mkdir(mode=0o700)
    with postgres.database() as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
            warehouse.create_tables(connection, SCHEMA, loading)
        admin_port = free_port()
        set_setting(folder, "warehouse_dsn", dsn)
        set_setting(folder, "admin_port", admin_port)
        with Registry(folder / "registry.db") as registry:
            registry.put_schema(SchemaEntry(SCHEMA, "Stitch Customer.io", "customerio", loading))
        path = register(folder)
        with running.ended(running.start(folder, server=server)) as receiver:
            yield Stack(receiver, dsn, path, admin_port)
            if receiver.process.poll() is None:
                receiver.stop()  # and its loader with it, so that the database can go
        socket_path(folder).unlink(missing_ok=True)


class Peak:
    """The most memory that a process has while this is entered, in bytes above what it had before.

    It is looked at every few milliseconds: what is there for less may be missed.
    """

    EVERY_S = 0.005

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._before = self._most = 0

    def __enter__(self) -> "Peak":
        self._before = self._most = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self._most - self._before

    def _run(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            while not self._ended.wait(self.EVERY_S):
                self._most = max(self._most, self._process.memory_info().rss)
