"""A warehouse that ends idle sessions, or sleeps while nobody asks it anything: the loader connects when there is
something to load."""

import logging
from typing import Any

import psycopg
import pytest

from receiver import loader
from tests.receiver.scene import Scene, body
from tests.support.waiting import until


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the loader connected to, in order."""
    made: list[str] = []
    connect = psycopg.connect

    def counting(dsn: str, **options: Any) -> Any:
        if "sluice-loader" in dsn:
            made.append(dsn)
        return connect(dsn, **options)

    monkeypatch.setattr(psycopg, "connect", counting)
    return made


def sessions(scene: Scene) -> int:
    ((count,),) = scene.rows("""
        SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'sluice-loader' AND datname = current_database()""")
    return int(count)


def test_a_session_that_the_server_ends_is_made_again_when_there_is_something_to_load(
    scene: Scene, connections: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    scene.schema()
    ((database,),) = scene.rows("SELECT current_database()")
    scene.do(f"ALTER DATABASE {database} SET idle_session_timeout = '100ms'")
    scene.accept(body("a"))
    scene.load()
    caplog.set_level(logging.INFO)
    until(lambda: sessions(scene) == 0, what="the server ends the session")
    for _ in range(20):
        scene.step()
    assert (len(connections), sessions(scene)) == (1, 0)
    assert scene.spool.warehouse_state().state == "up"
    scene.accept(body("b"))
    scene.load()
    assert len(connections) == 2
    assert scene.event_ids() == ["a", "b"]
    assert caplog.text == "", "nothing was wrong"


def test_a_connection_is_let_go_when_nothing_was_loaded_for_a_while(
    scene: Scene, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.schema()
    scene.accept(body("a"))
    scene.load()
    scene.step()
    assert sessions(scene) == 1, "not at once: events come one after another"
    monkeypatch.setattr(loader, "IDLE_SECONDS", 0.0)
    scene.step()
    until(lambda: sessions(scene) == 0, what="the loader lets go")
    scene.step()
    assert len(connections) == 1


def test_a_warehouse_is_met_once_before_there_is_anything_to_load(scene: Scene, connections: list[str]) -> None:
    for _ in range(3):
        scene.step()
    assert (scene.spool.warehouse_state().state, len(connections)) == ("up", 1)
