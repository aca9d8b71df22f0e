"""Ends a stack's daemons as a crash would."""

import os
import signal

from provider import postgres, receiver_process
from tests.support.stack import Stack
from tests.support.waiting import until


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
    until(lambda: receiver_process.answers(stack.home) is None, what="the receiver is gone")


def kill_postgres(stack: Stack) -> None:
    server = postgres.recorded(stack.home)
    assert server is not None
    os.kill(postmaster(stack), signal.SIGKILL)
    until(lambda: not postgres.answers(server), what="PostgreSQL is gone")
