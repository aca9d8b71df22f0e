"""Keeps the loader running beside the receiver: a process of its own, because loading in the receiver's process
halves the acknowledgements (measured: 9.2 k/s against 15 k/s at 64 connections)."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path

from receiver.logs import facts

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STOP_SECONDS = 10.0
_ROOT = Path(__file__).resolve().parent.parent  # where `receiver` is imported from

_log = logging.getLogger("receiver.supervise")


class Loader:
    """The loader's process, started again whenever it ends by itself."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """None while there is no such process."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """Asks it to end, waits, and ends it."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _keep_running(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            try:
                await self._run()
            except OSError as error:
                _log.error("the loader can't be started", extra=facts(error=type(error).__name__))
            if time.monotonic() - started > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run(self) -> None:
        with (self._home / "loader.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "receiver.loader",
                "--home",
                os.fspath(self._home),
                "--parent",  # told, because this process may be gone before that one could look
                str(os.getpid()),
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": os.fspath(_ROOT)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.starts += 1
        status = await self._process.wait()
        told = facts(loader=self._process.pid, status=status)
        _log.warning("the loader ended, it is started again", extra=told)
