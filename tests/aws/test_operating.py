"""A stack on AWS as its people work with it: `make`, a killed `up`, a second stack in the account, and refusals."""

import json
import time
from typing import Any

import pytest
import yaml

from tests.aws.cloud import REGION, AwsStack, needs_standin, registry, token_hash
from tests.aws.moto_server import ACCOUNT, MotoServer
from tests.support.stack import CUSTOMERIO, Ran

SCHEMA = "stitch_customerio"
ITEM = "aws:dynamodb/tableItem:TableItem"
LONGEST = "s" + "0123456789" * 4 + "01234567"  # 49 characters, the most that a schema's name may have


def hashes(at: MotoServer) -> set[str]:
    return set(registry(at))


def kill_up_after_the_item_was_made(stack: AwsStack) -> None:
    kill_up_after(stack, ITEM)


def kill_up_after(stack: AwsStack, type_: str) -> None:
    """A `make up` whose engine and plugin are killed once AWS has made one of that type, before the state says so."""
    before = dict(stack.environment)
    stack.environment["SLUICE_TEST_AWS_DIE_AFTER"] = type_
    try:
        assert stack.make("up").code != 0
    finally:
        stack.environment = before


@needs_standin
def test_a_first_up_killed_between_the_item_and_the_state_is_finished_by_make_up(
    stack: AwsStack, at: MotoServer
) -> None:
    stack.declare(CUSTOMERIO)
    kill_up_after_the_item_was_made(stack)
    (left,) = hashes(at)
    refused = stack.pulumi("up", "--yes", "--skip-preview")
    assert refused.code != 0, "control: without make, the item that is there is in the way"
    made = stack.make("up")
    assert made.code == 0, made.text
    assert f"revoked {left[:12]}" in made.text
    assert hashes(at) == {token_hash(stack.url())}
    assert stack.up("--expect-no-changes") == []


@needs_standin
def test_a_rotation_killed_between_the_item_and_the_state_is_finished_by_make_up(
    stack: AwsStack, at: MotoServer
) -> None:
    (old,) = hashes(at)
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}})
    kill_up_after_the_item_was_made(stack)
    assert old in hashes(at), "the sender still posts there"
    made = stack.make("up")
    assert made.code == 0, made.text
    assert hashes(at) == {token_hash(stack.url())} != {old}
    assert stack.up("--expect-no-changes") == []


@needs_standin
def test_an_up_killed_after_anything_that_has_a_name_of_its_own_is_finished_by_make_up(
    stack: AwsStack, at: MotoServer
) -> None:
    key = "sluice:credentials.kappa.signing_key"
    kappa = {**CUSTOMERIO, "name": "Kappa", "signed": True}
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}}, kappa)
    stack.pulumi("config", "set", "--secret", "--path", key, stdin="kappas-signing-key", check=True)
    for type_ in (
        "aws:glue/catalogDatabase:CatalogDatabase",
        "aws:ssm/parameter:Parameter",
        "aws:cloudwatch/logStream:LogStream",
        "aws:glue/catalogTable:CatalogTable",
        "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream",
    ):
        kill_up_after(stack, type_)
    made = stack.make("up")
    assert made.code == 0, made.text
    assert stack.up("--expect-no-changes") == []
    assert len(hashes(at)) == 2
    config = yaml.safe_load((stack.root / "Pulumi.dev.yaml").read_text())
    del config["config"]["sluice:credentials"]
    (stack.root / "Pulumi.dev.yaml").write_text(yaml.safe_dump(config))
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}})
    stack.up()


def test_make_up_shows_the_endpoint_live_and_make_url_its_secret(stack: AwsStack) -> None:
    made = stack.make("up")
    assert made.code == 0
    (line,) = [line for line in made.text.splitlines() if line.startswith("Stitch Customer.io")]
    assert "lambda-url" in line
    assert " live " in line
    assert stack.make("url").text.strip().splitlines()[-1] == stack.url()


def test_make_status_shows_last_use_and_names_what_is_wrong(stack: AwsStack, at: MotoServer) -> None:
    (table,) = at.client("dynamodb").list_tables()["TableNames"]
    hash = token_hash(stack.url())
    assert stack.make("status").code == 0
    used = {"hash": {"S": f"used:{hash}"}, "last_used": {"N": "1790000000"}}
    at.client("dynamodb").put_item(TableName=table, Item=used)
    shown = stack.make("status")
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1790000000)) in shown.text

    (alarm,) = [
        alarm["AlarmName"]
        for alarm in at.client("cloudwatch").describe_alarms()["MetricAlarms"]
        if alarm["MetricName"] == "Throttles"
    ]
    at.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
    shown = stack.make("status")
    assert shown.code != 0
    assert "in alarm: Lambda answered 429" in shown.text
    at.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="a test")

    at.client("dynamodb").delete_item(TableName=table, Key={"hash": {"S": hash}})
    shown = stack.make("status")
    assert shown.code != 0
    assert "the primary URL of Stitch Customer.io is not live: run make refresh and make up" in shown.text
    assert stack.make("refresh").code == stack.make("up").code == stack.make("status").code == 0


def test_make_sql_asks_athena(stack: AwsStack, at: MotoServer) -> None:
    queued = {
        "account_id": ACCOUNT,
        "region": REGION,
        "results": [
            {"rows": [{"Data": [{"VarCharValue": "n"}]}, {"Data": [{"VarCharValue": "34"}]}], "column_info": []}
        ],
    }
    at.post("/moto-api/static/athena/query-results", json.dumps(queued))
    asked = stack.make("sql", SQL="select count(*) from stitch_customerio.data")
    assert (asked.code, asked.text.strip().splitlines()[-1]) == (0, "34")
    (query,) = at.client("athena").list_query_executions(WorkGroup=stack.outputs()["warehouse"]["workgroup"])[
        "QueryExecutionIds"
    ]
    assert query
    assert "Athena has no prompt" in stack.make("sql").text


def test_make_logs_shows_both_groups(stack: AwsStack, at: MotoServer) -> None:
    logs = at.client("logs")
    (group,) = [
        found["logGroupName"]
        for found in logs.describe_log_groups()["logGroups"]
        if found["logGroupName"].startswith("sluice-receiver")
    ]
    logs.create_log_stream(logGroupName=group, logStreamName="one")
    event = {"timestamp": int(time.time() * 1000), "message": '{"level":"WARN","message":"refused a delivery"}'}
    logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=[event])
    shown = stack.make("logs")
    assert shown.code == 0
    assert "refused a delivery" in shown.text
    assert "sluice-delivery" in shown.text


def test_the_preview_of_a_rotation_by_hand_says_that_somebody_must_paste_the_new_url(stack: AwsStack) -> None:
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 3}})
    stack.preview()
    assert "somebody must paste the new URL at the sender of stitch_customerio" in stack.said[-1]
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}})


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
    assert stack.up("--expect-no-changes") == []
    assert stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", "second").code == 0
    assert hashes(at) == before


def test_names_survive_the_longest_schema(stack: AwsStack, at: MotoServer) -> None:
    longest = {**CUSTOMERIO, "name": "Longest", "schema": LONGEST, "maxSilenceHours": 1}
    redshift = {"workgroup": "analytics", "iamRole": "arn:aws:iam::123456789012:role/spectrum"}
    stack.declare(CUSTOMERIO, longest, redshift=redshift)
    stack.up()
    statements = [json.loads(line) for line in (at.folder / "redshift.jsonl").read_text().splitlines()]
    assert any(f"FROM DATA CATALOG DATABASE '{LONGEST}'" in json.dumps(each) for each in statements)
    assert stack.up("--expect-no-changes") == []
    assert f"/v1/{LONGEST}/" in stack.url(LONGEST)
    stack.declare(CUSTOMERIO)
    stack.up()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"port": 9999}, "sluice:port = 9999: has a meaning on platform local only"),
        ({"logRetentionDays": 31}, "sluice:logRetentionDays = 31: must be one of"),
        ({"protect": True}, "sluice:destroyData = true: can't be while `protect` is true"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_touched(stack: AwsStack, config: dict[str, Any], says: str) -> None:
    before = stack.state_file()
    stack.declare(CUSTOMERIO, **config)
    refused = stack.pulumi("preview")
    assert refused.code != 0
    assert says in refused.text
    assert "Traceback" not in refused.text
    assert stack.state_file() == before
    stack.declare(CUSTOMERIO)


def test_the_passphrase_that_everybody_knows_is_refused(at: MotoServer, stack: AwsStack) -> None:
    before = dict(stack.environment)
    stack.environment["PULUMI_CONFIG_PASSPHRASE"] = "sluice-dev"
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
        refused = stack.make("preview", STACK="third")
        assert refused.code != 0
        assert "everybody knows" in refused.text
    finally:
        stack.environment = before
        stack.pulumi("stack", "select", "dev", check=True)


def test_the_prod_stack_as_shipped_is_previewed_with_the_function_that_lambda_needs(stack: AwsStack) -> None:
    planned = stack.make("preview", STACK="prod")
    assert planned.code == 0, planned.text
    assert " to create" in planned.text
    (library,) = (stack.root / ".sluice/function").glob("orjson-*-arm64")
    assert list(library.glob("orjson/*313*aarch64*.so"))
    stack.pulumi("stack", "select", "dev", check=True)


def test_what_is_protected_is_neither_destroyed_nor_half_removed(stack: AwsStack, at: MotoServer) -> None:
    protected = {"protect": True, "destroyData": False}
    stack.declare(CUSTOMERIO, **protected)
    stack.up()
    before = stack.state_file(), hashes(at)
    refused = stack.make("down")
    assert refused.code != 0
    assert (
        "nothing was destroyed, as these are protected: sluice-lake, sluice-receiver, stitch_customerio-"
        in refused.text
    )
    stack.declare(**protected)
    assert stack.make("up").code != 0
    assert hashes(at) == before[1], "the preview fails before anything is deleted"
    assert at.client("firehose").list_delivery_streams()["DeliveryStreamNames"] != []
    stack.declare(CUSTOMERIO)
    stack.up()


def test_make_down_says_what_it_drops_and_leaves_nothing(stack: AwsStack, at: MotoServer) -> None:
    ended = stack.make("down")
    assert ended.code == 0, ended.text
    assert f"will drop database {SCHEMA} with all its data" in ended.text
    assert at.client("glue").get_databases()["DatabaseList"] == []
