"""The views on a real PostgreSQL: exact values for the samples, and no value whatever that makes a query fail."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from components.customerio.fields import CHANNELS
from provider.views import views
from receiver import warehouse
from receiver.event import Event, parse
from receiver.registry import Loading
from receiver.spool import SpooledRow
from receiver.warehouse import Connection
from tests.support import sizes
from tests.support.postgres import PostgresServer

SAMPLES = Path(__file__).parents[2] / "samples"
UTC = datetime.UTC


def spooled(body: bytes, sequence: int) -> SpooledRow:
    event = parse(body, "")
    assert isinstance(event, Event), event
    return SpooledRow(sequence, "s", 1_790_000_000_000_000, *event, None)


def sample_rows() -> list[SpooledRow]:
    lines = [line for file in sorted(SAMPLES.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    return [spooled(line, number) for number, line in enumerate(lines, 1)]


def make_schema(connection: Connection, loading: Loading) -> None:
    connection.execute("DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA s; SET search_path TO s; SET TIME ZONE 'UTC'")
    warehouse.create_tables(connection, "s", loading)
    for view in views("customerio", loading).values():
        connection.execute(view.statement("s"))


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[Connection]:
    with postgres.database() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def upsert(connection: Connection) -> Connection:
    make_schema(connection, "upsert")
    return connection


def load(connection: Connection, *bodies: dict[str, Any], loading: Loading = "upsert") -> None:
    rows = [spooled(json.dumps(body).encode(), number) for number, body in enumerate(bodies, 1)]
    warehouse.insert_events(connection, "s", loading, rows)


def select(connection: Connection, query: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()


def filled(row: dict[str, Any]) -> dict[str, Any]:
    """A row's columns that hold something, without Sluice's own."""
    return {name: value for name, value in row.items() if value is not None and name[:5] not in ("_sdc_", "paylo")}


@pytest.mark.parametrize("loading", ["upsert", "append"])
def test_every_channels_view_shows_its_samples_and_only_them(connection: Connection, loading: Loading) -> None:
    make_schema(connection, loading)
    warehouse.insert_events(connection, "s", loading, sample_rows())
    counts = {channel: select(connection, f"SELECT FROM {channel}_events") for channel in CHANNELS}
    assert {channel: len(rows) for channel, rows in counts.items()} == {
        "customer": 4,
        "email": 19,
        "push": 4,
        "in_app": 1,
        "slack": 1,
        "sms": 2,
        "whatsapp": 1,
        "webhook": 1,
    }
    assert len(select(connection, "SELECT FROM data_latest")) == 34  # the unknown channel's too


def test_a_current_event_has_every_field_in_its_column(upsert: Connection) -> None:
    warehouse.insert_events(upsert, "s", "upsert", sample_rows())
    (clicked,) = select(upsert, "SELECT * FROM email_events WHERE metric = 'clicked'")
    assert filled(clicked) == {
        "event_id": "01KWXWCBYB6WK952SWA0432CF1",
        "object_type": "email",
        "metric": "clicked",
        "occurred_at": datetime.datetime(2026, 9, 21, 14, 14, 37, tzinfo=UTC),
        "timestamp": 1790000077,
        "data__transactional_message_id": 2,
        "data__delivery_id": "dgSX000010DDGQ==",
        "data__identifiers__id": "cust-11",
        "data__identifiers__email": "person11@example.com",
        "data__identifiers__cio_id": "a3c00000000b",
        "data__recipient": "person@example.com",
        "data__subject": "Spring",
        "data__href": "https://example.com/?q=a&b=ü#x",
        "data__link_id": 4,
        "data__machine": False,
    }
    assert clicked["payload"]["data"]["href"] == "https://example.com/?q=a&b=ü#x"
    assert clicked["_sdc_table_version"] == 1
    (sent,) = select(upsert, "SELECT * FROM email_events WHERE metric = 'sent' AND data__newsletter_id = 88")
    assert sent["data__headers"] == {"X-Mailer": ["one", "two"], "List-Unsubscribe": ["<https://example.com/u>"]}
    assert (sent["data__content"], sent["data__content_id"]) == ('<p>"Hello" \\ there\n</p>', 501)


def test_a_legacy_event_fills_the_same_columns_and_its_own(upsert: Connection) -> None:
    warehouse.insert_events(upsert, "s", "upsert", sample_rows())
    (opened,) = select(upsert, "SELECT * FROM email_events WHERE event_type = 'email_opened'")
    variables = opened.pop("data__variables")
    assert variables["customer"]["plan"] == "pro"
    assert filled(opened) == {
        "event_id": "01KXD47RXN7Z58E12E68JBTTEF",
        "object_type": "email",
        "metric": "opened",
        "event_type": "email_opened",
        "occurred_at": datetime.datetime(2018, 4, 2, 17, 21, 49, tzinfo=UTC),
        "timestamp": 1522689709,
        "data__campaign_id": 1000015,  # sent as a string
        "data__campaign_name": "Onboarding",
        "data__customer_id": "cust-103",
        "data__email_address": "Person <person103@example.com>",
        "data__email_id": "ZJvQ103AAB",
        "data__message_id": "1000025",
        "data__message_name": "Welcome",
        "data__subject": "Welcome",
        "data__template_id": "384381",
    }
    (gone,) = select(upsert, "SELECT * FROM customer_events WHERE event_type IS NOT NULL")
    assert (gone["metric"], gone["data__email_address"]) == ("unsubscribed", "person@example.com")


def test_push_recipients_can_be_taken_apart(upsert: Connection) -> None:
    warehouse.insert_events(upsert, "s", "upsert", sample_rows())
    (bounced,) = select(upsert, "SELECT * FROM push_events WHERE metric = 'bounced'")
    assert bounced["data__recipients"] == [
        {"device_id": "tok-2", "device_platform": "android", "failure_message": "NotRegistered"}
    ]


def test_a_subscription_event_is_in_the_view_of_the_channel_that_caused_it(upsert: Connection) -> None:
    warehouse.insert_events(upsert, "s", "upsert", sample_rows())
    (subscribed,) = select(upsert, "SELECT * FROM email_events WHERE metric = 'subscribed'")
    assert subscribed["data__email_address"] == "person7@example.com"
    (changed,) = select(upsert, "SELECT * FROM customer_events WHERE metric = 'cio_subscription_preferences_changed'")
    assert json.loads(changed["data__content"]) == {"topics": {"topic_1": True, "topic_2": False}}


def test_data_latest_under_append_has_one_row_per_event_whichever_way_they_came(connection: Connection) -> None:
    make_schema(connection, "append")
    insert = "INSERT INTO data VALUES (%s, 'email', 'sent', %s, '{}', now(), %s::timestamptz, %s, 1)"
    rows = [  # event, what to find it by, its batch, its sequence
        ("twice", 1, "2026-01-01", 10),
        ("twice", 2, "2026-01-02", 20),
        ("higher sequence in an older batch", 1, "2026-01-02", 10),
        ("higher sequence in an older batch", 2, "2026-01-01", 20),
        ("equal sequences", 1, "2026-01-01", 10),
        ("equal sequences", 2, "2026-01-02", 10),
        ("all equal", 2, "2026-01-01", 10),
        ("all equal", 2, "2026-01-01", 10),
        ("once", 2, "2026-01-01", 1),
    ]
    for values in rows:
        connection.execute(insert, values)
    found = select(connection, "SELECT event_id, timestamp FROM data_latest")
    assert {row["event_id"]: row["timestamp"] for row in found} == dict.fromkeys({name for name, *_ in rows}, 2)
    assert len(found) == 5


def test_a_condition_on_the_time_uses_the_index_under_either_mode(connection: Connection) -> None:
    for loading in ("upsert", "append"):
        make_schema(connection, loading)
        connection.execute("SET enable_seqscan = off")  # the table is empty
        for view in ("data_latest", "email_events"):
            plan = select(connection, f"EXPLAIN SELECT * FROM {view} WHERE occurred_at >= '2026-01-01'")
            assert "data_occurred_at" in str(plan), (loading, view)
        connection.execute("RESET enable_seqscan")


def test_a_views_digest_follows_its_sql() -> None:
    upsert, append = views("customerio", "upsert"), views("customerio", "append")
    assert [name for name in upsert if upsert[name].digest != append[name].digest] == ["data_latest"]
    assert len({view.digest for view in upsert.values()}) == len(upsert) == 9


# Values of unexpected types

WRONG: dict[str, list[Any]] = {
    "text": [{}, {"a": 1}, [], ["x"], None],
    "bigint": ["x", "", "1.5", "12345678901234567890", 1.5, 2**63, -(2**63) - 1, 1e300, True, {}, ["1"], None, "٣"],
    "boolean": ["true", "", 1, 0, {}, [True], None],
    "json": [None],
}
RIGHT: dict[str, list[tuple[Any, Any]]] = {
    "text": [("x", "x"), ("", ""), (5, "5"), (1.5, "1.5"), (True, "true")],
    "bigint": [(5, 5), (0, 0), (-3, -3), (2**63 - 1, 2**63 - 1), (12.0, 12), ("42", 42), ("-7", -7), ("007", 7)],
    "boolean": [(True, True), (False, False)],
    "json": [({"a": [1]}, {"a": [1]}), ([], []), ("text", "text"), (False, False)],
}


def event(number: int, channel: str, path: tuple[str, ...], value: object) -> dict[str, Any]:
    body: dict[str, Any] = {"event_id": f"e{number}", "object_type": channel, "metric": "sent", "timestamp": 1}
    inner = body
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    return body


@pytest.mark.parametrize("channel", CHANNELS)
def test_each_field_shows_a_value_of_its_type_and_null_for_another(upsert: Connection, channel: str) -> None:
    cases = [
        (field, value, expected)
        for field in CHANNELS[channel]
        for value, expected in [*RIGHT[field.type], *((wrong, None) for wrong in WRONG[field.type])]
    ]
    load(upsert, *(event(number, channel, field.path, value) for number, (field, value, _) in enumerate(cases)))
    rows = select(upsert, f"SELECT * FROM {channel}_events ORDER BY _sdc_sequence")
    assert len(rows) == len(cases)
    for row, (field, value, expected) in zip(rows, cases, strict=True):
        assert row[field.column] == expected, (field, value)
        assert type(row[field.column]) is type(expected), (field, value)


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (0, "1970-01-01 00:00:00+00"),
        (1_790_000_000, "2026-09-21 14:13:20+00"),
        (-1, "1969-12-31 23:59:59+00"),
        (1_790_000_000_000, None),  # milliseconds: the year 58692
        (9_224_318_016_000, None),  # the year 294277, more than timestamptz holds
        (2**63 - 1, None),
        (-(2**63), None),
        ("1790000000", None),
        (1.5, None),
        (None, None),
    ],
)
def test_a_time_that_no_client_can_show_is_null(upsert: Connection, timestamp: object, expected: str | None) -> None:
    load(upsert, {"event_id": "e", "object_type": "sms", "metric": "sent", "timestamp": timestamp})
    assert select(upsert, "SELECT occurred_at::text FROM sms_events") == [{"occurred_at": expected}]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def any_values(connection: Connection) -> Connection:
    make_schema(connection, "append")
    return connection


@settings(max_examples=sizes.of(20, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=ANY_JSON, fields=st.dictionaries(st.sampled_from(CHANNELS["email"]), ANY_JSON), time=ANY_JSON)
def test_no_value_fails_a_query(any_values: Connection, data: object, fields: dict[Any, object], time: object) -> None:
    body: dict[str, Any] = {"event_id": "e", "object_type": "email", "metric": "m", "timestamp": time, "data": data}
    for field, value in fields.items():
        if not isinstance(body["data"], dict):
            body["data"] = {}
        inner = body
        for name in field.path[:-1]:
            inner = inner[name] = dict(inner.get(name) or {}) if isinstance(inner.get(name), dict | None) else {}
        inner[field.path[-1]] = value
    parsed = parse(json.dumps(body).encode(), "")
    if not isinstance(parsed, Event):  # the receiver keeps these from the warehouse
        return
    with any_values.transaction(force_rollback=True):
        warehouse.insert_events(any_values, "s", "append", [SpooledRow(1, "s", 0, *parsed, None)])
        assert len(select(any_values, "SELECT * FROM email_events")) == 1
