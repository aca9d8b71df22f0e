"""What was answered 200 is on disk: after SIGKILL, and, since killing a process can't show that, after a sync."""

import asyncio
from pathlib import Path

import pytest

from tests.receiver import running
from tests.receiver.running import Senders, end, event, register, spooled, start, until


async def kill_again_and_again(home: Path, times: int, server: str | None = None) -> tuple[set[str], set[str]]:
    """Returns the events that were answered 200, and those that are stored."""
    path = register(home)
    acked: set[str] = set()
    port = 0
    for round_ in range(times):
        receiver = await asyncio.to_thread(start, home, server=server, port=port)
        port = receiver.port
        senders = Senders(port, path, keep_alive=24, fresh=2, name=f"{round_}-")
        try:
            async with senders.at_work():
                await asyncio.sleep(0.4)
                receiver.kill()
        finally:
            end(receiver)
        acked |= senders.acked
    return acked, {row.event_id for row in spooled(home) if row.event_id}


def test_what_was_answered_200_is_stored_whenever_the_receiver_is_killed(home: Path) -> None:
    acked, stored = asyncio.run(kill_again_and_again(home, 5))
    assert len(acked) > 500
    assert acked - stored == set()


def test_an_answer_before_the_commit_is_noticed(home: Path) -> None:
    """The control: the same kills on a receiver that answers too early."""
    acked, stored = asyncio.run(kill_again_and_again(home, 4, server="early_answer"))
    assert acked - stored != set()


def answered_before_the_sync(home: Path, server: str) -> int:
    """How many of 20 deliveries were answered when the spool's last write wasn't synced yet."""
    path = register(home)
    with running.ended(start(home, server=server)) as receiver:
        until(lambda: receiver.post(path, event("first")).status == 200)
        too_early = 0
        for number in range(20):
            done = (home / "io.log").read_text().count("\n")
            assert receiver.post(path, event(f"e{number}")).status == 200
            noted = (home / "io.log").read_text().splitlines()[done:]
            of_wal = [line for line in noted if line.endswith(" spool.db-wal")]
            too_early += of_wal[-1:] != ["sync spool.db-wal"] or "write spool.db-wal" not in of_wal
        return too_early


def test_the_order_is_write_sync_answer(home: Path) -> None:
    assert answered_before_the_sync(home, "recorded") == 0


@pytest.mark.parametrize("control", ["recorded_unsynced", "recorded_early"])
def test_a_commit_without_a_sync_and_an_answer_before_it_are_noticed(home: Path, control: str) -> None:
    assert answered_before_the_sync(home, control) == 20
