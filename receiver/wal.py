"""Reads SQLite's write-ahead log frame by frame, up to where SQLite itself takes it to end.

That is the first frame whose salt or checksum isn't right: behind it may stand whole transactions of an older log, or
of a process that was killed as it wrote and whose place another one has taken since. They are nobody's.

The format: sqlite.org/fileformat2.html, "The Write-Ahead Log".
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEAD_BYTES = 32  # of the log
FRAME_HEAD_BYTES = 24  # of each frame, before its page

_Sums = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """One page as a transaction left it. `at`: where in the file the page begins."""

    page: int
    at: int
    is_commit: bool
    """Whether it is the last one of its transaction."""


class Log:
    """The log in an open file. Reading it takes no lock, and no more memory than a page."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        head = read(descriptor, HEAD_BYTES, 0).ljust(HEAD_BYTES, b"\0")
        self._order = ">" if head[3] & 1 else "<"
        self.page_size = int.from_bytes(head[8:12])
        self.is_head_whole = is_page_size(self.page_size) and _sums(self._order, head[:24], (0, 0)) == _two(head[24:])
        self._salts, self._before = head[16:24], _two(head[24:])

    def frames(self) -> Iterator[Frame]:
        if not self.is_head_whole:
            return
        at = HEAD_BYTES
        before = self._before
        while len(head := read(self._descriptor, FRAME_HEAD_BYTES, at)) == FRAME_HEAD_BYTES:
            page = read(self._descriptor, self.page_size, at + FRAME_HEAD_BYTES)
            if head[8:16] != self._salts or len(page) != self.page_size:
                return
            before = _sums(self._order, head[:8] + page, before)
            if before != _two(head[16:]):
                return
            number, pages = _two(head[:8])
            yield Frame(number, at + FRAME_HEAD_BYTES, pages > 0)
            at += FRAME_HEAD_BYTES + self.page_size


def read(descriptor: int, size: int, at: int) -> bytes:
    """What can be read there; a sector that can't costs what is in it."""
    try:
        return os.pread(descriptor, size, at)
    except OSError:
        return b""


def is_page_size(size: int) -> bool:
    return 512 <= size <= 65536 and size & (size - 1) == 0


def _two(raw: bytes) -> _Sums:
    first, second = struct.unpack_from(">II", raw.ljust(8, b"\0"))
    return first, second


def _sums(order: str, raw: bytes, start: _Sums) -> _Sums:
    """The log's running checksum."""
    first, second = start
    words = struct.unpack(f"{order}{len(raw) // 4}I", raw)
    for each in range(0, len(words), 2):
        first = (first + words[each] + second) & 0xFFFFFFFF
        second = (second + words[each + 1] + first) & 0xFFFFFFFF
    return first, second
