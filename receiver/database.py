"""How the receiver's SQLite files are opened: private, durable, and shared by several processes."""

import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


class Absent(FileNotFoundError):
    """There is no such database, or only the beginnings of one."""


Connect = Callable[[Path, float], sqlite3.Connection]


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection in autocommit mode, for one thread at a time; it waits `busy_seconds` for another's write."""
    return sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


def open_database(
    path: Path,
    tables: str,
    busy_seconds: float,
    pragmas: Sequence[str] = (),
    connect: Connect = connect,
    make: bool = True,
    changes: Sequence[str] = (),
) -> sqlite3.Connection:
    """Opens `path` (made with mode 0600 if need be) with every commit on disk before it returns.

    `tables` are CREATE statements, run once per file, and then each of `changes`, one statement, also on a file that
    an earlier version made; `pragmas` come before everything else.
    Without `make`, a file that isn't there, or has no tables yet, is Absent. Raises sqlite3.Error or OSError.
    """
    if not make and not path.exists():
        raise Absent(f"there is no {path.name}")
    # Made before SQLite opens it: the -wal and -shm files take over its mode. Never opened if it is there already:
    # closing any descriptor of a file drops all locks that this process has on it, SQLite's too, and then a second
    # process takes the database for unused and removes its WAL (sqlite.org/howtocorrupt.html, 2.2).
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = connect(path, busy_seconds)
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        # WAL: readers never wait for a writer. FULL: a commit returns after the fsync of the WAL; NORMAL, the
        # usual advice with WAL, may lose the last ones at a power cut (sqlite.org/pragma.html#pragma_synchronous).
        _switch_to_wal(connection, busy_seconds)
        connection.execute("PRAGMA synchronous = FULL")
        if sys.platform == "darwin":  # where fsync doesn't reach the medium
            connection.execute("PRAGMA fullfsync = 1")
            connection.execute("PRAGMA checkpoint_fullfsync = 1")
        steps = [tables, *changes]
        done = _steps_done(connection)
        if done == 0 and not make:
            raise Absent(f"{path.name} has no tables yet")
        if done < len(steps):
            with transaction(connection):
                for step in steps[_steps_done(connection) :]:  # somebody may have been quicker
                    for statement in step.split(";"):
                        if statement.strip():
                            connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {len(steps)}")
            sync_folder(path.parent)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: all of it is on disk at the end, or, after an exception, none of it."""
    # IMMEDIATE waits for its turn at the start; a lock that is only asked for half-way can't wait and fails.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if getattr(connection, "in_transaction", True):  # a disk error may have ended it already
            connection.execute("ROLLBACK")
        raise


def _steps_done(connection: sqlite3.Connection) -> int:
    done: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return done


def _switch_to_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    # SQLite doesn't wait here while another process opens the same new file: it fails at once.
    give_up = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def sync_folder(folder: Path) -> None:
    """A new file's name must survive a power cut as well as its content."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
