"""Moves spooled events into the warehouse: `python -m receiver.loader --home DIR`. A process of its own, because in the
receiver's it would halve the acknowledgements; one at a time, by a lock; gone when its parent is.

What it promises: a row leaves the spool only after the warehouse has committed it, and it gets there once, also under
`append` and whenever the loader is killed. A row that the warehouse can't take goes to `_sdc_rejected` and costs no
other row; any other trouble makes the rows of its schema wait, and those of no other.
"""

import argparse
import fcntl
import logging
import os
import select
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from receiver import warehouse
from receiver.admin.history import History
from receiver.logs import Sparingly, facts, log_to
from receiver.registry import Registry, SchemaEntry
from receiver.rescue import rescue
from receiver.spool import Spool, SpooledRow
from receiver.warehouse import Connection

# A batch: large enough that the round trips and the commit's fsync don't count, small enough for little memory.
BATCH_ROWS = 5_000
BATCH_BYTES = 8 * 2**20
# How often the spool is looked at. The pause lets rows gather: 10 commits a second at most, however they trickle in.
POLL_SECONDS = 0.1
SHORTEST_WAIT = 0.25  # after the first trouble, doubled by each further one
LONGEST_WAIT = 10.0
CHECKPOINT_BYTES = 32 * 2**20
IDLE_SECONDS = 60.0
"""So long a connection is kept that nothing is loaded through: some serverless databases sleep once there is none."""

# A locked table must not keep other schemas waiting, so that its schema's rows wait instead and the lock is tried for
# again and again. `on`, so that what left the spool is on the warehouse's disk: some databases are set to `off`.
# In each transaction, not once a connection: poolers hand a session from one client to the next.
_GUARDS = """
SELECT set_config('lock_timeout', '300ms', true), set_config('statement_timeout', '30s', true),
       set_config('synchronous_commit', CASE s WHEN 'off' THEN 'on' ELSE s END, true)
FROM current_setting('synchronous_commit') AS s"""

# What the DSN doesn't say itself. A host that vanished is noticed within half a minute.
_CONNECTING: dict[str, str | int] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "sluice-loader",
    "client_encoding": "UTF8",
}

log = logging.getLogger("receiver.loader")


# Errors: what they mean and what may be said of them


def is_fault_of_data(error: Exception) -> bool:
    """Whether a row of the batch is to blame, so that it would fail again for ever, and the others wouldn't."""
    if isinstance(error, UnicodeError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # the driver couldn't write the values down
        return isinstance(error, psycopg.DataError)
    if isinstance(error, psycopg.errors.UniqueViolation):
        return False  # the table has a key that the registry doesn't say: `loading` is just being changed
    if is_missing_partition(error):
        return False
    if isinstance(error, psycopg.errors.NotNullViolation) and error.diag.column_name not in warehouse.DATA_COLUMNS:
        return False  # somebody added a column that no row can fill
    return error.sqlstate[:2] in ("22", "23", "54")


def is_missing_partition(error: Exception) -> bool:
    """Whether `data` was partitioned and has none for a row: PostgreSQL tells it as a check that fails, of no name."""
    return isinstance(error, psycopg.errors.CheckViolation) and not error.diag.constraint_name


def reason_of(error: Exception) -> str:
    """Why the warehouse can't take a row, for `_sdc_rejected`. May quote the row."""
    if not isinstance(error, psycopg.Error):
        return "not UTF-8"
    message = error.diag.message_primary or str(error).partition("\n")[0]
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return f"{error.sqlstate or type(error).__name__}: {message}{detail}"[:500]


# The classes whose messages name things of the database and never a row's values.
_TELLABLE = ("08", "25", "28", "3D", "3F", "42", "53", "55", "57", "58")


def kind_of(error: Exception) -> str:
    """Why the warehouse can't take a row, for logs and the status page: its text isn't told, it may quote the row."""
    sqlstate = getattr(error, "sqlstate", None)
    name = type(error).__name__ if isinstance(error, psycopg.Error) else "not UTF-8"
    return f"the warehouse can't take it: {f'{sqlstate} ' if sqlstate else ''}{name}"


def trouble_of(error: psycopg.Error, dsn: str) -> str:
    """One line on what is wrong with the warehouse, without a row's values and without the password."""
    if error.sqlstate is not None:
        tellable = error.sqlstate[:2] in _TELLABLE or is_missing_partition(error)
        message = f": {error.diag.message_primary}" if tellable else ""
        text = f"{error.sqlstate} {type(error).__name__}{message}"
    elif isinstance(error, psycopg.OperationalError):
        text = str(error)
    else:
        text = type(error).__name__
    password = conninfo_to_dict(dsn).get("password")
    if password:
        text = text.replace(str(password), "***")
    return " ".join(text.split())[:300]


# One batch


class ClaimedElsewhere(Exception):
    """The warehouse holds rows of this batch already: where to go on must be read from it again."""


def commit(connection: Connection, spool_id: str, schema: SchemaEntry, rows: Sequence[SpooledRow]) -> None:
    """Commits `rows`, which are one schema's in the order of their sequences: all of them, or none.

    Rows with a reason go to `_sdc_rejected`. Raises psycopg.Error, UnicodeError and ClaimedElsewhere.
    """
    events = [row for row in rows if row.reason is None]
    rejects = [row for row in rows if row.reason is not None]
    with connection.transaction():
        connection.execute(_GUARDS)
        if not warehouse.claim(connection, schema.schema, spool_id, rows[0].sequence, rows[-1].sequence):
            raise ClaimedElsewhere
        if events:
            warehouse.insert_events(connection, schema.schema, schema.loading, events)
        if rejects:
            warehouse.insert_rejects(connection, schema.schema, rejects)


# All of it


@dataclass
class Progress:
    """Where a schema's loading stands: what the warehouse has of the spool (None: to be asked), and its troubles."""

    after: int | None = None
    rows: int = BATCH_ROWS  # a batch: fewer after one that failed by a row or took too long, more again after others
    hold: str | None = None
    wait: float = 0.0
    not_before: float = 0.0  # on the monotonic clock

    def delay(self) -> None:
        self.wait = min(LONGEST_WAIT, max(SHORTEST_WAIT, self.wait * 2))
        self.not_before = time.monotonic() + self.wait


class Loader:
    """The loader of one home folder. `step` does what there is to do now, and raises only sqlite3.Error and OSError."""

    def __init__(self, home: Path) -> None:
        self._spool = Spool(home / "spool.db", sets_aside=True)
        self._spool.be_itself()
        self._spool.make_way()
        try:
            with _of_the_registry():
                # A lost one is the provider's to make again.
                self._registry = Registry(home / "registry.db", make=False)
        except OSError:
            self._spool.close()
            raise
        self._registry_version: int | None = None
        self._dsn: str | None = None
        self._schemas: dict[str, SchemaEntry] = {}
        self._connection: Connection | None = None
        self._connecting = Progress()
        self._is_known = False  # whether the warehouse of this DSN has ever answered
        self._used_at = 0.0  # on the monotonic clock
        self._state: tuple[str, str | None] | None = None
        self._progress: dict[str, Progress] = {}
        self._deleted_bytes = 0
        self._history = History(home)
        self._sparingly = Sparingly()
        for schema in self._spool.holds():  # of a loader before this one
            self._spool.set_hold(schema, None)

    def set_aside(self, error: BaseException) -> None:
        """Gives the spool's file another name if `error`, from `step`, says that it is broken. Raises OSError."""
        self._spool.set_aside(error)

    def close(self) -> None:
        self._disconnect()
        self._registry.close()
        self._spool.close()
        self._history.close()

    def step(self) -> bool:
        """One batch of each schema that has rows and isn't held. Returns whether there may be more right now."""
        with _of_the_registry():
            self._follow_registry()
        waiting = self._spool.schemas_waiting()
        if not waiting and self._is_known:
            self._let_go()
            return False
        connection = self._connected()
        if connection is None:
            return False
        self._used_at = time.monotonic()
        more = False
        for name in waiting:
            progress = self._progress.setdefault(name, Progress())
            if time.monotonic() < progress.not_before:
                continue
            with self._troubles(connection, name, progress):
                more |= self._load_schema(connection, name, progress)
            if connection.closed:
                break
        return more

    # What to load where

    def _follow_registry(self) -> None:
        version = self._registry.version()
        if version == self._registry_version:
            return
        self._registry_version = version
        self._schemas = {schema.schema: schema for schema in self._registry.schemas()}
        dsn = self._registry.setting("warehouse_dsn") or None
        if dsn != self._dsn:
            self._disconnect()
            self._dsn = dsn
            self._connecting = Progress()
            self._is_known = False
        # Whoever changed something may have mended what the rows wait for.
        for progress in self._progress.values():
            progress.not_before = 0.0

    def _connected(self) -> Connection | None:
        if self._connection and self._is_lost(self._connection):
            self._disconnect()  # while nothing was loaded, which is no trouble as long as there is another one
        if self._connection or time.monotonic() < self._connecting.not_before:
            return self._connection
        if self._dsn is None:
            self._report("unset", None)
            return None
        try:
            defaults = {key: value for key, value in _CONNECTING.items() if key not in conninfo_to_dict(self._dsn)}
        except psycopg.ProgrammingError:  # its message would quote the DSN
            self._report("down", "the warehouse's DSN can't be read")
            self._connecting.delay()
            return None
        try:
            # No prepared statements: poolers may hand the next one to another session.
            self._connection = psycopg.connect(
                make_conninfo(self._dsn, **defaults), autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            self._report("down", trouble_of(error, self._dsn))
            self._connecting.delay()
            return None
        self._connecting = Progress()
        self._is_known = True
        self._report("up", None)
        return self._connection

    def _let_go(self) -> None:
        """With nothing to load, a server may end the session and sleep. Whether it is there shows when rows come."""
        if self._connection and (time.monotonic() - self._used_at > IDLE_SECONDS or self._is_lost(self._connection)):
            self._disconnect()

    def _is_lost(self, connection: Connection) -> bool:
        # An idle server says nothing but good-bye, so listening is enough; a query now and then would keep a
        # serverless one from ever sleeping.
        try:
            while not connection.closed and select.select([connection], [], [], 0)[0]:
                connection.pgconn.consume_input()
        except psycopg.OperationalError:
            return True
        return connection.closed

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None
        for progress in self._progress.values():  # it may be another warehouse, or have committed what it didn't say
            progress.after = None

    # One schema

    def _load_schema(self, connection: Connection, name: str, progress: Progress) -> bool:
        schema = self._schemas.get(name)
        if schema is None:
            self._hold(name, progress, "the registry has no such schema")
            return False
        if progress.after is None:
            progress.after = self._settle(connection, name)
        rows = self._spool.read(name, progress.after, progress.rows, BATCH_BYTES)
        if not rows:
            return False
        try:
            commit(connection, self._spool.spool_id, schema, rows)
        except (psycopg.Error, UnicodeError) as error:
            if connection.closed or not is_fault_of_data(error):
                raise
            # Half as many in the next turn, down to the one at fault. Turn by turn, so that a schema which has many
            # such rows doesn't keep the others waiting.
            if len(rows) > 1:
                progress.rows = len(rows) // 2
                return True
            rows = [rows[0]._replace(reason=reason_of(error))]
            commit(connection, self._spool.spool_id, schema, rows)
            self._tell_of_reject(name, kind_of(error), len(rows[0].body))
        may_be_more = len(rows) == progress.rows or sum(len(row.body) for row in rows) > BATCH_BYTES // 2
        progress.after = rows[-1].sequence
        self._forget(name, rows, sum(row.reason is not None for row in rows))
        self._release(name, progress)
        return may_be_more

    def _settle(self, connection: Connection, name: str) -> int:
        """Deletes what the warehouse has although the spool still holds it: a loader before this one was killed, or
        a power cut undid its deletes. Returns the last sequence that the warehouse has."""
        with connection.transaction():
            connection.execute(_GUARDS)
            after = warehouse.last_sequence(connection, name, self._spool.spool_id)
        while rows := [row for row in self._spool.read(name, 0, BATCH_ROWS, BATCH_BYTES) if row.sequence <= after]:
            rejected = warehouse.rejected_among(connection, name, [row.sequence for row in rows])
            self._forget(name, rows, rejected)
        return after

    def _forget(self, name: str, rows: Sequence[SpooledRow], rejected: int) -> None:
        self._spool.delete_through(name, rows[-1].sequence, loaded=len(rows) - rejected, rejected=rejected)
        self._deleted_bytes += sum(len(row.body) for row in rows)
        if self._deleted_bytes > CHECKPOINT_BYTES:
            self._spool.checkpoint()
            self._deleted_bytes = 0

    def _tell_of_reject(self, name: str, why: str, size: int) -> None:
        self._history.reject({(name, why): 1}, time.time())
        more = self._sparingly.may_say(name)
        if more is not None:
            log.warning("rejected a row", extra=facts(schema=name, reason=why, bytes=size, **more))

    # Troubles

    @contextmanager
    def _troubles(self, connection: Connection, name: str, progress: Progress) -> Iterator[None]:
        try:
            yield
        except ClaimedElsewhere:
            progress.after = None
        except psycopg.Error as error:
            progress.after = None  # whether a commit that was cut off happened is known to the warehouse alone
            text = trouble_of(error, self._dsn or "")
            if connection.closed:
                self._report("down", text)
                self._disconnect()
                self._connecting.delay()
                return
            if isinstance(error, psycopg.errors.QueryCanceled | psycopg.errors.OutOfMemory):  # too much at a time
                progress.rows = max(1, progress.rows // 4)
            if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):  # a standby, maybe: ask for the primary again
                self._disconnect()
            self._hold(name, progress, text)

    def _hold(self, name: str, progress: Progress, reason: str) -> None:
        progress.delay()
        if reason != progress.hold:
            log.error("rows wait", extra=facts(schema=name, reason=reason))
            self._spool.set_hold(name, reason)
            progress.hold = reason

    def _release(self, name: str, progress: Progress) -> None:
        progress.rows = min(BATCH_ROWS, progress.rows * 2)
        progress.wait = progress.not_before = 0.0
        if progress.hold is not None:
            log.info("rows are loaded again", extra=facts(schema=name))
            self._spool.set_hold(name, None)
            progress.hold = None

    def _report(self, state: str, error: str | None) -> None:
        if (state, error) == self._state:
            return
        self._state = (state, error)
        self._spool.set_warehouse_state(state, error)  # type: ignore[arg-type]
        told = facts(error=error) if error else None
        log.log(logging.ERROR if error else logging.INFO, f"the warehouse is {state}", extra=told)


@contextmanager
def _of_the_registry() -> Iterator[None]:
    """What is wrong with the registry is no sign of a broken spool."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"the registry: {type(error).__name__}: {error}") from None


# The process


def run(home: Path, stop: threading.Event) -> None:
    """Loads until `stop` is set. The spool's own troubles (a full disk, a locked or replaced file) are waited out."""
    loader: Loader | None = None
    files: object = None
    while not stop.is_set():
        try:
            if loader and files != _identity(home):  # SQLite would go on with files that were removed
                loader.close()
                loader = None
            if loader is None:
                rescue(home)
                loader = Loader(home)
                files = _identity(home)
            pause = 0.0 if loader.step() else POLL_SECONDS
        except (sqlite3.Error, OSError) as error:
            told = facts(error=f"{type(error).__name__}: {error}")
            log.error("the spool or the registry fails", extra=told)
            if loader:
                with suppress(sqlite3.Error, OSError):
                    loader.set_aside(error)
                with suppress(sqlite3.Error):
                    loader.close()
            loader = None
            pause = 1.0
        stop.wait(pause)
    if loader:
        loader.close()


def _identity(home: Path) -> object:
    return [(home / name).stat().st_ino for name in ("spool.db", "registry.db")]


@contextmanager
def only_one(home: Path, stop: threading.Event) -> Iterator[None]:
    """Waits until no other loader of this home runs, or `stop` is set. The lock goes with the process."""
    with (home / "loader.lock").open("a") as lock:
        while not stop.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stop.wait(POLL_SECONDS)
        yield


def _watch_parent(parent: int, stop: threading.Event) -> None:
    """Ends the process soon after `parent` did: the next receiver starts a loader of its own."""
    while os.getppid() == parent and not stop.wait(0.5):
        pass
    stop.set()
    # A batch under way has as long to finish; being cut off in it loses and doubles nothing.
    time.sleep(5)
    os._exit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m receiver.loader", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the stack's folder, which holds spool and registry")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="end when this process does (the caller)")
    options = parser.parse_args(arguments)
    log_to(logging.StreamHandler())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_watch_parent, args=(options.parent, stop), daemon=True).start()
    with only_one(options.home, stop):
        run(options.home, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
