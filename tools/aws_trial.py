"""Shows on a real account what no test without one can: `make trial STACK=prod`, after `make up`.

Posts a handful of deliveries that were made for it to one integration, waits until Athena has their rows, and says of
each claim what was seen. What was seen is gathered first and judged after, by functions without effects.

The rows stay, as all rows do: an integration of its own is the place for them.
"""

import contextlib
import gzip
import http.client
import json
import secrets
import string
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from botocore.exceptions import BotoCoreError, ClientError

from components.aws import names, views
from components.aws.tables import TABLES, IcebergTable, IcebergType
from receiver import token
from tools import deliveries, progress
from tools.aws import Aws
from tools.deliveries import EndpointDown
from tools.endpoints import Endpoint
from tools.stack import Stack, StackError
from tools.table import table

PATIENCE_S = 600.0  # Firehose's buffering of 60 s and its retries are over long before
EVERY_S = 15.0
CLOCKS_S = 300  # as far as this machine's clock may be off
ANSWER_S = 30
OPTIMIZER = "aws:glue/catalogTableOptimizer:CatalogTableOptimizer"

Row = Mapping[str, str]
"""A row of Athena's by column; its API gives texts, and an empty one for NULL."""


# What is posted


@dataclass(frozen=True)
class Delivery:
    """One body, how it is posted, and what it is to be answered."""

    body: bytes = field(repr=False)
    answer: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_signed: bool = True
    """Whether it carries a signature where the integration asks for one."""
    is_known: bool = True
    """Whether it goes to the integration's URL, or to one with a token that nobody was given."""


def event_id(run: str, name: str) -> str:
    return f"sluice-trial-{run}-{name}"


def made(run: str, now: int, *, signed: bool) -> dict[str, Delivery]:
    """The deliveries of a run, by name. `now`: seconds since 1970, the events' own time."""

    def event(name: str, **data: Any) -> bytes:
        whole = {"event_id": event_id(run, name), "object_type": "email", "metric": "sent", "timestamp": now}
        return json.dumps({**whole, "data": {"customer_id": "trial", **data}}, ensure_ascii=False).encode()

    usual = event("event", campaign_id=7, subject='Grüße, "quoted" \\ 🕊', identifiers={"id": "trial"})
    kinds = {
        "event": Delivery(usual),
        "event again": Delivery(usual),
        "bare": Delivery(json.dumps({"event_id": event_id(run, "bare")}).encode()),
        "gzip": Delivery(gzip.compress(event("gzip")), headers={"Content-Encoding": "gzip"}),
        "large": Delivery(event("large", content="x" * 1_500_000)),
        "unusable": Delivery(json.dumps({"sluice_trial": run}).encode()),
        "not UTF-8": Delivery(f'{{"sluice_trial": "{run}", "bytes": "'.encode() + b'\xff\xfe\x80"}'),
        "too large": Delivery(event("too-large", content="x" * 7_000_000), answer=413),
        "unknown token": Delivery(usual, answer=401, is_known=False),
    }
    if signed:
        kinds["unsigned"] = Delivery(event("unsigned"), answer=401, is_signed=False)
    return kinds


EVENTS = {"event": 2, "bare": 1, "gzip": 1, "large": 1}
"""How many rows of `data` each event becomes."""
REJECTED = ("unusable", "not UTF-8")


def post(url: str, delivery: Delivery, signing_key: str | None) -> int | str:
    """The status that a delivery is answered, or why there was none. No text of it has the URL's path."""
    parts = urlsplit(url)
    if not delivery.is_known:
        alphabet = string.ascii_letters + string.digits
        unknown = token.printed("".join(secrets.choice(alphabet) for _ in range(token.SECRET_LENGTH)))
        parts = urlsplit(urlunsplit(parts._replace(path=f"{parts.path.rsplit('/', 1)[0]}/{unknown}")))
    headers = {"Content-Type": "application/json", "User-Agent": "sluice-trial", **delivery.headers}
    if signing_key and delivery.is_signed:
        timestamp = str(int(time.time()))
        signature = deliveries.signature(signing_key, timestamp, delivery.body)
        headers |= {"X-CIO-Timestamp": timestamp, "X-CIO-Signature": signature}
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S)
    try:
        connection.connect()
        with contextlib.suppress(ConnectionError):  # it may have been answered before all of it was sent
            connection.request("POST", parts.path, delivery.body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer ({type(error).__name__})"
    finally:
        connection.close()


# What is asked of Athena


# The run's rows. Not by the time they came: were that wrong, they would not be found.
ROWS = """
SELECT event_id, object_type, metric, "timestamp" AS happened_at,
  CASE WHEN length(payload) < 2000 THEN payload END AS payload,
  to_unixtime(_sdc_received_at) AS received_at, to_unixtime(_sdc_batched_at) AS batched_at,
  object_type IS NULL AND metric IS NULL AND "timestamp" IS NULL AS is_bare, _sdc_body_uri AS body_uri
FROM "{database}"."data" WHERE event_id IN ({ids})"""
REJECTS = """
SELECT reason, _sdc_raw AS raw, to_unixtime(_sdc_rejected_at) AS rejected_at
FROM "{database}"."_sdc_rejected" WHERE record LIKE '%{run}%'"""
IN_VIEW = """
SELECT count(*) AS rows FROM "{database}"."{view}" WHERE event_id IN ({ids})"""
TYPED = """
SELECT CAST(occurred_at AS varchar) AS occurred_at, data__customer_id AS customer, data__campaign_id AS campaign,
  data__subject AS subject
FROM "{database}"."email_events" WHERE event_id = '{event}'"""


def asked(query: str, database: str, run: str, view: str = "") -> str:
    """One of the queries above, for a run."""
    ids = ", ".join(f"'{event_id(run, name)}'" for name in EVENTS)
    return query.format(database=database, run=run, ids=ids, event=event_id(run, "event"), view=view).lstrip()


# What was seen, and what it says


class Verdict(NamedTuple):
    claim: str
    result: Literal["ok", "failed", "not reached"]
    seen: str = ""


def verdict(claim: str, holds: bool, seen: str) -> Verdict:
    return Verdict(claim, "ok" if holds else "failed", "" if holds else seen)


@dataclass(frozen=True)
class Rows:
    """The run's rows, and where the wait for them ended."""

    data: Sequence[Row]
    rejected: Sequence[Row]
    seconds: float
    undelivered: str = ""
    """What Firehose says of a row that it couldn't deliver."""

    def of(self, run: str, name: str) -> list[Row]:
        return [row for row in self.data if row["event_id"] == event_id(run, name)]

    def is_complete(self, run: str) -> bool:
        return len(self.rejected) >= len(REJECTED) and all(len(self.of(run, n)) >= count for n, count in EVENTS.items())


def of_answers(posted: Mapping[str, Delivery], answers: Mapping[str, int | str]) -> list[Verdict]:
    """Each kind of delivery is answered as it should be."""
    stored = [name for name, delivery in posted.items() if delivery.answer == 200]
    others = [f"{name}: {answers[name]}" for name in stored if answers[name] != 200]
    found = [verdict("every body of an event, and every unusable one, is answered 200", not others, "; ".join(others))]
    for name, claim in (
        ("unknown token", "a token that nobody was given is answered 401"),
        ("unsigned", "a delivery without its signature is answered 401"),
        ("too large", "a body of more than 6 MB is answered 413, and its connection isn't broken"),
    ):
        if name in posted:
            found.append(verdict(claim, answers[name] == posted[name].answer, f"{answers[name]}"))
    return found


def of_rows(run: str, posted: Mapping[str, Delivery], rows: Rows, began: float, ended: float) -> list[Verdict]:
    """Firehose wrote what it took, where and as it should. `began`, `ended`: of the posting, seconds since 1970."""
    counts = {name: len(rows.of(run, name)) for name in EVENTS}
    missing = [f"{name}: {counts[name]} of {wanted}" for name, wanted in EVENTS.items() if counts[name] < wanted]
    seen = f"after {rows.seconds:.0f} s {'; '.join(missing)}"
    found = [
        verdict("Firehose writes into tables that Glue's CreateTable made", not missing, seen),
        verdict("nothing lies in the error output", not rows.undelivered, rows.undelivered),
        _of_those(
            () if missing else rows.data,
            "an event that comes twice is two rows, and no other is",
            all(counts[name] <= wanted for name, wanted in EVENTS.items()),
            ", ".join(f"{name}: {count}" for name, count in counts.items()),
        ),
    ]
    wrong = sorted(
        {
            _time(row[column])
            for row in rows.data
            for column in ("received_at", "batched_at")
            if not _is_of(row[column], began, ended)
        }
    )
    found.append(_of_those(rows.data, "its times are of now, in microseconds", not wrong, ", ".join(wrong)))
    first = rows.of(run, "event")[:1]
    found.append(
        _of_those(
            first,
            "a body is kept as it was sent",
            all(row["payload"].encode() == posted["event"].body for row in first),
            "payload differs",
        )
    )
    compressed = rows.of(run, "gzip")
    found.append(
        _of_those(compressed, "a gzip body arrives whole", all(r["payload"] for r in compressed), "no payload")
    )
    bare = rows.of(run, "bare")
    found.append(
        _of_those(bare, "a column without a value is NULL", all(row["is_bare"] == "true" for row in bare), str(bare))
    )
    return [*found, *_of_rejected(posted, rows, began, ended)]


def _of_rejected(posted: Mapping[str, Delivery], rows: Rows, began: float, ended: float) -> list[Verdict]:
    count = len(rows.rejected)
    routed = verdict(
        "an unusable body is routed into _sdc_rejected (JQ)", count == len(REJECTED), f"{count} of {len(REJECTED)} rows"
    )
    times = [_time(row["rejected_at"]) for row in rows.rejected if not _is_of(row["rejected_at"], began, ended)]
    bodies = {row["raw"] for row in rows.rejected}
    lost = [name for name in REJECTED if b64encode(posted[name].body).decode() not in bodies]
    return [
        routed,
        _of_those(rows.rejected, "its time is of now too", not times, ", ".join(times)),
        _of_those(
            rows.rejected if count == len(REJECTED) else (),
            "unusable bodies are kept byte for byte, also such as aren't UTF-8",
            not lost,
            f"changed on its way: {', '.join(lost)}",
        ),
    ]


def of_views(
    run: str, rows: Rows, counts: Mapping[str, int | str], typed: Row | str | None, happened_at: int
) -> list[Verdict]:
    """`counts`: the run's rows in each view, or Athena's error. `typed`: the event's columns in email_events."""
    broken = [f"{view}: {said}" for view, said in counts.items() if isinstance(said, str)]
    found = [_of_those(list(counts), "every view answers", not broken, "; ".join(broken))]
    there = [name for name in EVENTS if rows.of(run, name)]
    wanted = {"data_latest": len(there), "email_events": len([name for name in there if name != "bare"])}
    wrong = [
        f"{view}: {count} rows, not {wanted.get(view, 0)}"
        for view, count in counts.items()
        if isinstance(count, int) and count != wanted.get(view, 0)
    ]
    found.append(
        _of_those(there, "data_latest has one row per event, a channel's view its own", not wrong, "; ".join(wrong))
    )
    claim = "a view's columns have their types: time, number, text"
    if typed is None:
        return [*found, Verdict(claim, "not reached")]
    occurred = datetime.fromtimestamp(happened_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    holds = (
        not isinstance(typed, str)
        and typed["occurred_at"].startswith(occurred)
        and (typed["customer"], typed["campaign"], typed["subject"]) == ("trial", "7", 'Grüße, "quoted" \\ 🕊')
    )
    return [
        *found,
        verdict(claim, holds, typed if isinstance(typed, str) else json.dumps(dict(typed), ensure_ascii=False)),
    ]


def of_large(rows: Sequence[Row], kept: bytes | str | None, posted: Delivery) -> Verdict:
    """`kept`: what lies at the row's address in the bucket, or why it couldn't be read."""
    claim = "a body of more than 1 MB lies in the bucket, and its row points there"
    other = kept if isinstance(kept, str) else f"{len(kept)} other bytes" if kept else "no _sdc_body_uri"
    return _of_those(rows, claim, kept == posted.body, other)


def of_stack(
    problems: Sequence[str], last_used: float | None, optimizers: Mapping[str, str], began: float
) -> list[Verdict]:
    """`optimizers`: by type, what is wrong with it, if anything."""
    used = last_used is not None and last_used >= began - CLOCKS_S
    broken = [f"{type_}: {said}" for type_, said in optimizers.items() if said]
    return [
        verdict("the URL's last use is noted", used, _time(str(last_used)) if last_used else "never"),
        verdict("the URLs are live, and no alarm is on", not problems, "; ".join(problems)),
        verdict(
            "Glue's table optimizers are on, and none has failed",
            bool(optimizers) and not broken,
            "; ".join(broken) or "none",
        ),
    ]


def _of_those(rows: Sequence[object], claim: str, holds: bool, seen: str) -> Verdict:
    """A verdict that needs rows to be one."""
    return verdict(claim, holds, seen) if rows else Verdict(claim, "not reached")


def _is_of(seconds: str, began: float, ended: float) -> bool:
    return bool(seconds) and began - CLOCKS_S <= float(seconds) <= ended + CLOCKS_S


def _time(seconds: str) -> str:
    if not seconds:
        return "no time"
    try:
        return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


# Looking


class Account:
    """The account as the trial looks at it: one integration's tables, and what lies in the bucket."""

    def __init__(self, aws: Aws, endpoint: Endpoint, warehouse: Mapping[str, Any]) -> None:
        self._aws = aws
        self._schema = endpoint.schema
        self._source = endpoint.source
        self._warehouse = warehouse
        self.database = str(warehouse["databases"][endpoint.schema])

    def rows(self, sql: str) -> list[Row]:
        """Raises StackError with what Athena says."""
        head, *rows = self._aws.answer(sql, self._warehouse["workgroup"])
        return [dict(zip(head, row, strict=True)) for row in rows]

    def undelivered(self) -> set[str]:
        """The names of what lies in the integration's error output."""
        pages = self._aws.client("s3").get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._warehouse["bucket"], Prefix=names.errors(self._schema))
        return {each["Key"] for page in found for each in page.get("Contents", [])}

    def reason(self, key: str) -> str:
        """Why Firehose couldn't deliver the first row of an object in the error output."""
        content = self._aws.client("s3").get_object(Bucket=self._warehouse["bucket"], Key=key)["Body"].read()
        with contextlib.suppress(gzip.BadGzipFile):
            content = gzip.decompress(content)
        try:
            first = json.loads(content.splitlines()[0])
            return f"{first['errorCode']}: {first['errorMessage']}"
        except (ValueError, LookupError, TypeError):
            return f"see {key}"

    def body(self, uri: str) -> bytes | str:
        """What lies at an s3:// address, or why it can't be had."""
        parts = urlsplit(uri)
        try:
            answer = self._aws.client("s3").get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))
            content: bytes = answer["Body"].read()
        except (BotoCoreError, ClientError) as error:
            return str(error)
        return content

    def in_views(self, run: str) -> dict[str, int | str]:
        """The run's rows in each view, or Athena's error."""
        found: dict[str, int | str] = {}
        for view in views.views(self._source, self.database):
            try:
                found[view] = int(self.rows(asked(IN_VIEW, self.database, run, view))[0]["rows"])
            except StackError as error:
                found[view] = str(error)
        return found

    def typed(self, run: str) -> Row | str:
        """The event's columns in its channel's view, or why there are none."""
        try:
            rows = self.rows(asked(TYPED, self.database, run))
        except StackError as error:
            return str(error)
        return rows[0] if rows else "no row"

    def optimizers(self, resources: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """By type: what is wrong with a table optimizer of the integration, if anything."""
        found = {}
        for resource in resources:
            inputs = resource.get("inputs", {})
            if resource["type"] == OPTIMIZER and inputs["databaseName"] == self.database:
                found[inputs["type"]] = self._wrong_with(inputs)
        return found

    def _wrong_with(self, inputs: Mapping[str, Any]) -> str:
        asked = {"CatalogId": "catalogId", "DatabaseName": "databaseName", "TableName": "tableName", "Type": "type"}
        try:
            answer = self._aws.client("glue").get_table_optimizer(**{name: inputs[key] for name, key in asked.items()})
        except (BotoCoreError, ClientError) as error:
            return str(error)
        optimizer = answer["TableOptimizer"]
        last = optimizer.get("lastRun") or {}
        if last.get("eventType") == "failed":
            return str(last.get("error") or "its last run failed")
        return "" if optimizer["configuration"].get("enabled") else "off"


def wait(
    account: Account,
    run: str,
    known: set[str],
    *,
    patience_s: float,
    every_s: float = EVERY_S,
    now: Callable[[], float],
) -> Rows:
    """The run's rows, once they are all there, or Firehose says that it couldn't write one, or time is up.

    `known`: what lay in the error output before. `now`: a clock, in seconds. Raises StackError.
    """
    began = now()
    while True:
        data = account.rows(asked(ROWS, account.database, run))
        rejected = account.rows(asked(REJECTS, account.database, run))
        failed = sorted(account.undelivered() - known)
        undelivered = f"{len(failed)} objects, the first: {account.reason(failed[0])}" if failed else ""
        seen = Rows(data, rejected, now() - began, undelivered)
        if seen.is_complete(run) or undelivered or seen.seconds >= patience_s:
            return seen
        progress.say(
            f"  {seen.seconds:.0f} s: {len(data)} of {sum(EVENTS.values())} rows, "
            f"{len(rejected)} of {len(REJECTED)} rejected (usually 90 s, at most {patience_s:.0f} s)"
        )
        time.sleep(every_s)


def tried(
    stack: Stack, aws: Aws, endpoint: Endpoint, *, run: str, patience_s: float = PATIENCE_S, every_s: float = EVERY_S
) -> list[Verdict]:
    """Posts, waits and looks. Raises StackError where nothing can be tried."""
    resources = stack.resources()
    account = Account(aws, endpoint, stack.outputs()["warehouse"])
    signed = is_signed(resources, endpoint)
    key = stack.credential(endpoint.schema, "signing_key") if signed else None
    if signed and not key:
        raise StackError(
            f"deliveries of {endpoint.name} must be signed, and the stack doesn't know its signing key yet"
        )
    known = account.undelivered()
    began = time.time()
    posted = made(run, int(began), signed=signed)
    progress.say(f"posting {len(posted)} deliveries to {endpoint.name}; their events are sluice-trial-{run}-…")
    answers = {name: post(endpoint.url, delivery, key) for name, delivery in posted.items()}
    ended = time.time()
    found = of_answers(posted, answers)
    if 200 not in answers.values():
        if all(isinstance(answer, str) for answer in answers.values()):
            raise EndpointDown(f"nothing answers at {endpoint.host}: {answers['event']}")
        return [*found, Verdict("everything else", "not reached", "nothing was taken")]

    progress.say("waiting for their rows")
    rows = wait(account, run, known, patience_s=patience_s, every_s=every_s, now=time.monotonic)
    found += of_rows(run, posted, rows, began, ended)
    progress.say("asking the views")
    typed = account.typed(run) if rows.of(run, "event") else None
    found += of_views(run, rows, account.in_views(run), typed, int(began))
    large = rows.of(run, "large")
    kept = account.body(large[0]["body_uri"]) if large and large[0]["body_uri"] else None
    found.append(of_large(large[:1], kept, posted["large"]))
    status = aws.status([endpoint], resources)
    used = status.last_used[endpoint.hash]
    return [*found, *of_stack(status.problems, used, account.optimizers(resources), began)]


def is_signed(resources: Sequence[Mapping[str, Any]], endpoint: Endpoint) -> bool:
    """Whether the endpoint takes signed deliveries alone, as the stack's state has it."""
    for resource in resources:
        if resource["type"] == "aws:dynamodb/tableItem:TableItem":
            item = json.loads(resource["inputs"]["item"])
            if item["hash"]["S"] == endpoint.hash:
                return bool(item["signed"]["BOOL"])
    return False


# The tables, should Firehose not take those that CreateTable makes

ATHENA: Mapping[IcebergType, str] = {"string": "string", "long": "bigint", "timestamptz": "timestamp"}
"""Athena's types in DDL. It reads a timestamptz, but makes none ("Supported data types for Iceberg tables in Athena");
its timestamps are the same microseconds, and taken for UTC."""


def ddl(database: str, folder: str) -> str:
    """Athena's statements for the tables, to be run one at a time. `folder`: s3://<bucket>/tables/<schema>/."""
    return "\n\n".join(_create(database, folder, each) for each in TABLES.values())


def _create(database: str, folder: str, its: IcebergTable) -> str:
    columns = ",\n".join(f"  `{column.name}` {ATHENA[column.type]}" for column in its.fields)
    (source,) = [column.name for column in its.fields if column.id == its.partition.source_id]
    return (
        f"CREATE TABLE `{database}`.`{its.name}` (\n{columns}\n)\n"
        f"PARTITIONED BY ({its.partition.transform}(`{source}`))\n"
        f"LOCATION '{folder}{its.folder}/'\n"
        "TBLPROPERTIES ('table_type'='ICEBERG', 'format'='parquet', 'write_compression'='zstd');"
    )


def main(stack: Stack, endpoint: Endpoint, arguments: Sequence[str]) -> int:
    """`make trial`: 0 if every claim holds, else 1. With `--ddl` the tables' statements, and nothing is tried."""
    if list(arguments) not in ([], ["--ddl"]):
        raise StackError('make trial knows ARGS="--ddl" and no other')
    warehouse = stack.outputs()["warehouse"]
    if arguments:
        folder = f"s3://{warehouse['bucket']}/{names.tables(endpoint.schema)}"
        print(ddl(warehouse["databases"][endpoint.schema], folder))
        return 0
    run = f"{datetime.now(UTC):%Y%m%d%H%M%S}{secrets.token_hex(3)}"
    try:
        verdicts = tried(stack, Aws(stack), endpoint, run=run)
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"AWS: {error}") from None
    print(
        table(
            ["claim", "result"], [(each.claim, f"{each.result}{each.seen and f': {each.seen}'}") for each in verdicts]
        )
    )
    return 0 if all(each.result == "ok" for each in verdicts) else 1
