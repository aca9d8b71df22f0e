"""A home folder with its spool and registry, a real warehouse, and a loader between them, for the loader's tests."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from receiver import warehouse
from receiver.event import Event, parse
from receiver.loader import Loader
from receiver.registry import Loading, Registry, SchemaEntry
from receiver.spool import Arrival, Spool


def arrival(body: bytes, schema: str = "s") -> Arrival:
    """As the receiver spools it."""
    parsed = parse(body, "")
    received = 1_790_000_000_000_000
    if isinstance(parsed, Event):
        return Arrival("hash", schema, received, *parsed, None)
    return Arrival("hash", schema, received, None, None, None, None, parsed.raw, parsed.reason)


def unchecked(event_id: str | None, body: bytes, **values: Any) -> Arrival:
    """As no receiver would spool it."""
    usual = Arrival("hash", "s", 1_790_000_000_000_000, event_id, "email", "sent", 1_790_000_000, body, None)
    return usual._replace(**values)


def body(event_id: str, **fields: object) -> bytes:
    whole = {"event_id": event_id, "object_type": "email", "metric": "sent", "timestamp": 1_790_000_000, **fields}
    return json.dumps(whole).encode()


class Scene:
    """A home folder, its warehouse, and one loader in this process."""

    def __init__(self, home: Path, dsn: str) -> None:
        self.home = home
        self.registry = Registry(home / "registry.db")
        self.spool = Spool(home / "spool.db")
        self.dsn = dsn
        self.registry.set_setting("warehouse_dsn", dsn)
        self.loader: Loader | None = None

    def schema(self, name: str = "s", loading: Loading = "upsert", *, dsn: str | None = None) -> None:
        with psycopg.connect(dsn or self.dsn) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
            warehouse.create_tables(connection, name, loading)
        self.registry.put_schema(SchemaEntry(name, name, "customerio", loading))

    def accept(self, *arrivals: Arrival | bytes) -> None:
        self.spool.append([each if isinstance(each, Arrival) else arrival(each) for each in arrivals])

    def step(self) -> None:
        self.loader = self.loader or Loader(self.home)
        self.loader.step()

    def load(self, seconds: float = 10) -> None:
        """Steps until no row waits."""
        deadline = time.monotonic() + seconds
        while self.spool.schemas_waiting():
            assert time.monotonic() < deadline, (self.spool.warehouse_state(), self.spool.holds())
            self.step()
            time.sleep(0.01)

    def rows(self, query: str, *, dsn: str | None = None) -> list[tuple[Any, ...]]:
        with psycopg.connect(dsn or self.dsn, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def do(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)

    def event_ids(self, schema: str = "s") -> list[str]:
        return [event_id for (event_id,) in self.rows(f"SELECT event_id FROM {schema}.data ORDER BY _sdc_sequence")]

    def close(self) -> None:
        if self.loader:
            self.loader.close()
        self.registry.close()
        self.spool.close()


@pytest.fixture
def scene(tmp_path: Path, dsn: str) -> Iterator[Scene]:
    scene = Scene(tmp_path, dsn)
    yield scene
    scene.close()
