"""A replay of `_sdc_rejected`, between a real loader's rows and a real PostgreSQL: each event gets in once, whatever
happens meanwhile."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provider.views import views
from receiver import app, replay, warehouse
from receiver.event import Event, parse
from receiver.registry import Loading
from receiver.rejects import kind
from receiver.replay import Outcome, Wanted
from receiver.rows import TABLE_VERSION
from receiver.spool import Arrival
from receiver.warehouse import Connection
from tests.receiver.scene import Scene, arrival, body, unchecked
from tests.test_querying_docs import QUERIES
from tests.test_querying_docs import SCHEMA as QUERIED

PROJECT = Path(__file__).parents[2]
WHY = "a reason of before"


def refused(content: bytes, reason: str = WHY, schema: str = "s") -> Arrival:
    """A body that a receiver of before couldn't use."""
    return Arrival("hash", schema, 1_790_000_000_000_000, None, None, None, None, content, reason)


def connect(scene: Scene) -> Connection:
    return psycopg.connect(scene.dsn, autocommit=True, prepare_threshold=None)


def run(scene: Scene, wanted: Wanted = Wanted(), *, dry: bool = False) -> Outcome:  # noqa: B008 (immutable)
    outcome = Outcome()
    with connect(scene) as connection:
        replay.replay(connection, "s", wanted, outcome, dry=dry)
    return outcome


def marked(scene: Scene) -> int:
    return int(scene.rows("SELECT count(_sdc_replayed_at) FROM s._sdc_rejected")[0][0])


@pytest.fixture(params=["upsert", "append"])
def loading(request: pytest.FixtureRequest) -> Loading:
    found: Loading = request.param
    return found


# What gets in


def test_what_is_an_event_now_gets_in_once_and_is_marked_and_the_rest_stays(scene: Scene, loading: Loading) -> None:
    scene.schema(loading=loading)
    scene.accept(body("before"), refused(body("a", n=1)), b"not json", refused(body("b")), b"[]")
    scene.load()
    before = scene.rows("SELECT * FROM s._sdc_rejected WHERE reason <> 'a reason of before' ORDER BY _sdc_sequence")
    outcome = run(scene)
    assert outcome.replayed == {WHY: 2}
    assert sorted(outcome.rejected.values()) == [1, 1]
    assert outcome.incomplete == 0
    assert scene.event_ids() == ["before", "a", "b"]
    unmarked = scene.rows("SELECT * FROM s._sdc_rejected WHERE _sdc_replayed_at IS NULL ORDER BY _sdc_sequence")
    assert unmarked == before
    again = run(scene)
    assert (again.replayed, again.rejected) == ({}, outcome.rejected)
    assert scene.event_ids() == ["before", "a", "b"]


def test_a_replayed_row_is_as_it_had_been_loaded_when_it_came(scene: Scene) -> None:
    scene.schema()
    scene.accept(refused(body("a", data={"x": [1]})))
    scene.load()
    run(scene)
    [(sequence, rejected_at, replayed_at)] = scene.rows(
        "SELECT _sdc_sequence, _sdc_rejected_at, _sdc_replayed_at FROM s._sdc_rejected"
    )
    [row] = scene.rows(f"SELECT {', '.join(warehouse.DATA_COLUMNS)} FROM s.data")
    event_id, object_type, metric, timestamp, payload, received_at, batched_at, found, version = row
    assert (event_id, object_type, metric, timestamp) == ("a", "email", "sent", 1_790_000_000)
    assert payload == json.loads(body("a", data={"x": [1]}))
    assert (found, version) == (sequence, TABLE_VERSION)
    assert received_at == datetime.fromtimestamp(0, UTC) + timedelta(microseconds=sequence // 1000)
    assert received_at <= rejected_at < batched_at == replayed_at


def test_a_row_whose_sequence_is_ahead_of_the_clock_was_received_when_it_was_rejected(scene: Scene) -> None:
    scene.schema()
    scene.accept(refused(body("a")))
    scene.load()
    scene.do("UPDATE s._sdc_rejected SET _sdc_sequence = _sdc_sequence + 86400000000000")
    run(scene)
    assert scene.rows("SELECT d._sdc_received_at = r._sdc_rejected_at FROM s.data d, s._sdc_rejected r") == [(True,)]


def test_an_older_event_never_overwrites_a_newer_one_of_its_id(scene: Scene) -> None:
    scene.schema()
    scene.accept(body("a", n=1), body("b", n=1), refused(body("a", n=2)), refused(body("b", n=2)))
    scene.accept(body("a", n=3), refused(body("c", n=1)), refused(body("c", n=2)))
    scene.load()
    assert run(scene).replayed == {WHY: 4}
    assert scene.rows("SELECT event_id, payload->'n' FROM s.data ORDER BY event_id") == [("a", 3), ("b", 2), ("c", 2)]
    assert marked(scene) == 4


def test_a_newer_one_that_still_waits_in_the_spool_wins_when_it_comes(scene: Scene) -> None:
    scene.schema()
    scene.accept(refused(body("a", n=1)))
    scene.load()
    scene.accept(body("a", n=2))
    run(scene)
    scene.load()
    assert scene.rows("SELECT payload->'n' FROM s.data") == [(2,)]


def test_under_append_every_delivery_is_a_row_and_the_newest_stays_the_latest(scene: Scene) -> None:
    scene.schema(loading="append")
    scene.accept(refused(body("a", n=1)), body("a", n=2), refused(body("a", n=3)))
    scene.load()
    run(scene)
    assert scene.rows("SELECT payload->'n' FROM s.data ORDER BY _sdc_sequence") == [(1,), (2,), (3,)]


def test_rows_that_the_warehouse_refused_get_in_once_it_takes_them(scene: Scene, loading: Loading) -> None:
    scene.schema(loading=loading)
    scene.do("ALTER TABLE s.data ADD CONSTRAINT small CHECK (length(payload::text) < 200)")
    scene.accept(
        body("good"), body("large", x="x" * 200), body("fine"), unchecked("never", b'{"event_id":"n","x":1e200000}')
    )
    scene.load()
    [(reason,), (_,)] = scene.rows("SELECT reason FROM s._sdc_rejected ORDER BY _sdc_sequence")
    assert "23514" in reason
    assert not run(scene).replayed
    scene.do("ALTER TABLE s.data DROP CONSTRAINT small")
    outcome = run(scene)
    assert outcome.replayed == {kind(reason): 1}
    assert outcome.rejected.total() == 1
    assert sorted(scene.event_ids()) == ["fine", "good", "large"]


def test_rows_that_the_warehouse_still_refuses_cost_no_other_row_of_their_batch(scene: Scene, loading: Loading) -> None:
    scene.schema(loading=loading)
    bad = b'{"event_id":"%d","x":1e200000}'  # read by the parser, refused by jsonb
    for number in range(100):
        scene.accept(refused(body(f"e{number}")), *([refused(bad % number)] if number % 7 == 0 else []))
    scene.load()
    outcome = run(scene)
    assert (outcome.replayed, outcome.rejected) == ({WHY: 100}, {WHY: 15})
    assert scene.event_ids() == [f"e{number}" for number in range(100)]
    assert marked(scene) == 100


@pytest.mark.parametrize("compressed", [gzip.compress, zlib.compress, lambda content: zlib.compress(content)[2:-4]])
def test_a_compressed_body_is_read_although_its_encoding_is_not_kept(
    scene: Scene, compressed: Callable[[bytes], bytes]
) -> None:
    scene.schema()
    scene.accept(refused(compressed(body("a"))), refused(compressed(b"{}")))
    scene.load()
    outcome = run(scene)
    assert (outcome.replayed, outcome.rejected) == ({WHY: 1}, {WHY: 1})
    assert scene.event_ids() == ["a"]


def test_a_body_that_was_cut_is_left_even_if_what_is_left_of_it_is_an_event(scene: Scene) -> None:
    scene.schema()
    cut = parse(body("cut") + b" " * 100, "", 90)
    bomb = parse(gzip.compress(body("whole") + b" " * 100), "gzip", 150)  # kept whole: only too large back then
    assert not isinstance(cut, Event)
    assert not isinstance(bomb, Event)
    assert "decompressed" in bomb.reason
    for raw, reason in (cut.raw, cut.reason), (body("cut too"), app.TOO_LARGE), (bomb.raw, bomb.reason):
        assert isinstance(replay.parsed(raw), Event)
        scene.accept(refused(raw, reason))
    scene.accept(refused(body("emptied"), WHY))
    scene.load()
    scene.do("UPDATE s._sdc_rejected SET _sdc_raw = NULL WHERE reason = 'a reason of before'")
    outcome = run(scene)
    assert outcome.replayed == {bomb.reason: 1}
    assert outcome.rejected == {cut.reason: 1, app.TOO_LARGE: 1, WHY: 1}
    assert outcome.incomplete == 3
    assert scene.event_ids() == ["whole"]


# Which rows


def test_only_rows_of_the_reason_are_replayed_in_any_case_and_nothing_in_it_is_a_pattern(scene: Scene) -> None:
    scene.schema()
    scene.accept(
        refused(body("a"), "No Event_id (100%)"), refused(body("b"), "not valid JSON"), refused(body("c"), "x")
    )
    scene.load()
    assert not run(scene, Wanted("_e%")).replayed
    assert run(scene, Wanted("no event_ID")).replayed == {"No Event_id (100%)": 1}
    assert run(scene, Wanted("NOT VALID")).replayed == {"not valid JSON": 1}
    assert scene.event_ids() == ["a", "b"]


def test_only_rows_that_came_within_the_time_are_replayed_its_end_excluded(scene: Scene) -> None:
    scene.schema()
    scene.accept(*(refused(body(f"day-{day}")) for day in range(1, 6)))
    scene.load()
    scene.do(
        "UPDATE s._sdc_rejected SET _sdc_rejected_at = '2026-12-01',"  # the warehouse was down for long
        " _sdc_sequence = extract(epoch FROM timestamptz '2026-11-01Z') * 1000000000"
        " + substring(record FROM 'day-(.)')::int8 * 86400000000000"
    )
    day = datetime(2026, 11, 1, tzinfo=UTC)
    run(scene, Wanted(since=day + timedelta(days=2), until=day + timedelta(days=4)))
    assert scene.event_ids() == ["day-2", "day-3"]
    run(scene, Wanted(since=day + timedelta(days=5)))
    assert scene.event_ids() == ["day-2", "day-3", "day-5"]
    run(scene, Wanted(until=day + timedelta(days=2)))
    assert scene.event_ids() == ["day-1", "day-2", "day-3", "day-5"]


def test_no_other_schema_is_touched(scene: Scene) -> None:
    scene.schema()
    scene.schema("other")
    scene.accept(refused(body("a")), refused(body("b"), schema="other"))
    scene.load()
    run(scene)
    assert (scene.event_ids(), scene.event_ids("other")) == (["a"], [])


def test_a_schema_that_is_not_there_is_said(scene: Scene) -> None:
    with pytest.raises(replay.NoSuchTable, match=r"no table s\.data"):
        run(scene)


def test_dry_says_the_same_and_changes_nothing(scene: Scene, loading: Loading) -> None:
    scene.schema(loading=loading)
    scene.accept(
        *(refused(body(f"e{number}")) for number in range(20)), b"{", refused(b'{"event_id":"n","x":1e200000}')
    )
    scene.load()
    before = scene.rows("SELECT * FROM s._sdc_rejected ORDER BY _sdc_sequence")
    dry = run(scene, dry=True)
    assert scene.rows("SELECT * FROM s._sdc_rejected ORDER BY _sdc_sequence") == before
    assert scene.event_ids() == []
    assert run(scene) == dry
    assert dry.replayed == {WHY: 20}


# Many rows


def test_many_rows_go_in_batches_bounded_in_rows_and_bytes_and_none_is_skipped(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "KEYS", 13)
    monkeypatch.setattr(replay, "BATCH_ROWS", 5)
    monkeypatch.setattr(replay, "BATCH_BYTES", 3_000)
    scene.schema(loading="append")
    scene.accept(*(refused(body(f"e{number}", x="x" * (number % 9) * 200)) for number in range(100)), b"{")
    scene.load()
    scene.do("UPDATE s._sdc_rejected SET _sdc_sequence = _sdc_sequence / 1000")  # many share one
    batches = []
    insert = warehouse.insert_events

    def note(connection: Connection, schema: str, loading: Loading, rows: Sequence[Any]) -> None:
        batches.append((len(rows), sum(len(row.body) for row in rows)))
        insert(connection, schema, loading, rows)

    monkeypatch.setattr(warehouse, "insert_events", note)
    assert run(scene).replayed == {WHY: 100}
    assert sorted(scene.event_ids()) == sorted(f"e{number}" for number in range(100))
    assert all(count <= 5 and (size <= 3_000 or count == 1) for count, size in batches)
    assert marked(scene) == 100


def test_compressed_bodies_are_held_in_memory_within_the_bound_as_they_are_when_decompressed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH_BYTES", 50_000)
    scene.schema(loading="append")
    scene.accept(*(refused(gzip.compress(body(f"e{number}", x="x" * 10_000))) for number in range(20)))
    scene.load()
    sizes = []
    insert = warehouse.insert_events

    def note(connection: Connection, schema: str, loading: Loading, rows: Sequence[Any]) -> None:
        sizes.append(sum(len(row.body) for row in rows))
        insert(connection, schema, loading, rows)

    monkeypatch.setattr(warehouse, "insert_events", note)
    assert run(scene).replayed == {WHY: 20}
    assert len(sizes) == 5
    assert max(sizes) <= 50_000
    assert scene.event_ids() == [f"e{number}" for number in range(20)]
    assert marked(scene) == 20


def test_reasons_that_differ_by_what_they_quote_are_counted_as_one(scene: Scene) -> None:
    scene.schema()
    scene.do("ALTER TABLE s.data ADD CONSTRAINT small CHECK (length(payload::text) < 200)")
    scene.accept(*(b" " * number + b"{" for number in range(20)))
    scene.accept(*(body(f"large {number}", x="x" * 200) for number in range(20)))
    scene.load()
    assert scene.rows("SELECT count(DISTINCT reason) > 20 FROM s._sdc_rejected") == [(True,)]
    assert sorted(run(scene).rejected.values()) == [20, 20]


# As the documentation has it


def test_the_documented_query_finds_the_rows_that_were_replayed_since_then(scene: Scene, loading: Loading) -> None:
    scene.schema(QUERIED, loading=loading)
    for view in views("customerio", loading).values():
        scene.do(view.statement(QUERIED).as_string())
    scene.accept(
        *(refused(body(event_id), schema=QUERIED) for event_id in ("first", "second")), arrival(body("c"), QUERIED)
    )
    scene.load()
    scene.do(f"UPDATE {QUERIED}._sdc_rejected SET reason = 'another' WHERE record LIKE '%second%'")
    query = QUERIES["Rows that were replayed since you last read"].replace("2026-11-01 08:00:00Z", "{}")
    with connect(scene) as connection:
        replay.replay(connection, QUERIED, Wanted("of before"), Outcome())
        [(before,)] = connection.execute("SELECT now()").fetchall()
        connection.execute(f"UPDATE {QUERIED}._sdc_rejected SET reason = '{WHY}'".encode())
        replay.replay(connection, QUERIED, Wanted(), Outcome())
        found = connection.execute(query.format(before).encode()).fetchall()
    assert [event_id for event_id, *_ in found] == ["second"]


# Once, whatever happens


class Boom(Exception):
    pass


Killing = Callable[[Scene, Connection], None]


def by_an_error(scene: Scene, connection: Connection) -> None:
    raise Boom


def by_a_lost_connection(scene: Scene, connection: Connection) -> None:
    scene.do(f"SELECT pg_terminate_backend({connection.info.backend_pid})")


def interrupted(scene: Scene, monkeypatch: pytest.MonkeyPatch, killing: Killing) -> None:
    """A replay of ten rows that ends between the insert and the mark."""
    scene.schema(loading="append")
    scene.accept(*(refused(body(f"e{number}")) for number in range(10)))
    scene.load()
    mark = replay._mark

    def killed(connection: Connection, *rest: Any) -> None:
        killing(scene, connection)
        mark(connection, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(replay, "_mark", killed)
        with pytest.raises((Boom, psycopg.OperationalError)):
            run(scene)


def deliveries(scene: Scene) -> set[int]:
    """How many rows the events have."""
    return {count for (count,) in scene.rows("SELECT count(*) FROM s.data GROUP BY event_id")}


@pytest.mark.parametrize("killing", [by_an_error, by_a_lost_connection])
def test_a_replay_that_ends_between_insert_and_mark_has_done_nothing_and_is_run_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, killing: Killing
) -> None:
    interrupted(scene, monkeypatch, killing)
    assert (deliveries(scene), marked(scene)) == (set(), 0)
    assert run(scene).replayed == {WHY: 10}
    assert (deliveries(scene), marked(scene)) == ({1}, 10)


def test_the_control_that_marks_in_a_transaction_of_its_own_doubles_and_is_noticed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = warehouse.insert_events

    def apart(_: Connection, *rest: Any) -> None:
        with connect(scene) as another:
            insert(another, *rest)

    monkeypatch.setattr(warehouse, "insert_events", apart)
    interrupted(scene, monkeypatch, by_an_error)
    run(scene)
    assert deliveries(scene) == {2}


PROGRAM = """
import sys, time
import psycopg
from receiver import replay
mark = replay._mark
done = 0
def waiting(*all):
    global done
    done += 1
    if done == 3:
        print("between", flush=True)
        time.sleep(60)
    mark(*all)
replay._mark, replay.BATCH_ROWS = waiting, 10
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    replay.replay(connection, "s", replay.Wanted(), replay.Outcome())
"""


def test_a_replay_that_is_killed_keeps_its_finished_batches_and_doubles_nothing(scene: Scene) -> None:
    scene.schema(loading="append")
    scene.accept(*(refused(body(f"e{number}")) for number in range(50)))
    scene.load()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, scene.dsn], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        assert program.stdout.readline() == "between\n"
        os.kill(program.pid, signal.SIGKILL)
    assert len(scene.event_ids()) == 20
    assert run(scene).replayed == {WHY: 30}
    assert (deliveries(scene), marked(scene), len(scene.event_ids())) == ({1}, 50, 50)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    results: list[Any] = [None] * len(works)

    def do(number: int) -> None:
        try:
            results[number] = works[number]()
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=do, args=[number]) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_replays_at_once_double_nothing_and_each_row_is_counted_by_one(
    scene: Scene, loading: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH_ROWS", 20)
    monkeypatch.setattr(replay, "PAUSE_SECONDS", 0.01)
    scene.schema(loading=loading)
    scene.accept(*(refused(body(f"e{number}")) for number in range(400)))
    scene.load()
    outcomes = at_once(*[lambda: run(scene)] * 3)
    assert sum(outcome.replayed.total() for outcome in outcomes) == 400
    assert not any(outcome.rejected for outcome in outcomes)
    assert (deliveries(scene), marked(scene), len(scene.event_ids())) == ({1}, 400, 400)


def test_a_second_replay_waits_for_the_firsts_batch_and_then_finds_it_done(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.schema(loading="append")
    scene.accept(refused(body("a")))
    scene.load()
    mark, tries, lock = replay._mark, [], replay._lock
    is_between, may_go_on = threading.Event(), threading.Event()

    def slowly(*all: Any) -> None:
        is_between.set()
        assert may_go_on.wait(10)
        mark(*all)

    def noted(*all: Any) -> Any:
        tries.append(threading.current_thread())
        return lock(*all)

    monkeypatch.setattr(replay, "_mark", slowly)
    monkeypatch.setattr(replay, "_lock", noted)

    def second() -> Outcome:
        assert is_between.wait(10)
        return run(scene)

    def let_go() -> None:
        deadline = time.monotonic() + 10
        while len(tries) < 3 and time.monotonic() < deadline:  # the first's one, and two of the second's
            time.sleep(0.01)
        may_go_on.set()

    first, later, _ = at_once(lambda: run(scene), second, let_go)
    assert (first.replayed, later.replayed) == ({WHY: 1}, {})
    assert len(tries) >= 3
    assert scene.event_ids() == ["a"]


def test_rows_that_stay_locked_end_it_with_an_error_after_its_patience(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PATIENCE_SECONDS", 0.5)
    scene.schema()
    scene.accept(refused(body("a")))
    scene.load()
    with psycopg.connect(scene.dsn) as elsewhere:
        elsewhere.execute("LOCK TABLE s.data IN SHARE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(scene)
    assert run(scene).replayed == {WHY: 1}


def test_the_loader_and_a_replay_of_the_same_events_get_along(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "BATCH_ROWS", 50)
    scene.schema()
    scene.accept(*(refused(body(f"e{number}", n=1)) for number in range(1_000)))
    scene.load()
    scene.accept(*(body(f"e{number}", n=2) for number in reversed(range(1_000))))
    outcome, loaded = at_once(lambda: run(scene), lambda: scene.load(30))
    assert loaded is None
    assert outcome.replayed == {WHY: 1_000}
    assert scene.rows("SELECT count(*), min(payload->>'n') FROM s.data") == [(1_000, "2")]


def test_a_row_that_cannot_be_marked_is_not_loaded(scene: Scene) -> None:
    scene.schema(loading="append")
    scene.accept(refused(body("a")), refused(body("b")))
    scene.load()
    scene.do("CREATE RULE no AS ON UPDATE TO s._sdc_rejected WHERE OLD.record LIKE '%b%' DO INSTEAD NOTHING")
    with pytest.raises(replay.Contradiction):
        run(scene)
    assert scene.event_ids() == []
