"""An hour without the warehouse, as far as its number of events goes: everybody is told 200 meanwhile, and afterwards
it lands by itself, once each and in order, in bounded memory; and beyond the spool's bound senders are told
to come again."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator

import psutil

from tests.faults.stage import MEMORY_BYTES, Stage, twice
from tests.receiver.running import set_setting
from tests.support import sizes
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

EVENTS = sizes.of(2_000, 20_000)
PADDING = "x" * sizes.of(15_000, 3_000)  # 30 or 60 MB together: several times what the loader may take at once
BOUND = 5_000  # bytes
SENDERS = 25


async def send(port: int, path: str, sender: int) -> list[int]:
    """Its share of EVENTS over one connection, each when the one before was answered; returns the answers."""
    answers = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(EVENTS // SENDERS):
        body = json.dumps({"event_id": f"{sender}-{number}", "padding": PADDING}).encode()
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        answers.append(int(head.split()[1]))
        if b"connection: close" in head:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return answers


async def send_all(port: int, path: str) -> set[int]:
    answers = await asyncio.gather(*(send(port, path, sender) for sender in range(SENDERS)))
    return {status for each in answers for status in each}


@contextlib.contextmanager
def watched(*processes: psutil.Process) -> Iterator[list[int]]:
    """The most memory, in bytes, that any of these has while this is entered."""
    most = [0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            most[0] = max(most[0], *(process.memory_info().rss for process in processes))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def test_an_hour_s_events_wait_for_the_warehouse_and_land_by_themselves(stage: Stage, server: PostgresServer) -> None:
    stage.deliver(1)
    until(lambda: stage.waiting() == 0)
    loader = stage.loader()
    with watched(psutil.Process(stage.receiver.process.pid), loader) as most:
        server.stop()
        try:
            assert asyncio.run(send_all(stage.receiver.port, stage.paths["broken"])) == {200}
            assert stage.metrics()["sluice_spool_events", "broken"] == EVENTS
            assert stage.status()["warehouse"]["state"] == "down"
            assert stage.status()["spool"]["trouble"] is None
        finally:
            server.start()
        stage.deliver(1, schemas=["other"])
        until(lambda: stage.waiting() == 0, 120)
    assert most[0] < MEMORY_BYTES
    landed = [event_id for event_id in stage.landed("broken") if event_id not in stage.sent["broken"]]
    assert len(landed) == EVENTS
    assert twice(landed) == []
    for sender in range(SENDERS):
        own = [event_id for event_id in landed if event_id.startswith(f"{sender}-")]
        assert own == [f"{sender}-{number}" for number in range(EVENTS // SENDERS)]
    assert stage.landed("other") == stage.sent["other"]
    assert stage.loader().pid == loader.pid
    assert stage.memory() < MEMORY_BYTES


def test_beyond_the_spool_s_bound_senders_are_told_to_come_again_until_there_is_room(
    stage: Stage, server: PostgresServer
) -> None:
    set_setting(stage.home, "spool_max_bytes", BOUND)
    server.stop()
    try:
        until(stage.is_refused, 60)
        assert BOUND // 100 > len(stage.sent["broken"]) > BOUND // 150, "it is the bound that was met"
        for _ in range(5):
            assert stage.is_refused("other")
        assert "SpoolFull" in stage.status()["spool"]["trouble"]
        until(lambda: stage.metrics()["sluice_spool_bytes",] > BOUND - 125)
        until(lambda: stage.refusals() >= 6)
        assert "the spool refuses deliveries" in stage.log()
    finally:
        server.start()
    until(stage.is_taken, 30)
    stage.assert_all_is_well()
