"""Takes what can still be read out of a broken spool: what was answered 200 must reach the warehouse if it can.

SQLite gives up at the first page that makes no sense to it. Here each page of the file is looked at by itself, so that
a broken page costs the rows on it and no others. Of the log beside the file (the WAL) what SQLite would read counts,
and nothing behind that. The format: sqlite.org/fileformat2.html.

What is read here may be nonsense, so nothing is believed that doesn't have the shape of what the spool writes.
"""

import contextlib
import itertools
import logging
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from receiver import broken, wal
from receiver.broken import SetAside, kept, log_beside
from receiver.logs import facts
from receiver.spool import Spool, SpooledRow, Usage

ROWS = 500  # a transaction: the receiver's commits wait for it
PAGE_BYTES = 4096  # the spool's, unless the files say otherwise
_MAGIC = b"SQLite format 3\0"
_LEAF = 0x0D  # a page of a table's rows
_MAX_PAYLOAD = 64 * 2**20  # more than any row has
_NONSENSE = (IndexError, ValueError, OverflowError, struct.error)  # UnicodeDecodeError is a ValueError
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger("receiver.rescue")

Value = int | float | str | bytes | None


@dataclass
class Found:
    """What a broken spool still told, besides its rows."""

    spool_id: str | None = None
    last_sequence: int = 0
    waiting: dict[str, int] = field(default_factory=dict)  # rows by schema, as its counters had it
    usage: dict[str, Usage] = field(default_factory=dict)


def rescue(home: Path) -> None:
    """Moves the rows of each broken spool in `home` that wasn't looked at yet into the present one.

    To be called before the loader loads anything from it: the rows keep their sequences, and the warehouse would take
    a later row for a sign that it has them. May be cut off at any time, and is then done again. Raises sqlite3.Error
    and OSError.
    """
    for each in kept(home):
        if each.rescued is None:
            with Spool(home / "spool.db") as spool:
                _rescue(home / each.file, spool)


def _rescue(path: Path, spool: Spool) -> None:
    found = Found()
    count = 0
    with contextlib.closing(_Pages(path)) as pages:
        rows = _rows(pages, found)
        while some := list(itertools.islice(rows, ROWS)):
            count += spool.restore(some)  # a page that fell out of use may hold a row a second time
    spool.restore_usage(found.usage)
    is_same = found.spool_id is not None and spool.succeed(found.spool_id, found.last_sequence, count)
    waiting = sum(found.waiting.values()) if found.waiting else None
    broken.note(path.parent, SetAside(path.name, count, waiting))
    # What the warehouse has already it knows by the spool's id: without that, a row may come a second time.
    told = facts(file=path.name, rows=count, waited=waiting, may_repeat=not is_same)
    _log.error("the rows of a broken spool were moved into the new one", extra=told)


# Rows


def _rows(pages: "_Pages", found: Found) -> Iterator[SpooledRow]:
    """Each row of the spool that can be read; notes what else is found."""
    unused = pages.unused()
    for number in range(1, pages.count + 1):
        if number in unused:  # it still holds rows, which are done with
            continue
        page = pages.read(number)
        for sequence, values in _records(pages, page, 100 if number == 1 else 0):
            match values:
                case (None, str(schema), int(), _, _, _, _, bytes(), _) if schema and sequence > 0:
                    if all(isinstance(value, str | None) for value in (*values[3:6], values[8])) and isinstance(
                        values[6], int | None
                    ):
                        yield SpooledRow(sequence, *values[1:])  # type: ignore[arg-type]
                case (str(spool_id), _, int(last), int(), str(), _, _) if _ID.fullmatch(spool_id):
                    if last >= found.last_sequence:
                        found.spool_id, found.last_sequence = spool_id, last
                case (str(schema), int(), int(), int(), int(waiting), int() | None):
                    found.waiting[schema] = waiting
                case (str(hash), float(first), float(last)) if _HASH.fullmatch(hash):
                    found.usage[hash] = Usage(first, last)


def _records(pages: "_Pages", page: bytes, head: int) -> Iterator[tuple[int, tuple[Value, ...]]]:
    """The rowid and the values of each row on a page, if it is one of a table's rows."""
    if len(page) <= head + 8 or page[head] != _LEAF:
        return
    cells = int.from_bytes(page[head + 3 : head + 5])
    for number in range(cells):
        with contextlib.suppress(*_NONSENSE):
            place = head + 8 + 2 * number
            at = int.from_bytes(page[place : place + 2])
            size, at = _varint(page, at)
            rowid, at = _varint(page, at)
            yield rowid, _values(_payload(pages, page, at, size))


def _payload(pages: "_Pages", page: bytes, at: int, size: int) -> bytes:
    """A row's bytes: those on its page, and those on the pages behind it where it has too many for one."""
    if not 0 < size <= _MAX_PAYLOAD:
        raise ValueError("no row is that long")
    usable = len(page)
    most = usable - 35
    if size <= most:
        here = size
    else:
        least = (usable - 12) * 32 // 255 - 23
        here = least + (size - least) % (usable - 4)
        here = here if here <= most else least
    parts = [page[at : at + here]]
    following = int.from_bytes(page[at + here : at + here + 4]) if here < size else 0
    missing = size - len(parts[0])
    while missing > 0 and following:
        overflow = pages.read(following)
        if len(overflow) < usable:
            break
        following = int.from_bytes(overflow[:4])
        parts.append(overflow[4 : 4 + min(missing, usable - 4)])
        missing -= len(parts[-1])
    if missing:
        raise ValueError("a part is missing")
    return b"".join(parts)


def _values(payload: bytes) -> tuple[Value, ...]:
    head, at = _varint(payload, 0)
    kinds = []
    while at < head:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        size = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)[kind] if kind < 10 else (kind - 12) // 2
        raw = payload[at : at + size]
        if len(raw) < size:
            raise ValueError("a value is cut off")
        at += size
        match kind:
            case 0:
                values.append(None)
            case 7:
                values.append(struct.unpack(">d", raw)[0])
            case 8 | 9:
                values.append(kind - 8)
            case _ if kind < 7:
                values.append(int.from_bytes(raw, signed=True))
            case _:
                values.append(raw.decode() if kind % 2 else raw)
    if at != len(payload):
        raise ValueError("something is left over")
    return tuple(values)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """SQLite's integer of one to nine bytes (never a negative one here), and the place behind it."""
    value = 0
    for number in range(9):
        byte = raw[at + number]
        if number == 8:
            return (value << 8) | byte, at + 9
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, at + number + 1
    raise ValueError


# Pages


class _Pages:
    """The pages of a file, each as the newest whole frame of its log has it. A page that can't be read is empty."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._log: int | None = None
        self._newest: dict[int, int] = {}  # page → where in the log
        head = wal.read(self._file, 18, 0)
        size = int.from_bytes(head[16:])
        self.size = size if head[:16] == _MAGIC and wal.is_page_size(size) else PAGE_BYTES
        with contextlib.suppress(FileNotFoundError):
            self._log = os.open(log_beside(path), os.O_RDONLY | os.O_CLOEXEC)
            self._read_log(self._log)
        self.count = max(os.fstat(self._file).st_size // self.size, max(self._newest, default=0))

    def close(self) -> None:
        os.close(self._file)
        if self._log is not None:
            os.close(self._log)

    def read(self, number: int) -> bytes:
        if self._log is not None and number in self._newest:
            return wal.read(self._log, self.size, self._newest[number])
        return wal.read(self._file, self.size, (number - 1) * self.size)

    def unused(self) -> set[int]:
        """The pages on the list of those that are free; none if there is no making sense of it."""
        found: set[int] = set()
        first = self.read(1)
        trunk = int.from_bytes(first[32:36]) if first[:16] == _MAGIC else 0
        while 0 < trunk <= self.count and trunk not in found:
            page = self.read(trunk)
            found.add(trunk)
            free = min(int.from_bytes(page[4:8]), (self.size - 8) // 4)
            found.update(int.from_bytes(page[8 + 4 * each : 12 + 4 * each]) for each in range(free))
            trunk = int.from_bytes(page[:4])
        return found

    def _read_log(self, descriptor: int) -> None:
        log = wal.Log(descriptor)
        if log.is_head_whole:
            self.size = log.page_size
        pending: dict[int, int] = {}
        for frame in log.frames():
            pending[frame.page] = frame.at
            if frame.is_commit:  # what isn't committed was answered to nobody
                self._newest |= pending
                pending = {}
