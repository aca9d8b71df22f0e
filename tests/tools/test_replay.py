"""What `make replay` understands and says; and what it gives instead on AWS, run on tables like those."""

import base64
import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot

from provider.resource import ResourceError
from receiver.event import Event, parse
from receiver.replay import Outcome, Wanted
from tests.receiver.scene import Scene, body
from tests.receiver.test_replay import refused
from tests.tools.test_make import passed
from tools import endpoints, places, replay, targets
from tools.endpoints import Endpoint
from tools.local import ThisMachine
from tools.stack import StackError

SAMPLES = Path(__file__).parents[2] / "samples"
EVERYTHING = Wanted()


# What is asked for


def test_nothing_given_asks_for_everything() -> None:
    assert replay.wanted("", "", "") == Wanted("", None, None)


def test_a_time_without_a_zone_is_this_machines() -> None:
    asked = replay.wanted("x", "2026-11-01", "2026-11-02T08:30")
    assert asked.since == datetime(2026, 11, 1).astimezone()
    assert asked.until == datetime(2026, 11, 2, 8, 30).astimezone()
    zoned = replay.wanted("", "2026-11-01T00:00Z", "2026-11-02T00:00:00+02:00")
    assert zoned.since == datetime(2026, 11, 1, tzinfo=UTC)
    assert zoned.until == datetime(2026, 11, 2, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2026-13-01", "01.11.2026", "0001-01-01T00:00", "0001-01-01T00:00+14:00", "2026-11-01 25:00", "1"],
)
def test_what_is_no_date_is_refused_by_its_name_with_what_would_be_right(text: str) -> None:
    for name in "SINCE", "UNTIL":
        given = {"SINCE": "", "UNTIL": "", name: text}
        try:
            replay.wanted("", given["SINCE"], given["UNTIL"])
        except StackError as error:
            assert f"{name}={text} isn't a date: write 2026-11-01" in str(error)
        else:
            assert text.startswith("0001"), "a zone where the year 1 can be told"


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(StackError, match=r"SINCE=2026-11-02 isn't before UNTIL=2026-11-01"):
        replay.wanted("", "2026-11-02", "2026-11-01")


def test_the_values_reach_the_tools_as_they_were_typed(tmp_path: Path) -> None:
    found = passed(tmp_path, "REASON=no \"event_id\" $x 'y'", "SINCE=2026-11-01", "UNTIL=2026-11-02 08:30", "DRY=1")
    assert [found[f"SLUICE_{name}"] for name in ("REASON", "SINCE", "UNTIL", "DRY")] == [
        *("no \"event_id\" $x 'y'", "2026-11-01", "2026-11-02 08:30", "1")
    ]
    assert passed(tmp_path, environment={"REASON": "of the shell", "DRY": "1"})["SLUICE_DRY"] == ""


# What is said


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_the_table_counts_by_schema_and_reason_without_what_differs_from_body_to_body() -> None:
    outcome = Outcome(
        Counter({"not valid JSON: unexpected end: line 1 column 5 (char 4)": 2, "no event_id": 3}),
        Counter(
            {
                "not valid JSON: unexpected end: line 7 column 1 (char 90)": 5,
                '22P02: invalid input syntax for type json (Token "person@example.com" is invalid.)': 1,
                "y" * 300: 1,
                "none any more": 0,
            }
        ),
    )
    assert cells(replay.said({"s": outcome, "t": Outcome(Counter({"x": 1}))}, dry=False)) == [
        ["schema", "reason", "replayed", "still rejected"],
        ["s", "not valid JSON: unexpected end", "2", "5"],
        ["s", "no event_id", "3", "0"],
        ["s", "22P02: invalid input syntax for type json", "0", "1"],
        ["s", "y" * 89 + "…", "0", "1"],
        ["t", "x", "1", "0"],
    ]


def test_bodies_that_were_not_kept_whole_are_said_and_so_is_a_dry_run() -> None:
    text = replay.said({"s": Outcome(Counter(), Counter({"larger than 9 bytes": 4}), 4)}, dry=True)
    assert "4 can't be replayed, since not all of their body was kept" in text
    assert cells(text)[0] == ["schema", "reason", "would be replayed", "still rejected"]
    assert text.endswith("DRY=1: nothing was changed")


# On this machine


def test_a_second_run_has_nothing_to_do_and_says_so(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.schema()
    scene.accept(refused(body("a")))
    scene.load()
    assert replay.run(scene.dsn, ["s"], EVERYTHING, dry=True) == 0
    assert cells(capsys.readouterr().out)[1] == ["s", "a reason of before", "1", "0"]
    assert scene.event_ids() == []
    assert replay.run(scene.dsn, ["s"], EVERYTHING, dry=False) == 0
    assert cells(capsys.readouterr().out)[1] == ["s", "a reason of before", "1", "0"]
    assert replay.run(scene.dsn, ["s"], EVERYTHING, dry=False) == 0
    assert capsys.readouterr().out.startswith("nothing to replay")
    assert scene.event_ids() == ["a"]


def test_what_was_done_before_an_error_is_said(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.schema()
    scene.accept(refused(body("a")))
    scene.load()
    with pytest.raises(StackError, match=r"the replay stopped: the warehouse has no table gone\.data"):
        replay.run(scene.dsn, ["s", "gone"], EVERYTHING, dry=False)
    assert cells(capsys.readouterr().out)[1] == ["s", "a reason of before", "1", "0"]


def test_a_table_that_may_not_be_written_to_is_said_in_one_line(scene: Scene) -> None:
    scene.schema()
    scene.accept(refused(body("a")))
    scene.load()
    scene.do("ALTER TABLE s.data RENAME metric TO gone")
    with pytest.raises(StackError, match=r"the replay stopped: 42703 UndefinedColumn: .*Run it again") as refused_:
        replay.run(scene.dsn, ["s"], EVERYTHING, dry=False)
    assert "\n" not in str(refused_.value)


def test_a_warehouse_that_is_down_is_said_without_its_password() -> None:
    with pytest.raises(ResourceError, match=r"the warehouse can't be reached.*make up starts it") as down:
        replay.run("postgresql://u:hush-secret@127.0.0.1:1/x", ["s"], EVERYTHING, dry=False)
    assert "hush" not in str(down.value)


# Which integrations


class Stack:
    def __init__(self, outputs: dict[str, Any]) -> None:
        self._outputs = outputs

    def outputs(self) -> dict[str, Any]:
        return self._outputs


def asked_of_the_place(monkeypatch: pytest.MonkeyPatch, made: list[Endpoint], **given: str) -> Any:
    asked: list[Any] = []

    class Place:
        def replay(self, *args: Any, **options: Any) -> int:
            asked.append((*args, options))
            return 0

    monkeypatch.setattr(targets, "existing", lambda: Stack({}))
    monkeypatch.setattr(endpoints, "of", lambda outputs: made)
    monkeypatch.setattr(places, "of", lambda stack: Place())
    for name in "NAME", "REASON", "SINCE", "UNTIL", "DRY":
        monkeypatch.setenv(f"SLUICE_{name}", given.get(name, ""))
    assert targets.replay() == 0
    return asked[0]


def endpoint(name: str, schema: str, slot: str = "primary") -> Endpoint:
    return Endpoint(name, "customerio", schema, slot, True, 1, "by hand", f"http://h/v1/{schema}/t")


MADE = [endpoint("A b", "a_b"), endpoint("A b", "a_b", "secondary"), endpoint("C", "c")]


def test_all_integrations_are_replayed_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked_of_the_place(monkeypatch, MADE)[0] == ["a_b", "c"]
    schemas, asked, _, options = asked_of_the_place(monkeypatch, MADE, NAME="a B", REASON="x", DRY="1")
    assert (schemas, asked, options) == (["a_b"], Wanted("x"), {"dry": True})
    assert asked_of_the_place(monkeypatch, MADE, DRY="0")[-1] == {"dry": False}


def test_an_integration_that_is_not_there_is_said_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(endpoints.NoSuchEndpoint, match='no integration "D"; there is "A b", "C"'):
        asked_of_the_place(monkeypatch, MADE, NAME="D")
    with pytest.raises(endpoints.NoSuchEndpoint, match="this stack has no integration"):
        asked_of_the_place(monkeypatch, [])


def test_a_stack_without_a_warehouse_is_said() -> None:
    place = ThisMachine(None)  # type: ignore[arg-type]
    with pytest.raises(StackError, match="no PostgreSQL warehouse: run make up"):
        place.replay(["s"], EVERYTHING, {}, dry=False)


# On AWS. That the statements are Trino's, and what they do, is shown on DuckDB; Athena itself runs in no test.


def test_on_aws_it_says_why_not_and_gives_the_statements() -> None:
    text = replay.refusal(["a", "b"], Wanted("it's"))
    assert text.startswith("on AWS a replay is yours to run, since Athena can't")
    assert [line for line in text.splitlines() if line.startswith(("MERGE", "UPDATE"))] == [
        'MERGE INTO "a"."data" AS d',
        'UPDATE "a"."_sdc_rejected" SET _sdc_replayed_at = current_timestamp',
        'MERGE INTO "b"."data" AS d',
        'UPDATE "b"."_sdc_rejected" SET _sdc_replayed_at = current_timestamp',
    ]


FIRST = 1_790_000_000_000_000_000


def lake(bodies: list[bytes]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        "CREATE SCHEMA s; SET TimeZone = 'UTC';"
        "CREATE TABLE s.data (event_id text, object_type text, metric text, timestamp int8, payload text,"
        " _sdc_received_at timestamptz, _sdc_batched_at timestamptz, _sdc_sequence int8, _sdc_table_version int8,"
        " _sdc_body_uri text);"
        "CREATE TABLE s._sdc_rejected (_sdc_rejected_at timestamptz, table_name text, reason text, record text,"
        " _sdc_raw text, _sdc_sequence int8, _sdc_replayed_at timestamptz, _sdc_body_uri text)"
    )
    for number, content in enumerate(bodies):
        raw = base64.b64encode(content).decode()
        row = ["2026-11-01 00:00:00Z", "data", "It's so", "", raw, FIRST + number, None, None]
        connection.execute("INSERT INTO s._sdc_rejected VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    return connection


def run(connection: duckdb.DuckDBPyConnection, asked: Wanted, *, only_first: bool = False) -> None:
    merge, update = (
        statement.sql("duckdb")
        for statement in sqlglot.parse(replay.statements("s", asked), dialect="athena")
        if statement
    )
    # Trino's from_utf8 puts U+FFFD for what isn't UTF-8, where DuckDB's raises.
    connection.execute(merge.replace("DECODE(FROM_BASE64(_sdc_raw))", "DECODE(FROM_BASE64(_sdc_raw), 'replace')"))
    if not only_first:
        connection.execute(update)


LINES = [line for file in sorted(SAMPLES.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
UNUSABLE = [b"", b"{", b"[]", b"5", b"null", b"{}", b'{"event_id":5}', b'{"event_id":""}', b'{"event_id":"a"} x']
UNUSABLE += [b'{"event_id":null}', b'{"event_id":{"a":1}}', json.dumps({"event_id": "x" * 256}).encode()]
UNUSABLE += ['{"event_id":"ä"}'.encode("latin-1")]
UNUSABLE += [gzip.compress(b'{"event_id":"packed"}')]
AWKWARD = [
    b'{"event_id":"a","timestamp":"5"}',
    b'{"event_id":"b","timestamp":1.5}',
    b'{"event_id":"c","event_type":"x_y_z"}',
]
AWKWARD += ['{"event_id":"ünï 🕊"}'.encode()]


def test_the_statements_load_what_the_parser_would_each_once_and_mark_it() -> None:
    connection = lake([*LINES, *UNUSABLE, *AWKWARD])
    run(connection, Wanted("it's"))
    found = connection.execute(
        "SELECT event_id, object_type, metric, timestamp, payload FROM s.data ORDER BY _sdc_sequence"
    ).fetchall()
    expected = [event for event in (parse(line, "") for line in [*LINES, *AWKWARD]) if isinstance(event, Event)]
    assert found == [(*event[:4], event.body.decode()) for event in expected]
    left = "SELECT count(*) FROM s._sdc_rejected WHERE _sdc_replayed_at IS NULL"
    assert connection.execute(left).fetchall() == [(len(UNUSABLE),)]
    run(connection, EVERYTHING)
    assert connection.execute("SELECT count(*) FROM s.data").fetchall() == [(len(expected),)]


def test_the_statements_end_between_them_and_are_run_again() -> None:
    connection = lake(LINES)
    run(connection, EVERYTHING, only_first=True)
    run(connection, EVERYTHING)
    assert connection.execute("SELECT count(*), count(DISTINCT event_id) FROM s.data").fetchall() == [(34, 34)]
    assert connection.execute("SELECT count(_sdc_replayed_at) FROM s._sdc_rejected").fetchall() == [(34,)]


def test_the_statements_keep_to_reason_and_time_and_leave_what_was_cut() -> None:
    connection = lake([body("a"), body("b"), body("cut")])
    connection.execute(f"UPDATE s._sdc_rejected SET _sdc_sequence = {FIRST + 10**12} WHERE _sdc_sequence = {FIRST + 1}")
    connection.execute(f"UPDATE s._sdc_rejected SET reason = 'larger than 9 bytes' WHERE _sdc_sequence = {FIRST + 2}")
    events = "SELECT event_id FROM s.data ORDER BY 1"
    run(connection, Wanted("something else"))
    assert connection.execute(events).fetchall() == []
    moment = datetime.fromtimestamp(FIRST / 1e9 + 500, UTC)
    run(connection, Wanted("IT'S", since=moment))
    assert connection.execute(events).fetchall() == [("b",)]
    run(connection, Wanted(until=moment))
    assert connection.execute(events).fetchall() == [("a",), ("b",)]
