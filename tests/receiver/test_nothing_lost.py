"""What was answered 200 is on disk and gets into the warehouse: whatever is killed with SIGKILL; and, since killing a
process can't show that it is on disk, answered after a sync."""

import asyncio
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provider import postgres
from tests.receiver import running
from tests.receiver.running import Senders, end, event, register, spooled, start
from tests.receiver.scene import Scene
from tests.support import sizes
from tests.support.postgres import initdb_from_template
from tests.support.waiting import until


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
                await asyncio.to_thread(until, lambda senders=senders: len(senders.acked) > 100)
                receiver.kill()
        finally:
            end(receiver)
        acked |= senders.acked
    return acked, {row.event_id for row in spooled(home) if row.event_id}


def test_what_was_answered_200_is_stored_whenever_the_receiver_is_killed(home: Path) -> None:
    acked, stored = asyncio.run(kill_again_and_again(home, sizes.of(3, 5)))
    assert acked - stored == set()


def test_an_answer_before_the_commit_is_noticed(home: Path) -> None:
    """The control: the same kills on a receiver that answers too early."""
    acked, stored = asyncio.run(kill_again_and_again(home, sizes.of(1, 4), server="early_answer"))
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


class InsistentSenders(Senders):
    """Senders that post an event again until it is answered 200, as Customer.io does."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._new, self._again = self._ids, list[str]()
        self._ids = iter(self._next, None)

    def _next(self) -> str:
        return self._again.pop() if self._again else next(self._new)

    async def _deliver(self, reader: Any, writer: Any, event_id: str, closes: bool) -> tuple[int, bool]:
        status = 0
        try:
            status, closes = await super()._deliver(reader, writer, event_id, closes)
        finally:
            if status != 200:
                self._again.append(event_id)
        return status, closes


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Path]:
    """The folder of a PostgreSQL of the module's own, made as the product makes it, which may be killed."""
    with tempfile.TemporaryDirectory(prefix="sluice-lost-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - PostgreSQL's account must pass when we are root
        home = Path(folder) / "dev"
        with initdb_from_template():
            postgres.ensure(home, 0)
        yield home
        postgres.stop(home)


def kill_postgres(warehouse: Path) -> None:
    server = postgres.recorded(warehouse)
    assert server is not None
    os.kill(int((server.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    until(lambda: not postgres.answers(server))


async def kill_everything_under_load(
    scene: Scene, schema: str, warehouse: Path, times: int, server: str | None
) -> Senders:
    """Kills the receiver again and again under a load that never stops, every other time PostgreSQL before it."""
    path = register(scene.home, schema=schema)
    receiver = await asyncio.to_thread(start, scene.home, server=server)
    senders = InsistentSenders(receiver.port, path, keep_alive=24, fresh=2)
    try:
        async with senders.at_work():
            for number in range(times):
                so_many = len(senders.acked) + 100
                await asyncio.to_thread(until, lambda so_many=so_many: len(senders.acked) > so_many)
                if number % 2:
                    await asyncio.to_thread(kill_postgres, warehouse)
                    await asyncio.sleep(0.3)
                receiver.kill()
                end(receiver)
                receiver = await asyncio.to_thread(start, scene.home, server=server, port=senders.port)
                if number % 2:
                    await asyncio.to_thread(postgres.ensure, warehouse, 0)
        await asyncio.to_thread(until, lambda: not scene.spool.schemas_waiting(), 20)
    finally:
        end(receiver)
    return senders


def delivered_and_loaded(
    home: Path, schema: str, warehouse: Path, times: int, server: str | None = None
) -> tuple[Senders, Counter[str]]:
    """The senders with what they were told, and how often each event is in `data` when the spool has run dry."""
    scene = Scene(home, postgres.ensure(warehouse, 0).dsn)
    try:
        scene.schema(schema)
        senders = asyncio.run(kill_everything_under_load(scene, schema, warehouse, times, server))
        return senders, Counter(event_id for (event_id,) in scene.rows(f"SELECT event_id FROM {schema}.data"))
    finally:
        scene.close()


def test_what_was_answered_200_is_in_data_exactly_once_whatever_is_killed(home: Path, warehouse: Path) -> None:
    senders, loaded = delivered_and_loaded(home, "kept", warehouse, times=sizes.of(3, 4))
    assert len(senders.errors) > 50, "else no event was under way when the receiver was killed"
    assert {event_id for event_id in senders.acked if loaded[event_id] != 1} == set()


def test_control_an_answer_before_the_commit_loses_events_on_the_way_to_data(home: Path, warehouse: Path) -> None:
    senders, loaded = delivered_and_loaded(home, "lost", warehouse, times=sizes.of(1, 2), server="early_answer")
    assert {event_id for event_id in senders.acked if loaded[event_id] != 1} != set()
