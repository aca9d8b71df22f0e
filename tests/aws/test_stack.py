"""The program on AWS, on the real engine: declaration, rotation, drift, and the end.

Proof limit: AWS is moto's server, and its plugin a stand-in where the real one isn't installed. That AWS takes these
arguments is shown by its own service models; that Firehose, Glue and Athena then do what they should is not shown.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from components.aws.platform import AwsPlatform
from tests.aws.cloud import (
    HAS_REAL_PLUGIN,
    REGION,
    AwsStack,
    registry,
    token_hash,
    zips,
)
from tests.aws.moto_server import MotoServer
from tests.customerio import CustomerIO
from tests.support.secrecy import files_below, places_of
from tests.support.stack import CUSTOMERIO, Step

CONNECTED: dict[str, Any] = {**CUSTOMERIO, "connect": True, "signed": True, "maxSilenceHours": 24}
ROTATED: dict[str, Any] = {**CONNECTED, "tokens": {"primary": 2}}
TWO_SLOTS: dict[str, Any] = {**CONNECTED, "tokens": {"primary": 2, "secondary": 1}}
SWITCHED: dict[str, Any] = {**TWO_SLOTS, "active": "secondary"}
BILLING: dict[str, Any] = {**CUSTOMERIO, "name": "Billing"}
ADOPTED: dict[str, Any] = {**BILLING, "adopt": True}
SCHEMA = "stitch_customerio"
SIGNING_KEY = "a-signing-key-that-nobody-may-see"


@pytest.fixture(scope="module")
def there(stack: AwsStack) -> Iterator[CustomerIO]:
    """A simulated Customer.io, whose API the stack is told of, and whose key it holds. Data and what is kept of it are
    as in a stack that somebody relies on, but not protected."""
    with CustomerIO() as made, pytest.MonkeyPatch.context() as patched:
        patched.setattr(AwsPlatform, "settle_seconds", 0)  # nothing is under way
        stack.fixed = {"customerioApi": made.api_url, "destroyData": False}
        stack.declare(CUSTOMERIO)
        for name, value in (("app_api_key", made.key()), ("signing_key", SIGNING_KEY)):
            path = f"sluice:credentials.{SCHEMA}.{name}"
            stack.pulumi("config", "set", "--secret", "--path", path, stdin=value, check=True)
        yield made


@pytest.fixture
def connected(stack: AwsStack, there: CustomerIO) -> AwsStack:
    """The stack with one integration that is connected."""
    assert there
    stack.bring_to(CONNECTED)
    return stack


@pytest.fixture
def two(stack: AwsStack, there: CustomerIO) -> AwsStack:
    """The stack with two integrations, one of them connected and with two slots."""
    assert there
    stack.bring_to(SWITCHED, BILLING)
    return stack


def done(steps: list[Step], *names: str) -> list[tuple[str, str]]:
    """What was done to the resources of these names, in order, without a replacement's own line, which does nothing."""
    found = [(step.op, step.name.removeprefix(f"{SCHEMA}-")) for step in steps if step.op != "replace"]
    return [step for step in found if step[1] in names] if names else found


@pytest.mark.usefixtures("there")
def test_the_first_up_makes_one_of_everything(stack: AwsStack, at: MotoServer) -> None:
    stack.declare(CONNECTED)
    steps = stack.up()
    assert {step.op for step in steps} == {"create"}
    url = urlsplit(stack.url())
    assert (url.scheme, url.path.split("/")[1:3]) == ("https", ["v1", SCHEMA])
    assert url.hostname is not None
    assert url.hostname.endswith(f".lambda-url.{REGION}.on.aws")
    (_,) = at.client("dynamodb").list_tables()["TableNames"]
    (endpoint,) = registry(at).values()
    assert endpoint["hash"] == token_hash(stack.url())
    assert (endpoint["schema"], endpoint["slot"], endpoint["signed"]) == (SCHEMA, "primary", True)
    (parameter,) = at.client("ssm").describe_parameters()["Parameters"]
    assert (parameter["Name"], parameter["Type"]) == (endpoint["signing_keys"], "SecureString")
    (stream,) = at.client("firehose").list_delivery_streams()["DeliveryStreamNames"]
    assert stream == endpoint["stream"]


@pytest.mark.usefixtures("connected")
def test_the_schema_is_a_database_with_two_iceberg_tables_and_a_view_per_channel(at: MotoServer) -> None:
    glue = at.client("glue")
    (database,) = glue.get_databases()["DatabaseList"]
    assert database["Name"] == SCHEMA
    tables = {table["Name"]: table for table in glue.get_tables(DatabaseName=SCHEMA)["TableList"]}
    views = {name for name, table in tables.items() if table.get("TableType") == "VIRTUAL_VIEW"}
    assert tables.keys() - views == {"data", "_sdc_rejected"}
    channels = ("customer", "email", "in_app", "push", "slack", "sms", "whatsapp", "webhook")
    assert views == {"data_latest", *(f"{channel}_events" for channel in channels)}
    for table, day in (("data", "_sdc_received_day"), ("_sdc_rejected", "_sdc_rejected_day")):
        (made,) = at.iceberg_inputs(SCHEMA, table)
        (partition,) = made["CreateIcebergTableInput"]["PartitionSpec"]["Fields"]
        assert (partition["Name"], partition["Transform"]) == (day, "day")


@pytest.mark.usefixtures("connected")
def test_the_function_is_the_zip_that_the_stack_made_behind_a_public_url(at: MotoServer) -> None:
    function = at.client("lambda")
    (made,) = function.list_functions()["Functions"]
    if not HAS_REAL_PLUGIN:
        (zipped,) = zips(at).glob("*.zip")
        assert made["CodeSize"] == zipped.stat().st_size
    assert function.get_function_url_config(FunctionName=made["FunctionName"])["AuthType"] == "NONE"
    statements = json.loads(function.get_policy(FunctionName=made["FunctionName"])["Policy"])["Statement"]
    assert {statement["Action"] for statement in statements} == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}


@pytest.mark.usefixtures("connected")
def test_the_bucket_is_private_encrypted_and_versioned(at: MotoServer) -> None:
    s3 = at.client("s3")
    (bucket,) = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_a_second_up_with_nothing_changed_does_nothing(connected: AwsStack) -> None:
    assert connected.up("--expect-no-changes") == []


def test_another_integration_adds_its_own_and_changes_only_the_dashboard(connected: AwsStack, at: MotoServer) -> None:
    connected.declare(CONNECTED, BILLING)
    steps = connected.up()
    assert {(step.op, step.name) for step in steps if not step.name.startswith("billing")} == {("update", "sluice")}
    assert {step.op for step in steps if step.name.startswith("billing")} == {"create"}
    assert {endpoint["schema"] for endpoint in registry(at).values()} == {SCHEMA, "billing"}


def test_the_preview_of_a_rotation_shows_replacements(stack: AwsStack, there: CustomerIO) -> None:
    stack.bring_to(CONNECTED, BILLING)
    stack.declare(ROTATED, BILLING)
    planned = {(step.name.removeprefix(f"{SCHEMA}-"), step.op) for step in stack.preview()}
    assert {("token-primary", "replace"), ("endpoint-primary", "replace"), ("webhook", "update")} <= planned
    assert {name for name, _ in planned} == {"token-primary", "sender-primary", "endpoint-primary", "webhook"}
    assert "+-" in stack.said[-1]


def test_a_second_slot_is_opened_beside_a_rotation_and_becomes_the_active_one(
    stack: AwsStack, at: MotoServer, there: CustomerIO
) -> None:
    stack.bring_to(CONNECTED, BILLING)
    stack.declare(TWO_SLOTS, BILLING)
    opened = [("create", f"{part}-secondary") for part in ("token", "sender", "endpoint")]
    assert [step for step in done(stack.up()) if step[1].endswith("-secondary")] == opened
    assert there.webhook.endpoint == stack.url()
    stack.declare(SWITCHED, BILLING)
    assert set(done(stack.up())) == {("update", f"sender-{slot}") for slot in ("primary", "secondary")} | {
        ("update", "webhook")
    }
    assert there.webhook.endpoint == stack.url(slot="secondary")
    slots = {endpoint["slot"] for endpoint in registry(at).values() if endpoint["schema"] == SCHEMA}
    assert slots == {"primary", "secondary"}


def test_what_was_changed_by_hand_shows_in_refresh_and_up_repairs_it(two: AwsStack, at: MotoServer) -> None:
    dynamodb, glue, s3 = at.client("dynamodb"), at.client("glue"), at.client("s3")
    (table,) = dynamodb.list_tables()["TableNames"]
    (bucket,) = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    before = registry(at)
    dynamodb.delete_item(TableName=table, Key={"hash": {"S": token_hash(two.url())}})
    glue.delete_table(DatabaseName=SCHEMA, Name="email_events")
    s3.delete_bucket_policy(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    refreshed = {(step.op, step.name.removeprefix(f"{SCHEMA}-")) for step in two.refresh()}
    assert ("delete", "endpoint-primary") in refreshed or ("refresh", "endpoint-primary") in refreshed
    repaired = {(step.op, step.name.removeprefix(f"{SCHEMA}-"), step.type.rsplit(":", 1)[-1]) for step in two.up()}
    assert repaired == {
        ("create", "endpoint-primary", "TableItem"),
        ("create", "view-email_events", "CatalogTable"),
        ("create", "sluice-lake", "BucketPolicy"),
        ("update", "sluice-lake", "BucketVersioning"),
    }
    assert registry(at) == before


def test_no_secret_is_in_what_was_said_or_kept(two: AwsStack, at: MotoServer) -> None:
    secrets = [SIGNING_KEY, *(two.url(slot=slot).rsplit("/", 1)[-1] for slot in ("primary", "secondary"))]
    texts = {f"command {number}": text.encode() for number, text in enumerate(two.said)}
    texts |= files_below(two.root)
    texts |= {f"moto: {name}": text for name, text in files_below(at.folder, but=(".venv", "zips")).items()}
    for secret in secrets:
        assert places_of(secret, {**texts, "control": f"x{secret}y".encode()}) == ["control"]


def test_a_removed_integration_stops_its_data_stays_and_it_takes_that_up_when_it_comes_back(
    two: AwsStack, at: MotoServer
) -> None:
    two.declare(SWITCHED)
    deleted = [(step.name, step.type.rsplit(":", 1)[-1]) for step in two.up() if step.op == "delete"]
    order = [
        ("billing-endpoint-primary", "TableItem"),
        ("billing-drain", "StreamDrain"),
        ("billing-stream", "FirehoseDeliveryStream"),
    ]
    assert [step for step in deleted if step in order] == order
    assert {endpoint["schema"] for endpoint in registry(at).values()} == {SCHEMA}
    assert at.client("firehose").list_delivery_streams()["DeliveryStreamNames"] != []
    kept = {table["Name"] for table in at.client("glue").get_tables(DatabaseName="billing")["TableList"]}
    assert kept == {"data", "_sdc_rejected"}

    two.declare(SWITCHED, BILLING)
    refused = two.pulumi("up", "--yes", "--skip-preview")
    assert refused.code != 0
    assert "already exists" in refused.text.lower()
    before = at.iceberg_inputs("billing", "data")
    two.declare(SWITCHED, ADOPTED)
    taken = {(step.op, step.name) for step in two.up() if step.op.startswith("import")}
    assert taken == {("import", f"billing-{name}") for name in ("database", "table-data", "table-sdc_rejected")}
    assert at.iceberg_inputs("billing", "data") == before
    assert two.up("--expect-no-changes") == []


def test_a_destroy_leaves_nothing_behind_where_the_stack_says_so(
    stack: AwsStack, at: MotoServer, there: CustomerIO
) -> None:
    kept = {database["Name"] for database in at.client("glue").get_databases()["DatabaseList"]} - {SCHEMA}
    stack.bring_to(SWITCHED, destroyData=True)
    stack.destroy()
    assert there.webhooks == {}
    assert set(everything(at)) == kept, "what went before the stack said so"


def everything(at: MotoServer) -> list[str]:
    """What there is in the account, by name."""
    return [
        *(bucket["Name"] for bucket in at.client("s3").list_buckets()["Buckets"]),
        *(database["Name"] for database in at.client("glue").get_databases()["DatabaseList"]),
        *at.client("firehose").list_delivery_streams()["DeliveryStreamNames"],
        *at.client("dynamodb").list_tables()["TableNames"],
        *(function["FunctionName"] for function in at.client("lambda").list_functions()["Functions"]),
        *(role["RoleName"] for role in at.client("iam").list_roles()["Roles"]),
        *(group["logGroupName"] for group in at.client("logs").describe_log_groups()["logGroups"]),
        *(alarm["AlarmName"] for alarm in at.client("cloudwatch").describe_alarms()["MetricAlarms"]),
        *(board["DashboardName"] for board in at.client("cloudwatch").list_dashboards()["DashboardEntries"]),
        *(topic["TopicArn"] for topic in at.client("sns").list_topics()["Topics"]),
        *(parameter["Name"] for parameter in at.client("ssm").describe_parameters()["Parameters"]),
        *(
            group["Name"]
            for group in at.client("athena").list_work_groups()["WorkGroups"]
            if group["Name"] != "primary"
        ),
    ]
