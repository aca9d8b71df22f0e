"""The spool: where an accepted event is durable before the warehouse has it. One SQLite file.

The promise behind every 200 is kept here: `append` returns after the rows are on disk, or raises. The
receiver appends; the loader reads, loads and deletes, in a process of its own.

A file that turns out to be broken is set aside under another name, a new one takes the deliveries, and what can be read
of the old one is moved into it (`rescue`). Nothing of it is ever removed.
"""

import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from receiver import broken
from receiver.database import Connect, connect, open_database, transaction

MAX_BYTES = 5 * 2**30  # what waits in the spool at most, unless the settings say otherwise
KEEP_FREE_BYTES = 2**30  # what is left free on its disk
FREE_SECONDS = 0.25  # how long a look at the disk is believed
GIVE_BACK_PAGES = 2048  # at a time: the receiver's commits wait for it
DELETE_CHUNK = 500  # rows a transaction: the receiver's commits wait for it (some ms)

_TABLES = """
CREATE TABLE spool (
    sequence INTEGER PRIMARY KEY, schema TEXT NOT NULL, received_at INTEGER NOT NULL, event_id TEXT,
    object_type TEXT, metric TEXT, timestamp INTEGER, body BLOB NOT NULL, reason TEXT);
CREATE INDEX spool_by_schema ON spool (schema);
CREATE TABLE state (
    spool_id TEXT NOT NULL, inode INTEGER, last_sequence INTEGER NOT NULL, waiting_bytes INTEGER NOT NULL,
    warehouse TEXT NOT NULL, warehouse_error TEXT, warehouse_at REAL);
INSERT INTO state VALUES (lower(hex(randomblob(16))), NULL, 0, 0, 'unset', NULL, NULL);
CREATE TABLE counters (
    schema TEXT PRIMARY KEY, accepted INTEGER NOT NULL, loaded INTEGER NOT NULL, rejected INTEGER NOT NULL,
    waiting INTEGER NOT NULL, last_received_at INTEGER);
CREATE TABLE usage (hash TEXT PRIMARY KEY, first_used REAL NOT NULL, last_used REAL NOT NULL);
CREATE TABLE holds (schema TEXT PRIMARY KEY, reason TEXT NOT NULL);
"""

# Pages that are done with can be returned to the disk; overwriting what was deleted would only cost time.
_PRAGMAS = ("auto_vacuum = INCREMENTAL", "secure_delete = OFF", "journal_size_limit = 67108864")


_LOCK = "spool.lock"


class SpoolFull(Exception):
    """The spool holds as much as it may, or its disk as much as it should."""


class Replaced(FileNotFoundError):
    """The file was removed, or another one has its name: nothing is appended to this one any more."""


class Arrival(NamedTuple):
    """One delivery on its way into the spool. With a `reason`, its body can't be used: it goes to `_sdc_rejected`."""

    hash: str  # of the endpoint it came by
    schema: str
    received_at: int  # microseconds since 1970
    event_id: str | None
    object_type: str | None
    metric: str | None
    timestamp: int | None  # as sent
    body: bytes  # the event's JSON, or the raw body of a rejected one
    reason: str | None


class SpooledRow(NamedTuple):
    """One row that waits for the loader; columns as in `Arrival`."""

    sequence: int
    schema: str
    received_at: int
    event_id: str | None
    object_type: str | None
    metric: str | None
    timestamp: int | None
    body: bytes
    reason: str | None


class Usage(NamedTuple):
    """When an endpoint was first and last used, in seconds since 1970."""

    first_used: float
    last_used: float


@dataclass(frozen=True)
class Counts:
    """What became of a schema's deliveries: accepted = loaded + rejected + waiting."""

    accepted: int
    loaded: int
    rejected: int
    waiting: int
    last_received_at: int | None  # microseconds since 1970


@dataclass(frozen=True)
class WarehouseState:
    """What the loader last said of the warehouse: `at` in seconds since 1970, None if it never did."""

    state: Literal["up", "down", "unset"]
    error: str | None
    at: float | None


@dataclass(frozen=True)
class Report:
    """What a spool can tell, for whoever asks; each part as the method of that name gives it."""

    usage: dict[str, Usage] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    waiting_bytes: int | None = None
    warehouse: WarehouseState = WarehouseState("unset", None, None)


class Spool:
    """An open spool, for one thread at a time. Errors are sqlite3.Error and OSError, unless said otherwise.

    Several processes may have it open: an old receiver and a new one during a hand-over, and the loader.
    """

    def __init__(
        self,
        path: Path,
        *,
        limits: Callable[[], tuple[int, int]] = lambda: (MAX_BYTES, KEEP_FREE_BYTES),
        busy_seconds: float = 10.0,
        connect: Connect = connect,
        sets_aside: bool = False,
    ) -> None:
        """Opens `path`, making it (mode 0600) if need be.

        `limits` says, whenever asked, how many bytes may wait and how many must stay free on the disk. With
        `sets_aside`, a broken file is set aside, now or as soon as it shows, and a new one is made in its place.
        """
        self.path = path
        self._limits = limits
        self._busy_seconds = busy_seconds
        self._connect = connect
        self._sets_aside = sets_aside
        self._free_bytes = 0
        self._free_until = 0.0  # the monotonic time until which `_free_bytes` is believed
        with self._door(fcntl.LOCK_EX if sets_aside else fcntl.LOCK_SH):
            try:
                if sets_aside:
                    broken.check(path)
                self._open()
            except sqlite3.DatabaseError as error:
                if not sets_aside or not broken.is_broken(error):
                    raise
                broken.set_aside(path, error)
                self._open()

    def _open(self) -> None:
        connection = open_database(self.path, _TABLES, self._busy_seconds, _PRAGMAS, self._connect)
        try:
            self._inode = self.path.stat().st_ino
            self.spool_id: str = str(uuid.UUID(connection.execute("SELECT spool_id FROM state").fetchone()[0]))
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def set_aside(self, error: BaseException) -> None:
        """Gives the file another name if `error`, which came from this spool, says that it is broken. To be closed
        then: whoever opens `path` next makes a new one. Raises sqlite3.Error and OSError."""
        if not broken.is_broken(error):
            return
        with self._door(fcntl.LOCK_EX), suppress(FileNotFoundError), self._nobody_writes():
            if self.path.stat().st_ino == self._inode:
                broken.set_aside(self.path, error)

    @contextmanager
    def _nobody_writes(self) -> Iterator[None]:
        """As far as that can be had of a broken file. What a writer commits is in the file before it gets its new name
        and is rescued with the rest, or else the writer sees that name and turns to the new file."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            if not broken.is_broken(error):
                raise
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _door(self, how: int) -> Iterator[None]:
        """Nobody opens the spool while it is being set aside: one file is never seen with another's log."""
        give_up = time.monotonic() + self._busy_seconds
        descriptor = os.open(self.path.with_name(_LOCK), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up:
                        raise TimeoutError(f"{_LOCK} is held by another process") from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The receiver's side

    def append(self, arrivals: Sequence[Arrival]) -> tuple[int, int]:
        """Stores all of `arrivals` in one transaction; on return they are on disk. Returns the first and last sequence.

        Sequences rise in the order of commits, across processes and steps of the clock. Raises SpoolFull, and
        then nothing was stored; after a sqlite3.Error or OSError nothing is known, and the sender must repeat.
        """
        size = sum(len(arrival.body) for arrival in arrivals)
        max_bytes, keep_free_bytes = self._limits()
        self._check_disk(size, keep_free_bytes)
        try:
            sequences = self._append(arrivals, size, max_bytes)
        except sqlite3.DatabaseError as error:
            if self._sets_aside:
                self.set_aside(error)
            raise
        if not self._has_its_name() and not broken.is_kept(self.path.parent, self._inode):  # else these are rescued
            raise self._replaced()
        return sequences

    def _append(self, arrivals: Sequence[Arrival], size: int, max_bytes: int) -> tuple[int, int]:
        with transaction(self._connection):
            # SQLite goes on writing to a file that was removed, and what it says then is worth nothing.
            if not self._has_its_name():
                raise self._replaced()
            last, waiting_bytes = self._connection.execute("SELECT last_sequence, waiting_bytes FROM state").fetchone()
            if waiting_bytes + size > max_bytes:
                raise SpoolFull(f"{waiting_bytes} bytes wait in the spool, {max_bytes} are allowed")
            first = max(last + 1, time.time_ns())
            self._connection.executemany(
                "INSERT INTO spool VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(sequence, *arrival[1:]) for sequence, arrival in enumerate(arrivals, first)],
            )
            last = first + len(arrivals) - 1
            self._connection.execute(
                "UPDATE state SET last_sequence = ?, waiting_bytes = waiting_bytes + ?", (last, size)
            )
            self._count_arrivals(arrivals)
        return first, last

    def _count_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        by_schema: dict[str, list[int]] = {}
        by_hash: dict[str, list[int]] = {}
        for arrival in arrivals:
            by_schema.setdefault(arrival.schema, []).append(arrival.received_at)
            by_hash.setdefault(arrival.hash, []).append(arrival.received_at)
        for schema, times in by_schema.items():
            self._connection.execute(
                "INSERT INTO counters VALUES (?1, ?2, 0, 0, ?2, ?3) ON CONFLICT (schema) DO UPDATE SET"
                " accepted = accepted + ?2, waiting = waiting + ?2, last_received_at = ?3",
                (schema, len(times), max(times)),
            )
        for hash, times in by_hash.items():
            self._connection.execute(
                "INSERT INTO usage VALUES (?1, ?2, ?3) ON CONFLICT (hash) DO UPDATE SET last_used = ?3",
                (hash, min(times) / 1e6, max(times) / 1e6),
            )

    def _has_its_name(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _replaced(self) -> Replaced:
        return Replaced(f"{self.path.name} was replaced or removed")

    def _check_disk(self, size: int, keep_free_bytes: int) -> None:
        now = time.monotonic()
        if now > self._free_until:
            disk = os.statvfs(self.path.parent)
            self._free_bytes = disk.f_bavail * disk.f_frsize
            self._free_until = now + FREE_SECONDS
        self._free_bytes -= size
        if self._free_bytes < keep_free_bytes:
            raise SpoolFull(f"less than {keep_free_bytes} bytes are left on the spool's disk")

    def give_back(self, keep_pages: int) -> None:
        """Returns unused pages of the file to the disk, some of those beyond `keep_pages`."""
        unused: int = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
        if unused > keep_pages:
            pages = min(unused - keep_pages, GIVE_BACK_PAGES)
            # As a script: `execute` takes one step, and each step of this pragma frees one page.
            self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    # The loader's side

    def be_itself(self) -> None:
        """Gives a new spool, and a copy of another, an id of its own before it is used: the warehouse's bookkeeping
        goes by it, and would take a copy's rows for rows that it has had from the other. A file is known by its inode.

        What the copied spool held of rows that were loaded and not yet deleted is loaded once more.
        """
        with transaction(self._connection):
            if self._connection.execute("SELECT inode FROM state").fetchone()[0] != self._inode:
                self.spool_id = str(uuid.uuid4())
                self._connection.execute("UPDATE state SET inode = ?, spool_id = ?", (self._inode, self.spool_id))

    def make_way(self) -> None:
        """For the loader's connection: it holds the write lock as briefly as can be, since the receiver waits for it.

        Its commits aren't synced: a power cut may undo deletes, and the warehouse's bookkeeping then skips these
        rows. The receiver's promise stays whole: its sync covers the file, so everything before its commit is on
        disk with it. Nor do they checkpoint: see `checkpoint`.
        """
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")

    def checkpoint(self) -> None:
        """Moves what it can from the WAL into the file, without making anyone wait. The receiver does so while it
        commits; this is for a backlog's deletes while no delivery comes."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def schemas_waiting(self) -> list[str]:
        """The schemas that have rows in the spool."""
        rows = self._connection.execute("SELECT schema FROM counters WHERE waiting > 0 ORDER BY schema")
        return [schema for (schema,) in rows.fetchall()]

    def read(self, schema: str, after: int, limit_rows: int, limit_bytes: int) -> list[SpooledRow]:
        """The rows of `schema` with sequences above `after`, in order.

        At most `limit_rows`, and no more than fit into `limit_bytes` of bodies, but always one if there is any.
        """
        cursor = self._connection.execute(
            "SELECT * FROM spool WHERE schema = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (schema, after, limit_rows),
        )
        rows: list[SpooledRow] = []
        size = 0
        for values in cursor:
            row = SpooledRow(*values)
            size += len(row.body)
            if rows and size > limit_bytes:
                break
            rows.append(row)
        cursor.close()  # a read left open would keep the WAL growing
        return rows

    def delete_through(self, schema: str, sequence: int, *, loaded: int, rejected: int) -> int:
        """Deletes the rows of `schema` up to and including `sequence`, and counts them; returns their number.

        `loaded` and `rejected` say what became of them. Rows beyond those (left over from a loader that died
        after the warehouse's commit) count as rejected where they have a reason, else as loaded.
        """
        deleted = 0
        while True:
            with transaction(self._connection):
                rows = self._connection.execute(
                    "SELECT sequence, length(body), reason IS NOT NULL FROM spool"
                    " WHERE schema = ? AND sequence <= ? ORDER BY sequence LIMIT ?",
                    (schema, sequence, DELETE_CHUNK),
                ).fetchall()
                if not rows:
                    return deleted
                as_loaded = min(loaded, len(rows))
                as_rejected = min(rejected, len(rows) - as_loaded)
                loaded -= as_loaded
                rejected -= as_rejected
                for _, _, has_reason in rows[as_loaded + as_rejected :]:
                    if has_reason:
                        as_rejected += 1
                    else:
                        as_loaded += 1
                self._connection.execute("DELETE FROM spool WHERE schema = ? AND sequence <= ?", (schema, rows[-1][0]))
                self._connection.execute(
                    "UPDATE counters SET loaded = loaded + ?, rejected = rejected + ?, waiting = waiting - ?"
                    " WHERE schema = ?",
                    (as_loaded, as_rejected, len(rows), schema),
                )
                self._connection.execute(
                    "UPDATE state SET waiting_bytes = waiting_bytes - ?", (sum(size for _, size, _ in rows),)
                )
            deleted += len(rows)

    def set_warehouse_state(self, state: Literal["up", "down", "unset"], error: str | None = None) -> None:
        """The loader's word on the warehouse. `error` must hold no secret: it is shown."""
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE state SET warehouse = ?, warehouse_error = ?, warehouse_at = ?",
                (state, error, time.time()),
            )

    def set_hold(self, schema: str, reason: str | None) -> None:
        """The loader's word on why the rows of `schema` wait; None when they don't. `reason` is shown: no secrets."""
        with transaction(self._connection):
            if reason is None:
                self._connection.execute("DELETE FROM holds WHERE schema = ?", (schema,))
            else:
                self._connection.execute("INSERT OR REPLACE INTO holds VALUES (?, ?)", (schema, reason))

    # What comes from a broken one

    def restore(self, rows: Sequence[SpooledRow]) -> int:
        """Stores rows of a broken spool with the sequences they had; returns how many weren't here already."""
        restored = 0
        with transaction(self._connection):
            for row in rows:
                if self._connection.execute("SELECT 1 FROM spool WHERE sequence = ?", (row.sequence,)).fetchone():
                    continue
                self._connection.execute("INSERT INTO spool VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                self._connection.execute(
                    "INSERT INTO counters VALUES (?1, 1, 0, 0, 1, ?2) ON CONFLICT (schema) DO UPDATE SET"
                    " accepted = accepted + 1, waiting = waiting + 1,"
                    " last_received_at = max(last_received_at, ?2)",
                    (row.schema, row.received_at),
                )
                self._connection.execute(
                    "UPDATE state SET last_sequence = max(last_sequence, ?), waiting_bytes = waiting_bytes + ?",
                    (row.sequence, len(row.body)),
                )
                restored += 1
        return restored

    def succeed(self, spool_id: str, last_sequence: int, rows: int) -> bool:
        """Takes over the id of the broken spool whose `rows` rows were restored: by it the warehouse knows those that
        it has already. Returns False, and changes nothing, if other rows came by now which it would take for some of
        those: the clock has been set back, or this spool succeeds another one as well."""
        with transaction(self._connection):
            (older,) = self._connection.execute(
                "SELECT count(*) FROM spool WHERE sequence <= ?", (last_sequence,)
            ).fetchone()
            if older != rows:
                return False
            self._connection.execute(
                "UPDATE state SET spool_id = ?, inode = ?, last_sequence = max(last_sequence, ?)",
                (spool_id, self._inode, last_sequence),
            )
        return True

    def restore_usage(self, usage: Mapping[str, Usage]) -> None:
        with transaction(self._connection):
            self._connection.executemany(
                "INSERT INTO usage VALUES (?1, ?2, ?3) ON CONFLICT (hash) DO UPDATE SET"
                " first_used = min(first_used, ?2), last_used = max(last_used, ?3)",
                [(hash, *its) for hash, its in usage.items()],
            )

    # For whoever asks

    def report(self) -> Report:
        return Report(self.usage(), self.counts(), self.holds(), self.waiting_bytes(), self.warehouse_state())

    def holds(self) -> dict[str, str]:
        """By schema, why its rows wait although the warehouse is up."""
        return dict(self._connection.execute("SELECT schema, reason FROM holds ORDER BY schema").fetchall())

    def waiting(self, schema: str) -> int:
        """How many rows of `schema` wait for the loader."""
        counts = self.counts().get(schema)
        return counts.waiting if counts else 0

    def oldest(self) -> dict[str, int]:
        """Of each schema that has rows in the spool, when the first of them was received (microseconds since 1970)."""
        found = {}
        for schema in self.schemas_waiting():
            row = self._connection.execute(
                "SELECT received_at FROM spool WHERE schema = ? ORDER BY sequence LIMIT 1", (schema,)
            ).fetchone()
            if row:
                found[schema] = row[0]
        return found

    def waiting_bytes(self) -> int:
        """Bytes of all bodies that wait."""
        size: int = self._connection.execute("SELECT waiting_bytes FROM state").fetchone()[0]
        return size

    def counts(self) -> dict[str, Counts]:
        """Per schema, since the spool was made."""
        rows = self._connection.execute(
            "SELECT schema, accepted, loaded, rejected, waiting, last_received_at FROM counters"
        )
        return {schema: Counts(*counts) for schema, *counts in rows.fetchall()}

    def usage(self) -> dict[str, Usage]:
        """Per endpoint hash, for every endpoint that was ever used."""
        rows = self._connection.execute("SELECT hash, first_used, last_used FROM usage").fetchall()
        return {hash: Usage(first, last) for hash, first, last in rows}

    def warehouse_state(self) -> WarehouseState:
        row = self._connection.execute("SELECT warehouse, warehouse_error, warehouse_at FROM state").fetchone()
        return WarehouseState(*row)


def is_disk_trouble(error: BaseException) -> bool:
    """Whether `error`, from a Spool, is about the disk or the spool's bound: it may pass by itself."""
    return isinstance(error, SpoolFull | sqlite3.Error | OSError)
