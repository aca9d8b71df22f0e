"""New code takes the place of a running receiver under load: nobody is refused, reset or told anything but 200."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from receiver.control import Conversation, ask_sync
from tests.receiver import running
from tests.receiver.running import Running, Senders, end, event, register, spooled, start
from tests.support import sizes
from tests.support.postgres import free_port
from tests.support.waiting import until


@pytest.fixture
def receiver(home: Path) -> Iterator[Running]:
    """One that leaves quickly. Under load below, the product's own leaves as it does."""
    with running.ended(start(home, server="quick")) as started:
        yield started


async def hand_over(home: Path, times: int, server: str | None = None, fresh: int = 12) -> Senders:
    """Replaces the receiver `times` times while senders are at work."""
    path = register(home)
    old = await asyncio.to_thread(start, home, server=server)
    senders = Senders(old.port, path, keep_alive=8, fresh=fresh)
    try:
        async with senders.at_work():
            for _ in range(times):
                await asyncio.sleep(0.2)
                new = await asyncio.to_thread(start, home, server=server, port=old.port)
                old, leaving = new, old
                with running.ended(leaving):
                    assert await asyncio.to_thread(leaving.process.wait, 30) == 0
            await asyncio.sleep(0.2)
    finally:
        end(old)
    return senders


def test_hand_overs_under_load_lose_no_delivery_and_break_no_connection(home: Path) -> None:
    senders = asyncio.run(hand_over(home, sizes.of(2, 3)))
    assert senders.errors == []
    assert set(senders.answers) == {200}
    assert len(senders.acked) > 100
    assert senders.acked <= {row.event_id for row in spooled(home)}


def test_closing_a_shared_port_s_listener_instead_is_noticed(home: Path) -> None:
    """The control: the same senders, and receivers that close one SO_REUSEPORT listener each. What is queued at that
    moment is lost; once in a few times nothing is."""
    assert any(asyncio.run(hand_over(home, 2, server="shared_port", fresh=48)).errors for _ in range(8))


def test_a_successor_takes_over_everything_and_leaves_one_of_each_process(home: Path, receiver: Running) -> None:
    old_loader = until(lambda: ask_sync(home, "status")["loader"]["pid"])
    with running.ended(start(home, server="quick", port=receiver.port)) as new:
        assert ask_sync(home, "ping")["pid"] == new.process.pid
        assert new.port == receiver.port
        assert receiver.process.wait(30) == 0
        until(lambda: not psutil.pid_exists(old_loader))
        new_loader = until(lambda: ask_sync(home, "status")["loader"]["pid"])
        assert psutil.Process(new_loader).ppid() == new.process.pid
        assert new.facts["start_time"] == pytest.approx(psutil.Process(new.process.pid).create_time())


def test_a_delivery_that_is_half_way_in_is_still_taken_by_the_one_that_leaves(home: Path, receiver: Running) -> None:
    path = register(home)
    ask_sync(home, "reload")
    body = event("half-way")
    connection = receiver.raw(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    connection.sendall(body[:10])
    with running.ended(start(home, server="quick", port=receiver.port)):
        with contextlib.suppress(TimeoutError):
            connection.settimeout(0.5)
            connection.recv(1)
        connection.settimeout(10)
        connection.sendall(body[10:])
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        assert receiver.process.wait(30) == 0
    assert [row.event_id for row in spooled(home)] == ["half-way"]


@pytest.mark.parametrize("moment", ["before it serves", "before it is asked", "before the old one leaves"])
def test_a_successor_that_dies_on_the_way_leaves_the_old_one_in_charge(
    home: Path, receiver: Running, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = register(home)
    monkeypatch.setenv("DIES", moment)
    with pytest.raises(AssertionError, match="no receiver: dying"):
        start(home, server="dying", port=receiver.port)
    assert until(lambda: Path(receiver.facts["control"]).exists() and ask_sync(home, "ping")["pid"])
    assert ask_sync(home, "ping")["pid"] == receiver.process.pid
    until(lambda: receiver.post(path, event("still")).status == 200)
    with running.ended(start(home, server="quick", port=receiver.port)) as new:
        assert new.post(path, event("and again")).status == 200
        assert receiver.process.wait(30) == 0


def test_a_successor_that_dies_with_the_control_socket_gives_it_back(home: Path, receiver: Running) -> None:
    with Conversation(home) as successor:
        _, descriptors = successor.ask_for_descriptors("handover")
        with socket.socket(fileno=descriptors[0]) as inherited:
            assert inherited.getsockname()[1] == receiver.port
        Path(receiver.facts["control"]).unlink()
    path = register(home)
    until(lambda: Path(receiver.facts["control"]).exists())
    assert ask_sync(home, "ping")["pid"] == receiver.process.pid
    until(lambda: receiver.post(path, event("still")).status == 200)


def test_another_port_is_served_before_the_old_one_is_given_up(home: Path, receiver: Running) -> None:
    path = register(home)
    with running.ended(start(home, server="quick", port=free_port())) as new:
        assert new.port != receiver.port
        assert receiver.process.wait(30) == 0
        until(lambda: new.post(path, event("moved")).status == 200)
        with pytest.raises(ConnectionRefusedError):
            receiver.post(path, event("old"))


def test_a_receiver_that_hangs_is_ended_by_the_next(home: Path, receiver: Running) -> None:
    path = register(home)
    Path(receiver.facts["control"]).unlink()
    with running.ended(start(home, server="quick", port=receiver.port)) as new:
        assert receiver.process.wait(30) == 0
        until(lambda: new.post(path, event("new")).status == 200)
