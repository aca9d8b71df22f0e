"""A stack on AWS as its people work with it: `make`, a second stack in the account, and refusals."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.aws.cloud import REGION, STANDING, AwsStack, registry, token_hash
from tests.aws.moto_server import ACCOUNT, MotoServer
from tests.support.making import make
from tests.support.stack import CUSTOMERIO, Ran

SCHEMA = "stitch_customerio"
ITEM = "aws:dynamodb/tableItem:TableItem"
LONGEST = "s" + "0123456789" * 4 + "01234567"  # 49 characters, the most that a schema's name may have


def hashes(at: MotoServer) -> set[str]:
    return {key for key in registry(at) if not key.startswith("used:")}


def test_make_url_prints_the_secret_url(stack: AwsStack) -> None:
    stack.bring_to(STANDING)
    assert make(stack, "url").out.strip() == stack.url()


def test_make_status_shows_last_use_and_names_what_is_wrong(stack: AwsStack, at: MotoServer) -> None:
    stack.bring_to(STANDING)
    assert make(stack, "status").code == 0
    with trouble(at, token_hash(stack.url()), last_used=1790000000):
        shown = make(stack, "status")
    assert shown.code != 0
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1790000000)) in shown.text
    assert "in alarm: Lambda answered 429" in shown.text
    assert "the primary URL of Stitch Customer.io is not live: run make refresh and make up" in shown.text


@contextlib.contextmanager
def trouble(at: MotoServer, hash: str, *, last_used: int) -> Iterator[None]:
    """While inside, an alarm rings and the endpoint's item, which was used then, is gone."""
    cloudwatch, dynamodb = at.client("cloudwatch"), at.client("dynamodb")
    (table,) = dynamodb.list_tables()["TableNames"]
    (alarm,) = [
        alarm["AlarmName"]
        for alarm in cloudwatch.describe_alarms()["MetricAlarms"]
        if alarm["MetricName"] == "Throttles"
    ]
    key = {"hash": {"S": hash}}
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    used = {"hash": {"S": f"used:{hash}"}, "last_used": {"N": str(last_used)}}
    dynamodb.put_item(TableName=table, Item=used)
    dynamodb.delete_item(TableName=table, Key=key)
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
    try:
        yield
    finally:
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="a test")
        dynamodb.put_item(TableName=table, Item=item)


def test_a_url_that_the_state_does_not_know_is_named_and_then_revoked_by_make_up(
    stack: AwsStack, at: MotoServer
) -> None:
    """As after a `pulumi state delete`, or when an older state was imported. What notes a last use is no URL."""
    stack.bring_to(STANDING)
    (table,) = at.client("dynamodb").list_tables()["TableNames"]
    stray = {"hash": {"S": "e" * 64}, "schema": {"S": SCHEMA}, "slot": {"S": "secondary"}}
    for item in (stray, {"hash": {"S": f"used:{'e' * 64}"}, "last_used": {"N": "1790000000"}}):
        at.client("dynamodb").put_item(TableName=table, Item=item)
    named = f"the secondary URL of {SCHEMA}, {'e' * 12}, is live, and the stack's state doesn't know it"
    status = make(stack, "status")
    assert (status.code, named in status.text) == (1, True), status.text
    made = make(stack, "up")
    assert (made.code, f"revoked the secondary URL of {SCHEMA}" in made.text) == (0, True), made.text
    assert hashes(at) == {token_hash(stack.url())}
    assert named not in make(stack, "status").text


def test_make_sql_asks_athena(stack: AwsStack, at: MotoServer) -> None:
    stack.bring_to(STANDING)
    queued = {
        "account_id": ACCOUNT,
        "region": REGION,
        "results": [
            {"rows": [{"Data": [{"VarCharValue": "n"}]}, {"Data": [{"VarCharValue": "34"}]}], "column_info": []}
        ],
    }
    at.post("/moto-api/static/athena/query-results", json.dumps(queued))
    asked = make(stack, "sql", SQL="select count(*) from stitch_customerio.data")
    assert (asked.code, asked.out.strip()) == (0, "34")
    (query,) = at.client("athena").list_query_executions(WorkGroup=stack.outputs()["warehouse"]["workgroup"])[
        "QueryExecutionIds"
    ]
    assert query
    assert "Athena has no prompt" in make(stack, "sql").text


def test_make_logs_shows_both_groups(stack: AwsStack, at: MotoServer) -> None:
    stack.bring_to(STANDING)
    logs = at.client("logs")
    (group,) = [
        found["logGroupName"]
        for found in logs.describe_log_groups()["logGroups"]
        if found["logGroupName"].startswith("sluice-receiver")
    ]
    logs.create_log_stream(logGroupName=group, logStreamName="one")
    event = {"timestamp": int(time.time() * 1000), "message": '{"level":"WARN","message":"refused a delivery"}'}
    logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=[event])
    shown = make(stack, "logs")
    assert shown.code == 0
    assert "refused a delivery" in shown.text
    assert "sluice-delivery" in shown.text


def test_the_preview_of_a_rotation_by_hand_says_that_somebody_must_paste_the_new_url(stack: AwsStack) -> None:
    stack.bring_to(STANDING)
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 3}})
    stack.preview()
    assert "somebody must paste the new URL at the sender of stitch_customerio" in stack.said[-1]


def other(stack: AwsStack, name: str, *integrations: dict[str, Any], **config: Any) -> Ran:
    """An `up` of another stack of the same project, in the same account."""
    dev = yaml.safe_load((stack.root / "Pulumi.dev.yaml").read_text())
    stack.declare(*integrations, **config)
    own = yaml.safe_load((stack.root / "Pulumi.dev.yaml").read_text())["config"]
    (stack.root / "Pulumi.dev.yaml").write_text(yaml.safe_dump(dev))
    path = stack.root / f"Pulumi.{name}.yaml"
    if not path.exists():
        stack.pulumi("stack", "init", name, check=True)
        stack.pulumi("stack", "select", "dev", check=True)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "config": own}))
    return stack.pulumi("up", "--yes", "--skip-preview", "--stack", name)


def test_two_stacks_share_an_account_where_their_schemas_have_a_prefix(stack: AwsStack, at: MotoServer) -> None:
    stack.bring_to(STANDING)
    before = hashes(at)
    clash = other(stack, "second", CUSTOMERIO)
    assert clash.code != 0
    assert "already exists" in clash.text.lower()
    assert hashes(at) == before
    ran = other(stack, "second", CUSTOMERIO, schemaPrefix="second_")
    assert ran.code == 0, ran.text
    databases = {database["Name"] for database in at.client("glue").get_databases()["DatabaseList"]}
    assert databases == {SCHEMA, f"second_{SCHEMA}"}
    assert len(hashes(at)) == len(before) + 1
    assert stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", "second").code == 0
    assert hashes(at) == before


@pytest.mark.nightly
def test_names_survive_the_longest_schema(stack: AwsStack, at: MotoServer) -> None:
    longest = {**CUSTOMERIO, "name": "Longest", "schema": LONGEST, "maxSilenceHours": 1}
    redshift = {"workgroup": "analytics", "iamRole": "arn:aws:iam::123456789012:role/spectrum"}
    stack.bring_to(STANDING, longest, redshift=redshift)
    statements = [json.loads(line) for line in (at.folder / "redshift.jsonl").read_text().splitlines()]
    assert any(f"FROM DATA CATALOG DATABASE '{LONGEST}'" in json.dumps(each) for each in statements)
    assert stack.up("--expect-no-changes") == []
    assert f"/v1/{LONGEST}/" in stack.url(LONGEST)


def test_a_mistake_is_refused_before_anything_is_touched(stack: AwsStack) -> None:
    stack.bring_to(STANDING)
    before = stack.state_file()
    stack.declare(STANDING, protect=True)
    refused = stack.pulumi("preview")
    assert refused.code != 0
    assert "sluice:destroyData = true: can't be while `protect` is true" in refused.text
    assert "Traceback" not in refused.text
    assert stack.state_file() == before


def test_the_passphrase_that_everybody_knows_is_refused(stack: AwsStack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.declare(STANDING)
    monkeypatch.setitem(stack.environment, "PULUMI_CONFIG_PASSPHRASE", "sluice-dev")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "sluice-dev")  # for the program, which is in this process
    try:
        stack.pulumi("stack", "init", "third", check=True)
        (stack.root / "Pulumi.third.yaml").write_text(
            yaml.safe_dump(
                {
                    **yaml.safe_load((stack.root / "Pulumi.third.yaml").read_text()),
                    "config": yaml.safe_load((stack.root / "Pulumi.dev.yaml").read_text())["config"],
                }
            )
        )
        refused = stack.pulumi("preview", "--stack", "third")
        assert refused.code != 0
        assert "PULUMI_CONFIG_PASSPHRASE: is the dev stack's default" in refused.text
        refused = make(stack, "preview", STACK="third")
        assert refused.code != 0
        assert "everybody knows" in refused.text
    finally:
        stack.pulumi("stack", "select", "dev", check=True)


def test_the_prod_stack_as_shipped_is_previewed_with_the_function_that_lambda_needs(stack: AwsStack) -> None:
    try:
        planned = make(stack, "preview", STACK="prod")
    finally:
        stack.pulumi("stack", "select", "dev", check=True)
    assert planned.code == 0, planned.text
    assert " to create" in planned.text
    (library,) = (stack.root / ".sluice/function").glob("orjson-*-arm64")
    assert list(library.glob("orjson/*313*aarch64*.so"))


def test_what_is_protected_is_neither_destroyed_nor_half_removed(stack: AwsStack, at: MotoServer) -> None:
    protected = {"protect": True, "destroyData": False}
    stack.bring_to(STANDING, **protected)
    before = hashes(at)
    refused = make(stack, "down")
    assert refused.code != 0
    assert (
        "nothing was destroyed, as these are protected: sluice-lake, sluice-receiver, stitch_customerio-"
        in refused.text
    )
    stack.declare(**protected)
    refused = make(stack, "up")
    assert refused.code != 0
    assert "protect" in refused.text
    assert hashes(at) == before, "the preview fails before anything is deleted"
    assert SCHEMA in {database["Name"] for database in at.client("glue").get_databases()["DatabaseList"]}
    assert at.client("firehose").list_delivery_streams()["DeliveryStreamNames"] != []


def test_make_down_says_what_it_drops_and_leaves_nothing(stack: AwsStack, at: MotoServer) -> None:
    stack.bring_to(STANDING)
    ended = make(stack, "down")
    assert ended.code == 0, ended.text
    assert f"will drop database {SCHEMA} with all its data" in ended.text
    assert at.client("glue").get_databases()["DatabaseList"] == []
