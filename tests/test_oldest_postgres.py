"""The oldest PostgreSQL that may be the warehouse: every documented query runs on it, and an older one is refused.

The tests of docs/querying.md run here once more, on Debian's package of that version (`apt-get install postgresql-15`);
where it isn't installed they are left out.
"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from provider.resource import ResourceError
from receiver import warehouse
from tests.provider.test_postgres_schema import Scene
from tests.provider.test_views_kept import a_column_less
from tests.support.postgres import PostgresServer, running_server
from tests.test_querying_docs import (
    connection,
    test_append_shows_its_duplicates_and_can_be_made_upsert,
    test_each_query_gives_what_it_promises_under_either_mode,
    test_freshness_is_that_of_the_last_event,
    test_rejected_bodies_come_latest_first,
    test_the_next_rows_come_in_order_and_each_once,
    test_the_suggested_index_is_used_by_the_look_up_that_follows,
)

__all__ = [
    "connection",
    "test_append_shows_its_duplicates_and_can_be_made_upsert",
    "test_each_query_gives_what_it_promises_under_either_mode",
    "test_freshness_is_that_of_the_last_event",
    "test_rejected_bodies_come_latest_first",
    "test_the_next_rows_come_in_order_and_each_once",
    "test_the_suggested_index_is_used_by_the_look_up_that_follows",
]

BINARIES = Path(f"/usr/lib/postgresql/{warehouse.OLDEST}/bin")


@pytest.fixture(scope="module")
def oldest() -> Iterator[PostgresServer]:
    if not BINARIES.exists():
        pytest.skip(f"PostgreSQL {warehouse.OLDEST} isn't installed")
    with running_server(BINARIES) as server:
        yield server


@pytest.fixture
def dsn(oldest: PostgresServer) -> Iterator[str]:
    with oldest.database() as dsn:
        yield dsn


def test_a_schema_is_made_changed_and_looked_at(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(dsn) as connection:
        assert connection.info.server_version // 10_000 == warehouse.OLDEST
    scene = Scene(tmp_path, dsn)
    scene.rows("ALTER VIEW s.email_events SET (security_invoker = true)")
    scene.inputs["loading"] = "append"
    a_column_less(scene, monkeypatch)
    scene.state = scene.up()
    assert scene.looked_at()["missing"] == []
    assert scene.looked_at()["views"] == scene.state["views"]


def test_an_older_one_is_refused_with_both_versions(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "OLDEST", 99)
    with postgres.database() as dsn, pytest.raises(ResourceError, match=r"is PostgreSQL \d\d; it must be 99 or later"):
        Scene(tmp_path, dsn)
