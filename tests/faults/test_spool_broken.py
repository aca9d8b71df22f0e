"""A spool whose file a disk has spoiled: it is kept under another name, a new one takes the deliveries, and every event
that can still be read lands once. What was answered 200 and is on no broken page is never lost."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.spool import Spool, SpooledRow
from tests.faults.stage import Stage, twice
from tests.receiver.running import set_setting
from tests.support import sizes
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

PAGE = 4096
LOG_HEAD, FRAME_HEAD = 32, 24
EVENTS = 40  # for each integration: with PADDING some 40 pages together
PADDING = 1500
ON_A_PAGE = 3  # of those events, at most; a page that is broken costs no others


@pytest.fixture
def stage(home: Path) -> Iterator[Stage]:
    """One that hasn't got a warehouse yet, so that its events wait."""
    stage = Stage(home, None)
    try:
        stage.start()
        stage.deliver(EVENTS, padding=PADDING)
        yield stage
    finally:
        stage.close()


def into_the_file(home: Path) -> None:
    """Empties the log into the file, as happens by itself after some megabytes."""
    with contextlib.closing(sqlite3.connect(home / "spool.db")) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


def overwrite(path: Path, at: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(size))


def spoil_the_head(home: Path) -> None:
    into_the_file(home)
    overwrite(home / "spool.db", 0, 100)


def spoil_the_first_page(home: Path) -> None:
    into_the_file(home)
    overwrite(home / "spool.db", 0, PAGE)


def spoil_two_pages(home: Path) -> None:
    into_the_file(home)
    for part in (3, 2):
        overwrite(home / "spool.db", size(home / "spool.db") // part // PAGE * PAGE, PAGE)


def cut_off(home: Path) -> None:
    into_the_file(home)
    os.truncate(home / "spool.db", size(home / "spool.db") - 10 * PAGE)


def leave_a_stale_tail(home: Path) -> None:
    """As a process leaves it that is killed when all of its transaction is written and none of it counts yet, and whose
    place in the log another process takes: behind the log's end stand whole transactions with older pages."""
    with (home / "spool.db-wal").open("r+b") as log:
        frames = log.read()[LOG_HEAD:]
        log.write(frames[: 10 * (FRAME_HEAD + PAGE)])


def empty_the_file(home: Path) -> None:
    leave_a_stale_tail(home)
    os.truncate(home / "spool.db", 0)


def size(path: Path) -> int:
    return path.stat().st_size


DAMAGE: dict[str, tuple[Callable[[Path], None], int]] = {  # and how many events it may cost at most
    "head": (spoil_the_head, 0),
    "first page": (spoil_the_first_page, 0),
    "two pages": (spoil_two_pages, 2 * ON_A_PAGE),
    "cut off": (cut_off, 10 * ON_A_PAGE),
    "empty": (empty_the_file, 0),
}


def landed_with_a_warehouse(stage: Stage, dsn: str) -> dict[str, list[str]]:
    stage.make_warehouse(dsn)
    set_setting(stage.home, "warehouse_dsn", stage.loaders_dsn())
    until(lambda: stage.waiting() == 0, 30)
    return {schema: stage.landed(schema) for schema in stage.SCHEMAS}


def rescued(stage: Stage) -> dict[str, Any]:
    """What is told of the one broken spool, when its rows were moved."""
    (aside,) = until(lambda: [each for each in stage.status()["spool"]["set_aside"] if each["rescued"] is not None], 30)
    found: dict[str, Any] = aside
    return found


def assert_it_is_told(stage: Stage) -> str:
    """Returns the name that the broken file has now."""
    aside = rescued(stage)
    assert (stage.home / aside["file"]).exists()
    until(lambda: stage.metrics()["sluice_spool_set_aside",] == 1)
    told = [json.loads(line) for line in stage.log().splitlines()]
    assert [line["file"] for line in told if line["event"].startswith("the spool is broken")] == [aside["file"]]
    (moved,) = [line for line in told if line["event"].startswith("the rows of a broken spool")]
    assert moved["rows"] == aside["rescued"]
    name: str = aside["file"]
    return name


NIGHTLY = ("first page", "two pages")  # by default the whole head stands for one, a spool in use for the other


@pytest.mark.parametrize(
    "damage", [pytest.param(each, marks=[pytest.mark.nightly] * (each in NIGHTLY)) for each in DAMAGE]
)
def test_a_start_with_a_broken_spool_serves_keeps_it_and_loads_what_can_be_read(
    damage: str, stage: Stage, server: PostgresServer
) -> None:
    spoil, at_most = DAMAGE[damage]
    stage.kill()
    spoil(stage.home)
    before = {schema: list(sent) for schema, sent in stage.sent.items()}
    stage.start()
    stage.deliver(5)
    with server.database() as dsn:
        landed_with_a_warehouse(stage, dsn)
        name = assert_it_is_told(stage)  # a page in the middle shows when the loader comes to it
        until(lambda: stage.waiting() == 0)
        landed = {schema: stage.landed(schema) for schema in stage.SCHEMAS}
        lost = []
        for schema in stage.SCHEMAS:
            assert twice(landed[schema]) == []
            assert landed[schema] == [each for each in stage.sent[schema] if each in landed[schema]], "out of order"
            lost += [each for each in stage.sent[schema] if each not in landed[schema]]
        assert set(lost) <= {event_id for sent in before.values() for event_id in sent}
        assert len(lost) <= at_most
        stage.sent = landed
        stage.assert_all_is_well()
        assert name in json.dumps(stage.status())  # until somebody moves the file away
        for file in stage.home.glob(f"{Path(name).stem}.*"):
            file.unlink()
        until(lambda: stage.metrics()["sluice_spool_set_aside",] == 0)


def test_a_spool_that_breaks_while_it_is_used_is_replaced_without_a_restart(
    stage: Stage, server: PostgresServer
) -> None:
    """The loader meets the broken pages when the warehouse comes; the receiver takes deliveries all the while."""
    loader = stage.loader().pid
    spoil_two_pages(stage.home)
    with server.database() as dsn:
        stage.make_warehouse(dsn)
        set_setting(stage.home, "warehouse_dsn", stage.loaders_dsn())
        while not stage.status()["spool"]["set_aside"]:
            stage.deliver(1)
        assert_it_is_told(stage)
        until(lambda: stage.waiting() == 0, 30)
        for schema in stage.SCHEMAS:
            landed = stage.landed(schema)
            assert twice(landed) == []
            lost = [event_id for event_id in stage.sent[schema] if event_id not in landed]
            assert len(lost) <= 2 * ON_A_PAGE
            assert landed == [event_id for event_id in stage.sent[schema] if event_id not in lost]
            stage.sent[schema] = landed
        stage.assert_all_is_well()
        assert stage.loader().pid == loader


def test_rows_that_the_warehouse_has_already_do_not_come_again_from_a_broken_spool(
    home: Path, server: PostgresServer
) -> None:
    """A page that is free again still holds what was on it."""
    with server.database() as dsn:
        stage = Stage(home, dsn)
        try:
            stage.start()
            stage.deliver(EVENTS, padding=PADDING)
            until(lambda: stage.waiting() == 0)
            stage.kill()
            spoil_the_first_page(home)
            stage.start()
            assert_it_is_told(stage)
            stage.assert_all_is_well()
        finally:
            stage.close()


def test_a_rescue_that_is_cut_off_is_done_again(stage: Stage, server: PostgresServer) -> None:
    stage.kill()
    spoil_the_head(stage.home)
    with Spool(stage.home / "spool.db", sets_aside=True) as spool:  # a loader that died when it had moved one row
        spool.restore([SpooledRow(1, "broken", 1, "half-way", None, None, None, b'{"event_id":"half-way"}', None)])
    stage.start()
    assert rescued(stage)["rescued"] == 2 * EVENTS
    with server.database() as dsn:
        landed = landed_with_a_warehouse(stage, dsn)
        assert landed == {**stage.sent, "broken": ["half-way", *stage.sent["broken"]]}


def test_a_healthy_spool_is_never_set_aside_whatever_is_killed(stage: Stage) -> None:
    """The control: its log is left by a kill as it is, and so is a transaction that was being written."""
    for number in range(sizes.of(2, 4)):
        stage.kill()
        if number % 2:
            leave_a_stale_tail(stage.home)
        else:
            with (stage.home / "spool.db-wal").open("ab") as log:  # the beginning of one more frame
                log.write(os.urandom(100))
        stage.start()
        stage.deliver(2)
    assert stage.status()["spool"]["set_aside"] == []
    with Spool(stage.home / "spool.db") as spool:
        for schema in stage.SCHEMAS:
            assert [row.event_id for row in spool.read(schema, 0, 10_000, 2**40)] == stage.sent[schema]
