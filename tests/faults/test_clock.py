"""A clock that is set back or forward under the running receiver: rows keep the order in which they came, nothing is
taken for a copy of what the warehouse has already, and deliveries are answered as ever."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.faults.stage import Stage
from tests.receiver.running import last_sequence
from tests.support.postgres import PostgresServer

HOUR = 3600.0


def last_row(home: Path) -> tuple[int, int]:
    """What the last row got: its sequence, and the time at which it came by the receiver's clock (microseconds)."""
    with contextlib.closing(sqlite3.connect(home / "spool.db")) as connection:
        (received_at,) = connection.execute("SELECT last_received_at FROM counters WHERE schema = 'other'").fetchone()
    return last_sequence(home), received_at


@pytest.mark.parametrize(
    "steps",
    [(-HOUR, -2 * HOUR), (HOUR, 0.0), pytest.param((-24 * HOUR, 24 * HOUR), marks=pytest.mark.nightly)],
    ids=str,
)
def test_a_step_of_the_clock_changes_no_order_and_loses_nothing(
    home: Path, server: PostgresServer, steps: tuple[float, ...]
) -> None:
    with server.database() as dsn:
        stage = Stage(home, dsn)
        try:
            stage.start("stepping_clock")
            stage.deliver(5)
            before, at = last_row(home)
            now = 0.0
            for step in steps:
                (home / "clock").write_text(str(step))
                stage.deliver(5)
                after, then = last_row(home)
                assert abs(then - at - (step - now) * 1e6) < 600 * 1e6, "else the clock made no step"
                assert after > before
                before, at, now = after, then, step
            stage.assert_all_is_well()  # it compares the order of sequences with that of the answers
        finally:
            stage.close()
