"""A PostgreSQL that isn't the stack's own: `sluice:warehouseDsn`, changed and lost."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from provider import postgres
from tests.support.stack import CUSTOMERIO, Stack, event, post


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[dict[str, Path]]:
    """Two servers of somebody else's, by name."""
    with tempfile.TemporaryDirectory(prefix="sluice-elsewhere-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - PostgreSQL's account must pass when we are root
        homes = {name: Path(folder) / name for name in ("first", "second")}
        for home in homes.values():
            postgres.ensure(home, 0)
        yield homes
        for home in homes.values():
            postgres.stop(home)


def server_of(home: Path) -> postgres.Server:
    server = postgres.recorded(home)
    assert server is not None
    return server


def event_ids(home: Path) -> list[str]:
    with psycopg.connect(server_of(home).dsn, connect_timeout=5) as connection:
        rows = connection.execute("SELECT event_id FROM stitch_customerio.data ORDER BY 1").fetchall()
    return [event_id for (event_id,) in rows]


def use(stack: Stack, home: Path) -> None:
    stack.pulumi("config", "set", "--secret", "sluice:warehouseDsn", stdin=server_of(home).dsn, check=True)


def wait_for(home: Path, expected: list[str]) -> None:
    deadline = time.monotonic() + 30
    while event_ids(home) != expected:
        assert time.monotonic() < deadline, f"{event_ids(home)}, not {expected}"
        time.sleep(0.1)


def test_a_given_warehouse_is_used_and_no_server_is_made(stack: Stack, elsewhere: dict[str, Path]) -> None:
    stack.declare(CUSTOMERIO)
    use(stack, elsewhere["first"])
    assert "postgres" not in {step.name for step in stack.up()}
    assert post(stack.url(), event("1")) == 200
    wait_for(elsewhere["first"], ["1"])


def test_with_the_warehouse_down_a_url_is_revoked_and_replaced_all_the_same(
    stack: Stack, elsewhere: dict[str, Path]
) -> None:
    old = stack.url()
    postgres.stop(elsewhere["first"])
    assert post(old, event("2")) == 200
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}})
    use(stack, elsewhere["first"])
    stack.up()
    assert post(old, event("3")) == 401
    assert post(stack.url(), event("4")) == 200


def test_another_warehouse_gets_the_objects_first_and_then_what_waits_in_the_spool(
    stack: Stack, elsewhere: dict[str, Path]
) -> None:
    use(stack, elsewhere["second"])
    assert {(step.name, step.op) for step in stack.up()} == {
        ("receiver", "update"),
        ("stitch_customerio-schema", "update"),
    }
    wait_for(elsewhere["second"], ["2", "4"])
    postgres.ensure(elsewhere["first"], 0)
    assert event_ids(elsewhere["first"]) == ["1"], "what was loaded stays where it is"


def test_destroy_leaves_a_given_warehouse_alone_and_running(stack: Stack, elsewhere: dict[str, Path]) -> None:
    stack.destroy()
    assert event_ids(elsewhere["second"]) == ["2", "4"]


def test_moving_there_from_the_embedded_one_keeps_its_rows_and_leaves_nothing_down(
    stack: Stack, elsewhere: dict[str, Path]
) -> None:
    stack.pulumi("config", "rm", "sluice:warehouseDsn", check=True)
    stack.declare(CUSTOMERIO)
    stack.up()
    assert post(stack.url(), event("5")) == 200
    wait_for(stack.home, ["5"])
    use(stack, elsewhere["second"])
    assert ("postgres", "delete") in {(step.name, step.op) for step in stack.up()}
    assert post(stack.url(), event("6")) == 200
    wait_for(elsewhere["second"], ["2", "4", "6"])
    status = stack.make("status")
    assert status.code == 0, status.text
    assert server_of(stack.home).data.exists(), "what was loaded stays where it is"
