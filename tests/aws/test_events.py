"""An event's way on AWS, with nothing in it that the stack didn't make: its zip, run with the environment and registry
that it made and fed with what a Function URL hands over; its records, routed by its own expression into Iceberg tables
made from its own definitions; its views, as they stand in the catalog. The rows are those of the local platform.

Proof limit: a process of ours stands for Lambda, pyiceberg for Firehose, and DuckDB for Athena.
"""

import base64
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from provider.views import views as local_views
from receiver import event as events
from receiver.rows import DATA
from tests.aws import iceberg
from tests.aws.cloud import AwsStack, deployed, needs_standin
from tests.aws.function import RUNNER, Function, request
from tests.aws.moto_server import MotoServer
from tests.customerio import sign
from tests.receiver.scene import Scene, arrival
from tests.support.stack import CUSTOMERIO, event

pytestmark = needs_standin

SCHEMA = "stitch_customerio"
DATABASE = f"acme_{SCHEMA}"
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
SIGNING_KEY = "the-key-that-customerio-signs-with"
SIGNED = {**CUSTOMERIO, "signed": True, "tokens": {"primary": 3}}
BODIES = [line for file in sorted(SAMPLES.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
# Bodies that can't be used, and such as are hard to keep as they are.
HARD = [
    b"",
    b"hello",
    b"[]",
    b"{}",
    b'{"event_id": 5}',
    b'{"event_id": "nul", "data": "\\u0000"}',
    b'{"event_id": "surrogate", "data": "\\ud83d"}',
    b'{"event_id": "bytes", "data": "\xff"}',
    b'\xef\xbb\xbf{"event_id": "bom"}',
    '{"event_id": "utf-16"}'.encode("utf-16"),
    b'{ "event_id":"spaces", "object_type":"email","metric":"clicked", "timestamp":1767225600,"x":"\xc3\xa9" }\n',
    b'{"event_id": "far", "timestamp": 9404534400000}',
    b'{"event_id": "beyond", "timestamp": 99999999999999999999}',
    b'{"event_id": "\xf0\x9f\x98\x80", "object_type": 5, "metric": null, "timestamp": true}',
    b'{"event_id": "quotes", "object_type": "email", "data": {"subject": "\\"\\\\\\n\\u00e9"}}',
]


@pytest.fixture(scope="module")
def path(stack: AwsStack) -> str:
    """The path of the secret URL of a stack with one integration, as a sender has it."""
    stack.fixed = {"schemaPrefix": "acme_"}
    stack.declare(CUSTOMERIO)
    stack.up()
    return urlsplit(stack.url()).path


@pytest.fixture(scope="module")
def function(at: MotoServer, path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    """The function as it is deployed."""
    assert path
    folder = tmp_path_factory.mktemp("function")
    environment = deployed(at, folder)
    with Function(folder, environment) as made:
        yield made


class Lake:
    """The tables that the stack declared, and what its stream would put into them."""

    def __init__(self, at: MotoServer, folder: Path) -> None:
        self._at = at
        glue = at.client("glue")
        made = {table["Name"]: table for table in glue.get_tables(DatabaseName=DATABASE)["TableList"]}
        views = {name: table for name, table in made.items() if table.get("TableType") == "VIRTUAL_VIEW"}
        order = sorted(views, key=lambda name: name != "data_latest")  # the others are built on it
        self.views = {name: iceberg.view_definition(views[name]["ViewOriginalText"])["originalSql"] for name in order}
        self.columns = {
            name: [column["Name"] for column in table["StorageDescriptor"]["Columns"]] for name, table in views.items()
        }
        catalog = iceberg.catalog(folder)
        self.tables = {}
        for name in made.keys() - views.keys():
            (declared,) = at.iceberg_inputs(DATABASE, name)
            self.tables[name] = iceberg.create(catalog, DATABASE, name, {"IcebergInput": declared})
        firehose = at.client("firehose")
        (self.stream,) = firehose.list_delivery_streams()["DeliveryStreamNames"]
        described = firehose.describe_delivery_stream(DeliveryStreamName=self.stream)["DeliveryStreamDescription"]
        (destination,) = described["Destinations"]
        iceberg_destination = destination["IcebergDestinationDescription"]
        (processor,) = iceberg_destination["ProcessingConfiguration"]["Processors"]
        parameters = {each["ParameterName"]: each["ParameterValue"] for each in processor["Parameters"]}
        assert (processor["Type"], parameters["JsonParsingEngine"]) == ("MetadataExtraction", "JQ-1.6")
        self._routing = parameters["MetadataExtractionQuery"]
        self._destinations = {
            (each["DestinationDatabaseName"], each["DestinationTableName"])
            for each in iceberg_destination["DestinationTableConfigurationList"]
        }

    def deliver(self) -> None:
        """What the stream took, into the tables: each record where the stream's own expression says."""
        batches: dict[str, list[bytes]] = {}
        for record in self._at.records(self.stream):
            to = iceberg.route(self._routing, record.encode())
            assert (to.database, to.table) in self._destinations
            batches.setdefault(to.table, []).append(record.encode())
        for name, batch in batches.items():
            iceberg.append(self.tables[name], batch)

    def query(self, statement: str) -> list[dict[str, Any]]:
        return iceberg.query(DATABASE, self.tables, self.views, statement)


@pytest.fixture(scope="module")
def lake(at: MotoServer, function: Function, path: str, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """After every body was delivered, in as many ways as a sender has."""
    for body in [*BODIES, *HARD, *BODIES[:5]]:
        assert function.call(request(path, body)).status == 200
    for body in BODIES[:3]:
        in_base64 = request(path, gzip.compress(body), headers={"Content-Encoding": "gzip"}, base64=True)
        assert function.call(in_base64).status == 200
    made = Lake(at, tmp_path_factory.mktemp("lake"))
    made.deliver()
    return made


@pytest.fixture
def local(scene: Scene) -> Scene:
    """The same deliveries on the local platform, with its views."""
    scene.schema(SCHEMA, "append")
    with psycopg.connect(scene.dsn) as connection:
        for view in local_views("customerio", "append").values():
            connection.execute(view.statement(SCHEMA))
    scene.accept(*(arrival(body, SCHEMA) for body in [*BODIES, *HARD, *BODIES[:5], *BODIES[:3]]))
    scene.load()
    return scene


# When and in which order a row came is each platform's own.
OWN = {"_sdc_received_at", "_sdc_batched_at", "_sdc_sequence", "_sdc_body_uri", "_sdc_rejected_at", "_sdc_replayed_at"}


def test_every_row_is_that_of_the_local_platform(lake: Lake, local: Scene) -> None:
    columns = [column for column in DATA if column not in OWN]
    selected = ", ".join(f'"{column}"' for column in columns)
    found = [
        tuple(row.values()) for row in lake.query(f'SELECT {selected} FROM "{DATABASE}"."data" ORDER BY _sdc_sequence')
    ]
    wanted = local.rows(f"SELECT {selected} FROM {SCHEMA}.data ORDER BY _sdc_sequence")
    payload = columns.index("payload")
    assert len(found) == len(BODIES) + 8 + sum(isinstance(events.parse(body, ""), events.Event) for body in HARD)
    for ours, theirs in zip(found, wanted, strict=True):
        assert json.loads(ours[payload]) == theirs[payload]
        assert ours[:payload] + ours[payload + 1 :] == theirs[:payload] + theirs[payload + 1 :]


def test_every_reject_is_that_of_the_local_platform(lake: Lake, local: Scene) -> None:
    columns = "table_name, reason, record, _sdc_raw"
    found = lake.query(f'SELECT {columns} FROM "{DATABASE}"."_sdc_rejected" ORDER BY _sdc_sequence')
    ours = [(*list(row.values())[:3], base64.b64decode(row["_sdc_raw"])) for row in found]
    theirs = local.rows(f"SELECT {columns} FROM {SCHEMA}._sdc_rejected ORDER BY _sdc_sequence")
    assert ours == theirs
    assert [raw for *_, raw in ours] == [body for body in HARD if isinstance(events.parse(body, ""), events.Rejection)]


def test_every_view_gives_the_answer_of_its_local_twin(lake: Lake, local: Scene) -> None:
    assert lake.views.keys() == local_views("customerio", "append").keys()
    compared = 0
    for view, columns in lake.columns.items():
        both = [column for column in columns if column not in OWN]
        selected = sql.SQL(", ").join(map(sql.Identifier, both))
        query = sql.SQL("SELECT {} FROM {}.{} ORDER BY _sdc_sequence").format(
            selected, sql.Identifier(SCHEMA), sql.Identifier(view)
        )
        theirs = [dict(zip(both, row, strict=True)) for row in local.rows(query.as_string())]
        names = ", ".join(f'"{column}"' for column in both)
        ours = lake.query(f'SELECT {names} FROM "{DATABASE}"."{view}" ORDER BY _sdc_sequence')
        for found, wanted in zip(ours, theirs, strict=True):
            for column in both:
                assert plain(found[column], wanted[column]) == plain(wanted[column], wanted[column]), (view, column)
                compared += 1
    assert compared > 1_000


def plain(value: Any, twin: Any) -> Any:
    """A value of either warehouse in one form: JSON as what it says, times without their zone, which is UTC."""
    if isinstance(twin, dict | list) and isinstance(value, str):
        return json.loads(value)
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def test_a_day_is_a_partition(lake: Lake) -> None:
    (data,) = iceberg.partitions(lake.tables["data"])
    assert "_sdc_received_day" in data


def test_an_event_that_is_too_large_for_a_record_is_a_row_that_points_to_it(
    function: Function, at: MotoServer, path: str, lake: Lake
) -> None:
    body = event("large", object_type="email", data={"customer_id": "p-17", "content": "x" * 3_000_000})
    assert function.call(request(path, body)).status == 200
    row = json.loads(at.records(lake.stream)[-1])
    bucket, _, key = row["_sdc_body_uri"].removeprefix("s3://").partition("/")
    assert at.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == body
    assert json.loads(row["payload"])["data"] == {"customer_id": "p-17", "content": None}


def up_while_the_function_is_frozen(stack: AwsStack, function: Function) -> None:
    """An `up` that takes no time by the instance's clock, however long it takes here."""
    before = time.time()
    stack.up()
    function.move_clock(before - time.time())


def test_an_old_url_is_refused_once_the_function_has_looked_again(stack: AwsStack, function: Function) -> None:
    stack.bring_to(CUSTOMERIO)
    path = urlsplit(stack.url()).path
    function.move_clock(31)
    assert function.call(request(path, event("looked up"))).status == 200
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}})
    up_while_the_function_is_frozen(stack, function)
    assert function.call(request(path, event("cached"))).status == 200, "within the 30 s that a hit lives"
    function.move_clock(31)
    assert function.call(request(path, event("late"))).status == 401


@pytest.fixture
def signed_path(stack: AwsStack) -> str:
    """The path of a URL whose deliveries must be signed with SIGNING_KEY."""
    set_secret(stack, "signing_key", SIGNING_KEY)
    stack.bring_to(SIGNED)
    return urlsplit(stack.url()).path


def set_secret(stack: AwsStack, name: str, key: str) -> None:
    path = f"sluice:credentials.{SCHEMA}.{name}"
    stack.pulumi("config", "set", "--secret", "--path", path, stdin=key, check=True)


def signed_with(key: str, name: str) -> dict[str, str]:
    """The headers of a delivery of the event of that name."""
    timestamp = "1790000000"
    return {"X-CIO-Timestamp": timestamp, "X-CIO-Signature": sign(key, timestamp, event(name))}


def test_signed_deliveries_are_checked_with_the_key_that_the_stack_stored(function: Function, signed_path: str) -> None:
    good = signed_with(SIGNING_KEY, "signed")
    assert function.call(request(signed_path, event("signed"), headers=good)).status == 200
    assert function.call(request(signed_path, event("unsigned"))).status == 401
    assert function.call(request(signed_path, event("other"), headers=good)).status == 401


def test_a_changed_key_and_a_changed_mind_are_known_to_an_instance_that_remembers_the_old(
    stack: AwsStack, function: Function, signed_path: str
) -> None:
    """Customer.io waits an hour after a 401, so a warm instance must not refuse by what it has in memory."""
    new = "the-key-that-customerio-signs-with-next"

    def answer(key: str, name: str) -> int:
        return function.call(request(signed_path, event(name), headers=signed_with(key, name))).status

    assert answer(SIGNING_KEY, "with the old key") == 200
    set_secret(stack, "previous_signing_key", SIGNING_KEY)
    set_secret(stack, "signing_key", new)
    up_while_the_function_is_frozen(stack, function)
    function.move_clock(2)  # a look-up costs something: it is made once a second at most
    assert answer(new, "with the new key, to a warm instance") == 200
    assert answer(SIGNING_KEY, "with the one before, which is valid for a while") == 200
    assert answer("neither", "with a wrong one") == 401
    stack.declare({**SIGNED, "signed": False})
    up_while_the_function_is_frozen(stack, function)
    function.move_clock(2)
    assert answer("neither", "when it needn't be signed any more") == 200


def test_nothing_but_the_zip_and_what_lambda_brings_was_imported(function: Function) -> None:
    project = Path(__file__).resolve().parents[2]
    ours = [Path(file) for file in function.modules if Path(file).is_relative_to(project)]
    assert [file for file in ours if not file.is_relative_to(project / ".venv")] == [RUNNER]
