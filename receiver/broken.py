"""Broken spools: how one is told from a disk that fails for a while, and how its file is set aside and kept.

It gets another name, beside which a new spool takes the deliveries, and `rescue` moves over what can be read of it.
Nothing of it is ever removed.
"""

import json
import logging
import sqlite3
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from receiver.database import sync_folder
from receiver.logs import facts

_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_ASIDE = "spool.broken-"

_log = logging.getLogger("receiver.spool")


class Broken(sqlite3.DatabaseError):
    """The spool's file is broken in a way that SQLite doesn't notice by itself."""


@dataclass(frozen=True)
class SetAside:
    """A broken spool, kept in the home folder under the name `file`."""

    file: str
    rescued: int | None
    """How many of its rows were moved into the present spool; None if that is still to be done."""

    waiting: int | None
    """How many should have been there, as it said itself; None if it couldn't say any more."""

    @property
    def sentence(self) -> str:
        """For a person."""
        if self.rescued is None:
            return f"The spool was broken and is kept as {self.file}: its rows are about to be moved into the new one"
        of = "" if self.waiting is None else f" of {max(self.waiting, self.rescued)}"
        return (
            f"The spool was broken and is kept as {self.file}: {self.rescued}{of} rows were moved into the new one;"
            " look at its disk, then move the file away"
        )


def is_broken(error: BaseException) -> bool:
    """Whether `error`, from a Spool, says that its file is broken, so that waiting is of no use."""
    if isinstance(error, Broken):
        return True
    # The lowest eight bits are the kind (sqlite.org/rescode.html).
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _CODES


def is_kept(home: Path, inode: int) -> bool:
    """Whether the file of that inode is a broken spool, kept in `home`."""
    return any(each.stat().st_ino == inode for each in home.glob(f"{_ASIDE}*.db"))


def log_beside(path: Path) -> Path:
    """The WAL of the database at `path`."""
    return path.with_name(f"{path.name}-wal")


def kept(home: Path) -> list[SetAside]:
    """The broken spools that are kept in `home`, the oldest first."""
    found = []
    for path in sorted(home.glob(f"{_ASIDE}*.db")):
        try:
            found.append(SetAside(**json.loads(path.with_suffix(".json").read_text())))
        except (OSError, ValueError, TypeError):
            found.append(SetAside(path.name, None, None))
    return found


def note(home: Path, aside: SetAside) -> None:
    """Keeps what became of a broken spool, for `kept`."""
    path = home / aside.file
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(aside)) + "\n")
    fresh.replace(path.with_suffix(".json"))


def check(path: Path) -> None:
    """Raises Broken for a file that is empty although there is a log beside it: SQLite would begin anew with both."""
    log = log_beside(path)
    if log.exists() and log.stat().st_size and not (path.exists() and path.stat().st_size):
        raise Broken("the file is empty, and its log is not")


def set_aside(path: Path, error: BaseException) -> None:
    """Gives the spool at `path` and its log another name. Nobody may open it meanwhile."""
    # Those who have the file open keep it by that, and SQLite leaves the new names alone when they close it.
    aside = path.with_name(f"{_ASIDE}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.db")
    number = 1
    while aside.exists():
        number += 1
        aside = aside.with_name(f"{aside.stem.partition('_')[0]}_{number}.db")
    path.touch()  # a log without its file is kept as well
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    sync_folder(path.parent)
    told = facts(error=f"{type(error).__name__}: {error}", file=aside.name)
    _log.critical("the spool is broken: it is kept under another name, and a new one takes the deliveries", extra=told)
