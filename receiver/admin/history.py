"""How many deliveries came, minute by minute, and why some were rejected: one day of it, for the status page.

In a file of its own, written without any sync, so that it can neither slow the spool nor put it at risk. The numbers
come from the spool's own counters, looked at every few seconds: no delivery does any more work for it, and two
receivers that hand over count nothing twice. A lost file is a lost chart, so whatever is wrong with it is only logged.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from receiver.database import open_database, transaction
from receiver.logs import facts
from receiver.spool import Counts

NAME = "history.db"
MINUTES = 60  # a chart of the last hour has that many bars
QUARTERS = 96  # and one of the last day
KEPT_MINUTES = 25 * 60
BUSY_SECONDS = 1.0
_TIDY_SECONDS = 600.0

_TABLES = """
CREATE TABLE seen (schema TEXT PRIMARY KEY, accepted INTEGER NOT NULL);
CREATE TABLE minutes (
    schema TEXT NOT NULL, minute INTEGER NOT NULL, taken INTEGER NOT NULL, rejected INTEGER NOT NULL,
    PRIMARY KEY (schema, minute)) WITHOUT ROWID;
CREATE TABLE reasons (
    schema TEXT NOT NULL, reason TEXT NOT NULL, hour INTEGER NOT NULL, count INTEGER NOT NULL, last_at REAL NOT NULL,
    PRIMARY KEY (schema, reason, hour)) WITHOUT ROWID;
"""
_BEGUN = ""  # the `seen` of no schema: what the counters said before this file was made is nobody's minute

_log = logging.getLogger("receiver.history")


class Bar(NamedTuple):
    """What was accepted in one stretch of time, and how much of that was rejected."""

    taken: int = 0
    rejected: int = 0


class Reason(NamedTuple):
    """Why deliveries were rejected in the last day, how many, and when last (seconds since 1970)."""

    reason: str
    times: int
    last_at: float


@dataclass(frozen=True)
class Past:
    """One schema's last day. `hour` by minute, `day` by quarter of an hour, each ending now."""

    hour: tuple[Bar, ...] = (Bar(),) * MINUTES
    day: tuple[Bar, ...] = (Bar(),) * QUARTERS
    reasons: tuple[Reason, ...] = ()


class History:
    """The history of one home folder, for one thread at a time. Nothing here raises: without the file it is empty."""

    def __init__(self, home: Path) -> None:
        self._path = home / NAME
        self._connection: sqlite3.Connection | None = None
        self._is_broken = False
        self._tidied = 0.0

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def count(self, counts: Mapping[str, Counts], now: float) -> None:
        """Takes over what the spool's counters say at `now`."""
        self._do(lambda connection: self._count(connection, counts, now))

    def reject(self, rejected: Mapping[tuple[str, str], int], now: float) -> None:
        """Adds how many deliveries were rejected, by schema and reason."""
        if rejected:
            self._do(lambda connection: self._reject(connection, rejected, now))

    def past(self, now: float) -> dict[str, Past]:
        """By schema, for those that had anything in the last day."""
        found = self._do(lambda connection: self._past(connection, now))
        return found if isinstance(found, dict) else {}

    def _do(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            if self._connection is None:
                self._connection = self._open()
            found = work(self._connection)
        except (sqlite3.Error, OSError) as error:
            if not self._is_broken:
                _log.warning("the charts are left out", extra=facts(error=f"{type(error).__name__}: {error}"))
            self._is_broken = True
            self.close()
            return None
        self._is_broken = False
        return found

    def _open(self) -> sqlite3.Connection:
        try:
            connection = open_database(self._path, _TABLES, BUSY_SECONDS)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, or a full disk: not the file's fault
                raise
            for end in ("", "-wal", "-shm"):
                self._path.with_name(NAME + end).unlink(missing_ok=True)
            connection = open_database(self._path, _TABLES, BUSY_SECONDS)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def _count(self, connection: sqlite3.Connection, counts: Mapping[str, Counts], now: float) -> None:
        seen = dict(connection.execute("SELECT schema, accepted FROM seen").fetchall())
        if all(seen.get(schema) == its.accepted for schema, its in counts.items()) and _BEGUN in seen:
            return
        with transaction(connection):
            seen = dict(connection.execute("SELECT schema, accepted FROM seen").fetchall())
            for schema, its in counts.items():
                before = seen.get(schema, 0 if _BEGUN in seen else its.accepted)
                fresh = its.accepted - before if its.accepted >= before else its.accepted  # of a spool made anew
                if fresh:
                    _add(connection, schema, min(now, (its.last_received_at or 0) / 1e6), Bar(taken=fresh))
            connection.executemany(
                "INSERT OR REPLACE INTO seen VALUES (?, ?)",
                [(_BEGUN, 0), *((schema, its.accepted) for schema, its in counts.items())],
            )
            if not 0 <= now - self._tidied < _TIDY_SECONDS:
                self._tidied = now
                connection.execute("DELETE FROM minutes WHERE minute < ?", (now // 60 - KEPT_MINUTES,))
                connection.execute("DELETE FROM reasons WHERE hour < ?", ((now // 60 - KEPT_MINUTES) // 60,))

    def _reject(self, connection: sqlite3.Connection, rejected: Mapping[tuple[str, str], int], now: float) -> None:
        with transaction(connection):
            for (schema, reason), count in rejected.items():
                _add(connection, schema, now, Bar(rejected=count))
                connection.execute(
                    "INSERT INTO reasons VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET"
                    " count = count + ?4, last_at = ?5",
                    (schema, reason, now // 3600, count, now),
                )

    def _past(self, connection: sqlite3.Connection, now: float) -> dict[str, Past]:
        minute, quarter = int(now // 60), int(now // 900)
        hours = _bars(
            connection, "SELECT schema, minute, taken, rejected FROM minutes WHERE minute > ?", minute, MINUTES
        )
        days = _bars(
            connection,
            "SELECT schema, minute / 15, sum(taken), sum(rejected) FROM minutes"
            " WHERE minute / 15 > ? GROUP BY schema, minute / 15",
            quarter,
            QUARTERS,
        )
        reasons: dict[str, list[Reason]] = {}
        for schema, *reason in connection.execute(
            "SELECT schema, reason, sum(count), max(last_at) FROM reasons WHERE hour > ?"
            " GROUP BY schema, reason ORDER BY 3 DESC, 2",
            (now // 3600 - 24,),
        ).fetchall():
            reasons.setdefault(schema, []).append(Reason(*reason))
        empty = Past()
        return {
            schema: Past(
                tuple(hours.get(schema, empty.hour)),
                tuple(days.get(schema, empty.day)),
                tuple(reasons.get(schema, ())),
            )
            for schema in {*hours, *days, *reasons}
        }


def _add(connection: sqlite3.Connection, schema: str, at: float, more: Bar) -> None:
    connection.execute(
        "INSERT INTO minutes VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET"
        " taken = taken + ?3, rejected = rejected + ?4",
        (schema, at // 60, *more),
    )


def _bars(connection: sqlite3.Connection, query: str, last: int, count: int) -> dict[str, list[Bar]]:
    """By schema, `count` bars of which the last is that of the time `last`."""
    found: dict[str, list[Bar]] = {}
    for schema, at, taken, rejected in connection.execute(query, (last - count,)).fetchall():
        if at <= last:  # the clock may have been set back
            bars = found.setdefault(schema, [Bar()] * count)
            bars[int(at) - last - 1] = Bar(taken, rejected)
    return found
