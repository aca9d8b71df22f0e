"""Ends a stack's daemons as a crash would."""

import os
import signal
import time
from collections.abc import Callable

from stack import Stack

from provider import postgres, receiver_process


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = 20) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def receiver_pid(stack: Stack) -> int:
    running = receiver_process.answers(stack.home)
    assert running is not None
    return int(running["pid"])


def postmaster(stack: Stack) -> int:
    """The pid of PostgreSQL's main process."""
    server = postgres.recorded(stack.home)
    assert server is not None
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def kill_receiver(stack: Stack) -> None:
    os.kill(receiver_pid(stack), signal.SIGKILL)
    wait_until(lambda: receiver_process.answers(stack.home) is None, "the receiver is gone")


def kill_postgres(stack: Stack) -> None:
    server = postgres.recorded(stack.home)
    assert server is not None
    os.kill(postmaster(stack), signal.SIGKILL)
    wait_until(lambda: not postgres.answers(server), "PostgreSQL is gone")
