"""Group commit: many deliveries, one fsync. This is where a 200 is earned.

Handlers queue their rows and wait; one thread writes all that is queued in one transaction and then wakes them. While
it writes, the next batch gathers, so the batch's size follows the load by itself.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from receiver.broken import is_broken
from receiver.logs import facts
from receiver.spool import Arrival, Replaced, Spool, SpoolFull

BATCH_ROWS = 512
BATCH_BYTES = 32 * 2**20
STALL_SECONDS = 3.0  # Customer.io waits 4 s; a disk that takes longer is as good as failing
_UNUSED_PAGES = 4096  # of the spool's file are kept for the next burst; more are returned to the disk when idle
_IDLE_SECONDS = 1.0

_log = logging.getLogger("receiver.commit")


class NotStored(Exception):
    """The rows aren't known to be on disk: the sender must repeat."""


class _Waiting(NamedTuple):
    arrival: Arrival
    stored: "asyncio.Future[None]"


class GroupCommit:
    """Stores arrivals through one writer thread. Its methods are for the event loop's thread."""

    def __init__(self, open_spool: Callable[[], Spool], loop: asyncio.AbstractEventLoop) -> None:
        """`open_spool` is called now, and again after an error of the disk. Raises what it raises."""
        self._open_spool = open_spool
        self._loop = loop
        self._spool: Spool | None = open_spool()
        self._queue: list[_Waiting] = []
        self._lock = threading.Lock()
        self._something_to_do = threading.Event()
        self._closing = False
        self._writing: list[_Waiting] = []  # the batch that the thread is busy with
        self._writing_since: float | None = None
        self.trouble = ""  # why nothing can be stored now
        self._thread = threading.Thread(target=self._write, name="spool", daemon=True)
        self._thread.start()

    async def store(self, arrival: Arrival) -> None:
        """Returns once `arrival` is on disk. Raises NotStored, within a few seconds whatever the disk does."""
        if self.is_stalled:
            raise NotStored
        stored = self._loop.create_future()
        with self._lock:
            self._queue.append(_Waiting(arrival, stored))
            is_first = len(self._queue) == 1
        if is_first:
            self._something_to_do.set()
        await stored

    def sweep(self) -> None:
        """Gives up on a disk that doesn't answer. To be called several times a second."""
        if self.is_stalled or not self._thread.is_alive():
            with self._lock:
                abandoned, self._queue = self._writing + self._queue, []
            self._tell(abandoned, NotStored("the disk doesn't answer"))

    async def close(self) -> None:
        """Stores what is queued, then closes the spool."""
        self._closing = True
        self._something_to_do.set()
        await asyncio.to_thread(self._thread.join, STALL_SECONDS)

    @property
    def is_stalled(self) -> bool:
        """Whether the disk doesn't answer."""
        since = self._writing_since
        return since is not None and time.monotonic() - since > STALL_SECONDS

    # The writer's thread

    def _write(self) -> None:
        while True:
            if not self._something_to_do.wait(_IDLE_SECONDS):
                self._tidy()
                continue
            with self._lock:
                batch = self._next_batch()
                if not self._queue:
                    self._something_to_do.clear()
                self._writing, self._writing_since = batch, time.monotonic()
            if batch:
                error = self._store(batch)
                self._writing_since = None
                try:
                    self._loop.call_soon_threadsafe(self._tell, batch, error)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return
            elif self._closing:
                if self._spool:
                    self._spool.close()
                return
            if self._closing:
                self._something_to_do.set()

    def _next_batch(self) -> list[_Waiting]:
        rows = 0
        size = 0
        for waiting in self._queue:
            size += len(waiting.arrival.body)
            if rows == BATCH_ROWS or (rows and size > BATCH_BYTES):
                break
            rows += 1
        batch, self._queue = self._queue[:rows], self._queue[rows:]
        return batch

    def _store(self, batch: list[_Waiting]) -> NotStored | None:
        error = self._append(batch)
        if error is not None and (isinstance(error, Replaced) or is_broken(error)):
            error = self._append(batch)  # to the file that is in its place by now
        if error is not None:
            self._report(error)
            return NotStored(str(error))
        if self.trouble:
            _log.warning("the spool takes deliveries again")
            self.trouble = ""
        return None

    def _append(self, batch: list[_Waiting]) -> Exception | None:
        try:
            if self._spool is None:
                self._spool = self._open_spool()
            self._spool.append([waiting.arrival for waiting in batch])
        except Exception as error:
            if not isinstance(error, SpoolFull):
                self._reopen_later()
            return error
        return None

    def _report(self, error: Exception) -> None:
        # SQLite's and the system's messages name no values, so no body can be in them.
        trouble = f"{type(error).__name__}: {error}"
        if type(error).__name__ != self.trouble.partition(":")[0]:
            _log.error("the spool refuses deliveries, they are answered 503", extra=facts(error=trouble))
        self.trouble = trouble

    def _reopen_later(self) -> None:
        # A connection that met an I/O error may not be trusted again; a fresh one finds out what is on disk.
        spool, self._spool = self._spool, None
        if spool:
            try:
                spool.close()
            except sqlite3.Error as error:
                _log.error("closing the spool failed", extra=facts(error=type(error).__name__))

    def _tidy(self) -> None:
        try:
            if self._spool:
                self._spool.give_back(_UNUSED_PAGES)
        except (sqlite3.Error, OSError) as error:
            self._report(error)

    def _tell(self, batch: list[_Waiting], error: NotStored | None) -> None:
        # One hop to the event loop for the whole batch.
        for _, stored in batch:
            if not stored.done():
                if error:
                    stored.set_exception(error)
                else:
                    stored.set_result(None)
