"""A receiver whose spool's writes and syncs are noted in `io.log`, in the order in which they happen.

apsw lets Python stand between SQLite and the disk (a VFS). The sync is made slow, so that an answer which doesn't
wait for it comes too early to be overlooked.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import apsw

from receiver.__main__ import main
from receiver.server import Receiver
from receiver.spool import Spool

SYNC_SECONDS = 0.02


class Disk(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("recording", base="")

    def xOpen(self, name: Any, flags: list[int]) -> "File":
        return File(name, flags)


class File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary")
        self.name = path.name
        self.log = os.open(path.parent / "io.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        os.write(self.log, f"write {self.name}\n".encode())

    def xSync(self, flags: int) -> None:
        time.sleep(SYNC_SECONDS)
        super().xSync(flags)
        os.write(self.log, f"sync {self.name}\n".encode())


def connect(path: Path, busy_seconds: float) -> Any:
    connection = apsw.Connection(os.fspath(path), vfs="recording")
    connection.set_busy_timeout(int(busy_seconds * 1000))
    return connection


class RecordedReceiver(Receiver):
    @staticmethod
    def open_spool(path: Path, **options: Any) -> Spool:
        return Spool(path, connect=connect, **options)


DISK = Disk()

if __name__ == "__main__":
    sys.exit(main(RecordedReceiver))
