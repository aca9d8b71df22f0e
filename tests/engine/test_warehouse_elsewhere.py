"""A PostgreSQL that isn't the stack's own: `sluice:warehouseDsn`, changed and lost."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provider import endpoint, postgres
from receiver.registry import Registry
from tests.support.stack import CUSTOMERIO, Stack, event, post
from tests.support.waiting import until


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


@pytest.fixture(autouse=True)
def _both_run(elsewhere: dict[str, Path]) -> None:
    for home in elsewhere.values():
        postgres.ensure(home, 0)


def server_of(home: Path) -> postgres.Server:
    server = postgres.recorded(home)
    assert server is not None
    return server


def event_ids(home: Path) -> set[str]:
    with psycopg.connect(server_of(home).dsn, connect_timeout=5) as connection:
        rows = connection.execute("SELECT event_id FROM stitch_customerio.data").fetchall()
    return {event_id for (event_id,) in rows}


def use(stack: Stack, home: Path) -> None:
    stack.pulumi("config", "set", "--secret", "sluice:warehouseDsn", stdin=server_of(home).dsn, check=True)


def begin_from(stack: Stack, home: Path, integration: dict[str, Any] = CUSTOMERIO) -> None:
    """Brings the stack up with that warehouse."""
    with Registry.present(stack.home / "registry.db") as registry:
        used = registry and registry.setting("warehouse_dsn")
    if used != server_of(home).dsn:
        stack.declare(integration)
        use(stack, home)
    stack.bring_up(integration)


def test_a_given_warehouse_is_used_and_no_server_is_made(stack: Stack, elsewhere: dict[str, Path]) -> None:
    stack.declare(CUSTOMERIO)
    use(stack, elsewhere["first"])
    assert "postgres" not in {step.name for step in stack.up()}
    assert post(stack.url(), event("1")) == 200
    until(lambda: event_ids(elsewhere["first"]) == {"1"}, what="it is loaded there")


ROTATED: dict[str, Any] = {**CUSTOMERIO, "tokens": {"primary": 2}}


def test_with_the_warehouse_down_a_url_is_revoked_and_replaced_all_the_same(
    stack: Stack, elsewhere: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "QUIET_S", 0.2)
    begin_from(stack, elsewhere["first"])
    old = stack.url()
    postgres.stop(elsewhere["first"])
    assert post(old, event("2")) == 200
    stack.declare(ROTATED)
    stack.up()
    assert post(old, event("3")) == 401
    assert post(stack.url(), event("4")) == 200


def test_another_warehouse_gets_the_objects_first_and_then_what_waits_in_the_spool(
    stack: Stack, elsewhere: dict[str, Path]
) -> None:
    begin_from(stack, elsewhere["first"], ROTATED)
    assert post(stack.url(), event("before")) == 200
    until(lambda: "before" in event_ids(elsewhere["first"]), what="it is loaded there")
    postgres.stop(elsewhere["first"])
    assert post(stack.url(), event("waiting")) == 200
    use(stack, elsewhere["second"])
    assert {(step.name, step.op) for step in stack.up()} == {
        ("receiver", "update"),
        ("stitch_customerio-schema", "update"),
    }
    until(lambda: event_ids(elsewhere["second"]) == {"waiting"}, what="what waited is loaded there")
    postgres.ensure(elsewhere["first"], 0)
    assert "before" in event_ids(elsewhere["first"]), "what was loaded stays where it is"


def test_destroy_leaves_a_given_warehouse_alone_and_running(stack: Stack, elsewhere: dict[str, Path]) -> None:
    begin_from(stack, elsewhere["second"], ROTATED)
    assert post(stack.url(), event("5")) == 200
    until(lambda: "5" in event_ids(elsewhere["second"]), what="it is loaded there")
    stack.destroy()
    assert "5" in event_ids(elsewhere["second"])


def test_moving_there_from_the_embedded_one_keeps_its_rows_and_leaves_nothing_down(
    stack: Stack, elsewhere: dict[str, Path]
) -> None:
    stack.pulumi("config", "rm", "sluice:warehouseDsn", check=True)
    stack.bring_up(CUSTOMERIO)
    assert post(stack.url(), event("6")) == 200
    until(lambda: event_ids(stack.home) == {"6"}, what="it is loaded in the stack's own")
    use(stack, elsewhere["second"])
    assert ("postgres", "delete") in {(step.name, step.op) for step in stack.up()}
    assert post(stack.url(), event("7")) == 200
    until(lambda: "7" in event_ids(elsewhere["second"]), what="it is loaded there")
    assert "6" not in event_ids(elsewhere["second"])
    status = stack.make("status")
    assert status.code == 0, status.text
    assert server_of(stack.home).data.exists(), "what was loaded stays where it is"
