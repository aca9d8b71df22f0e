"""A receiver whose spool's disk does what the file `fault` in its folder says, for as long as that is there: `full`
(nothing more can be written), `broken` (a sync fails), `read-only`.

apsw lets Python stand between SQLite and the disk (a VFS). The receiver knows an error of the disk as sqlite3's; apsw
has its own, so that they are translated.
"""

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import quick  # noqa: F401 (it makes waits short)

from receiver.__main__ import main
from receiver.server import Receiver
from receiver.spool import Spool

ERRORS = {"full": apsw.FullError, "broken": apsw.IOError, "read-only": apsw.ReadOnlyError}
WORDS = {
    "full": "database or disk is full",
    "broken": "disk I/O error",
    "read-only": "attempt to write a readonly database",
}


def fail_if(home: Path, *faults: str) -> None:
    try:
        fault = (home / "fault").read_text()
    except FileNotFoundError:
        return
    if fault in faults:
        raise ERRORS[fault](WORDS[fault])


class Disk(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("faulty", base="")

    def xOpen(self, name: Any, flags: list[int]) -> "File":
        return File(name, flags)


class File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.home = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or ".").parent

    def xWrite(self, data: bytes, offset: int) -> None:
        fail_if(self.home, "full", "read-only")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        fail_if(self.home, "broken")
        super().xSync(flags)


class Connection:
    """An apsw connection that raises what sqlite3 would."""

    def __init__(self, path: Path) -> None:
        self._own = apsw.Connection(os.fspath(path), vfs="faulty")

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._own, name)
        return translated(found) if callable(found) else found


def translated(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except apsw.Error as error:
            raise sqlite3.OperationalError(str(error)) from error

    return wrapped


def connect(path: Path, busy_seconds: float) -> Any:
    connection = Connection(path)
    connection.set_busy_timeout(int(busy_seconds * 1000))
    return connection


class FaultyReceiver(Receiver):
    @staticmethod
    def open_spool(path: Path, **options: Any) -> Spool:
        return Spool(path, connect=connect, **options)


DISK = Disk()

if __name__ == "__main__":
    sys.exit(main(FaultyReceiver))
