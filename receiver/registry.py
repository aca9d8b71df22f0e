"""The registry: the live endpoints, the schemas, and the receiver's settings, in one SQLite file.

The provider writes it; receiver and loader follow it. It lies beside the spool and not in the warehouse, because
a leaked token must be revocable, and the receiver must start, while the warehouse is down.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from receiver.database import Absent, open_database, transaction

Loading = Literal["upsert", "append"]

BUSY_SECONDS = 10.0

_TABLES = """
CREATE TABLE endpoints (
    hash TEXT PRIMARY KEY, schema TEXT NOT NULL, slot TEXT NOT NULL, source TEXT NOT NULL,
    signed INTEGER NOT NULL, signing_keys TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE schemas (
    schema TEXT PRIMARY KEY, display_name TEXT NOT NULL, source TEXT NOT NULL, loading TEXT NOT NULL);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_CHANGES = (
    "ALTER TABLE endpoints ADD COLUMN version INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE endpoints ADD COLUMN stray INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE schemas ADD COLUMN made_in TEXT NOT NULL DEFAULT ''",
)

# The loader moves to another warehouse when every schema is made there, in the transaction that says so of the last.
_MOVE = """
UPDATE settings SET value = (SELECT value FROM settings WHERE key = 'next_warehouse_dsn')
WHERE key = 'warehouse_dsn' AND EXISTS (SELECT 1 FROM settings WHERE key = 'next_warehouse_dsn')
  AND NOT EXISTS (SELECT 1 FROM schemas WHERE made_in <> (SELECT value FROM settings WHERE key = 'next_made_in'))"""
_MOVED = """
DELETE FROM settings WHERE key IN ('next_warehouse_dsn', 'next_made_in')
  AND (SELECT value FROM settings WHERE key = 'warehouse_dsn')
    = (SELECT value FROM settings WHERE key = 'next_warehouse_dsn')"""


@dataclass(frozen=True)
class EndpointEntry:
    """One live secret URL. `hash` is `token.digest` of its token; `signing_keys` are secret: no repr shows them.

    `version` is the token's number in the config, for people to see. `stray`: the stack's state didn't know of it when
    `make` last looked.
    """

    hash: str
    schema: str
    slot: str
    source: str
    signed: bool
    signing_keys: tuple[str, ...]
    version: int = 1
    stray: bool = False

    def __repr__(self) -> str:
        return (
            f"EndpointEntry(hash={self.hash[:12]}…, schema={self.schema!r}, slot={self.slot!r}, "
            f"source={self.source!r}, signed={self.signed}, signing_keys={len(self.signing_keys)})"
        )


@dataclass(frozen=True)
class SchemaEntry:
    """One warehouse schema and how its rows are loaded."""

    schema: str
    display_name: str
    source: str
    loading: Loading


class Registry:
    """An open registry. Every write is one durable transaction and idempotent; errors are sqlite3.Error.

    For one thread at a time, any thread.
    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Opens `path`, making the file (mode 0600) and its tables if need be; without `make`, only if they exist."""
        self.path = path
        self._connection = open_database(path, _TABLES, BUSY_SECONDS, make=make, changes=_CHANGES)

    @classmethod
    @contextmanager
    def present(cls, path: Path) -> "Iterator[Registry | None]":
        """The registry at `path` for as long as it is looked at; None where there is none, and none is made."""
        try:
            registry = cls(path, make=False)
        except Absent:
            yield None
            return
        with registry:
            yield registry

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put_endpoint(self, endpoint: EndpointEntry) -> None:
        """Adds the endpoint, or gives the one of that hash these values (its created_at stays)."""
        self._write(
            "INSERT INTO endpoints (hash, schema, slot, source, signed, signing_keys, version, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))"
            " ON CONFLICT (hash) DO UPDATE SET schema = excluded.schema, slot = excluded.slot,"
            " source = excluded.source, signed = excluded.signed, signing_keys = excluded.signing_keys,"
            " version = excluded.version, stray = 0",
            endpoint.hash,
            endpoint.schema,
            endpoint.slot,
            endpoint.source,
            int(endpoint.signed),
            json.dumps(endpoint.signing_keys),
            endpoint.version,
        )

    def get_endpoint(self, hash: str) -> EndpointEntry | None:
        return next(self._endpoints("WHERE hash = ?", hash), None)

    def endpoints(self) -> list[EndpointEntry]:
        return list(self._endpoints("ORDER BY schema, slot, hash"))

    def created_at(self) -> dict[str, str]:
        """When each endpoint was made, by its hash: UTC, as 2026-11-24T10:21:16Z."""
        return dict(self._connection.execute("SELECT hash, created_at FROM endpoints").fetchall())

    def remove_endpoint(self, hash: str) -> None:
        self._write("DELETE FROM endpoints WHERE hash = ?", hash)

    def mark_strays(self, hashes: Collection[str]) -> None:
        """Notes these endpoints as strays, and no others."""
        marks = ", ".join("?" * len(hashes))
        self._write(f"UPDATE endpoints SET stray = hash IN ({marks})", *hashes)  # noqa: S608 (question marks)

    def put_schema(self, schema: SchemaEntry, dsn: str = "") -> None:
        """Adds the schema, or gives the one of that name these values. `dsn`: the warehouse in which it is made."""
        values = (schema.schema, schema.display_name, schema.source, schema.loading, _digest(dsn))
        with transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO schemas (schema, display_name, source, loading, made_in)"
                " VALUES (?, ?, ?, ?, ?)",
                values,
            )
            self._move()

    def get_schema(self, schema: str) -> SchemaEntry | None:
        return next(self._schemas("WHERE schema = ?", schema), None)

    def schemas(self) -> list[SchemaEntry]:
        return list(self._schemas("ORDER BY schema"))

    def remove_schema(self, schema: str) -> None:
        with transaction(self._connection):
            self._connection.execute("DELETE FROM schemas WHERE schema = ?", [schema])
            self._move()

    def move_warehouse(self, dsn: str) -> list[str]:
        """Has the loader move to the warehouse of that DSN as soon as every schema is made there.

        Returns those that aren't, so that it stays where it is. A `warehouse_dsn` must be set.
        """
        made_in = _digest(dsn)
        with transaction(self._connection):
            set_setting = "INSERT OR REPLACE INTO settings VALUES (?, ?)"
            self._connection.execute(set_setting, ["next_warehouse_dsn", dsn])
            self._connection.execute(set_setting, ["next_made_in", made_in])
            self._move()
            left = "SELECT schema FROM schemas WHERE made_in <> ? ORDER BY schema"
            return [schema for (schema,) in self._connection.execute(left, [made_in]).fetchall()]

    def _move(self) -> None:
        self._connection.execute(_MOVE)
        self._connection.execute(_MOVED)

    def set_setting(self, key: str, value: str | None) -> None:
        """Sets `warehouse_dsn`, `spool_max_bytes`, `keep_free_bytes`, `admin_host` or `admin_port`; None unsets it."""
        if value is None:
            self._write("DELETE FROM settings WHERE key = ?", key)
        else:
            self._write("INSERT OR REPLACE INTO settings VALUES (?, ?)", key, value)

    def setting(self, key: str) -> str | None:
        return self.settings().get(key)

    def settings(self) -> dict[str, str]:
        return dict(self._connection.execute("SELECT key, value FROM settings").fetchall())

    def version(self) -> int:
        """A number that changes when *another* connection has written (SQLite's PRAGMA data_version)."""
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _endpoints(self, condition: str, *values: str) -> Iterator[EndpointEntry]:
        columns = "hash, schema, slot, source, signed, signing_keys, version, stray"
        query = f"SELECT {columns} FROM endpoints {condition}"  # noqa: S608 (ours)
        for row in self._connection.execute(query, values).fetchall():
            hash, schema, slot, source, signed, keys, version, stray = row
            signing_keys = tuple(json.loads(keys))
            yield EndpointEntry(hash, schema, slot, source, bool(signed), signing_keys, version, bool(stray))

    def _schemas(self, condition: str, *values: str) -> Iterator[SchemaEntry]:
        query = f"SELECT schema, display_name, source, loading FROM schemas {condition}"  # noqa: S608 (ours)
        for row in self._connection.execute(query, values).fetchall():
            yield SchemaEntry(*row)

    def _write(self, statement: str, *values: object) -> None:
        with transaction(self._connection):
            self._connection.execute(statement, values)


def _digest(dsn: str) -> str:
    """What tells warehouses apart, without a password."""
    return hashlib.sha256(dsn.encode()).hexdigest()[:16] if dsn else ""
