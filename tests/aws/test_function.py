"""The function on AWS, case by case: its zip's files in a process of their own, against a moto server."""

import base64
import gzip
import hashlib
import hmac
import json
import secrets
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiver import event as events
from receiver import rows, token
from receiver.aws import MODULES, records
from receiver.aws.handler import ANSWER_SECONDS, LEAST_SECONDS, MAX_BYTES, seconds_for
from receiver.aws.handler import Function as InProcess
from receiver.aws.registry import HIT_SECONDS
from receiver.aws.services import TRY_SECONDS
from tests.aws.function import ROOT, Door, Function, Reply, request, unpacked
from tests.aws.moto_server import MotoServer
from tests.receiver import test_answers as local
from tests.receiver.running import event, new_token
from tests.support.secrecy import places_of

REGISTRY, BUCKET, STREAM, REGION = "sluice-registry", "sluice-lake", "sluice-stream", "eu-west-1"
AWS_SECRET = "wJalrXUtnFEMIexample"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": AWS_SECRET, "AWS_DEFAULT_REGION": REGION}
SERVICES = ("dynamodb", "firehose", "s3", "ssm")
QUICK_TRIES = {"receiver.aws.services.TRY_SECONDS": 0.4}
HASTY_SECONDS = 0.8
HASTE = {"receiver.aws.handler.ANSWER_SECONDS": HASTY_SECONDS}

OK = (200, {"content-type": "application/json"}, '{"status":"ok"}')
UNAUTHORIZED = (401, {"content-type": "application/json"}, '{"status":"unauthorized"}')
UNAVAILABLE = (503, {"content-type": "application/json", "retry-after": "5"}, '{"status":"try again"}')


class Aws:
    """One account on moto, with a door before each service that the function asks."""

    def __init__(self, moto: MotoServer) -> None:
        self.doors = {service: Door(moto.url) for service in SERVICES}
        self.dynamodb, self.firehose, self.s3, self.ssm = (moto.client(service) for service in SERVICES)
        self._moto = moto
        self._seen = 0
        self.dynamodb.create_table(
            TableName=REGISTRY,
            KeySchema=[{"AttributeName": "hash", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "hash", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        role = "arn:aws:iam::123456789012:role/stream"
        self.firehose.create_delivery_stream(
            DeliveryStreamName=STREAM,
            IcebergDestinationConfiguration={
                "RoleARN": role,
                "CatalogConfiguration": {"CatalogARN": f"arn:aws:glue:{REGION}:123456789012:catalog"},
                "S3Configuration": {"RoleARN": role, "BucketARN": f"arn:aws:s3:::{BUCKET}"},
            },
        )

    def forget(self) -> None:
        """Takes what there was until now for an earlier test's."""
        self._seen += len(self.records)
        for door in self.doors.values():
            door.passed.clear()
            door.knocks = 0

    @property
    def environment(self) -> dict[str, str]:
        """The function's, as Lambda and the program set it."""
        urls = {f"AWS_ENDPOINT_URL_{service.upper()}": door.url for service, door in self.doors.items()}
        return {**KEYS, **urls, "SLUICE_REGISTRY": REGISTRY, "SLUICE_BUCKET": BUCKET, "LANG": "C.UTF-8"}

    def register(self, schema: str | None = None, *, signed: bool = False, keys: tuple[str, ...] | None = None) -> str:
        """Makes a live endpoint; returns its path. Without `keys`, it names no parameter with keys."""
        schema, printed = schema or f"s{secrets.token_hex(6)}", new_token()
        item = {
            "hash": {"S": token.digest(printed)},
            "schema": {"S": schema},
            "slot": {"S": "primary"},
            "source": {"S": "customerio"},
            "signed": {"BOOL": signed},
            "stream": {"S": STREAM},
        }
        if keys is not None:
            item["signing_keys"] = {"S": parameter_of(printed)}
            self.put_keys(printed, json.dumps(keys))
        self.dynamodb.put_item(TableName=REGISTRY, Item=item)
        return f"/v1/{schema}/{printed}"

    def put_keys(self, printed: str, value: str) -> None:
        self.ssm.put_parameter(Name=parameter_of(printed), Value=value, Type="SecureString", Overwrite=True)

    def remove(self, path: str) -> None:
        self.dynamodb.delete_item(TableName=REGISTRY, Key={"hash": {"S": hash_of(path)}})

    def item(self, key: str) -> dict[str, Any] | None:
        item: dict[str, Any] | None = self.dynamodb.get_item(TableName=REGISTRY, Key={"hash": {"S": key}}).get("Item")
        return item

    @property
    def records(self) -> list[dict[str, Any]]:
        """What Firehose took since the test began."""
        return [orjson.loads(record) for record in self._moto.records(STREAM)[self._seen :]]

    def passed(self, service: str, operation: str) -> int:
        return sum(operation in target for target, _ in self.doors[service].passed)


def parameter_of(printed: str) -> str:
    return f"/sluice/keys/{token.fingerprint(token.digest(printed))}"


def hash_of(path: str) -> str:
    return token.digest(path.rsplit("/", 1)[1])


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with MotoServer(tmp_path_factory.mktemp("moto"), REGION) as moto:
        made = Aws(moto)
        yield made
        for door in made.doors.values():
            door.close()


@pytest.fixture
def aws(account: Aws) -> Aws:
    """The account, with nothing to be seen of earlier tests."""
    account.forget()
    return account


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("zip"))


@pytest.fixture(scope="module")
def shared(account: Aws, folder: Path) -> Iterator[Function]:
    """One instance for the tests that leave it as it was."""
    with Function(folder, account.environment) as function:
        yield function


@pytest.fixture(scope="module")
def troubled(account: Aws, folder: Path) -> Iterator[Function]:
    """One instance for the tests in which a service fails; it gives up a call that hangs sooner than the real one."""
    with Function(folder, account.environment, constants=QUICK_TRIES) as function:
        yield function


@pytest.fixture(scope="module")
def hasty(account: Aws, folder: Path) -> Iterator[Function]:
    """One instance for the tests in which a service's answer never ends; it has less time than the real one."""
    with Function(folder, account.environment, constants=HASTE) as function:
        yield function


@pytest.fixture(scope="module")
def heavy(account: Aws, folder: Path) -> Iterator[Function]:
    """One instance for the tests that see how much memory it takes."""
    with Function(folder, account.environment) as function:
        yield function


@pytest.fixture(scope="module")
def moved(account: Aws, folder: Path) -> Iterator[Function]:
    """One instance for the tests that move its clock, and don't mind that others have."""
    with Function(folder, account.environment) as function:
        yield function


@pytest.fixture
def fresh(account: Aws, folder: Path) -> Iterator[Function]:
    """An instance that was just started, for one test."""
    with Function(folder, account.environment) as function:
        yield function


def post(function: Function, path: str, body: bytes | str | None = None, **headers: str) -> Reply:
    """One POST; header names are written with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return function.call(request(path, event("e") if body is None else body, headers=named))


def signed_headers(key: str, body: bytes, timestamp: str = "1767225605") -> dict[str, str]:
    code = hmac.new(key.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"x_cio_timestamp": timestamp, "x_cio_signature": code}


def assert_fits(row: dict[str, Any], columns: dict[str, rows.Column]) -> None:
    """Exactly the table's columns, and in each a value of the type that Firehose takes for it."""
    assert list(row) == list(columns)
    for name, (kind, is_required) in columns.items():
        value = row[name]
        assert value is not None or not is_required, name
        if value is not None:
            assert type(value) is (int if kind in ("bigint", "timestamp") else str), name
        if kind == "timestamp" and value is not None:
            assert abs(value / 1e6 - time.time()) < 60, f"{name} is in µs since 1970"
        if kind == "bytes" and value is not None:
            base64.b64decode(value, validate=True)
        if kind == "json":
            orjson.loads(value)


def assert_kept(row: dict[str, Any], parsed: events.Event | events.Rejection) -> None:
    """The row has what the local receiver, and so its loader, would have kept of the same body."""
    if isinstance(parsed, events.Event):
        assert_fits(row, records.DATA)
        assert [row[name] for name in ("event_id", "object_type", "metric", "timestamp")] == list(parsed[:4])
        assert row["payload"].encode() == parsed.body
    else:
        assert_fits(row, records.REJECTED)
        assert row["reason"] == rows.storable(parsed.reason)
        assert row["record"] == rows.record_text(parsed.raw)
        assert base64.b64decode(row["_sdc_raw"]) == parsed.raw
        assert (row["table_name"], row["_sdc_replayed_at"]) == ("data", None)
    assert row["_sdc_body_uri"] is None


# What the zip holds


def test_the_zip_holds_just_what_the_handler_imports(folder: Path, shared: Function) -> None:
    ours = {str(Path(file).relative_to(folder)) for file in shared.modules if Path(file).is_relative_to(folder)}
    assert {name for name in ours if not name.startswith("orjson/")} == set(MODULES)
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "receiver/aws").glob("*.py")} <= set(MODULES)
    assert [file for file in shared.modules if Path(file).is_relative_to(ROOT / "receiver")] == []


# An event, and what is stored of it


def test_an_event_is_answered_200_and_firehose_has_it_as_sent(aws: Aws, shared: Function) -> None:
    path = aws.register()
    body = b'{ "event_id":"e1", "object_type":"email","metric":"clicked", "timestamp":1767225600,"x":"\xc3\xa9"}\n'
    started = time.time_ns()
    assert post(shared, path, body)[:3] == OK
    [row] = aws.records
    assert_kept(row, events.Event("e1", "email", "clicked", 1767225600, body))
    assert row["_sdc_table_version"] == 1
    assert started // 1_000 <= row["_sdc_received_at"] <= row["_sdc_batched_at"] <= time.time_ns() // 1_000
    assert started <= row["_sdc_sequence"] <= time.time_ns()


def test_an_unusable_body_is_answered_200_and_firehose_has_it_with_its_reason(aws: Aws, shared: Function) -> None:
    path = aws.register()
    assert post(shared, path, b"\xff\x00 not JSON")[:3] == OK
    [row] = aws.records
    assert_kept(row, events.parse(b"\xff\x00 not JSON", ""))
    assert row["record"] == "�\\u0000 not JSON"
    said = shared.lines[-1]
    assert (said["level"], said["message"], said["schema"]) == ("WARN", "stored an unusable body", path.split("/")[2])
    assert said["reason"].startswith("not valid JSON")


def test_the_same_event_again_is_answered_200(aws: Aws, shared: Function) -> None:
    path = aws.register()
    assert [post(shared, path, event("twice")).status for _ in range(3)] == [200, 200, 200]
    sequences = [row["_sdc_sequence"] for row in aws.records]
    assert sequences == sorted(set(sequences))


def test_the_order_holds_when_the_clock_goes_back(aws: Aws, fresh: Function) -> None:
    path = aws.register()
    assert post(fresh, path).status == 200
    fresh.move_clock(-10)
    assert post(fresh, path).status == 200
    first, second = (row["_sdc_sequence"] for row in aws.records)
    assert second == first + 1


def _cases() -> list[tuple[bytes, str]]:
    """Every body of the local receiver's tests, with its Content-Encoding."""
    cases = []
    for test in (
        local.test_an_unusable_body_is_answered_200_and_kept_with_its_reason,
        local.test_compressed_bodies_are_read,
        local.test_a_body_that_can_not_be_decoded_is_kept_as_it_came,
    ):
        [mark] = [mark for mark in test.pytestmark if mark.name == "parametrize"]  # type: ignore[union-attr]
        for case in mark.args[1]:
            body = next(value for value in case if isinstance(value, bytes))
            cases.append((body, case[0] if isinstance(case[0], str) else ""))
    return cases


POISON = [
    b'{"event_id": "far", "timestamp": 9404534400000}',
    b'{"event_id": "beyond", "timestamp": 99999999999999999999}',
    b'{"event_id": "long", "data": %s}' % (b"7" * 300),
    b'{"event_id": "first", "event_id": "second", "data": 1, "data": 2}',
    b'{"event_id": "\xf0\x9f\x98\x80", "object_type": 5, "metric": null, "timestamp": true}',
    b'{"event_id": "in_app", "event_type": "in_app_clicked"}',
]


def test_every_body_is_kept_as_the_local_receiver_keeps_it(aws: Aws, shared: Function) -> None:
    path = aws.register()
    cases = [*_cases(), *((body, "") for body in POISON)]
    assert len(cases) > 35
    for body, encoding in cases:
        assert post(shared, path, body, content_encoding=encoding)[:3] == OK
    kept = aws.records
    assert len(kept) == len(cases)
    for row, (body, encoding) in zip(kept, cases, strict=True):
        assert_kept(row, events.parse(body, encoding))


def test_every_sample_is_an_event(aws: Aws, shared: Function) -> None:
    path = aws.register()
    samples = [line for file in sorted(ROOT.glob("samples/*.jsonl")) for line in file.read_bytes().splitlines()]
    assert len(samples) > 30
    for body in samples:
        assert post(shared, path, body).status == 200
    for row, body in zip(aws.records, samples, strict=True):
        parsed = events.parse(body, "")
        assert isinstance(parsed, events.Event)
        assert_kept(row, parsed)


def test_a_request_without_a_body_is_an_unusable_one(aws: Aws, shared: Function) -> None:
    path = aws.register()
    for empty in ({}, {"body": None}, {"body": ""}, {"body": "", "isBase64Encoded": True}):
        assert shared.call({**request(path), **empty})[:3] == OK
    for row in aws.records:
        assert_kept(row, events.parse(b"", ""))


@pytest.mark.parametrize("body", [event("b"), b"\xff\xfe", b'{"event_id": "\xc3\xa9"}'])
def test_a_body_in_base64_is_decoded(aws: Aws, shared: Function, body: bytes) -> None:
    assert shared.call(request(aws.register(), body, base64=True))[:3] == OK
    assert_kept(aws.records[0], events.parse(body, ""))


@pytest.mark.parametrize("text", ["!", "abc", "é", "YQ", '{"event_id": "e"}'])
def test_a_body_that_should_be_base64_and_is_not_is_an_unusable_one(aws: Aws, shared: Function, text: str) -> None:
    assert shared.call(request(aws.register(), text, base64=True))[:3] == OK
    [row] = aws.records
    assert_kept(row, events.Rejection("not valid base64, as AWS said that it is", text.encode()))


def test_a_body_with_half_a_character_is_an_unusable_one(aws: Aws, shared: Function) -> None:
    assert shared.call(request(aws.register(), '{"event_id": "\ud83d"}'))[:3] == OK
    [row] = aws.records
    assert_kept(row, events.parse(b'{"event_id": "\xed\xa0\xbd"}', ""))


def test_a_bomb_is_cut_off_and_kept_as_it_came(aws: Aws, shared: Function) -> None:
    bomb = gzip.compress(b" " * (100 * 2**20))
    assert post(shared, aws.register(), bomb, content_encoding="gzip").status == 200
    [row] = aws.records
    assert_kept(row, events.Rejection(f"larger than {MAX_BYTES} bytes when decompressed", bomb))


@pytest.mark.parametrize("piece", [b"[],", b'{"":0},', b'"\\\\u0000",', b"0,"])
def test_the_heaviest_bodies_are_answered_in_time_and_fit_into_an_instance(
    aws: Aws, heavy: Function, piece: bytes
) -> None:
    start = b'{"event_id": "heavy", "data": ['
    parts = sum(piece.count(each) for each in (b",", b"[", b"{"))
    times = min((MAX_BYTES - len(start) - 2) // len(piece), (events.MAX_PARTS - 2) // parts)
    body = (start + piece * times).removesuffix(b",") + b"]}"
    body += b" " * (MAX_BYTES - len(body))
    assert 0.99 * MAX_BYTES < len(body) <= MAX_BYTES
    path, sent = aws.register(), gzip.compress(body, 1)
    reply = post(heavy, path, sent, content_encoding="gzip")
    for _ in range(9):  # a machine that is busy with other things may need a sender that tries again
        if reply[:3] == OK:
            break
        assert reply[:3] == UNAVAILABLE
        reply = post(heavy, path, sent, content_encoding="gzip")
    assert reply[:3] == OK
    assert orjson.loads(aws.records[0]["payload"]) == {"event_id": "heavy", "data": None}
    status = Path(f"/proc/{heavy.process.pid}/status")
    if status.exists():
        [peak] = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        assert int(peak) < 400 * 1024, "KiB, of the 512 MiB that the program gives it"


def test_a_query_string_does_not_matter(aws: Aws, shared: Function) -> None:
    assert post(shared, aws.register() + "?a=b")[:3] == OK


# What is too large for Firehose


def kept_body(row: dict[str, Any], aws: Aws) -> bytes:
    bucket, _, key = row["_sdc_body_uri"].removeprefix("s3://").partition("/")
    assert bucket == BUCKET
    content: bytes = aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def test_an_event_too_large_for_firehose_is_in_the_bucket_and_its_row_points_there(aws: Aws, shared: Function) -> None:
    path = aws.register()
    sample = json.loads((ROOT / "samples/customerio_current.jsonl").read_text().splitlines()[3])
    sample["data"]["content"] = "<p>" + "é" * 1_200_000
    sample["data"]["headers"] = {"X-Long": ["x" * 2_000], "X-Short": ["y"]}
    body = json.dumps(sample, ensure_ascii=False).encode()
    for sent, encoding in ((body, ""), (gzip.compress(body), "gzip")):
        assert post(shared, path, sent, content_encoding=encoding)[:3] == OK
    for row in aws.records:
        assert_fits(row, records.DATA)
        assert kept_body(row, aws) == body
        schema, day = path.split("/")[2], time.strftime("%Y/%m/%d", time.gmtime(row["_sdc_received_at"] / 1e6))
        assert row["_sdc_body_uri"] == f"s3://{BUCKET}/oversized/{schema}/{day}/{row['_sdc_sequence']}"
        assert (row["event_id"], row["timestamp"]) == (sample["event_id"], sample["timestamp"])
        sample["data"]["content"], sample["data"]["headers"]["X-Long"] = None, None
        assert json.loads(row["payload"]) == sample
    said = shared.lines[-1]
    assert (said["message"], said["bytes"]) == ("kept an oversized body beside its row", len(body))


def test_a_large_event_of_nothing_but_small_values_keeps_what_names_it(aws: Aws, shared: Function) -> None:
    named = {"event_id": "many", "event_type": "email_opened", "timestamp": 1522700000}
    body = json.dumps({**named, "data": {"list": [["x" * 100] * 10] * 2_000}}).encode()
    assert post(shared, aws.register(), body).status == 200
    wide = json.dumps({**named, **{f"field{number}": "x" * 1_000 for number in range(900)}, "s": ["y"] * 40_000})
    assert post(shared, aws.register(), wide).status == 200
    many = json.dumps({**named, **{f"field{number}": "x" * 1_000 for number in range(1_100)}})
    assert post(shared, aws.register(), many).status == 200
    one, two, three = aws.records
    assert json.loads(one["payload"]) == {**named, "data": {"list": None}}
    assert len(json.loads(two["payload"])) == 904
    assert json.loads(three["payload"]) == named
    assert [kept_body(row, aws) for row in (one, two, three)] == [body, wide.encode(), many.encode()]
    assert all(row["object_type"] == "email" and row["metric"] == "opened" for row in (one, two, three))


def test_an_unusable_body_too_large_for_firehose_is_in_the_bucket(aws: Aws, shared: Function) -> None:
    body = b"\xff" * 900_000
    assert post(shared, aws.register(), body).status == 200
    [row] = aws.records
    assert_fits(row, records.REJECTED)
    assert row["_sdc_raw"] is None
    assert row["record"] == "�" * rows.RECORD_CHARACTERS
    assert kept_body(row, aws) == body


MOMENT = records.Moment(1_767_225_600_000_000, 1_767_225_600_000_001, 1_767_225_600_000_000_002)


def test_a_record_may_be_as_large_as_firehose_takes_and_no_larger() -> None:
    def body(size: int) -> bytes:
        return b'{"event_id": "e", "x": "%s"}' % (b"x" * size)

    size = records.LARGEST - len(records.whole(events.parse(body(0), ""), MOMENT))
    taking = Taking()
    function = function_of(taking)
    for more in (0, 1):
        assert function.answer(request(PATH, body(size + more))).status == 200
    whole, slim = taking.taken
    assert len(whole) == records.LARGEST == 1_024_000
    assert (orjson.loads(whole)["_sdc_body_uri"], orjson.loads(whole)["payload"]) == (None, body(size).decode())
    assert orjson.loads(slim)["payload"] == '{"event_id":"e","x":null}'


def test_nothing_is_answered_200_whose_body_the_bucket_did_not_take(aws: Aws, troubled: Function) -> None:
    path = aws.register()
    large = b'{"event_id": "large", "data": {"content": "%s"}}' % (b"x" * 1_100_000)
    for state in ("dropping", "hanging", (503, b"<Error><Code>SlowDown</Code></Error>"), (403, b"")):
        with aws.doors["s3"].shut(state):
            reply = post(troubled, path, large)
        assert reply[:3] == UNAVAILABLE
        assert reply.seconds < 3.6
        assert troubled.lines[-1]["service"] == "s3"
    assert aws.records == []
    assert post(troubled, path, large).status == 200


# Who is refused


def test_every_wrong_token_gets_the_same_401(aws: Aws, shared: Function) -> None:
    path, revoked = aws.register(), aws.register()
    aws.remove(revoked)
    schema, printed = path.split("/")[2:]
    wrong = {
        "unknown": f"/v1/{schema}/{new_token()}",
        "revoked": revoked,
        "wrong schema": f"/v1/{schema}x/{printed}",
        "wrong case": f"/v1/{schema}/{printed.swapcase()}",
        "schema in another case": f"/v1/{schema.upper()}/{printed}",
        "cut short": path[:-1],
        "longer": path + "0",
        "garbage": f"/v1/{schema}/x",
        "not ASCII": f"/v1/{schema}/é\ud800",
        "another item's key": f"/v1/{schema}/used:{hash_of(path)}",
        "the digest itself": f"/v1/{schema}/{hash_of(path)}",
    }
    for where in wrong.values():
        assert post(shared, where)[:3] == UNAUTHORIZED
    assert aws.records == []


def test_garbage_costs_no_look_up(aws: Aws, shared: Function) -> None:
    for garbage in ("x", new_token()[:-1], new_token()[:-1] + "é", "slc_" + "a" * 49, new_token().upper()):
        assert post(shared, f"/v1/s/{garbage}").status == 401
    assert aws.doors["dynamodb"].knocks == 0
    assert post(shared, f"/v1/s/{new_token()}").status == 401
    assert aws.doors["dynamodb"].knocks == 1


def test_a_refusal_is_logged_once_a_minute_for_each_token_and_a_hundred_times_for_all(
    aws: Aws, fresh: Function
) -> None:
    wrong = new_token()
    for _ in range(3):
        post(fresh, f"/v1/s/{wrong}")
    [said] = fresh.lines
    assert (said["level"], said["message"], said["token"], said["why"]) == (
        "WARN",
        "refused a delivery",
        token.fingerprint(token.digest(wrong)),
        "its token is not a live one of that schema",
    )
    for number in range(150):
        post(fresh, f"/v1/s/garbage{number}")
    assert len(fresh.lines) == 100
    fresh.move_clock(61)
    post(fresh, f"/v1/s/{wrong}")
    assert len(fresh.lines) == 101


@pytest.mark.parametrize(
    ("method", "where", "status"),
    [
        ("GET", "{path}", 405),
        ("PUT", "{path}", 405),
        ("DELETE", "/v1/a/b", 405),
        ("GET", "/", 404),
        ("POST", "/", 404),
        ("POST", "", 404),
        ("POST", "/v1", 404),
        ("POST", "/v1/a", 404),
        ("POST", "/v1//b", 404),
        ("POST", "{path}/", 404),
        ("POST", "{path}/more", 404),
        ("POST", "/v2{path}", 404),
        ("POST", "/v1/a/b/../../../../etc/passwd", 404),
    ],
)
def test_other_paths_and_methods(aws: Aws, shared: Function, method: str, where: str, status: int) -> None:
    reply = shared.call(request(where.format(path=aws.register()), event("no"), method))
    allow = {"allow": "POST"} if status == 405 else {}
    word = "not found" if status == 404 else "method not allowed"
    assert reply[:3] == (
        status,
        {"content-type": "application/json", **allow},
        json.dumps({"status": word}, separators=(",", ":")),
    )
    assert aws.records == []


@pytest.mark.parametrize(
    ("junk", "status"),
    [
        ({}, 404),
        ({"rawPath": None}, 404),
        ({"rawPath": "/v1/a/b"}, 405),
        ({"requestContext": {}, "rawPath": "/v1/a/b"}, 405),
        ({"requestContext": None}, 503),
        ({"Records": [{"Sns": {}}]}, 404),
        (None, 503),
        ([], 503),
        ("warm", 503),
    ],
)
def test_a_request_out_of_nowhere_is_answered(shared: Function, junk: Any, status: int) -> None:
    assert shared.call(junk).status == status


def test_an_instance_without_its_settings_answers_503(folder: Path) -> None:
    """An error while an instance starts would be a 502."""
    for environment, error in (({}, "NoRegionError"), (KEYS, "ParamValidationError")):
        with Function(folder, environment) as function:
            assert post(function, "/").status == 404
            assert post(function, f"/v1/s/{new_token()}")[:3] == UNAVAILABLE
            assert function.lines[-1]["error"] == error


# X-CIO-Signature


@pytest.mark.parametrize(("key", "timestamp", "body", "signature"), local.VECTORS)
def test_a_signed_endpoint_takes_either_key_and_nothing_else(
    aws: Aws, shared: Function, key: str, timestamp: str, body: bytes, signature: str
) -> None:
    right = {"x_cio_timestamp": timestamp, "x_cio_signature": signature}
    paths = [aws.register(signed=True, keys=keys) for keys in [(key,), (key, "other"), ("other", key)]]
    assert [post(shared, path, body, **right).status for path in paths] == [200, 200, 200]
    assert len(aws.records) == 3
    wrong: list[dict[str, str]] = [
        {},
        {"x_cio_signature": signature},
        {"x_cio_timestamp": timestamp},
        {**right, "x_cio_timestamp": "1613063090"},
        {**right, "x_cio_signature": signature[:-1] + "0"},
        {**right, "x_cio_signature": f"{signature},{signature}"},  # sent twice
        {**right, "x_cio_signature": "v0=" + signature},
        {**right, "x_cio_signature": "é" * 64},
        {**right, "x_cio_signature": ""},
    ]
    for headers in wrong:
        assert post(shared, paths[0], body, **headers)[:3] == UNAUTHORIZED
    assert post(shared, paths[0], body + b" ", **right)[:3] == UNAUTHORIZED
    assert post(shared, paths[0], json.dumps(json.loads(body)).encode(), **right)[:3] == UNAUTHORIZED
    for keys in (("other", "another"), (), ("",), None):
        assert post(shared, aws.register(signed=True, keys=keys), body, **right)[:3] == UNAUTHORIZED
    assert len(aws.records) == 3


def test_the_signature_covers_the_body_as_it_came_over_the_wire(aws: Aws, shared: Function) -> None:
    path = aws.register(signed=True, keys=("key",))
    wire = gzip.compress(event("zipped"))
    of_wire, of_json = signed_headers("key", wire), signed_headers("key", event("zipped"))
    assert post(shared, path, wire, content_encoding="gzip", **of_json).status == 401
    assert post(shared, path, wire, content_encoding="gzip", **of_wire).status == 200
    [row] = aws.records
    assert row["payload"].encode() == event("zipped")


def test_an_unusable_body_is_kept_only_if_it_is_signed(aws: Aws, shared: Function) -> None:
    path = aws.register(signed=True, keys=("key",))
    assert post(shared, path, b"no JSON").status == 401
    assert shared.call(request(path, "no base64", base64=True)).status == 401
    assert post(shared, path, b"no JSON", **signed_headers("key", b"no JSON")).status == 200
    assert len(aws.records) == 1


def test_new_signing_keys_are_taken_over_when_the_hit_is_old(aws: Aws, moved: Function) -> None:
    path = aws.register(signed=True, keys=("old",))
    body = event("e")
    assert post(moved, path, body, **signed_headers("old", body)).status == 200
    aws.put_keys(path.rsplit("/", 1)[1], json.dumps(["new", "old"]))
    assert post(moved, path, body, **signed_headers("new", body)).status == 401
    assert aws.passed("ssm", "GetParameter") == 1
    moved.move_clock(HIT_SECONDS)
    assert post(moved, path, body, **signed_headers("new", body)).status == 200
    assert post(moved, path, body, **signed_headers("old", body)).status == 200
    assert aws.passed("ssm", "GetParameter") == 2


def test_keys_that_can_not_be_had_are_a_503_and_never_a_401(aws: Aws, troubled: Function) -> None:
    body = event("e")
    for state in ("dropping", "hanging", (400, b'{"__type": "ThrottlingException"}'), (500, b"")):
        with aws.doors["ssm"].shut(state):
            reply = post(troubled, aws.register(signed=True, keys=("key",)), body, **signed_headers("key", body))
        assert reply[:3] == UNAVAILABLE
        assert reply.seconds < 3.6
        assert troubled.lines[-1]["service"] == "ssm"
    for value in ("key", '"key"', "[1]", "{}", '["key"'):
        path = aws.register(signed=True, keys=("key",))
        aws.put_keys(path.rsplit("/", 1)[1], value)
        assert post(troubled, path, body, **signed_headers("key", body))[:3] == UNAVAILABLE
        assert troubled.lines[-1]["error"] == "NotAListOfKeys"
    path = aws.register(signed=True, keys=("key",))
    aws.ssm.delete_parameter(Name=parameter_of(path.rsplit("/", 1)[1]))
    assert post(troubled, path, body, **signed_headers("key", body))[:3] == UNAVAILABLE
    assert troubled.lines[-1]["error"] == "ParameterNotFound"
    assert aws.records == []


# The registry


def test_a_new_endpoint_is_live_at_once_although_it_was_refused_a_moment_before(aws: Aws, shared: Function) -> None:
    path = aws.register()
    item = aws.item(hash_of(path))
    aws.remove(path)
    assert post(shared, path).status == 401
    aws.dynamodb.put_item(TableName=REGISTRY, Item=item)
    assert post(shared, path).status == 200


def test_a_removed_endpoint_is_refused_after_30_seconds_of_the_wall_clock(aws: Aws, moved: Function) -> None:
    path = aws.register()
    assert HIT_SECONDS == 30
    assert post(moved, path).status == 200
    aws.remove(path)
    moved.move_clock(25)
    assert post(moved, path).status == 200
    assert aws.passed("dynamodb", "GetItem") == 1
    moved.move_clock(5)
    assert post(moved, path)[:3] == UNAUTHORIZED
    assert post(moved, path)[:3] == UNAUTHORIZED


def test_a_clock_that_went_back_makes_no_hit_older_than_it_may_be(aws: Aws, moved: Function) -> None:
    path = aws.register()
    assert post(moved, path).status == 200
    aws.remove(path)
    moved.move_clock(-3600)
    assert post(moved, path)[:3] == UNAUTHORIZED


DYNAMODB_FAILURES: list[tuple[str | tuple[int, bytes], str]] = [
    ("hanging", "ReadTimeoutError"),
    ("dropping", "ConnectionClosedError"),
    ((400, b'{"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}'),
     "ProvisionedThroughputExceededException"),
    ((400, b'{"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}'), "ResourceNotFoundException"),
    ((400, b'{"__type": "com.amazon.coral.service#AccessDeniedException"}'), "AccessDeniedException"),
    ((500, b'{"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"}'), "InternalServerError"),
    ((503, b"<html>"), "503"),
    ((200, b"not JSON"), "NoAnswer"),
    ((200, b"{}"), "NoAnswer"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "error"), DYNAMODB_FAILURES, ids=lambda value: str(value)[:40])
def test_a_registry_that_can_not_be_asked_is_a_503_in_time_and_never_a_401(
    aws: Aws, troubled: Function, state: str | tuple[int, bytes], error: str
) -> None:
    with aws.doors["dynamodb"].shut(state):
        for path in (aws.register(), f"/v1/s/{new_token()}"):
            reply = post(troubled, path)
            assert reply[:3] == UNAVAILABLE
            assert reply.seconds < 3.6
            said = troubled.lines[-1]
            assert (said["level"], said["message"], said["service"]) == ("ERROR", "answered 503", "dynamodb")
            assert said["error"] == error
    assert aws.records == []
    assert post(troubled, aws.register()).status == 200


def test_a_hit_serves_through_an_outage_of_the_registry_for_its_30_seconds(aws: Aws, moved: Function) -> None:
    path = aws.register()
    assert post(moved, path).status == 200
    with aws.doors["dynamodb"].shut("dropping"):
        moved.move_clock(25)
        assert post(moved, path).status == 200
        moved.move_clock(5)
        assert post(moved, path)[:3] == UNAVAILABLE
    assert post(moved, path).status == 200


def test_an_item_that_is_not_whole_is_a_503(aws: Aws, shared: Function) -> None:
    path = aws.register()
    aws.dynamodb.update_item(
        TableName=REGISTRY, Key={"hash": {"S": hash_of(path)}}, UpdateExpression="REMOVE #s",
        ExpressionAttributeNames={"#s": "stream"},
    )  # fmt: skip
    assert post(shared, path)[:3] == UNAVAILABLE
    assert shared.lines[-1]["error"] == "KeyError"
    assert "Registry._asked" in shared.lines[-1]["place"]


# Firehose


FIREHOSE_FAILURES: list[tuple[str | tuple[int, bytes], str]] = [
    ("hanging", "ReadTimeoutError"),
    ("dropping", "ConnectionClosedError"),
    ((503, b'{"__type": "ServiceUnavailableException", "message": "Slow down."}'), "ServiceUnavailableException"),
    ((400, b'{"__type": "LimitExceededException"}'), "LimitExceededException"),
    ((400, b'{"__type": "ResourceNotFoundException"}'), "ResourceNotFoundException"),
    ((500, b""), "500"),
    ((200, b'{"FailedPutCount": 1, "RequestResponses": [{"ErrorCode": "ServiceUnavailableException",'
           b' "ErrorMessage": "Slow down."}]}'), "ServiceUnavailableException"),
    ((200, b'{"FailedPutCount": 1, "RequestResponses": [{"RecordId": "1"}]}'), "NoRecordId"),
    ((200, b'{"FailedPutCount": 0, "RequestResponses": []}'), "NoRecordId"),
    ((200, b"{}"), "NoRecordId"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "error"), FIREHOSE_FAILURES, ids=lambda value: str(value)[:60])
def test_what_firehose_did_not_take_is_a_503_in_time(
    aws: Aws, troubled: Function, state: str | tuple[int, bytes], error: str
) -> None:
    path = aws.register()
    with aws.doors["firehose"].shut(state):
        for body in (event("e"), b"no JSON"):
            reply = post(troubled, path, body)
            assert reply[:3] == UNAVAILABLE
            assert reply.seconds < 3.6
            said = troubled.lines[-1]
            assert (said["level"], said["message"], said["service"]) == ("ERROR", "answered 503", "firehose")
            assert said["error"] == error
    assert aws.records == []
    assert aws.passed("dynamodb", "UpdateItem") == 0, "it isn't a use before it is stored"
    assert post(troubled, path).status == 200


def test_firehose_is_tried_again_within_the_time(aws: Aws, troubled: Function) -> None:
    path = aws.register()
    with aws.doors["firehose"].shut("dropping"):
        assert post(troubled, path).status == 503
    assert aws.doors["firehose"].knocks == 2


def test_hanging_calls_keep_no_later_delivery_from_its_answer(aws: Aws, hasty: Function) -> None:
    path = aws.register()
    with aws.doors["firehose"].shut("trickling"):
        for _ in range(3):
            reply = hasty.call(request(path, event("e"), arrived=time.time() - 0.3))
            assert reply[:3] == UNAVAILABLE
    reply = post(hasty, path)
    assert reply[:3] == OK
    assert reply.seconds < 0.5


@pytest.mark.parametrize("service", ["dynamodb", "firehose", "ssm", "s3"])
def test_a_service_whose_answer_never_ends_is_a_503_in_time(aws: Aws, hasty: Function, service: str) -> None:
    large = b'{"event_id": "large", "data": {"content": "%s"}}' % (b"x" * 1_100_000)
    path = aws.register(signed=service == "ssm", keys=("key",))
    with aws.doors[service].shut("trickling"):
        reply = post(hasty, path, large, **signed_headers("key", large))
    assert reply[:3] == UNAVAILABLE
    assert HASTY_SECONDS - 0.1 < reply.seconds < 2
    said = hasty.lines[-1]
    assert (said["message"], said["service"], said["error"]) == ("answered 503", service, "OutOfTime")
    assert aws.records == []


@pytest.mark.parametrize(
    ("ago", "seconds"),
    [(2.4, 1.0), (3.3, 0.5), (100, 3.4), pytest.param(-100, 3.4, marks=pytest.mark.nightly)],
)
def test_the_time_counts_from_when_aws_had_the_request(aws: Aws, shared: Function, ago: float, seconds: float) -> None:
    """With the real times."""
    path = aws.register()
    with aws.doors["dynamodb"].shut("trickling"):
        reply = shared.call(request(path, event("e"), arrived=time.time() - ago))
    assert reply[:3] == UNAVAILABLE
    assert seconds - 0.1 < reply.seconds < seconds + 0.2


def test_a_call_that_hangs_is_given_up_twice_within_the_time(aws: Aws, shared: Function) -> None:
    """With the real times, which the tests above shorten."""
    path = aws.register()
    assert (TRY_SECONDS, ANSWER_SECONDS) == (1.0, 3.4)
    with aws.doors["firehose"].shut("hanging"):
        reply = post(shared, path)
    assert reply[:3] == UNAVAILABLE
    assert 2 * TRY_SECONDS - 0.1 < reply.seconds < 3.6
    assert (shared.lines[-1]["service"], shared.lines[-1]["error"]) == ("firehose", "ReadTimeoutError")


@pytest.mark.parametrize("began", [None, "x", True, [], float("nan"), float("inf"), -1, 10**30, 0])
def test_a_time_that_can_not_be_is_now(began: Any) -> None:
    assert seconds_for({"requestContext": {"timeEpoch": began}}, 1_767_225_600.0) == ANSWER_SECONDS
    assert seconds_for({}, 1_767_225_600.0) == ANSWER_SECONDS


def test_there_is_always_half_a_second() -> None:
    now = 1_767_225_600.0
    for ago, left in ((0, 3.4), (1, 2.4), (2.9, 0.5), (3.3, LEAST_SECONDS), (3.5, 3.4), (-0.001, 3.4), (-100, 3.4)):
        found = seconds_for({"requestContext": {"timeEpoch": int((now - ago) * 1_000)}}, now)
        assert found == pytest.approx(left, abs=0.002)


# The last use


def test_the_last_use_is_kept_in_an_item_of_its_own_once_a_minute(aws: Aws, fresh: Function) -> None:
    path = aws.register()
    before = aws.item(hash_of(path))
    for _ in range(3):
        assert post(fresh, path).status == 200
    assert aws.item(hash_of(path)) == before
    used = aws.item(f"used:{hash_of(path)}")
    assert used is not None
    assert set(used) == {"hash", "last_used"}
    assert abs(int(used["last_used"]["N"]) - time.time()) < 10
    assert aws.passed("dynamodb", "UpdateItem") == 1
    fresh.move_clock(61)
    assert post(fresh, path).status == 200
    later = aws.item(f"used:{hash_of(path)}")
    assert later is not None
    assert int(later["last_used"]["N"]) - int(used["last_used"]["N"]) >= 60


def test_a_refused_delivery_is_no_use(aws: Aws, shared: Function) -> None:
    signed, other = aws.register(signed=True, keys=("key",)), aws.register("one_schema")
    assert post(shared, signed).status == 401
    assert post(shared, other.replace("one_schema", "another")).status == 401
    assert aws.item(f"used:{hash_of(signed)}") is aws.item(f"used:{hash_of(other)}") is None


def test_a_later_use_is_not_overwritten_by_an_instance_that_was_frozen(aws: Aws, shared: Function) -> None:
    path = aws.register()
    later = {"hash": {"S": f"used:{hash_of(path)}"}, "last_used": {"N": str(int(time.time()) + 1_000)}}
    aws.dynamodb.put_item(TableName=REGISTRY, Item=later)
    assert post(shared, path).status == 200
    assert aws.item(f"used:{hash_of(path)}") == later


@pytest.mark.parametrize("state", ["hanging", "trickling", "dropping", (400, b'{"__type": "ThrottlingException"}')])
def test_a_use_that_can_not_be_kept_changes_no_answer(
    aws: Aws, moved: Function, state: str | tuple[int, bytes]
) -> None:
    path = aws.register()
    for pause in (40, 21):  # then the hit is 21 s old, and the note 61 s
        assert post(moved, path).status == 200
        moved.move_clock(pause)
    assert aws.passed("dynamodb", "GetItem") == 2
    knocks = aws.doors["dynamodb"].knocks
    with aws.doors["dynamodb"].shut(state):
        first, second = post(moved, path), post(moved, path)
    assert first[:3] == second[:3] == OK
    assert first.seconds < 0.6
    assert second.seconds < 0.2, "it is tried once a minute, kept or not"
    assert aws.doors["dynamodb"].knocks > knocks
    assert len(aws.records) == 4


# What is told


def test_no_secret_is_in_the_log(aws: Aws, folder: Path) -> None:
    """At the log level that tells the most; the control is an instance whose libraries nobody silenced."""
    secret = {"body": "an ordinary person's letter", "key": "signing-secret-key", "header": "a header's content"}
    found: dict[bool, set[str]] = {}
    for talkative in (False, True):
        signed, path = aws.register(signed=True, keys=(secret["key"],)), aws.register()
        paths = [path, signed, f"/v1/x/{new_token()}", path + "/more", path[:-1]]
        body = json.dumps({"event_id": secret["body"]}).encode()
        large = json.dumps({"event_id": secret["body"], "x": "y" * 1_100_000}).encode()
        with Function(folder, aws.environment, talkative=talkative) as function:
            _everything(function, aws, paths, [body, large, secret["body"].encode()], secret["key"], secret["header"])
            text = function.logs
            assert talkative or {line["message"] for line in function.lines} == {
                "refused a delivery",
                "stored an unusable body",
                "kept an oversized body beside its row",
                "answered 503",
            }
        tokens = {f"token {number}": where.split("/")[3] for number, where in enumerate(paths[:3])}
        secrets_ = {**secret, **tokens, "hash": hash_of(path), "AWS key": AWS_SECRET}
        found[talkative] = {name for name, value in secrets_.items() if places_of(value, {"log": text.encode()})}
        assert BUCKET in text or not talkative
    assert found[False] == set()
    assert {"body", "key", "hash"} <= found[True]


def _everything(function: Function, aws: Aws, paths: list[str], bodies: list[bytes], key: str, header: str) -> None:
    """Every way that a delivery can go."""
    for path in paths:
        for body in bodies:
            post(function, path, body, **signed_headers(key, body))
        function.call(request(path, bodies[0], method="GET"))
        post(function, path, bodies[0], content_encoding=header, x_cio_signature=header, x_cio_timestamp=header)
        post(function, path, b"no base64 \xff", content_encoding="gzip")
    assert post(function, paths[0], bodies[0]).status == 200
    assert post(function, paths[1], bodies[0], **signed_headers(key, bodies[0])).status == 200
    for service in ("firehose", "s3"):
        with aws.doors[service].shut((400, b'{"__type": "Refused", "message": "%s"}' % bodies[0][:40])):
            assert post(function, paths[0], bodies[1]).status == 503
    for service in ("dynamodb", "ssm"):
        function.move_clock(HIT_SECONDS)
        with aws.doors[service].shut("dropping"):
            assert post(function, paths[1], bodies[0], **signed_headers(key, bodies[0])).status == 503
    function.call({"rawPath": {paths[0]: bodies[0].decode()}, "requestContext": None})
    function.call({**request(paths[0]), "body": [bodies[0].decode()]})
    function.call({**request(paths[0]), "headers": {"content-encoding": [header]}})


# Whatever comes


ITEM = {
    "schema": {"S": "s"}, "slot": {"S": "primary"}, "source": {"S": "customerio"}, "signed": {"BOOL": False},
    "stream": {"S": STREAM},
}  # fmt: skip
PATH = f"/v1/s/{new_token()}"


class Taking:
    """All services, which take everything."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def get_item(self, **_: Any) -> Any:
        return {"Item": ITEM}

    def update_item(self, **_: Any) -> Any:
        return {}

    put_object = update_item

    def put_record_batch(self, *, DeliveryStreamName: str, Records: list[dict[str, bytes]]) -> Any:
        self.taken.extend(record["Data"] for record in Records)
        return {"FailedPutCount": 0, "RequestResponses": [{"RecordId": "1"}]}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
json_texts = anything.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))
bodies = (
    st.binary()
    | json_texts
    | anything.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(
        st.sampled_from(["event_id", "object_type", "metric", "event_type", "timestamp", "data"]) | st.text(),
        anything | st.text(st.characters(exclude_categories=())),
    ).map(lambda fields: json.dumps({"event_id": "e", **fields}).encode())
)


@given(
    anything
    | st.fixed_dictionaries(
        {},
        optional={
            "rawPath": st.sampled_from([PATH, "/v1/s/x", "/"]) | anything,
            "headers": st.dictionaries(st.sampled_from(["content-encoding", "x-cio-signature"]), anything) | anything,
            "requestContext": st.fixed_dictionaries(
                {}, optional={"http": st.just({"method": "POST"}) | anything, "timeEpoch": anything}
            )
            | anything,
            "body": st.text(st.characters(exclude_categories=())) | anything,
            "isBase64Encoded": st.booleans() | anything,
        },
    )
)
def test_no_request_whatever_makes_it_raise(junk: Any) -> None:
    taking = Taking()
    status = function_of(taking).answer(junk).status
    assert status in (200, 401, 404, 405, 503)
    assert (status == 200) == bool(taking.taken)


@given(bodies, st.sampled_from(["", "gzip", "deflate", "br", "\0"]))
@example(b'{"event_id": "\\ud800"}', "")
@example(b'{"event_id": "e", "object_type": "\\u0001", "timestamp": -9223372036854775808}', "")
@example(zlib.compress(b'{"event_id": "e"}'), "deflate")
def test_whatever_is_parsed_can_be_recorded(body: bytes, encoding: str) -> None:
    parsed = events.parse(body, encoding)
    columns = records.DATA if isinstance(parsed, events.Event) else records.REJECTED
    for record in (records.whole(parsed, MOMENT), records.slim(parsed, MOMENT, "s3://bucket/key")):
        row = orjson.loads(record)
        assert list(row) == list(columns)
        assert record.decode().encode() == record
    slim = orjson.loads(records.slim(parsed, MOMENT, "s3://bucket/key"))
    if isinstance(parsed, events.Event):
        assert orjson.loads(slim["payload"])["event_id"] == parsed.event_id


SHAPES = [b"%s", b'"%s"', b"[%s]", b'{"a": %s}', b'{"a": {"b": {"c": {"d": %s}}}}']
PIECES = [b'"x",', b"[],", b'{"y": 1},', b"7", b"\\u0001", b'"a": 1,', b"[", b"\xf0\x9f\x98\x80", b"\\\\"]
NAMES = ["object_type", "metric", "event_type", "data", "event_id"]
anything_large = given(
    st.sampled_from(SHAPES), st.sampled_from(PIECES), st.sampled_from([1, 1_000, 1_000_000]), st.sampled_from(NAMES)
)


def assert_slim(shape: bytes, piece: bytes, times: int, name: str) -> None:
    value = shape % (piece * (times // len(piece))).removesuffix(b",")
    for body in (b'{"event_id": "%s", "%s": %s}' % (b"\\u0001" * 255, name.encode(), value), value):
        parsed = events.parse(body, "")
        record = records.slim(parsed, MOMENT, "s3://bucket/" + "k" * 200)
        assert len(record) <= records.LARGEST
        orjson.loads(record)


@settings(max_examples=25)
@anything_large
def test_what_is_slim_is_never_too_large(shape: bytes, piece: bytes, times: int, name: str) -> None:
    assert_slim(shape, piece, times, name)


@pytest.mark.nightly
@settings(max_examples=500)
@anything_large
def test_what_is_slim_is_never_too_large_in_any_combination(shape: bytes, piece: bytes, times: int, name: str) -> None:
    assert_slim(shape, piece, times, name)


def function_of(services: Taking) -> InProcess:
    return InProcess(lambda _: services, REGISTRY, BUCKET)
