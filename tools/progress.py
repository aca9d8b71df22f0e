"""Long steps, run so that they show that they are moving, also where there is no terminal.

What a step prints goes to a log: the person sees a line now and then, and the log's end when the step fails.
Everything is said on stderr, as the stdout of `make url` and `make -s env` belongs to their one answer.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

EVERY_S = 10.0
"""How often a running step says so."""


class StepFailed(Exception):
    """A step that did not succeed; the text says which and ends with the last lines that it printed."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(
    what: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    usual: str,
    timeout_s: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs `command` to its end, saying `what` it does when it starts, every ten seconds, and when it is done.

    `usual` is how long it takes as a rule, in words. Raises StepFailed if it fails or takes longer than `timeout_s`.
    """
    say(f"{what} (usually {usual})")
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that it ends whole, with the processes it has started
        )
        try:
            while process.poll() is None:
                passed = time.monotonic() - started
                if passed > timeout_s:
                    raise StepFailed(f"{what}: not done after {passed:.0f} s\n{tail(log)}")
                try:
                    process.wait(min(EVERY_S, timeout_s))
                except subprocess.TimeoutExpired:
                    say(f"  {what}: {time.monotonic() - started:.0f} s, usually {usual}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode != 0:
        raise StepFailed(f"{what}: failed ({log})\n{tail(log)}")


def tail(log: Path, lines: int = 8) -> str:
    """The last `lines` of a log, indented."""
    text = log.read_text(errors="replace").rstrip()
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
