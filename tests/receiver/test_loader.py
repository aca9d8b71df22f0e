"""The loader's work, step by step, between a real spool and a real PostgreSQL."""

import json
import logging
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from receiver import loader, warehouse
from receiver.logs import Formatter
from receiver.registry import Loading, SchemaEntry
from receiver.spool import Arrival, Spool
from tests.receiver.scene import Scene, arrival, body, unchecked
from tests.support.postgres import PostgresServer

SAMPLES = Path(__file__).parents[2] / "samples"


# What lands


def test_the_samples_land_whole(scene: Scene) -> None:
    scene.schema()
    sent = [line for file in sorted(SAMPLES.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    scene.accept(*sent)
    scene.load()
    rows = scene.rows("SELECT event_id, object_type, metric, timestamp, payload FROM s.data ORDER BY _sdc_sequence")
    assert [payload for *_, payload in rows] == [json.loads(line) for line in sent]
    for event_id, object_type, metric, timestamp, payload in rows:
        assert (event_id, timestamp) == (payload["event_id"], payload["timestamp"])
        if "event_type" in payload:
            assert f"{object_type}_{metric}" == payload["event_type"]
        else:
            assert (object_type, metric) == (payload["object_type"], payload["metric"])
    assert ("carrier_pigeon", "landed") in {(object_type, metric) for _, object_type, metric, _, _ in rows}
    counts = scene.spool.counts()["s"]
    assert (counts.accepted, counts.loaded, counts.rejected, counts.waiting) == (34, 34, 0, 0)


@pytest.mark.parametrize(("loading", "rows"), [("upsert", 2), ("append", 5)])
def test_an_event_sent_again_is_one_row_under_upsert_and_a_row_each_under_append(
    scene: Scene, loading: Loading, rows: int
) -> None:
    scene.schema(loading=loading)
    scene.accept(body("a", n=1), body("b", n=2), body("a", n=3))  # twice in one batch
    scene.load()
    scene.accept(body("a", n=4), body("b", n=5))  # and again in another
    scene.load()
    assert len(scene.event_ids()) == rows
    latest = scene.rows("SELECT DISTINCT ON (event_id) payload->'n' FROM s.data ORDER BY event_id, _sdc_sequence DESC")
    assert latest == [(4,), (5,)]
    assert scene.spool.counts()["s"].loaded == 5


def test_what_the_receiver_rejected_lands_in_sdc_rejected_with_its_reason(scene: Scene) -> None:
    scene.schema()
    scene.accept(body("a"), b"not json", body("b"), b'{"no": "event_id"}')
    scene.load()
    assert scene.event_ids() == ["a", "b"]
    rejected = scene.rows("SELECT reason, record, _sdc_raw FROM s._sdc_rejected ORDER BY _sdc_sequence")
    assert [(record, raw) for _, record, raw in rejected] == [
        ("not json", b"not json"),
        ('{"no": "event_id"}', b'{"no": "event_id"}'),
    ]
    assert "not valid JSON" in rejected[0][0]
    assert "no event_id" in rejected[1][0]
    counts = scene.spool.counts()["s"]
    assert (counts.loaded, counts.rejected) == (2, 2)


def deep(levels: int) -> bytes:
    return b'{"event_id":"deep","d":' + b"[" * levels + b"]" * levels + b"}"


POISON: dict[str, tuple[Arrival, str | None]] = {  # and the reason it is rejected with, or None if it must land
    "nul": (unchecked("nul", b'{"event_id":"nul","x":"\\u0000"}'), "unsupported Unicode escape"),
    "nul in the key": (unchecked("n\0l", b"{}"), "22021"),
    "lone surrogate": (unchecked("lone", b'{"event_id":"lone","x":"\\ud800"}'), "22P02: .*Unicode low surrogate"),
    "surrogate bytes": (unchecked("bytes", b'{"x":"\xed\xa0\x80"}'), "not UTF-8"),
    "not UTF-8": (unchecked("latin", b'{"x":"\xe4"}'), "not UTF-8"),
    "not JSON": (unchecked("broken", b'{"x":'), "22P02: invalid input syntax for type json"),
    "deep": (unchecked("deep", deep(10_000)), None),
    "deeper": (unchecked("deeper", deep(1_000_000)), "54001: stack depth limit exceeded"),
    "number beyond numeric": (unchecked("1e200000", b'{"x":1e200000}'), "22003: value overflows numeric format"),
    "no event_id": (unchecked(None, b"{}"), "23502"),
    "endless event_id": (unchecked("".join(map(str, range(9_000))), b"{}"), "54000: index row"),
    "time of receipt": (unchecked("late", b"{}", received_at=2**63 - 1), "22008"),
    "300 digits": (unchecked("300", b'{"x":' + b"9" * 300 + b"}"), None),
    "1e300": (unchecked("1e300", b'{"x":1e300}'), None),
    "year 300000": (unchecked("year", b'{"timestamp":9404467200000}', timestamp=9_404_467_200_000), None),
    "the last timestamp": (unchecked("last", b"{}", timestamp=2**63 - 1), None),
    "duplicate keys": (unchecked("keys", b'{"x":1,"x":2}'), None),
    "not an object": (unchecked("list", b"[1,2]"), None),
}


@pytest.mark.parametrize("loading", ["upsert", "append"])
def test_poison_rows_among_good_ones_cost_no_other_row(scene: Scene, loading: Loading) -> None:
    scene.schema(loading=loading)
    good = iter(range(1_000))
    for poison, _ in POISON.values():
        scene.accept(body(f"good-{next(good)}"), poison, body(f"good-{next(good)}"))
    scene.load()
    assert [event_id for event_id in scene.event_ids() if "good" in event_id] == [
        f"good-{number}" for number in range(2 * len(POISON))
    ]
    for name, (poison, reason) in POISON.items():
        if reason is None:
            assert poison.event_id in scene.event_ids(), name
    rejected = scene.rows("SELECT _sdc_raw, reason FROM s._sdc_rejected ORDER BY _sdc_sequence")
    expected = [(poison.body, reason) for poison, reason in POISON.values() if reason is not None]
    assert [raw for raw, _ in rejected] == [raw for raw, _ in expected]
    for (_, found), (_, wanted) in zip(rejected, expected, strict=True):
        assert re.search(wanted, found), (wanted, found)
    counts = scene.spool.counts()["s"]
    assert (counts.loaded, counts.rejected) == (2 * len(POISON) + len(POISON) - len(expected), len(expected))


def test_bad_copies_of_good_events_cost_no_good_row(scene: Scene) -> None:
    scene.schema()
    mixed: list[Arrival | bytes] = [body(f"good-{number}") for number in range(1_000)]
    for place in (999, 998, 700, 500, 499, 3, 0, 0):  # each after the good one, which it would replace
        mixed.insert(place + 1, unchecked(f"good-{place}", b'{"x":1e200000}'))
    scene.accept(*mixed)
    scene.load()
    assert len(scene.event_ids()) == 1_000
    assert scene.rows("SELECT count(*) FROM s._sdc_rejected") == [(8,)]
    counts = scene.spool.counts()["s"]
    assert (counts.loaded, counts.rejected) == (1_000, 8)


def test_a_schema_full_of_bad_rows_does_not_keep_another_waiting(scene: Scene) -> None:
    scene.schema("s")
    scene.schema("fine")
    scene.accept(*(unchecked(f"bad-{number}", b"{") for number in range(40)))
    for number in range(5):
        scene.accept(arrival(body(f"e{number}"), "fine"))
        scene.step()
        assert scene.spool.waiting("fine") == 0
    assert scene.spool.waiting("s") > 0
    scene.load()
    assert scene.rows("SELECT count(*) FROM s._sdc_rejected") == [(40,)]


def test_after_a_bad_row_the_loader_goes_on_without_a_pause_in_batches_that_grow_again(scene: Scene) -> None:
    scene.schema()
    scene.accept(unchecked("bad", b"{"), *(body(f"e{number}") for number in range(500)))
    scene.step()
    assert scene.loader
    steps = 1
    while scene.loader.step():  # false means a pause
        steps += 1
    assert not scene.spool.schemas_waiting()
    assert steps < 30


# What waits


def hold_of(scene: Scene, name: str = "s") -> str:
    scene.step()
    return scene.spool.holds().get(name, "")


ROLE = """
DO $$ BEGIN CREATE ROLE poor LOGIN PASSWORD 'poor-password'; EXCEPTION WHEN duplicate_object THEN END $$;
GRANT ALL ON SCHEMA s, fine TO poor; GRANT ALL ON ALL TABLES IN SCHEMA s, fine TO poor"""

READ_ONLY = """DO $$ BEGIN EXECUTE format(
'ALTER ROLE poor IN DATABASE %I SET default_transaction_read_only = {}', current_database()); END $$"""

TROUBLES = {  # what breaks table s.data, what mends it, and what is said of it
    "table missing": ("ALTER TABLE s.data RENAME TO gone", "ALTER TABLE s.gone RENAME TO data", "42P01"),
    "rejects missing": ("ALTER TABLE s._sdc_rejected RENAME TO g", "ALTER TABLE s.g RENAME TO _sdc_rejected", "42P01"),
    "schema missing": ("ALTER SCHEMA s RENAME TO gone", "ALTER SCHEMA gone RENAME TO s", "42P01"),
    "column missing": ("ALTER TABLE s.data RENAME metric TO gone", "ALTER TABLE s.data RENAME gone TO metric", "42703"),
    "right revoked": ("REVOKE INSERT ON s.data FROM poor", "GRANT INSERT ON s.data TO poor", "42501"),
    "read-only": (READ_ONLY.format("on"), READ_ONLY.format("off"), "25006"),
    "key dropped": (
        "ALTER TABLE s.data DROP CONSTRAINT data_pkey",
        "ALTER TABLE s.data ADD PRIMARY KEY (event_id)",
        "42P10",
    ),
    "somebody's column": (
        "ALTER TABLE s.data ADD COLUMN mine text NOT NULL",
        "ALTER TABLE s.data DROP COLUMN mine",
        "23502",
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_other_trouble_makes_a_schemas_rows_wait_and_no_other_schemas(
    scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loader, "LONGEST_WAIT", 0.3)
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(Formatter())  # as it is in the file, with what a line says beside its event
    breaking, mending, code = TROUBLES[name]
    scene.schema("s")
    scene.schema("fine")
    scene.do(ROLE)
    scene.registry.set_setting(
        "warehouse_dsn", psycopg.conninfo.make_conninfo(scene.dsn, user="poor", password="poor-password")
    )
    scene.do(breaking)
    scene.accept(arrival(body("a", data="payload")), b"payload")
    scene.accept(arrival(body("b"), "fine"))
    scene.step()
    scene.step()  # read-only: the first schema's trouble ends the connection
    assert re.search(code, scene.spool.holds()["s"]), scene.spool.holds()
    assert scene.spool.warehouse_state().state == "up"
    scene.step()
    if name != "read-only":  # there, no schema can be written to
        assert scene.event_ids("fine") == ["b"]
        assert scene.spool.waiting("fine") == 0
    assert scene.spool.waiting("s") == 2
    scene.do(mending)
    scene.load()
    assert scene.event_ids() == ["a"]
    assert scene.rows("SELECT record FROM s._sdc_rejected") == [("payload",)]
    assert scene.spool.holds() == {}
    assert '"event": "rows wait", "schema": "s", "reason": "' in caplog.text
    assert '"event": "rows are loaded again", "schema": "s"' in caplog.text
    for secret in ("payload", "poor-password"):
        assert secret not in caplog.text


def test_a_locked_table_holds_its_schema_for_moments_at_a_time_and_no_other(scene: Scene) -> None:
    scene.schema("s")
    scene.schema("fine")
    scene.accept(arrival(body("a")))
    with psycopg.connect(scene.dsn) as elsewhere:
        elsewhere.execute("LOCK TABLE s.data IN SHARE MODE")  # as CREATE INDEX takes it
        for number in range(20):
            started = time.monotonic()
            scene.accept(arrival(body(f"b{number}"), "fine"))
            scene.step()
            assert time.monotonic() - started < 1
            assert scene.spool.waiting("fine") == 0
        assert "55P03 LockNotAvailable" in scene.spool.holds()["s"]
    scene.load()
    assert scene.event_ids() == ["a"]
    assert len(scene.event_ids("fine")) == 20


def test_a_schema_that_the_registry_does_not_have_waits_until_it_does(scene: Scene) -> None:
    scene.schema("s")
    scene.registry.remove_schema("s")
    scene.accept(body("a"))
    scene.step()
    assert scene.spool.holds() == {"s": "the registry has no such schema"}
    scene.registry.put_schema(SchemaEntry("s", "s", "customerio", "upsert"))
    scene.step()  # at once, since the registry changed
    assert scene.event_ids() == ["a"]
    assert scene.spool.holds() == {}


@pytest.mark.parametrize(("before", "after"), [("append", "upsert"), ("upsert", "append")])
def test_rows_that_come_while_the_loading_mode_changes_wait_for_the_registry_and_are_not_rejected(
    scene: Scene, before: Loading, after: Loading
) -> None:
    scene.schema(loading=before)
    scene.accept(body("a"))
    scene.load()
    with psycopg.connect(scene.dsn) as connection:
        warehouse.set_loading(connection, "s", after)
    scene.accept(body("a"), body("b"))
    scene.step()
    assert scene.spool.waiting("s") == 2
    scene.registry.put_schema(SchemaEntry("s", "s", "customerio", after))
    scene.load()
    assert sorted(scene.event_ids()) == (["a", "b"] if after == "upsert" else ["a", "a", "b"])
    assert scene.rows("SELECT FROM s._sdc_rejected") == []


def test_a_batch_that_takes_too_long_is_tried_with_fewer_rows(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(loader, "_GUARDS", "SET LOCAL statement_timeout = '100ms'")
    scene.schema()
    scene.do("""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE INSERT ON s.data FOR EACH ROW EXECUTE FUNCTION slow()""")  # 50 rows a timeout
    scene.accept(*(body(f"e{number}") for number in range(100)))
    scene.load()
    assert len(scene.event_ids()) == 100


def test_a_hold_of_a_loader_before_this_one_is_forgotten(scene: Scene) -> None:
    scene.spool.set_hold("s", "long ago")
    scene.step()
    assert scene.spool.holds() == {}


# The warehouse comes and goes


def test_rows_wait_while_there_is_no_warehouse_and_go_in_when_there_is(scene: Scene) -> None:
    scene.schema()
    scene.registry.set_setting("warehouse_dsn", None)
    scene.accept(body("a"))
    scene.step()
    assert (scene.spool.warehouse_state().state, scene.spool.waiting("s")) == ("unset", 1)
    scene.registry.set_setting("warehouse_dsn", scene.dsn)
    scene.step()
    assert (scene.spool.warehouse_state().state, scene.spool.waiting("s")) == ("up", 0)


def test_spooled_rows_go_to_the_warehouse_that_the_settings_name_now(scene: Scene, postgres: PostgresServer) -> None:
    with postgres.database() as other:
        scene.schema()
        scene.schema(dsn=other)
        scene.accept(body("a"))
        scene.load()
        scene.accept(body("b"))
        scene.registry.set_setting("warehouse_dsn", other)
        scene.load()
        assert scene.event_ids() == ["a"]
        assert scene.rows("SELECT event_id FROM s.data", dsn=other) == [("b",)]
        scene.registry.set_setting("warehouse_dsn", scene.dsn)
        scene.accept(body("c"))
        scene.load()
        assert scene.event_ids() == ["a", "c"]


@pytest.mark.parametrize(
    ("dsn_of", "says"),
    [
        (lambda dsn: re.sub(":[0-9a-f]{24}@", ":wrong-secret@", dsn), "password authentication failed"),
        (lambda dsn: re.sub(r":\d+/", ":1/", dsn), "Connection refused"),
        (lambda dsn: dsn.replace("/t_", "/no_such_"), "does not exist"),
        (lambda dsn: "postgresql://sluice:hush-secret%zz@127.0.0.1/x", "can't be read"),
        (lambda dsn: "postgres//sluice:hush-secret@127.0.0.1/x", "can't be read"),
        (lambda dsn: "host=127.0.0.1 password=hush-secret port=hush-secret", "***"),
    ],
)
def test_a_warehouse_that_cannot_be_reached_is_reported_in_one_line_without_its_password(
    scene: Scene, caplog: pytest.LogCaptureFixture, dsn_of: Any, says: str
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.handler.setFormatter(Formatter())
    scene.schema()
    scene.registry.set_setting("warehouse_dsn", dsn_of(scene.dsn))
    scene.accept(body("a"))
    scene.step()
    found = scene.spool.warehouse_state()
    assert found.state == "down"
    assert found.error
    assert says in found.error
    assert "\n" not in found.error
    assert '"event": "the warehouse is down", "error": "' in caplog.text
    assert "secret" not in found.error + caplog.text
    assert scene.spool.waiting("s") == 1
    scene.registry.set_setting("warehouse_dsn", scene.dsn)
    scene.load()
    assert scene.event_ids() == ["a"]


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_warehouse_that_stops_and_starts_again_gets_every_row_once(
    scene: Scene, how: str, postgres: PostgresServer
) -> None:
    scene.schema(loading="append")
    scene.accept(body("a"))
    scene.load()
    postgres.stop(how)
    try:
        scene.accept(body("b"))
        scene.step()
        assert scene.spool.warehouse_state().state == "down"
        assert scene.spool.waiting("s") == 1
    finally:
        postgres.start()
    scene.load()
    assert scene.spool.warehouse_state().state == "up"
    assert scene.event_ids() == ["a", "b"]


def test_a_connection_cut_in_the_middle_of_a_batch_loses_and_doubles_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.schema(loading="append")
    scene.accept(*(body(f"e{number}") for number in range(50)))
    insert = warehouse.insert_events

    def cut(connection: warehouse.Connection, *rest: Any) -> None:
        insert(connection, *rest)
        scene.do(f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        monkeypatch.undo()

    monkeypatch.setattr(warehouse, "insert_events", cut)
    scene.step()
    assert scene.spool.waiting("s") == 50
    scene.load()
    assert len(scene.event_ids()) == len(set(scene.event_ids())) == 50


def test_a_database_set_to_commit_without_syncing_is_told_to_sync(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.schema()
    scene.do("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$")
    assert scene.rows("SHOW synchronous_commit") == [("off",)]
    seen = []
    insert = warehouse.insert_events

    def look(connection: warehouse.Connection, *rest: Any) -> None:
        seen.append(connection.execute("SHOW synchronous_commit").fetchone())
        insert(connection, *rest)

    monkeypatch.setattr(warehouse, "insert_events", look)
    scene.accept(body("a"))
    scene.load()
    assert seen == [("on",)]


# Bounds, order, counts


def test_a_backlog_is_loaded_in_batches_bounded_in_rows_and_bytes_and_in_order(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "BATCH_BYTES", 10_000)
    scene.schema(loading="append")
    scene.schema("other", loading="append")
    batches: list[tuple[str, int, int]] = []
    commit = loader.commit

    def note(connection: warehouse.Connection, spool_id: str, schema: SchemaEntry, rows: Sequence[Any]) -> None:
        batches.append((schema.schema, len(rows), sum(len(row.body) for row in rows)))
        commit(connection, spool_id, schema, rows)

    monkeypatch.setattr(loader, "commit", note)
    big = [body(f"big{number}", filler="x" * 3_000) for number in range(10)]
    scene.accept(*big, body("huge", filler="x" * 50_000), body("small"))
    scene.accept(*(arrival(body(f"o{number}"), "other") for number in range(20)))
    scene.load()
    assert scene.event_ids() == [f"big{number}" for number in range(10)] + ["huge", "small"]
    assert all(size <= 10_000 or rows == 1 for _, rows, size in batches)
    assert [name for name, *_ in batches][:2] == ["other", "s"]  # turn by turn: no backlog is in another's way
    assert len(scene.event_ids("other")) == 20


def test_a_spool_file_that_was_put_in_the_place_of_another_starts_its_own_count(scene: Scene, tmp_path: Path) -> None:
    scene.schema(loading="append")
    scene.accept(body("a"))
    scene.load()
    scene.close()
    for file in tmp_path.glob("spool.db*"):
        file.unlink()
    again = Scene(tmp_path, scene.dsn)
    again.accept(body("b"))
    again.load()
    assert again.event_ids() == ["a", "b"]
    assert len(again.rows("SELECT FROM s._sdc_spools")) == 2
    again.close()


def test_a_copied_folder_loads_its_own_rows_although_the_warehouse_is_the_same(scene: Scene, tmp_path: Path) -> None:
    scene.schema()
    scene.accept(body("before the copy"))
    scene.load()
    copied = tmp_path / "copy"
    copied.mkdir()
    for file in scene.home.glob("*.db*"):
        shutil.copy(file, copied)
    copy = Scene(copied, scene.dsn)
    copy.accept(body("in the copy"))
    scene.accept(body("in the first"))
    scene.load()
    copy.load()
    copy.close()
    assert sorted(scene.event_ids()) == ["before the copy", "in the copy", "in the first"]


def test_deletes_that_a_power_cut_undid_are_done_again_and_counted_as_before(scene: Scene, tmp_path: Path) -> None:
    scene.schema(loading="append")
    scene.accept(*(body(f"e{number}") for number in range(5)), b"rejected", unchecked("bad", b'{"x":1e200000}'))
    scene.spool.be_itself()  # as a loader does when it starts, and syncs
    scene.spool.close()
    before = {file.name: file.read_bytes() for file in tmp_path.glob("spool.db*")}
    scene.spool = Spool(tmp_path / "spool.db")
    scene.load()
    counts = scene.spool.counts()
    scene.close()
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)  # into the same file, as after a power cut
    again = Scene(tmp_path, scene.dsn)
    assert again.spool.waiting("s") == 7
    again.accept(body("new"))
    again.load()
    assert again.event_ids() == [f"e{number}" for number in range(5)] + ["new"]
    assert again.rows("SELECT count(*) FROM s._sdc_rejected") == [(2,)]
    found = again.spool.counts()["s"]
    assert (found.loaded, found.rejected) == (counts["s"].loaded + 1, counts["s"].rejected) == (6, 2)
    again.close()


def test_draining_a_backlog_does_not_make_the_spools_log_grow_with_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "BATCH_BYTES", 2**20)
    monkeypatch.setattr(loader, "CHECKPOINT_BYTES", 2**20)
    log = scene.home / "spool.db-wal"

    def growth_while_loading() -> int:
        scene.accept(*(body(f"e{number}", filler="x" * 100) for number in range(20_000)))
        scene.spool.checkpoint()
        before = log.stat().st_size
        scene.load()
        return log.stat().st_size - before

    scene.schema()
    assert growth_while_loading() < 2**20
    monkeypatch.setattr(Spool, "checkpoint", lambda _: None)  # the control
    assert growth_while_loading() > 2**20
