"""`make trial` passes on what the function really stores, in tables and views as the stack declares them; and each of
its claims fails where what it claims is broken.

Proof limit: pyiceberg stands for Firehose and DuckDB for Athena, as in tests/aws; what it is for can't be seen so.
"""

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from components.aws.tables import TABLES, routing
from components.aws.views import views
from receiver.token import digest
from tests.aws import iceberg
from tests.aws.function import Function, request, unpacked
from tests.aws.moto_server import ACCOUNT, MotoServer
from tests.aws.test_function import BUCKET, REGION, REGISTRY
from tests.aws.test_function import Aws as Services
from tests.support.secrecy import places_of
from tools import aws_trial
from tools.aws import ITEM, Aws
from tools.aws_trial import OPTIMIZER, Verdict
from tools.deliveries import EndpointDown
from tools.endpoints import Endpoint
from tools.stack import StackError

SCHEMA = "stitch_customerio"
DATABASE = f"acme_{SCHEMA}"
KEY = "the-key-that-customerio-signs-with"
LARGEST_REQUEST = 6 * 2**20
RUN = "20261124120000abcdef"
DOCS = (Path(__file__).parents[2] / "docs" / "aws.md").read_text()

Tamper = Callable[[dict[str, Any]], dict[str, Any]]


class FunctionUrl:
    """A Function URL: what is too large is answered before all of it was read, as AWS's front may do."""

    def __init__(self, function: Function) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                if length > LARGEST_REQUEST:
                    status, content = 413, b"{}"
                    self.close_connection = True
                else:
                    body = self.rfile.read(length)
                    answer = function.call(request(self.path, body, headers=dict(self.headers.items())))
                    status, content = answer.status, answer.body.encode()
                self.send_response_only(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Stack:
    """What the trial asks of a stack."""

    root: Path
    endpoint: Endpoint
    signed: bool
    name: str = "prod"
    option: str = " STACK=prod"

    def resources(self) -> list[dict[str, Any]]:
        item = {"hash": {"S": self.endpoint.hash}, "signed": {"BOOL": self.signed}}
        optimizer = {"catalogId": ACCOUNT, "databaseName": DATABASE, "tableName": "data", "type": "compaction"}
        return [
            {"type": ITEM, "inputs": {"tableName": REGISTRY, "item": json.dumps(item)}},
            {"type": OPTIMIZER, "inputs": optimizer},
        ]

    def outputs(self) -> dict[str, Any]:
        return {"warehouse": {"databases": {SCHEMA: DATABASE}, "bucket": BUCKET, "workgroup": "sluice-queries"}}

    def credential(self, schema: str, name: str) -> str | None:
        return KEY if (schema, name) == (SCHEMA, "signing_key") else None


@dataclass
class Lake(Aws):
    """The account, whose Firehose delivers what it took when Athena is first asked, and whose Athena is DuckDB."""

    stack: Stack
    services: Services
    folder: Path
    tamper: Tamper = field(default=lambda record: record)
    views: Mapping[str, str] = field(
        default_factory=lambda: {name: view.sql for name, view in views("customerio", DATABASE).items()}
    )
    tables: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.stack)  # type: ignore[arg-type]

    def answer(self, sql: str, workgroup: str) -> Iterator[list[str]]:
        assert workgroup == "sluice-queries"
        if not self.tables:
            self._deliver()
        try:
            rows = iceberg.query(DATABASE, self.tables, self.views, sql)
        except Exception as error:
            raise StackError(f"Athena: {error}") from error
        (statement,) = sqlglot.parse(sql, read="athena")
        assert isinstance(statement, exp.Select)
        yield statement.named_selects
        for row in rows:
            yield [text(value) for value in row.values()]

    def _deliver(self) -> None:
        catalog = iceberg.catalog(self.folder)
        batches: dict[str, list[bytes]] = {name: [] for name in TABLES}
        for record in self.services.records:
            whole = json.dumps(self.tamper(record)).encode()
            batches[iceberg.route(routing(DATABASE), whole).table].append(whole)
        for name, table in TABLES.items():
            made = iceberg.table_input(table, f"s3://lake/{table.folder}")
            self.tables[name] = iceberg.create(catalog, DATABASE, name, made)
            if batches[name]:
                iceberg.append(self.tables[name], batches[name])


def text(value: Any) -> str:
    """A value as Athena's API gives it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with MotoServer(tmp_path_factory.mktemp("moto"), REGION) as moto:
        made = Services(moto)
        glue = moto.client("glue")
        glue.create_database(DatabaseInput={"Name": DATABASE})
        glue.create_table(DatabaseName=DATABASE, TableInput={"Name": "data"})
        glue.create_table_optimizer(
            CatalogId=ACCOUNT,
            DatabaseName=DATABASE,
            TableName="data",
            Type="compaction",
            TableOptimizerConfiguration={"enabled": True, "roleArn": "arn:aws:iam::123456789012:role/tables"},
        )
        with pytest.MonkeyPatch.context() as patch:
            for name, value in moto.environment.items():
                patch.setenv(name, value)
            yield made
        for door in made.doors.values():
            door.close()


@pytest.fixture(scope="module")
def url(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Function(unpacked(tmp_path_factory.mktemp("zip")), services.environment) as function:
        front = FunctionUrl(function)
        yield front.url
        front.close()


@pytest.fixture
def lake(services: Services, url: str, tmp_path: Path) -> Callable[..., Lake]:
    def made(*, signed: bool = False, **options: Any) -> Lake:
        services.forget()
        path = services.register(SCHEMA, signed=signed, keys=(KEY,) if signed else None)
        (tmp_path / "Pulumi.prod.yaml").write_text(f"config: {{'aws:region': {REGION}}}")
        endpoint = Endpoint("Trial", "customerio", SCHEMA, "primary", True, 1, "by hand", f"{url}{path}")
        return Lake(Stack(tmp_path, endpoint, signed), services, tmp_path, **options)

    return made


def tried(lake: Lake, patience_s: float = 0) -> dict[str, Verdict]:
    verdicts = aws_trial.tried(lake.stack, lake, lake.stack.endpoint, run=RUN, patience_s=patience_s, every_s=0.01)  # type: ignore[arg-type]
    assert len({each.claim for each in verdicts}) == len(verdicts)
    return {each.claim: each for each in verdicts}


def not_ok(verdicts: dict[str, Verdict], result: str = "failed") -> dict[str, str]:
    return {claim: each.seen for claim, each in verdicts.items() if each.result == result}


UNSIGNED = "a delivery without its signature is answered 401"


def test_every_claim_holds_where_firehose_and_athena_do_what_they_should(lake: Callable[..., Lake]) -> None:
    """Of an integration that isn't signed; of a signed one below, by the whole command."""
    verdicts = tried(lake())
    assert not_ok(verdicts) == not_ok(verdicts, "not reached") == {}
    assert UNSIGNED not in verdicts


def in_milliseconds(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value // 1000 if name.endswith("d_at") and value else value for name, value in record.items()}


def replaced(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, **({"_sdc_raw": "e30="} if "reason" in record else {"payload": "{}"})}


def test_times_that_land_in_1970_are_noticed(lake: Callable[..., Lake]) -> None:
    failed = not_ok(tried(lake(tamper=in_milliseconds)))
    assert failed.keys() == {"its times are of now, in microseconds", "its time is of now too"}
    assert "1970-01-21" in failed["its time is of now too"]


def test_a_body_and_an_event_that_were_changed_on_their_way_are_noticed(lake: Callable[..., Lake]) -> None:
    failed = not_ok(tried(lake(tamper=replaced)))
    assert "changed on its way: unusable, not UTF-8" in failed.values()
    assert "a body is kept as it was sent" in failed


def test_a_view_that_does_not_answer_is_named(lake: Callable[..., Lake]) -> None:
    made = lake()
    made.views = {name: sql for name, sql in made.views.items() if name != "sms_events"}
    (seen,) = not_ok(tried(made)).values()
    assert seen.startswith("sms_events: Athena: ")


def test_a_view_that_shows_an_event_twice_is_noticed(lake: Callable[..., Lake]) -> None:
    made = lake()
    latest = made.views["data_latest"].replace("WHERE d.nth = 1", "")
    made.views = {**made.views, "data_latest": latest}
    assert not_ok(tried(made)) == {
        "data_latest has one row per event, a channel's view its own": (
            "data_latest: 5 rows, not 4; email_events: 4 rows, not 3"
        )
    }


def test_rows_that_never_come_fail_and_what_needs_them_is_not_reached(lake: Callable[..., Lake]) -> None:
    made = lake()
    made.tables = {
        name: iceberg.create(
            iceberg.catalog(made.folder), DATABASE, name, iceberg.table_input(table, f"s3://lake/{table.folder}")
        )
        for name, table in TABLES.items()
    }
    verdicts = tried(made, patience_s=0.05)
    failed = not_ok(verdicts)
    assert set(failed) == {
        "Firehose writes into tables that Glue's CreateTable made",
        "an unusable body is routed into _sdc_rejected (JQ)",
    }
    assert "event: 0 of 2" in failed["Firehose writes into tables that Glue's CreateTable made"]
    assert "a body is kept as it was sent" in not_ok(verdicts, "not reached")


def test_what_firehose_could_not_deliver_ends_the_wait_and_is_told_with_its_reason(
    lake: Callable[..., Lake], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lake()
    s3 = made.services.s3
    s3.put_object(Bucket=BUCKET, Key=f"errors/{SCHEMA}/older.gz", Body=b"not of this run")
    line = {"errorCode": "Iceberg.NoSuchTable", "errorMessage": "Table not found", "rawData": "e30="}
    posting = aws_trial.post

    def failing(*asked: Any) -> int | str:
        key = f"errors/{SCHEMA}/iceberg-failed/2026/11/24/12/one.gz"
        s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(json.dumps(line).encode() + b"\n"))
        return posting(*asked)

    monkeypatch.setattr(aws_trial, "post", failing)
    assert not_ok(tried(made, patience_s=60)) == {
        "nothing lies in the error output": "1 objects, the first: Iceberg.NoSuchTable: Table not found"
    }


def test_an_endpoint_that_is_not_live_fails_and_nothing_is_waited_for(lake: Callable[..., Lake]) -> None:
    made = lake()
    made.services.remove(made.stack.endpoint.url)
    verdicts = tried(made, patience_s=60)
    assert "event: 401" in not_ok(verdicts)["every body of an event, and every unusable one, is answered 200"]
    assert not_ok(verdicts, "not reached") == {"everything else": "nothing was taken"}


def test_a_url_that_nobody_listens_at_is_told_without_its_path(lake: Callable[..., Lake]) -> None:
    made = lake()
    url = made.stack.endpoint.url.replace(made.stack.endpoint.host, "127.0.0.1:9")
    made.stack.endpoint = Endpoint("Trial", "customerio", SCHEMA, "primary", True, 1, "by hand", url)
    with pytest.raises(EndpointDown) as told:
        tried(made)
    assert str(told.value) == "nothing answers at 127.0.0.1:9: no answer (ConnectionRefusedError)"


def test_an_optimizer_that_is_gone_and_an_alarm_are_told() -> None:
    told = aws_trial.of_stack(["in alarm: late"], 1_790_000_000, {"compaction": "off"}, began=1_790_000_000)
    assert [(each.result, each.seen) for each in told] == [
        ("ok", ""),
        ("failed", "in alarm: late"),
        ("failed", "compaction: off"),
    ]
    assert [each.result for each in aws_trial.of_stack([], None, {}, began=1.0)] == ["failed", "ok", "failed"]


def test_the_whole_command_prints_a_table_and_no_secret(
    lake: Callable[..., Lake], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = lake(signed=True)
    monkeypatch.setattr(aws_trial, "Aws", lambda stack: made)
    assert aws_trial.main(made.stack, made.stack.endpoint, []) == 0  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out.splitlines()[0].split() == ["claim", "result"]
    (unsigned,) = [line for line in said.out.splitlines() if line.startswith(UNSIGNED)]
    assert unsigned.split()[-1] == "ok"
    secret = made.stack.endpoint.url.rsplit("/", 1)[1]
    texts = {"out": said.out.encode(), "err": said.err.encode(), "control": f"{secret} {KEY}".encode()}
    assert places_of(secret, texts) == places_of(KEY, texts) == ["control"]
    assert digest(secret) == made.stack.endpoint.hash
    with pytest.raises(StackError, match="knows ARGS"):
        aws_trial.main(made.stack, made.stack.endpoint, ["--all"])  # type: ignore[arg-type]


def test_ddl_has_every_column_and_the_docs_quote_it(
    lake: Callable[..., Lake], capsys: pytest.CaptureFixture[str]
) -> None:
    made = lake()
    assert aws_trial.main(made.stack, made.stack.endpoint, ["--ddl"]) == 0  # type: ignore[arg-type]
    printed = capsys.readouterr().out
    assert f"LOCATION 's3://{BUCKET}/tables/{SCHEMA}/sdc_rejected/'" in printed
    for statement, table in zip(printed.split("\n\n"), TABLES.values(), strict=True):
        assert f"CREATE TABLE `{DATABASE}`.`{table.name}` (" in statement
        columns = [line.split("`")[1] for line in statement.splitlines() if line.startswith("  `")]
        assert columns == [column.name for column in table.fields]
    assert aws_trial.ddl(SCHEMA, f"s3://BUCKET/tables/{SCHEMA}/") in DOCS
