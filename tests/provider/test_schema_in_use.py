"""A schema is changed while others use it: whoever is in the way is waited for and named, and nobody is stalled."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provider import postgres_schema, warehouse
from provider.resource import ResourceError
from receiver import warehouse as loaders
from tests.provider.test_postgres_schema import Scene
from tests.support.waiting import until


@pytest.fixture
def scene(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(warehouse, "LOCK_PATIENCE_S", 1.0)
    monkeypatch.setattr(warehouse, "LOCK_PAUSE_S", 0.1)
    return Scene(tmp_path, dsn)


@contextlib.contextmanager
def reading(scene: Scene, query: bytes = b"SELECT FROM s.email_events") -> Iterator[psycopg.Connection[Any]]:
    """A session that has read, and leaves its transaction open."""
    with psycopg.connect(scene.dsn, application_name="a report") as reader:
        reader.execute(query)
        yield reader


def loading(scene: Scene) -> str | None:
    with psycopg.connect(scene.dsn) as connection:
        return loaders.describe(connection, "s").loading


def test_an_open_transaction_in_the_way_is_named_and_nothing_is_changed(scene: Scene) -> None:
    scene.inputs["loading"] = "append"
    with reading(scene) as reader:
        pid = reader.info.backend_pid
        named = rf"pid {pid} \(role sluice, a report, idle in transaction since \d+ s\) holds data, .*email_events"
        with pytest.raises(ResourceError, match=named):
            scene.up()
        assert loading(scene) == "upsert"
        assert scene.looked_at()["views"] == scene.state["views"]


def test_it_is_tried_again_until_the_way_is_free(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse, "LOCK_PATIENCE_S", 60.0)
    scene.inputs["loading"] = "append"
    with reading(scene) as reader:
        up = threading.Thread(target=scene.up)
        up.start()
        waiting = (
            f"SELECT pid FROM pg_locks WHERE NOT granted AND {reader.info.backend_pid} = ANY (pg_blocking_pids(pid))"
        )
        until(lambda: scene.rows(waiting), what="the change waits for the reader")
        until(lambda: not scene.rows(waiting), what="the change gives way")
    up.join(60)
    assert loading(scene) == "append"


def test_readers_go_on_while_a_change_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.inputs["loading"] = "append"
    ended = threading.Event()

    def up() -> None:
        with contextlib.suppress(ResourceError):
            scene.up()
        ended.set()

    answered = 0
    with reading(scene):
        threading.Thread(target=up).start()
        with psycopg.connect(scene.dsn, autocommit=True) as another:
            another.execute("SET statement_timeout = '5s'")  # far above a change's moment, far below one without bound
            while not ended.is_set():
                another.execute("SELECT FROM s.email_events")
                answered += 1
                time.sleep(0.01)
    assert answered > 1


def test_a_schema_that_is_read_is_not_waited_for_without_bound_when_it_is_dropped(scene: Scene) -> None:
    drop = {**scene.state, "dsn": scene.dsn}
    with reading(scene), pytest.raises(ResourceError, match="schema s can't be dropped, as others use it: pid"):
        postgres_schema._drop(drop)
    assert postgres_schema._drop(drop)


def test_the_databases_own_time_limit_for_a_statement_is_named(scene: Scene) -> None:
    ((database,),) = scene.rows("SELECT current_database()")
    scene.rows(f"ALTER DATABASE {database} SET statement_timeout = '50ms'")
    scene.rows("""
        SET statement_timeout = 0;
        INSERT INTO s.data SELECT g::text, 'email', 'sent', 1, '{}', now(), now(), g, 1
        FROM generate_series(1, 200000) g""")
    scene.inputs["loading"] = "append"
    with pytest.raises(
        ResourceError, match=r"statement_timeout \(50ms\) ended .*ALTER ROLE sluice SET statement_timeo"
    ):
        scene.up()
    assert loading(scene) == "upsert"


def test_append_becomes_upsert_with_rows_in_the_table(scene: Scene) -> None:
    scene.inputs["loading"] = "append"
    scene.up()
    scene.rows("INSERT INTO s.data VALUES ('a', 'email', 'sent', 1, '{}', now(), now(), 1, 1)")
    scene.inputs["loading"] = "upsert"
    scene.up()
    assert loading(scene) == "upsert"
    key = "SELECT conname FROM pg_constraint WHERE conrelid = 's.data'::regclass AND contype = 'p'"
    assert scene.rows(key) == [("data_pkey",)]
