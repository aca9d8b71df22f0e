"""A control: the recorded receiver with `synchronous = OFF`, which no kill -9 can tell from the real one."""

import sys
from pathlib import Path
from typing import Any

import recorded

from receiver.__main__ import main
from receiver.spool import Spool


class Unsynced(recorded.RecordedReceiver):
    @staticmethod
    def open_spool(path: Path, **options: Any) -> Spool:
        spool = recorded.RecordedReceiver.open_spool(path, **options)
        spool._connection.execute("PRAGMA synchronous = OFF")
        return spool


if __name__ == "__main__":
    sys.exit(main(Unsynced))
