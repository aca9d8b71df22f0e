"""Processes that outlive `pulumi up`: started in a session of their own, and found again.

A process is known by its pid and its start time together, since after a reboot a pid alone may be somebody else's.
"""

import contextlib
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

# psutil works a start time out from the boot time, which moves a little whenever the clock is set.
START_TIME_TOLERANCE_S = 5.0
KILL_PATIENCE_S = 5.0


def find(pid: int, start_time: float) -> psutil.Process | None:
    """The process `pid`, if it is the one that started at `start_time` (seconds since the epoch)."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - start_time) < START_TIME_TOLERANCE_S
        return process if same and not _has_ended(process) else None
    except psutil.NoSuchProcess:
        return None


def spawn(command: list[str], *, log: Path, cwd: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a process that outlives this one; what it prints goes to the end of `log` (mode 0600)."""
    log.touch(mode=0o600)
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def end(process: psutil.Process, *, patience_s: float) -> None:
    """Asks the process to end (SIGTERM), and ends it (SIGKILL) when it hasn't within `patience_s`."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        if not _ends_within(process, patience_s):
            process.kill()
            _ends_within(process, KILL_PATIENCE_S)


def _ends_within(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _has_ended(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE  # which nobody has waited for yet
    except psutil.NoSuchProcess:
        return True
