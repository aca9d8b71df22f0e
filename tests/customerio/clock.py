"""The sender's clock: it can run faster, stand still or jump, so that a wait of an hour takes no hour.

It is made of `time.monotonic`, so steps of the machine's own clock don't disturb it.
"""

import asyncio
import contextlib
import threading
import time


class Clock:
    """Seconds since the epoch in the simulated world. Set from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: float | None, rate: float) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._then = time.time() if start is None else start
        self._set_at = time.monotonic()
        self._rate = rate
        self._changed = asyncio.Event()

    def now(self) -> float:
        with self._lock:
            return self._now()

    def _now(self) -> float:
        return self._then + (time.monotonic() - self._set_at) * self._rate

    @property
    def rate(self) -> float:
        """Simulated seconds per real second; 0 stands still."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        if rate < 0:
            raise ValueError("this clock doesn't run backwards")
        self._set(0, rate)

    def advance(self, seconds: float) -> None:
        """Jumps ahead: whoever waits for a moment before then goes on at once."""
        if seconds < 0:
            raise ValueError("this clock doesn't run backwards")
        self._set(seconds, self._rate)

    def _set(self, ahead: float, rate: float) -> None:
        with self._lock:
            self._then, self._set_at, self._rate = self._now() + ahead, time.monotonic(), rate
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def sleep_until(self, moment: float) -> None:
        while True:
            changed = self._changed  # taken before the time, so that no change is missed
            with self._lock:
                left, rate = moment - self._now(), self._rate
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), left / rate if rate else None)
