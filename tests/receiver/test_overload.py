"""Trouble that passes: a failing disk, a spool that is held, more slow senders than anyone should have."""

import contextlib
import resource
import socket
import sqlite3
import sys
import time
from pathlib import Path

import psutil
import pytest

from receiver.body import BUDGET_BYTES
from receiver.control import ask_sync
from tests.receiver import running
from tests.receiver.running import Running, event, register, spooled, start
from tests.support.waiting import until


@pytest.fixture
def path(home: Path, receiver: Running) -> str:
    made = register(home)
    ask_sync(home, "reload")
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets one process limit another")
def test_a_failing_disk_is_answered_503_until_it_works_again(home: Path, receiver: Running, path: str) -> None:
    assert receiver.post(path, event("before")).status == 200
    process = psutil.Process(receiver.process.pid)
    process.rlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))  # a write beyond fails, as on a full disk
    refused = [receiver.post(path, event(f"during{number}")) for number in range(3)]
    assert [reply.status for reply in refused] == [503] * 3
    assert all(int(reply.headers["retry-after"]) > 0 for reply in refused)
    assert "disk" in until(lambda: ask_sync(home, "status")["spool"]["trouble"]).lower()
    process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert receiver.post(path, event("after")).status == 200
    assert ask_sync(home, "status")["spool"]["trouble"] is None
    assert [row.event_id for row in spooled(home)] == ["before", "after"]


def test_a_spool_that_another_holds_is_answered_503_before_the_sender_gives_up(
    home: Path, receiver: Running, path: str
) -> None:
    holder = sqlite3.connect(home / "spool.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    assert receiver.post(path, event("held")).status == 503
    assert time.monotonic() - started < 3.5
    holder.execute("COMMIT")
    holder.close()
    assert receiver.post(path, event("after")).status == 200


def test_a_spool_that_was_removed_is_never_written_to(home: Path, receiver: Running, path: str) -> None:
    assert receiver.post(path, event("lost with its file")).status == 200
    for file in home.glob("spool.db*"):
        file.unlink()
    assert receiver.post(path, event("kept")).status == 200
    assert [row.event_id for row in spooled(home)] == ["kept"]


def test_a_registry_that_was_removed_or_broken_leaves_what_it_said(home: Path, receiver: Running, path: str) -> None:
    for file in home.glob("registry.db*"):
        file.unlink()
    time.sleep(0.3)
    assert receiver.post(path, event("one")).status == 200
    (home / "registry.db").write_bytes(b"broken " * 1000)
    time.sleep(0.3)
    assert receiver.post(path, event("two")).status == 200
    for file in home.glob("registry.db*"):
        file.unlink(missing_ok=True)
    made = until(lambda: _registered(home))
    until(lambda: receiver.post(made, event("three")).status == 200)
    assert receiver.post(path, event("four")).status == 401


def test_slow_senders_cost_bounded_memory_and_nobody_else_s_time(receiver: Running, path: str) -> None:
    before = _memory(receiver)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n".encode()
    with contextlib.ExitStack() as open_connections:
        for _ in range(500):
            open_connections.enter_context(receiver.raw(head + b" " * 15_000))
        started = time.monotonic()
        assert receiver.post(path, event("quick")).status == 200
        assert time.monotonic() - started < 1
        assert _memory(receiver) - before < 500 * 100_000


def test_large_slow_bodies_share_a_budget(home: Path) -> None:
    path = register(home)
    with running.ended(start(home, "--body-seconds", "1.5")) as receiver:
        before = _memory(receiver)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n".encode()
        connections: list[socket.socket] = []
        for _ in range(10):
            connection = receiver.raw(head)
            connection.settimeout(10)
            with contextlib.suppress(OSError):
                connection.sendall(b" " * 19_000_000)
            connections.append(connection)
        assert receiver.post(path, event("small")).status == 200
        assert _memory(receiver) - before < 1.3 * BUDGET_BYTES
        answers = [connection.recv(12)[-3:] for connection in connections]
        assert set(answers) == {b"408", b"503"}
        assert answers.count(b"408") >= 4
        assert receiver.post(path, event("x") + b" " * 15_000_000).status == 200  # what they held is free again


def _registered(home: Path) -> str | None:
    try:
        return register(home)
    except sqlite3.OperationalError:  # while a process that has the removed file open still removes its journal
        return None


def _memory(receiver: Running) -> int:
    rss: int = psutil.Process(receiver.process.pid).memory_info().rss
    return rss
