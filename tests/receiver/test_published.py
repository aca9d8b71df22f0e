"""Tables that are published for logical replication, as `FOR ALL TABLES` does with every table of a database: rows of
them are changed and deleted all the same."""

import psycopg
import pytest

from receiver import replay, warehouse
from receiver.registry import Loading, SchemaEntry
from receiver.replay import Outcome, Wanted
from tests.receiver.scene import Scene, body
from tests.test_querying_docs import QUERIES
from tools import replay as make_replay
from tools.stack import StackError

OTHER: dict[Loading, Loading] = {"upsert": "append", "append": "upsert"}


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("loading", ["upsert", "append"])
def test_loading_replaying_and_deleting_go_on(scene: Scene, loading: Loading, changed: bool) -> None:
    scene.schema(loading=OTHER[loading] if changed else loading)
    scene.do("CREATE PUBLICATION everything FOR ALL TABLES")
    if changed:
        with psycopg.connect(scene.dsn) as connection:
            warehouse.set_loading(connection, "s", loading)
        scene.registry.put_schema(SchemaEntry("s", "s", "customerio", loading))
    scene.accept(body("a"), b"not json", body("b"))
    scene.load()
    scene.accept(body("a", n=2))  # an update, under upsert
    scene.load()
    scene.do("""UPDATE s._sdc_rejected SET _sdc_raw = '{"event_id": "mended"}'""")
    outcome = Outcome()
    with psycopg.connect(scene.dsn, autocommit=True) as connection:
        replay.replay(connection, "s", Wanted(), outcome)
    assert outcome.replayed.total() == 1
    scene.do(QUERIES["Keep one row of each event"].replace("stitch_customerio", "s"))
    scene.do("DELETE FROM s._sdc_rejected")
    assert sorted(scene.event_ids()) == ["a", "b", "mended"]


def test_a_key_is_what_tells_rows_apart_where_there_is_one(scene: Scene) -> None:
    identities = "SELECT relname, relreplident FROM pg_class WHERE relnamespace = 's'::regnamespace AND relkind = 'r'"
    scene.schema(loading="append")
    assert set(scene.rows(identities)) == {("data", "f"), ("_sdc_rejected", "f"), ("_sdc_spools", "d")}
    with psycopg.connect(scene.dsn) as connection:
        warehouse.set_loading(connection, "s", "upsert")
    assert set(scene.rows(identities)) == {("data", "d"), ("_sdc_rejected", "f"), ("_sdc_spools", "d")}


def test_a_replay_that_fails_at_once_does_not_say_that_there_is_nothing_to_replay(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.schema()
    scene.accept(b"not json")
    scene.load()
    scene.do("""
        UPDATE s._sdc_rejected SET _sdc_raw = '{"event_id": "mended"}';
        ALTER TABLE s._sdc_rejected REPLICA IDENTITY NOTHING;
        CREATE PUBLICATION everything FOR ALL TABLES""")
    with pytest.raises(StackError, match="55000"):
        make_replay.run(scene.dsn, ["s"], Wanted(), dry=False)
    assert capsys.readouterr().out == ""
