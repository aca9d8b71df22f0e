"""Every query of docs/querying.md gives what it promises, under either loading mode. A query that this page
doesn't expect anything of is a failure, so that none is added untested."""

import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provider.views import views
from receiver import warehouse
from receiver.event import Event, parse
from receiver.registry import Loading
from receiver.spool import SpooledRow
from receiver.warehouse import Connection

ROOT = Path(__file__).parents[1]
SCHEMA = "stitch_customerio"
FIRST = 1_790_000_000_000_000_000  # _sdc_sequence of the first sample

PAGE = (ROOT / "docs/querying.md").read_text()
QUERIES: dict[str, str] = dict(re.findall(r"```sql\n-- (.*?)\n(.*?)```", PAGE, re.DOTALL))


def time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def message(event_id: str, metric: str, when: str, delivery: str, **data: Any) -> bytes:
    whole = {"delivery_id": delivery, "campaign_id": 7, "recipient": f"{delivery}@example.com", **data}
    seconds = int(time(when).timestamp())
    body = {"event_id": event_id, "object_type": "email", "metric": metric, "timestamp": seconds, "data": whole}
    return json.dumps(body).encode()


# Beside the samples, whose messages have one event each: a campaign in October, and people who change their minds.
OCTOBER = [
    message("o1", "sent", "2026-10-01T08:00:00", "d1"),
    message("o2", "sent", "2026-10-01T08:00:01", "d2"),
    message("o3", "sent", "2026-10-01T08:00:02", "d3"),
    message("o4", "delivered", "2026-10-01T08:01:00", "d1"),
    message("o5", "delivered", "2026-10-01T08:01:01", "d2"),
    message("o6", "opened", "2026-10-01T08:02:00", "d1", prefetched=True),
    message("o7", "opened", "2026-10-01T09:00:00", "d1", prefetched=False),
    message("o8", "opened", "2026-10-02T09:00:00", "d1"),
    message("o9", "clicked", "2026-10-01T09:00:10", "d1", machine=False),
    message("o10", "clicked", "2026-10-01T08:01:02", "d2", machine=True),
    message("o11", "unsubscribed", "2026-10-02T10:00:00", "d1", customer_id="cust-1"),
]


@pytest.fixture(params=["upsert", "append"])
def connection(request: pytest.FixtureRequest, dsn: str) -> Iterator[Connection]:
    loading: Loading = request.param
    lines = [*(ROOT / "samples/customerio_current.jsonl").read_bytes().splitlines()]
    lines += (ROOT / "samples/customerio_legacy.jsonl").read_bytes().splitlines()
    lines += OCTOBER
    events = [event for event in (parse(line, "") for line in lines) if isinstance(event, Event)]
    assert len(events) == len(lines) == 45
    rows = [SpooledRow(FIRST + 10 * n, SCHEMA, FIRST // 1000 + n, *event, None) for n, event in enumerate(events)]
    # Three were delivered once before; under append that is a row which no view may show.
    stale = [row._replace(sequence=row.sequence - 1, metric="opened", object_type="email") for row in rows[2:5]]
    rejects = [
        rows[0]._replace(sequence=FIRST + 1000, body=b"{}", reason="no event_id"),
        rows[0]._replace(sequence=FIRST + 2000, body=b'{"a": 1}', reason="no event_id"),
    ]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}; SET TIME ZONE 'America/New_York'")
        warehouse.create_tables(connection, SCHEMA, loading)
        for view in views("customerio", loading).values():
            connection.execute(view.statement(SCHEMA))
        warehouse.insert_events(connection, SCHEMA, loading, [*stale, *rows])
        warehouse.insert_rejects(connection, SCHEMA, rejects)
        connection.execute("SET TIME ZONE 'UTC'")
        yield connection


DAY = datetime.date(2026, 10, 1)
EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "Bounces of a day, with their reason": [
        (time("2026-09-21T14:14:44"), "gone@example.com", "550 5.1.1 mailbox unavailable")
    ],
    "A campaign's funnel": [(7, 3, 2, 1, 2, 1)],
    "Devices that a push message bounced from": [("01KB7WNFCZZBYJXGCG7MBFAFCQ", "tok-2", "NotRegistered")],
    "Each mail sent, and when it was first opened and clicked by a person": [
        ("d1", "d1@example.com", time("2026-10-01T08:00:00"), time("2026-10-01T09:00:00"), time("2026-10-01T09:00:10")),
        ("d2", "d2@example.com", time("2026-10-01T08:00:01"), None, None),
        ("d3", "d3@example.com", time("2026-10-01T08:00:02"), None, None),
    ],
    "Opens of both generations of the payload": [
        ("ZJvQ103AAB", "Person <person103@example.com>", time("2018-04-02T17:21:49")),
        ("dgSX000009CCGQ==", "person@example.com", time("2026-09-21T14:14:30")),
    ],
    "Events a day, by channel and metric": [
        (DAY, "email", "clicked", 2),
        (DAY, "email", "delivered", 2),
        (DAY, "email", "opened", 2),
        (DAY, "email", "sent", 3),
        (DAY.replace(day=2), "email", "opened", 1),
        (DAY.replace(day=2), "email", "unsubscribed", 1),
    ],
    "A field that has no column, of a channel that has no view": [(time("2026-09-21T14:16:36"), "Bergen")],
    "One event as it was sent": [
        (json.loads((ROOT / "samples/customerio_current.jsonl").read_bytes().splitlines()[25]),)
    ],
    "Who is unsubscribed now": [
        ("cust-1", time("2026-10-02T10:00:00")),
        ("cust-2", time("2026-09-21T14:13:34")),
        ("cust-x", time("2018-04-02T17:26:40")),
    ],
    "Topics that people chose or left": [("cust-3", "topic_1", True), ("cust-3", "topic_2", False)],
    "All that happened to one person": [
        (time("2026-09-21T14:14:09"), "email", "unsubscribed"),
        (time("2026-09-21T14:16:29"), "email", "subscribed"),
    ],
    "What was rejected, and why": [("no event_id", 2, time("2026-09-21T14:13:20.000001"))],
    "Stitch's own query for the latest version of each row": [("01KCDV38Y2AVFTC1E98DYRQF11", "clicked")],
}


def test_every_query_of_the_page_is_expected_something_of() -> None:
    assert set(QUERIES) == EXPECTED.keys() | TESTED_APART
    assert len(QUERIES) == PAGE.count("```sql")


def run(connection: Connection, title: str) -> Any:
    cursor = connection.execute(QUERIES[title].encode())
    return cursor.fetchall() if cursor.description else cursor.rowcount


TESTED_APART = {
    "An index for look-ups by any field",
    "The next rows after a sequence",
    "How fresh the schema is",
    "The bodies",
    "Rows that were replayed since you last read",  # tests/receiver/test_replay.py
    "Events that were delivered more than once",
    "Keep one row of each event",
}


def test_each_query_gives_what_it_promises_under_either_mode(connection: Connection) -> None:
    for title, expected in EXPECTED.items():
        assert run(connection, title) == expected, title


def test_the_next_rows_come_in_order_and_each_once(connection: Connection) -> None:
    rows = run(connection, "The next rows after a sequence")
    sequences = [sequence for *_, sequence in rows]
    assert sequences == sorted(set(sequences))
    assert (len(rows), sequences[0]) == (13, FIRST + 310)


def test_freshness_is_that_of_the_last_event(connection: Connection) -> None:
    ((last_event, last_received, last_loaded),) = run(connection, "How fresh the schema is")
    assert (last_event, last_received) == (time("2026-10-02T10:00:00"), time("2026-09-21T14:13:20.000044"))
    assert abs(datetime.datetime.now(datetime.UTC) - last_loaded) < datetime.timedelta(minutes=5)


def test_rejected_bodies_come_latest_first(connection: Connection) -> None:
    assert [record for *_, record in run(connection, "The bodies")] == ['{"a": 1}', "{}"]


def test_the_suggested_index_is_used_by_the_look_up_that_follows(connection: Connection) -> None:
    run(connection, "An index for look-ups by any field")
    connection.execute("SET enable_seqscan = off")
    plan = connection.execute(b"EXPLAIN " + QUERIES["All that happened to one person"].encode()).fetchall()
    assert "data_payload" in str(plan)


def test_append_shows_its_duplicates_and_can_be_made_upsert(connection: Connection) -> None:
    twice = [event_id for event_id, deliveries in run(connection, "Events that were delivered more than once")]
    found = warehouse.describe(connection, SCHEMA)
    assert len(twice) == (3 if found.loading == "append" else 0)
    before = connection.execute(f"SELECT * FROM {SCHEMA}.data_latest ORDER BY event_id").fetchall()
    assert run(connection, "Keep one row of each event") == len(twice)
    assert connection.execute(f"SELECT * FROM {SCHEMA}.data ORDER BY event_id").fetchall() == [
        row[:-1] for row in before
    ]
    warehouse.set_loading(connection, SCHEMA, "upsert")
