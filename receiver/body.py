"""Reads a request's body: within a deadline, and with bounded memory however many clients are slow.

granian has no deadline for a body (seen with 2.8.7: a client that stops half-way is kept for ever), so it is ours.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

from receiver import event
from receiver.signature import Check

SMALL_BYTES = 16 * 1024  # a body announced as no larger is read in one go and isn't charged to the budget
KEPT_BYTES = event.MAX_BYTES  # of one body; what is beyond is thrown away
READ_BYTES = 64 * 2**20  # of one body; then we stop listening
BUDGET_BYTES = 128 * 2**20  # of all bodies that are larger than small, from their first byte to their answer


class Request(Protocol):
    """granian's RSGIHTTPProtocol, as far as reading goes."""

    def __call__(self) -> Awaitable[bytes]: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...


class SlowBody(Exception):
    """The body wasn't whole within its deadline."""


class BrokenBody(Exception):
    """The connection ended, or its framing broke, before the body was whole: there is nobody to answer."""


class Uncertain(Exception):
    """A body in chunks has ended with trailers, or it broke off: granian (2.8.7) shows both alike."""


class OutOfBudget(Exception):
    """Too much memory is held by bodies that are being read."""


class Body(NamedTuple):
    """What came: all of it, or, when `total` is larger than `content`, its start."""

    content: bytes
    total: int
    may_be_cut: bool = False  # it may have broken off: it is whole only if it is a whole event


class Deadline:
    """One deadline for many readers, at the cost of a dictionary entry each (asyncio.timeout: 3 µs a request)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._readers: dict[asyncio.Task[Any], float] = {}  # in the order of their deadlines
        self._expired: set[asyncio.Task[Any]] = set()

    def start(self) -> asyncio.Task[Any]:
        reader = asyncio.current_task()
        assert reader is not None  # noqa: S101 (for the type checker: granian runs each request as a task)
        self._readers[reader] = time.monotonic() + self.seconds
        return reader

    def end(self, reader: asyncio.Task[Any]) -> None:
        self._readers.pop(reader, None)

    def passed(self, reader: asyncio.Task[Any]) -> bool:
        """Whether the CancelledError that `reader` just got is this deadline's doing; it is taken back then."""
        if reader not in self._expired:
            return False
        self._expired.discard(reader)
        reader.uncancel()
        return True

    def sweep(self) -> None:
        """Cancels whoever is late. To be called several times a second."""
        now = time.monotonic()
        late = list(itertools.takewhile(lambda reader: self._readers[reader] <= now, self._readers))
        for reader in late:
            del self._readers[reader]
            self._expired.add(reader)
            reader.cancel()


class Budget:
    """Bytes that all large bodies together may hold."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Held:
    """What one request has taken from the budget; leaving the block gives it back."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.used -= self._bytes

    def take(self, size: int) -> None:
        """Raises OutOfBudget if there isn't as much."""
        if self._budget.used + size > self._budget.limit:
            raise OutOfBudget
        self._budget.used += size
        self._bytes += size


async def read_small(request: Request, deadline: Deadline) -> bytes:
    """A body whose announced length is at most SMALL_BYTES. Raises SlowBody, BrokenBody."""
    reader = deadline.start()
    try:
        return await request()
    except asyncio.CancelledError:
        if deadline.passed(reader):
            raise SlowBody from None
        raise
    except RuntimeError:  # granian's RSGIProtocolClosed and RSGIProtocolError
        raise BrokenBody from None
    finally:
        deadline.end(reader)


async def read(
    request: Request, length: int | None, deadline: Deadline, held: Held, check: Check | None = None
) -> Body:
    """A body of any length (`length` is what was announced; None: chunked), all of it seen by `check`.

    Raises SlowBody, BrokenBody, OutOfBudget. What is beyond KEPT_BYTES is thrown away; after READ_BYTES the rest
    isn't waited for.
    """
    content = bytearray()
    total = 0
    may_be_cut = False
    async with aclosing(_chunks(request, length, deadline)) as chunks:
        try:
            async for chunk in chunks:
                total += len(chunk)
                if check:
                    check.update(chunk)
                kept = chunk[: KEPT_BYTES - len(content)]
                held.take(len(kept))
                content += kept
                if total > READ_BYTES:
                    break
        except Uncertain:
            may_be_cut = True
    return Body(bytes(content), total, may_be_cut)


async def throw_away(request: Request, length: int | None, deadline: Deadline, most: int) -> bool:
    """Reads at most `most` bytes for nothing, so that a sender which is still writing gets to read its answer.

    Returns whether that was all. Raises SlowBody, BrokenBody.
    """
    if length is not None and (length == 0 or length > most):
        return length == 0
    total = 0
    async with aclosing(_chunks(request, length, deadline)) as chunks:
        try:
            async for chunk in chunks:
                total += len(chunk)
                if total > most:
                    return False
        except Uncertain:
            return False
    return True


async def _chunks(request: Request, length: int | None, deadline: Deadline) -> AsyncGenerator[bytes, None]:
    total = 0
    is_over = False
    reader = deadline.start()
    try:
        async for chunk in request:
            # granian ends a body with an empty chunk; one that broke off with two of them, and one with trailers too.
            if is_over:
                raise BrokenBody if length is not None else Uncertain
            is_over = not chunk
            total += len(chunk)
            yield chunk
    except asyncio.CancelledError:
        if deadline.passed(reader):
            raise SlowBody from None
        raise
    except RuntimeError:  # granian's RSGIProtocolClosed and RSGIProtocolError
        raise BrokenBody from None
    finally:
        deadline.end(reader)
    if length is not None and total < length:
        raise BrokenBody
