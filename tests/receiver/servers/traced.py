"""A receiver that notes each SQL statement it runs in `sql.log`: the file it was for, and its first words."""

import functools
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import quick  # noqa: F401 (it makes waits short)

from receiver.__main__ import main

_connect = sqlite3.connect


class Traced(sqlite3.Connection):
    def __init__(self, path: Any, *args: Any, **options: Any) -> None:
        super().__init__(path, *args, **options)
        file = Path(path)
        self._log = os.open(file.parent / "sql.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self.set_trace_callback(lambda statement: self._note(file.name, statement))

    def _note(self, file: str, statement: str) -> None:
        os.write(self._log, f"{file} {' '.join(statement.split())[:60]}\n".encode())


sqlite3.connect = functools.partial(_connect, factory=Traced)  # type: ignore[assignment]

if __name__ == "__main__":
    sys.exit(main())
