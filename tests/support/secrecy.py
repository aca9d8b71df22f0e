"""Finds a secret in what a program leaves behind: texts, files, and the processes that run meanwhile.

What it can't find: a secret that was compressed or encrypted, one that a database file breaks across two pages, and a
process that came and went between two looks at the process list.
"""

import base64
import contextlib
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

SHORTEST = 12
"""A secret of fewer characters has forms that are found by chance."""


def forms(secret: str) -> set[bytes]:
    """The secret in clear, URL-encoded, and in base64 at each of the three offsets that it may have in a text."""
    if len(secret) < SHORTEST:
        raise ValueError(f"a secret of {len(secret)} characters can't be searched for: {SHORTEST} at least")
    found = {secret.encode(), urllib.parse.quote(secret, safe="").encode(), urllib.parse.quote_plus(secret).encode()}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode())
        # The first and last characters of base64 also depend on the neighbours.
        inner = encoded[4 if offset else 0 : -4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def places_of(secret: str, texts: Mapping[str, bytes]) -> list[str]:
    """The names of the texts that hold the secret in any form. Raises ValueError for one that is too short."""
    wanted = forms(secret)
    return [name for name, text in texts.items() if any(form in text for form in wanted)]


def files_below(folder: Path, *, but: Iterable[str] = (".venv",)) -> dict[str, bytes]:
    """The content of each file below `folder`, by its path from there; without folders that are called as in `but`."""
    texts = {}
    left_out = set(but)
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if left_out.isdisjoint(name.parts) and path.is_file() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # what runs meanwhile removes some
                texts[str(name)] = path.read_bytes()
    return texts


class ProcessWatch:
    """Looks at every process of this machine again and again while it is entered, as anybody on it can.

    `texts`: by process, the command lines that were seen; and of those processes that `is_ours` takes (it gets the
    command line and the working folder) the environment as well, which only their owner can read.
    """

    EVERY_S = 0.1

    def __init__(self, is_ours: Callable[[str, str], bool]) -> None:
        self._is_ours = is_ours
        self._seen: dict[str, set[bytes]] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="process watch", daemon=True)

    def __enter__(self) -> "ProcessWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.look()  # the last look, and one that raises here what may have ended the thread

    @property
    def texts(self) -> dict[str, bytes]:
        with self._lock:
            return {name: b"\n".join(sorted(lines)) for name, lines in self._seen.items()}

    def look(self) -> None:
        """Looks once."""
        found: dict[str, set[bytes]] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                line = "\0".join(process.cmdline())
                found.setdefault(f"command line of {process.pid}", set()).add(line.encode(errors="replace"))
                with contextlib.suppress(psutil.AccessDenied):
                    if self._is_ours(line, process.cwd()):
                        environment = "\0".join(f"{name}={value}" for name, value in process.environ().items())
                        name = f"environment of {process.pid}"
                        found.setdefault(name, set()).add(environment.encode(errors="replace"))
        with self._lock:
            for name, lines in found.items():
                self._seen.setdefault(name, set()).update(lines)

    def _run(self) -> None:
        while not self._ended.wait(self.EVERY_S):
            self.look()
