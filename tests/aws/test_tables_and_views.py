"""The Iceberg tables and Athena views, made and queried without AWS, give the answers that the local views give in
PostgreSQL for the same deliveries. What can't be seen so is in `tests/aws/iceberg.py`."""

import base64
import contextlib
import datetime
import functools
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
import sqlglot
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import set_json_loads
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.types import StringType
from sqlglot import exp

from components.aws.tables import TABLES, routing
from components.aws.views import FUNCTIONS, views
from components.customerio.fields import CHANNELS
from provider.views import views as local_views
from receiver import warehouse
from receiver.aws import records
from receiver.aws.records import Moment
from receiver.event import Event, Rejection, parse
from receiver.spool import SpooledRow
from receiver.warehouse import Connection
from tests.aws import iceberg
from tests.aws.iceberg import Destination, RecordRefused
from tests.receiver.test_warehouse_views import RIGHT, SAMPLES, WRONG, event
from tests.support.postgres import PostgresServer
from tests.test_querying_docs import OCTOBER

DATABASE = "stitch_customerio"
FIRST = 1_790_000_000_000_000_000  # _sdc_sequence of the first row
UTC = datetime.UTC
VIEWS = {name: view.sql for name, view in views("customerio", DATABASE).items()}
JSONB = 3802  # the number of PostgreSQL's type
SAMPLE_LINES = [line for file in sorted(SAMPLES.glob("*.jsonl")) for line in file.read_bytes().splitlines()]


# The same deliveries in both warehouses


class Both:
    """One schema in PostgreSQL and on Iceberg; what is loaded goes into both."""

    def __init__(self, connection: Connection, catalog: Catalog, database: str) -> None:
        self.connection = connection
        self.database = database
        self.tables = made(catalog, database)
        self._sequence = FIRST
        set_json_loads(exactly, connection)
        connection.execute(sql.SQL("CREATE SCHEMA {0}").format(sql.Identifier(database)))
        warehouse.create_tables(connection, database, "append")
        for view in local_views("customerio", "append").values():
            connection.execute(view.statement(database))

    def load(self, bodies: Iterable[bytes]) -> None:
        """As the receivers do, one row a microsecond; two platforms, one order."""
        events, rejects, arrived = [], [], []
        for body in bodies:
            self._sequence += 1_000
            parsed = parse(body, "")
            arrived.append((parsed, self._sequence))
            if isinstance(parsed, Event):
                events.append(SpooledRow(self._sequence, self.database, self._sequence // 1_000, *parsed, None))
            else:
                row = SpooledRow(self._sequence, self.database, 0, "", None, None, None, parsed.raw, parsed.reason)
                rejects.append(row)
        with self.connection.transaction():
            warehouse.insert_events(self.connection, self.database, "append", events)
            warehouse.insert_rejects(self.connection, self.database, rejects)
            [(now,)] = self.connection.execute("SELECT now()").fetchall()
        batched = round(now.timestamp() * 1_000_000)
        deliver(
            self.database,
            self.tables,
            [records.whole(parsed, Moment(sequence // 1_000, batched, sequence)) for parsed, sequence in arrived],
        )

    def athena(self, query: str) -> list[dict[str, Any]]:
        own = {name: view.sql for name, view in views("customerio", self.database).items()}
        return iceberg.query(self.database, self.tables, own, query)

    def postgres(self, query: str) -> list[dict[str, Any]]:
        """Rows as Athena's views show them: times in UTC without saying so, rounded to milliseconds."""
        cursor = self.connection.execute(query.encode())
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, map(without_zone, row), strict=True)) for row in cursor.fetchall()]

    def jsonb_columns(self, view: str) -> set[str]:
        cursor = self.connection.execute(f"SELECT * FROM {self.database}.{view} LIMIT 0".encode())
        return {column.name for column in cursor.description or () if column.type_code == JSONB}


def made(catalog: Catalog, database: str) -> dict[str, Table]:
    return {
        name: iceberg.create(
            catalog, database, name, iceberg.table_input(table, f"s3://lake/{database}/{table.folder}")
        )
        for name, table in TABLES.items()
    }


def deliver(database: str, tables: Mapping[str, Table], sent: Iterable[bytes]) -> None:
    """What a stream does with the records: each to its table, each table in one append, in whatever order."""
    batches: dict[str, list[bytes]] = {}
    for record in sent:
        destination = iceberg.route(routing(database), record)
        assert (destination.database, destination.operation) == (database, "insert")
        batches.setdefault(destination.table, []).append(record)
    for name, batch in batches.items():
        random.Random(len(batch)).shuffle(batch)
        iceberg.append(tables[name], batch)


exactly = functools.partial(json.loads, parse_float=Decimal, parse_int=Decimal)


def without_zone(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        rounded = value.astimezone(UTC).replace(tzinfo=None) + datetime.timedelta(microseconds=500)
        return rounded.replace(microsecond=rounded.microsecond // 1_000 * 1_000)
    return value


def assert_same_answers(both: Both) -> dict[str, int]:
    """Compares every view column by column; the number of rows of each."""
    counts = {}
    own = {name: view.sql for name, view in views("customerio", both.database).items()}
    athena = iceberg.connected(both.database, both.tables, own)
    for view in own:
        expected = both.postgres(f"SELECT * FROM {both.database}.{view} ORDER BY _sdc_sequence")
        found = iceberg.select(athena, f"SELECT * FROM {both.database}.{view} ORDER BY _sdc_sequence")
        texts = both.jsonb_columns(view)
        counts[view] = len(found)
        assert len(found) == len(expected), view
        for theirs, ours in zip(expected, found, strict=True):
            assert ours.pop("_sdc_body_uri") is None
            assert list(ours) == list(theirs), view
            for column, value in ours.items():
                if column in texts and value is not None:
                    value = exactly(value)
                where = (view, column, theirs["payload"])
                assert value == theirs[column], where
                assert type(value) is type(theirs[column]), where
    return counts


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[Connection]:
    with postgres.database() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        yield connection


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return iceberg.catalog(tmp_path_factory.mktemp("lake"))


@contextlib.contextmanager
def made_in_both(connection: Connection, catalog: Catalog) -> Iterator[Both]:
    """The schema, empty, until the block ends. It has one name always: its views are translated for DuckDB once."""
    try:
        yield Both(connection, catalog, DATABASE)
    finally:
        connection.execute(f"DROP SCHEMA IF EXISTS {DATABASE} CASCADE")
        for name in TABLES:
            with contextlib.suppress(NoSuchTableError):
                catalog.drop_table(f"{DATABASE}.{name}")


@pytest.fixture
def both(connection: Connection, catalog: Catalog) -> Iterator[Both]:
    with made_in_both(connection, catalog) as made:
        yield made


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    """The tables alone, empty."""
    return made(iceberg.catalog(tmp_path), DATABASE)


def data_record(**values: Any) -> bytes:
    usual = {
        "event_id": "e",
        "object_type": "email",
        "metric": "sent",
        "timestamp": 1_790_000_000,
        "payload": "{}",
        "_sdc_received_at": 1_790_000_000_000_000,
        "_sdc_batched_at": 1_790_000_000_000_001,
        "_sdc_sequence": FIRST,
        "_sdc_table_version": 1,
        "_sdc_body_uri": None,
    }
    return json.dumps({**usual, **values}).encode()


# Answers


def test_the_samples_have_the_same_answers(both: Both) -> None:
    both.load(SAMPLE_LINES)
    counts = assert_same_answers(both)
    assert (counts["data_latest"], counts["email_events"], counts["customer_events"]) == (34, 19, 4)


def body(event_id: str, **fields: Any) -> bytes:
    whole = {"event_id": event_id, "object_type": "email", "metric": "sent", "timestamp": 1_790_000_000, **fields}
    return json.dumps(whole, ensure_ascii=False).encode()


NO_OBJECTS: list[Any] = [None, [], [1], [{"customer_id": "x"}], "text", 5, True, {}]
NO_IDS: list[Any] = [None, [], [{"id": "x"}], "text", 5, {}]
AWKWARD = [
    body("no data"),
    *(body(f"data is {data!r}", data=data) for data in NO_OBJECTS),
    *(body(f"ids are {ids!r}", data={"identifiers": ids}) for ids in NO_IDS),
    body("numbers as strings", data={"campaign_id": "12", "link_id": "007", "customer_id": 12}),
    body("not digits", data={"campaign_id": " 5", "link_id": "+5", "action_id": "5\n", "content_id": "٣"}),
    body("nearly numbers", data={"campaign_id": "1e2", "link_id": "4.0", "action_id": "0x1", "content_id": ""}),
    body("18 digits", data={"campaign_id": "9" * 18, "link_id": "-" + "9" * 18, "action_id": "-", "content_id": "--1"}),
    body("19 digits", data={"campaign_id": "9" * 19, "link_id": "1" * 19, "action_id": "0" * 19}),
    body("the largest", data={"campaign_id": 2**63 - 1, "link_id": -(2**63), "action_id": 2**63, "content_id": 2**64}),
    body("much larger", data={"campaign_id": 10**30, "link_id": -(10**30), "action_id": 1e300}),
    body("whole", data={"campaign_id": 4.0, "link_id": -4.0, "action_id": 4.5, "content_id": 12_345_678.0}),
    b'{"event_id":"exponents","object_type":"email","data":{"campaign_id":1e2,"link_id":1E15,"action_id":25e-1}}',
    b'{"event_id":"escaped digit","object_type":"email","data":{"campaign_id":"\\u0035","link_id":"\\u00e9"}}',
    b' {\n"event_id" : "spaces",\t"object_type":"email" , "data" : {"campaign_id" : 5 , "headers" : [ 1 , 2 ]} }\r\n',
    body("booleans", data={"proxied": True, "prefetched": False, "synthetic": None}),
    body("not booleans", data={"proxied": "true", "prefetched": 1, "synthetic": {"a": True}, "machine": "TRUE"}),
    body("nested where text is expected", data={"customer_id": {"id": 1}, "subject": ["a"], "recipient": {}}),
    body("other scalars", data={"customer_id": True, "subject": 5, "recipient": False, "href": 1.5, "to": -3}),
    body("empty", data={"customer_id": "", "headers": "", "variables": {}, "campaign_id": ""}),
    body("json", data={"headers": {"X": ["1", 2, None, {"é": '"\\/'}]}, "variables": [[]]}),
    body("json scalars", data={"headers": 0, "variables": False}),
    body("texts like JSON", data={"customer_id": '{"a": 1}', "subject": "[1]", "recipient": "null", "href": '"x"'}),
    body("ünïcode 🕊 \u2028", data={"customer_id": "Ünï", "subject": "🕊\u2028\x7f", "recipient": "\"\\\n\t/'$.{}"}),
    body("a name with dots", **{"data.customer_id": "x", "data": {"identifiers.id": "y"}}),
    body("unknown channel", object_type="carrier_pigeon", data={"customer_id": "c"}),
    body("no channel", object_type=None, data={"customer_id": "c"}),
    body("channel is an object", object_type={"a": 1}, metric=[1]),
    body("channel in capitals", object_type="EMAIL"),
    body("in_app", object_type="in_app", data={"tracked_response": 1}),
    b'{"event_id":"legacy","event_type":"in_app_clicked","timestamp":1522689706,"data":{"variables":{"a":"1"}}}',
    b'{"event_id":"legacy type is a number","event_type":5,"data":{"email_id":"x"}}',
    b'{"event_id":"legacy channel unknown","event_type":"pigeon_landed_well"}',
    *(
        body(f"time {time!r}", timestamp=time)
        for time in (
            *(0, -1, 1_790_000_000_000, 9_224_318_016_000, 2**63 - 1, -(2**63), 2**63, "1790000000", 1.5, None, True),
            *(253_402_214_399, 253_402_214_400, -62_135_510_400, -62_135_510_401),
        )
    ),
    # The same event, again and again: the last counts, whatever it has become.
    body("again", metric="delivered"),
    body("again", metric="opened"),
    body("again", metric="clicked", object_type="sms"),
    body("ünïcode 🕊 \u2028", data={"customer_id": "later"}),
]


def test_awkward_payloads_have_the_same_answers(both: Both) -> None:
    both.load(AWKWARD)
    counts = assert_same_answers(both)
    assert counts["data_latest"] == len(AWKWARD) - 3
    assert (counts["sms_events"], counts["in_app_events"]) == (1, 2)


def test_every_field_of_every_channel_has_the_same_answer_for_every_type_of_value(both: Both) -> None:
    cases = [
        (channel, field.path, value)
        for channel, its in CHANNELS.items()
        for field in its
        for value in [*(right for right, _ in RIGHT[field.type]), *WRONG[field.type]]
    ]
    both.load(json.dumps(event(number, *case)).encode() for number, case in enumerate(cases))
    assert assert_same_answers(both)["data_latest"] == len(cases) > 1_000


def test_where_the_answers_differ_it_is_as_the_views_say(both: Both) -> None:
    both.load(
        [
            b'{"event_id":"twice","object_type":"email","data":{"subject":"first","subject":"last"}}',
            b'{"event_id":"digits","object_type":"email","data":{"link_id":1.00000000000000000001,"action_id":1e-300}}',
        ]
    )
    query = f"SELECT data__subject, data__link_id, data__action_id FROM {DATABASE}.email_events ORDER BY _sdc_sequence"
    assert [tuple(row.values()) for row in both.postgres(query)] == [("last", None, None), (None, None, None)]
    assert [tuple(row.values()) for row in both.athena(query)] == [("first", None, None), (None, 1, 0)]


# Of numbers, those that all engines write alike: the others differ as the views say.
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**6), 10**6).map(lambda quarters: quarters / 4)
TEXTS = st.text(max_size=5) | st.sampled_from(["true", "null", "12", "-7", "4.0", "{}", "[1]"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PATHS = st.sampled_from([field.path for field in CHANNELS["email"]])


@st.composite
def any_body(draw: st.DrawFn) -> dict[str, Any]:
    whole: dict[str, Any] = {"object_type": "email", "metric": "m", "timestamp": draw(ANY_JSON), "data": draw(ANY_JSON)}
    for path, value in draw(st.dictionaries(PATHS, ANY_JSON, max_size=8)).items():
        inner = whole
        for name in path[:-1]:
            if not isinstance(inner.get(name), dict):
                inner[name] = {}
            inner = inner[name]
        inner[path[-1]] = value
    return whole


# Not made smaller when it fails, which takes long: the message has the one payload.
@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)
@given(bodies=st.lists(any_body(), min_size=15, max_size=40))
def test_any_payload_has_the_same_answers(connection: Connection, catalog: Catalog, bodies: list[Any]) -> None:
    with made_in_both(connection, catalog) as both:
        both.load(json.dumps({"event_id": f"e{n}", **body}).encode() for n, body in enumerate(bodies))
        assert_same_answers(both)


def test_of_one_event_the_highest_sequence_counts_then_the_later_batch(tables: dict[str, Table]) -> None:
    rows = [  # event, what to find it by, its batch, its sequence
        ("twice", 1, 1, 10),
        ("twice", 2, 2, 20),
        ("higher sequence in an older batch", 1, 2, 10),
        ("higher sequence in an older batch", 2, 1, 20),
        ("equal sequences", 1, 1, 10),
        ("equal sequences", 2, 2, 10),
        ("all equal", 2, 1, 10),
        ("all equal", 2, 1, 10),
        ("once", 2, 1, 1),
    ]
    for name, found_by, batch, sequence in rows:  # a file each
        record = data_record(event_id=name, timestamp=found_by, _sdc_batched_at=batch, _sdc_sequence=sequence)
        iceberg.append(tables["data"], [record])
    found = iceberg.query(DATABASE, tables, VIEWS, f"SELECT event_id, timestamp FROM {DATABASE}.data_latest")
    assert {row["event_id"]: row["timestamp"] for row in found} == dict.fromkeys({name for name, *_ in rows}, 2)
    assert len(found) == 5


def test_rejected_bodies_have_the_same_columns(both: Both) -> None:
    unusable = [b"{}", b"", b"not JSON \xff\x00", b'{"event_id": ""}', b'["\xf0\x9f\x95\x8a"]', b"x" * 100_000]
    both.load(unusable)
    expected = both.postgres(f"SELECT * FROM {DATABASE}._sdc_rejected ORDER BY _sdc_sequence")
    found = both.athena(f"SELECT * FROM {DATABASE}._sdc_rejected ORDER BY _sdc_sequence")
    for theirs, ours in zip(expected, found, strict=True):
        assert ours.pop("_sdc_body_uri") is None
        assert list(ours) == list(theirs)
        ours["_sdc_raw"] = base64.b64decode(ours["_sdc_raw"], validate=True)
        ours["_sdc_rejected_at"] = without_zone(ours["_sdc_rejected_at"])
        assert ours == theirs
    assert [row["_sdc_raw"] for row in found] == unusable


def test_a_body_that_is_kept_elsewhere_is_named_and_what_is_left_of_it_shown(tables: dict[str, Table]) -> None:
    large = parse(body("large", data={"customer_id": "c", "content": "x" * 2_000_000}), "")
    assert isinstance(large, Event)
    moment = Moment(1_790_000_000_000_000, 1_790_000_000_000_000, FIRST)
    deliver(DATABASE, tables, [records.slim(large, moment, "s3://lake/oversized/1")])
    (row,) = iceberg.query(DATABASE, tables, VIEWS, f"SELECT * FROM {DATABASE}.email_events")
    assert row["_sdc_body_uri"] == "s3://lake/oversized/1"
    assert (row["data__customer_id"], row["data__content"]) == ("c", None)


# Views


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_uses_nothing_but_functions_that_athena_has(name: str) -> None:
    assert set(iceberg.functions(VIEWS[name])) <= FUNCTIONS.keys()
    (tree,) = sqlglot.parse(VIEWS[name], read="athena")
    assert tree is not None
    assert not list(tree.find_all(exp.Anonymous, exp.Command))


def test_every_function_on_the_list_is_used() -> None:
    assert {function for view in VIEWS.values() for function in iceberg.functions(view)} == FUNCTIONS.keys()


@pytest.mark.parametrize("unknown", ["nosuchfunction", "nvl", "get_json_object", "to_json", "strptime"])
def test_a_function_that_athena_lacks_would_be_noticed(unknown: str) -> None:
    wrong = VIEWS["email_events"].replace("regexp_extract(", f"{unknown}(", 1)
    assert set(iceberg.functions(wrong)) - FUNCTIONS.keys() == {unknown}


def test_the_views_columns_have_the_types_that_the_catalog_is_told(tables: dict[str, Table]) -> None:
    spelled = {"VARCHAR": "varchar", "BIGINT": "bigint", "BOOLEAN": "boolean", "TIMESTAMP_MS": "timestamp(3)"}
    with iceberg.connected(DATABASE, tables, VIEWS) as connection:
        for name, view in views("customerio", DATABASE).items():
            described = connection.execute(f'DESCRIBE "{DATABASE}"."{name}"').fetchall()
            assert [(column, spelled[type_]) for column, type_, *_ in described] == [
                (column.name, column.trino) for column in view.columns
            ]


def test_what_the_catalog_holds_is_the_sql_that_was_tried_here() -> None:
    for view in views("customerio", DATABASE).values():
        definition = iceberg.view_definition(view.original_text)
        assert definition["originalSql"] == view.sql
        assert [its["name"] for its in definition["columns"]] == [column.name for column in view.columns]


def test_a_time_is_the_same_wherever_the_session_is(tables: dict[str, Table]) -> None:
    iceberg.append(tables["data"], [data_record()])
    with iceberg.connected(DATABASE, tables, VIEWS) as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        (row,) = iceberg.select(connection, f"SELECT occurred_at, _sdc_received_at FROM {DATABASE}.data_latest")
    assert set(row.values()) == {datetime.datetime(2026, 9, 21, 14, 13, 20)}


# Tables


def test_rows_are_kept_by_the_day_they_came(tables: dict[str, Table]) -> None:
    day = 86_400_000_000
    midnight = 20_717 * day
    times = [midnight - 1, midnight, midnight + 1, midnight + day - 1, midnight + day]
    iceberg.append(tables["data"], [data_record(_sdc_received_at=time) for time in times])
    found = sorted((its["_sdc_received_day"].isoformat(), its["rows"]) for its in iceberg.partitions(tables["data"]))
    assert found == [("2026-09-20", 1), ("2026-09-21", 3), ("2026-09-22", 1)]
    read = tables["data"].scan(row_filter="_sdc_received_at >= '2026-09-22T00:00:00+00:00'").plan_files()
    assert len(list(read)) == 1  # of three


def test_a_column_that_comes_later_has_a_new_id_and_older_rows_lack_it(tables: dict[str, Table]) -> None:
    data = tables["data"]
    iceberg.append(data, [data_record(event_id="old")])
    before = {field.name: field.field_id for field in data.schema().fields}
    with data.update_schema() as change:
        change.add_column("added", StringType())
    added = data.schema().find_field("added")
    assert (added.field_id, added.required) == (len(before) + 1, False)
    assert {field.name: field.field_id for field in data.schema().fields} == {**before, "added": added.field_id}
    iceberg.append(data, [data_record(event_id="new", added="x", _sdc_sequence=FIRST + 1)])
    rows = iceberg.query(DATABASE, tables, VIEWS, f"SELECT event_id, added FROM {DATABASE}.data ORDER BY event_id")
    assert rows == [{"event_id": "new", "added": "x"}, {"event_id": "old", "added": None}]
    assert len(iceberg.query(DATABASE, tables, VIEWS, f"SELECT * FROM {DATABASE}.email_events")) == 2


def test_files_are_parquet_compressed_with_zstd(tables: dict[str, Table]) -> None:
    iceberg.append(tables["data"], [data_record()])
    (task,) = tables["data"].scan().plan_files()
    (codec,) = duckdb.execute("SELECT DISTINCT compression FROM parquet_metadata(?)", [task.file.file_path]).fetchall()
    assert (tables["data"].format_version, codec) == (2, ("ZSTD",))


@pytest.mark.parametrize("parsed", [Event("e", None, None, None, b"{}"), Rejection("not JSON", b"\xff")])
def test_a_record_goes_to_the_table_whose_columns_it_has(parsed: Event | Rejection) -> None:
    record = records.whole(parsed, Moment(1, 2, 3))
    destination = iceberg.route(routing(DATABASE), record)
    assert destination == Destination(DATABASE, "data" if isinstance(parsed, Event) else "_sdc_rejected", "insert")
    assert json.loads(record).keys() == {field.name for field in TABLES[destination.table].fields}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (data_record(event_id=None), "required"),
        (data_record(event_id=5), "not 5"),
        (data_record(payload={}), "not {}"),
        (data_record(_sdc_received_at="2026-09-21T14:13:20Z"), "not '2026"),
        (data_record(_sdc_received_at=1.79e15), "not 1790000000000000.0"),
        (data_record(timestamp=True), "not True"),
        (data_record(_sdc_sequence=2**63), "not 9223372036854775808"),
        (data_record(extra=None), "unknown: .'extra'"),
        (b'{"event_id": "e"}', "columns missing: ."),
        (data_record() + data_record(), "not one JSON document"),
        (data_record()[:-1] + b', "metric": "x"}', "twice"),
        (data_record(payload="x" * 1_024_000), "bytes"),
        (b"[]", "not a JSON object"),
    ],
)
def test_a_record_that_firehose_would_refuse_is_refused(tables: dict[str, Table], record: bytes, reason: str) -> None:
    with pytest.raises(RecordRefused, match=reason):
        iceberg.append(tables["data"], [data_record(), record])
    assert len(tables["data"].scan().to_arrow()) == 0


# Queries to recommend


ATHENA: dict[str, str] = {
    "Events a day, by channel and metric": f"""
SELECT date(occurred_at) AS day, object_type, metric, count(*) AS events
FROM {DATABASE}.data_latest
WHERE occurred_at >= timestamp '2026-10-01 00:00:00'
GROUP BY date(occurred_at), object_type, metric
ORDER BY day, object_type, metric""",
    "Bounces of a day, with their reason": f"""
SELECT occurred_at, data__recipient, data__failure_message
FROM {DATABASE}.email_events
WHERE metric = 'bounced'
  AND occurred_at >= timestamp '2026-09-21 00:00:00' AND occurred_at < timestamp '2026-09-22 00:00:00'
ORDER BY occurred_at""",
    "A campaign's funnel": f"""
SELECT data__campaign_id AS campaign_id,
       count(DISTINCT data__delivery_id) FILTER (WHERE metric = 'sent') AS sent,
       count(DISTINCT data__delivery_id) FILTER (WHERE metric = 'delivered') AS delivered,
       count(DISTINCT data__delivery_id) FILTER (WHERE metric = 'opened') AS opened
FROM {DATABASE}.email_events
WHERE occurred_at >= timestamp '2026-10-01 00:00:00' AND data__campaign_id IS NOT NULL
GROUP BY data__campaign_id
ORDER BY campaign_id""",
    "The last that happened to each message": f"""
SELECT data__delivery_id AS delivery_id, max_by(metric, occurred_at) AS last, max(occurred_at) AS at
FROM {DATABASE}.email_events
WHERE data__delivery_id IS NOT NULL AND occurred_at >= timestamp '2026-10-01 00:00:00'
GROUP BY data__delivery_id
ORDER BY delivery_id""",
    "Devices that a push message bounced from": f"""
SELECT event_id,
       json_extract_scalar(device, '$.device_id') AS device_id,
       json_extract_scalar(device, '$.failure_message') AS failure_message
FROM {DATABASE}.push_events
CROSS JOIN UNNEST(CAST(json_parse(data__recipients) AS array(json))) AS t (device)
WHERE metric = 'bounced'""",
    "A field that has no column, of a channel that has no view": f"""
SELECT occurred_at, json_extract_scalar(payload, '$.data.loft.city') AS city
FROM {DATABASE}.data_latest
WHERE object_type = 'carrier_pigeon'""",
    # With an hour of overlap, as deliveries don't land in order; and by day, so that only newer files are read.
    "The next rows after a sequence": f"""
SELECT event_id, metric, _sdc_sequence
FROM {DATABASE}.data
WHERE _sdc_sequence > {FIRST + 40_000} - 3600000000000
  AND _sdc_received_at >= timestamp '2026-09-21 00:00:00 UTC'
ORDER BY _sdc_sequence""",
    "How fresh the schema is": f"""
SELECT max(occurred_at) AS last_event, max(_sdc_received_at) AS last_received
FROM {DATABASE}.data_latest""",
    "What was rejected, and why": f"""
SELECT reason, count(*) AS bodies, min(_sdc_rejected_at) AS first_came
FROM {DATABASE}._sdc_rejected
WHERE _sdc_replayed_at IS NULL
GROUP BY reason
ORDER BY bodies DESC, reason""",
    "The bodies, as they came": f"""
SELECT reason, from_utf8(from_base64(_sdc_raw)) AS body
FROM {DATABASE}._sdc_rejected
WHERE _sdc_body_uri IS NULL
ORDER BY _sdc_sequence DESC
LIMIT 20""",
}


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


DAY = datetime.date(2026, 10, 1)
EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "Events a day, by channel and metric": [
        (DAY, "email", "clicked", 2),
        (DAY, "email", "delivered", 2),
        (DAY, "email", "opened", 2),
        (DAY, "email", "sent", 3),
        (DAY.replace(day=2), "email", "opened", 1),
        (DAY.replace(day=2), "email", "unsubscribed", 1),
    ],
    "Bounces of a day, with their reason": [
        (at("2026-09-21T14:14:44"), "gone@example.com", "550 5.1.1 mailbox unavailable")
    ],
    "A campaign's funnel": [(7, 3, 2, 1)],
    "The last that happened to each message": [
        ("d1", "unsubscribed", at("2026-10-02T10:00:00")),
        ("d2", "clicked", at("2026-10-01T08:01:02")),
        ("d3", "sent", at("2026-10-01T08:00:02")),
    ],
    "Devices that a push message bounced from": [("01KB7WNFCZZBYJXGCG7MBFAFCQ", "tok-2", "NotRegistered")],
    "A field that has no column, of a channel that has no view": [(at("2026-09-21T14:16:36"), "Bergen")],
    "How fresh the schema is": [(at("2026-10-02T10:00:00"), at("2026-09-21T14:13:20"))],
    "The bodies, as they came": [
        ("no event_id (a string that isn't empty)", '{"a": "ü"}'),
        ("no event_id (a string that isn't empty)", "{}"),
    ],
}


def test_the_queries_to_recommend_give_what_they_promise(both: Both) -> None:
    both.load([*SAMPLE_LINES, *OCTOBER, b"{}", '{"a": "ü"}'.encode()])
    for title, expected in EXPECTED.items():
        assert [tuple(row.values()) for row in both.athena(ATHENA[title])] == expected, title
    (rejected,) = both.athena(ATHENA["What was rejected, and why"])
    assert (rejected["reason"], rejected["bodies"]) == ("no event_id (a string that isn't empty)", 2)
    assert abs(datetime.datetime.now(UTC) - rejected["first_came"]) < datetime.timedelta(minutes=5)
    sequences = [row["_sdc_sequence"] for row in both.athena(ATHENA["The next rows after a sequence"])]
    assert sequences == [FIRST + 1_000 * (n + 1) for n in range(45)]
    assert ATHENA.keys() - EXPECTED.keys() == {"The next rows after a sequence", "What was rejected, and why"}


def test_the_queries_of_the_docs_are_those_that_were_run() -> None:
    page = (SAMPLES.parent / "docs/aws.md").read_text()
    quoted = dict(re.findall(r"```sql\n-- (.*?)\n(.*?)```", page, re.DOTALL))
    assert len(quoted) >= 5
    for title, query in quoted.items():
        assert ATHENA[title].split() == query.rstrip("; \n").split(), title
