"""The AWS stand-in on the real engine, against moto: as the real plugin wherever our program relies on it."""

import asyncio
import base64
import io
import json
import os
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pulumi.provider.experimental.provider import CheckRequest
from pulumi.runtime.rpc import UNKNOWN

from tests.aws.moto_server import MotoServer
from tests.aws.standin.provider import RESOURCES, AwsProvider, wire
from tests.support.stack import PROJECT, Stack

EVERYTHING = """
import json, os
import pulumi, pulumi_aws as aws

change = os.environ.get("CHANGE", "")
account, region = aws.get_caller_identity().account_id, aws.get_region().region
assert aws.get_partition().partition == "aws"
TRUST = lambda who: json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": who}}]})

lake = aws.s3.Bucket("Lake", tags={"for": "tests"})
aws.s3.BucketPublicAccessBlock("lake", bucket=lake.id, block_public_acls=True, block_public_policy=True,
    ignore_public_acls=True, restrict_public_buckets=True)
aws.s3.BucketVersioning("lake", bucket=lake.id,
    versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"))
aws.s3.BucketServerSideEncryptionConfiguration("lake", bucket=lake.id, rules=[
    aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(apply_server_side_encryption_by_default=
        aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
            sse_algorithm="AES256"), bucket_key_enabled=True)])
aws.s3.BucketPolicy("lake", bucket=lake.id, policy=lake.arn.apply(lambda arn: json.dumps({
    "Version": "2012-10-17", "Statement": [{"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
    "Resource": [arn, arn + "/*"], "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]})))
aws.s3.BucketOwnershipControls("lake", bucket=lake.id,
    rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"))
aws.s3.BucketLifecycleConfiguration("lake", bucket=lake.id, rules=[
    aws.s3.BucketLifecycleConfigurationRuleArgs(id="errors", status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix="errors/"),
        expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=30)),
    aws.s3.BucketLifecycleConfigurationRuleArgs(id="rest", status="Enabled",
        abort_incomplete_multipart_upload=
            aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(days_after_initiation=7),
        noncurrent_version_expiration=
            aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(noncurrent_days=14))])

database = aws.glue.CatalogDatabase("database", name="stitch_customerio", description="a schema", tags={"a": "b"})
G = aws.glue
fields = ["id", "body", *(["more"] if change else [])]
table = G.CatalogTable("data", name="data", database_name=database.name,
    open_table_format_input=G.CatalogTableOpenTableFormatInputArgs(
        iceberg_input=G.CatalogTableOpenTableFormatInputIcebergInputArgs(metadata_operation="CREATE", version="2",
            iceberg_table_input=G.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputArgs(
                location=lake.bucket.apply(lambda name: f"s3://{name}/data"),
                properties={"write.format.default": "parquet"},
                schema=G.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputSchemaArgs(type="struct",
                    schema_id=0, fields=[
                        G.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputSchemaFieldArgs(
                            id=place, name=name, type=json.dumps("string"), required=name == "id")
                        for place, name in enumerate(fields, 1)]),
                partition_spec=G.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputPartitionSpecArgs(
                    spec_id=0, fields=[
                    G.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputPartitionSpecFieldArgs(
                        name="id", source_id=1, transform="identity", field_id=1000)])))))
view = G.CatalogTable("view", name="events", database_name=database.name, table_type="VIRTUAL_VIEW",
    parameters={"presto_view": "true", "comment": "Presto View"}, view_expanded_text="/* Presto View */",
    view_original_text="/* Presto View: " + ("e30=" if change else "e30K") + " */",
    storage_descriptor=G.CatalogTableStorageDescriptorArgs(
        columns=[G.CatalogTableStorageDescriptorColumnArgs(name="id", type="string")]))

role = aws.iam.Role("delivery", assume_role_policy=TRUST("firehose.amazonaws.com"), tags={"x": "y"})
aws.iam.RolePolicy("delivery", role=role.id, policy=lake.arn.apply(lambda arn: json.dumps({
    "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": arn + "/*"}]})))
G.CatalogTableOptimizer("compaction", catalog_id=account, database_name=database.name, table_name=table.name,
    type="compaction", configuration=G.CatalogTableOptimizerConfigurationArgs(enabled=True, role_arn=role.arn))

group = aws.cloudwatch.LogGroup("logs", retention_in_days=14 if change else 7, tags={"a": "b"})
logged = aws.cloudwatch.LogStream("logs", name="delivery", log_group_name=group.name)
K = aws.kinesis
logging = dict(enabled=True, log_group_name=group.name, log_stream_name=logged.name)
stream = K.FirehoseDeliveryStream("events", name="stitch_customerio-events", destination="iceberg",
    server_side_encryption=K.FirehoseDeliveryStreamServerSideEncryptionArgs(enabled=True), tags={"a": "b"},
    iceberg_configuration=K.FirehoseDeliveryStreamIcebergConfigurationArgs(
        catalog_arn=f"arn:aws:glue:{region}:{account}:catalog", role_arn=role.arn, append_only=True,
        buffering_interval=120 if change else 60, buffering_size=64, retry_duration=600,
        s3_backup_mode="FailedDataOnly",
        cloudwatch_logging_options=K.FirehoseDeliveryStreamIcebergConfigurationCloudwatchLoggingOptionsArgs(**logging),
        destination_table_configurations=[
            K.FirehoseDeliveryStreamIcebergConfigurationDestinationTableConfigurationArgs(
                database_name=database.name, table_name=table.name, s3_error_output_prefix="errors/data/")],
        processing_configuration=K.FirehoseDeliveryStreamIcebergConfigurationProcessingConfigurationArgs(
            enabled=True, processors=[
                K.FirehoseDeliveryStreamIcebergConfigurationProcessingConfigurationProcessorArgs(
                    type="MetadataExtraction", parameters=[
                    K.FirehoseDeliveryStreamIcebergConfigurationProcessingConfigurationProcessorParameterArgs(
                        parameter_name="JsonParsingEngine", parameter_value="JQ-1.6")])]),
        s3_configuration=K.FirehoseDeliveryStreamIcebergConfigurationS3ConfigurationArgs(
            bucket_arn=lake.arn, role_arn=role.arn, error_output_prefix="errors/")))

items = aws.dynamodb.Table("items", hash_key="key", billing_mode="PAY_PER_REQUEST", tags={"a": "b"},
    attributes=[aws.dynamodb.TableAttributeArgs(name="key", type="S")],
    point_in_time_recovery=aws.dynamodb.TablePointInTimeRecoveryArgs(enabled=True),
    server_side_encryption=aws.dynamodb.TableServerSideEncryptionArgs(enabled=True),
    ttl=aws.dynamodb.TableTtlArgs(attribute_name="until", enabled=True))
aws.dynamodb.TableItem("item", table_name=items.name, hash_key="key",
    item=json.dumps({"key": {"S": os.environ.get("KEY", "one")}, "schema": {"S": "data"}}))
secret = aws.ssm.Parameter("signing", name="/sluice/signing", type="SecureString",
    value=pulumi.Output.secret("s3cr3t" + change))

trusted = aws.iam.Role("function", assume_role_policy=TRUST("lambda.amazonaws.com"))
function = aws.lambda_.Function("receiver", role=trusted.arn, runtime="python3.12", handler="app.handler",
    memory_size=256, timeout=10, architectures=["arm64"], description="receives",
    code=pulumi.AssetArchive({"app.py": pulumi.FileAsset("app.py"), "lib": pulumi.FileArchive("lib"),
                              "made.txt": pulumi.StringAsset("made")}),
    environment=aws.lambda_.FunctionEnvironmentArgs(variables={"TABLE": items.name, "KEY": secret.value}),
    logging_config=aws.lambda_.FunctionLoggingConfigArgs(log_format="JSON", application_log_level="INFO",
        system_log_level="WARN", log_group=group.name), tags={"a": "b"})
url = aws.lambda_.FunctionUrl("receiver", function_name=function.name, authorization_type="NONE")
aws.lambda_.Permission("url", function=function.name, action="lambda:InvokeFunctionUrl", principal="*",
    function_url_auth_type="NONE")
aws.lambda_.Permission("invoke", function=function.name, action="lambda:InvokeFunction", principal="*",
    invoked_via_function_url=True)

topic = aws.sns.Topic("alarms", kms_master_key_id="alias/aws/sns")
aws.sns.TopicSubscription("alarms", topic=topic.arn, protocol="email", endpoint="someone@example.com")
aws.cloudwatch.MetricAlarm("errors", metric_name="Errors", namespace="AWS/Lambda", statistic="Sum", period=60,
    dimensions={"FunctionName": function.name}, evaluation_periods=1, threshold=5 if change else 1,
    comparison_operator="GreaterThanOrEqualToThreshold", treat_missing_data="notBreaching",
    alarm_actions=[topic.arn], alarm_description="errors")
aws.cloudwatch.Dashboard("board", dashboard_name="sluice", dashboard_body=function.name.apply(lambda name: json.dumps(
    {"widgets": [{"type": "text", "x": 0, "y": 0, "width": 6, "height": 3, "properties": {"markdown": name}}]})))
aws.athena.Workgroup("queries", force_destroy=True, tags={"a": "b"},
    configuration=aws.athena.WorkgroupConfigurationArgs(enforce_workgroup_configuration=True, result_configuration=
        aws.athena.WorkgroupConfigurationResultConfigurationArgs(
            output_location=lake.bucket.apply(lambda name: f"s3://{name}/results/{change}"), encryption_configuration=
            aws.athena.WorkgroupConfigurationResultConfigurationEncryptionConfigurationArgs(
                encryption_option="SSE_S3"))))
aws.redshiftdata.Statement("schema", workgroup_name="warehouse", database="dev", sql="create schema x")

for name, value in {"bucket": lake.bucket, "function": function.name, "url": url.function_url, "items": items.name,
                    "group": group.name, "role": role.name, "alarms": topic.arn, "table": table.arn}.items():
    pulumi.export(name, value)
"""


class Program(Stack):
    """A Pulumi project with one Python file, on moto."""

    def write(self, program: str) -> None:
        (self.root / "__main__.py").write_text(textwrap.dedent(program))

    def state_text(self) -> str:
        return (self.root / "state/.pulumi/stacks/standin/dev.json").read_text()


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, moto: MotoServer) -> Iterator[Program]:
    """An empty project; what it made is destroyed at the end."""
    made = new_program(tmp_path / "a project", moto)
    yield made
    made.destroy()


def new_program(root: Path, moto: MotoServer) -> Program:
    (root / "lib").mkdir(parents=True)
    (root / "lib" / "inner.py").write_text("INNER = 1\n")
    (root / "app.py").write_text("def handler(event, context): return 1\n")
    (root / "Pulumi.yaml").write_text("name: standin\nruntime: python\n")
    (root / "state").mkdir()
    environment = {
        **os.environ,
        **moto.environment,
        "PATH": f"{PROJECT / 'tests' / 'aws' / 'standin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(PROJECT / ".venv"),
        "PULUMI_BACKEND_URL": f"file://{root / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "a test's passphrase",
        "PULUMI_DEBUG_COMMANDS": "true",
        "SLUICE_TEST_ZIPS": str(root / "zips"),
    }
    made = Program(root, environment)
    made.write("")
    made.pulumi("stack", "init", "dev", check=True)
    return made


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, moto: MotoServer) -> Iterator[Program]:
    """One resource of each type, up; the last test destroys it."""
    made = new_program(tmp_path_factory.mktemp("everything") / "a project", moto)
    made.write(EVERYTHING)
    made.preview()
    steps = made.up()
    assert {step.op for step in steps} == {"create"}
    assert {step.type for step in steps} == set(RESOURCES)
    yield made


def test_an_up_without_changes_does_nothing(everything: Program) -> None:
    everything.pulumi("preview", "--expect-no-changes", check=True)
    assert everything.refresh() == []


def test_a_change_is_made_in_place_and_named_by_its_path(everything: Program, moto: MotoServer) -> None:
    everything.environment["CHANGE"] = "x"
    steps = everything.up()
    assert {step.op for step in steps} == {"update"}
    assert {step.name: step.changed for step in steps} == {
        "logs": ["retentionInDays"],
        "signing": ["value"],
        "queries": ["configuration.resultConfiguration.outputLocation"],
        "data": [f"openTableFormatInput.icebergInput.icebergTableInput.schema.fields[2].{name}"
                 for name in ("id", "name", "required", "type")],
        "view": ["viewOriginalText"],
        "receiver": ["environment.variables.KEY"],
        "events": ["icebergConfiguration.bufferingInterval"],
        "errors": ["threshold"],
    }  # fmt: skip
    everything.pulumi("preview", "--expect-no-changes", check=True)
    created, updated = moto.iceberg_inputs("stitch_customerio", "data")
    assert created["CreateIcebergTableInput"]["Schema"]["Fields"][0] == {
        "Id": 1, "Name": "id", "Type": "string", "Required": True,
    }  # fmt: skip
    fields = updated["UpdateIcebergTableInput"]["Updates"][0]["Schema"]["Fields"]
    assert [field["Name"] for field in fields] == ["id", "body", "more"]


def test_drift_is_seen_by_a_refresh_and_repaired(everything: Program, moto: MotoServer) -> None:
    outputs = everything.outputs()
    moto.client("lambda").update_function_configuration(FunctionName=outputs["function"], MemorySize=1024)
    moto.client("lambda").update_function_code(FunctionName=outputs["function"], ZipFile=other_zip())
    moto.client("ssm").put_parameter(Name="/sluice/signing", Type="SecureString", Value="an0ther", Overwrite=True)
    moto.client("s3").put_bucket_policy(Bucket=outputs["bucket"], Policy='{"Version": "2012-10-17", "Statement": []}')
    moto.client("s3").put_public_access_block(
        Bucket=outputs["bucket"], PublicAccessBlockConfiguration={"BlockPublicAcls": False}
    )
    moto.client("logs").delete_retention_policy(logGroupName=outputs["group"])
    one = {"key": {"S": "one"}, "schema": {"S": "data"}, "used": {"S": "yesterday"}}
    moto.client("dynamodb").put_item(TableName=outputs["items"], Item=one)
    moto.client("dynamodb").tag_resource(
        ResourceArn=moto.client("dynamodb").describe_table(TableName=outputs["items"])["Table"]["TableArn"],
        Tags=[{"Key": "a", "Value": "somebody's"}],
    )
    moto.client("sns").delete_topic(TopicArn=outputs["alarms"])
    refreshed = {(step.type.split(":")[-1], step.op) for step in everything.refresh()}
    assert refreshed >= {("Topic", "delete"), ("Function", "update"), ("Parameter", "update"), ("TableItem", "update")}
    repaired = {step.type.split(":")[-1]: step for step in everything.up()}
    assert repaired["Function"].changed == ["codeZip.sha256", "memorySize"]
    assert repaired["Parameter"].changed == ["value"]
    assert repaired["TableItem"].changed == ["item"]
    assert repaired["Table"].changed == ["tags.a"]
    assert repaired["LogGroup"].changed == ["retentionInDays"]
    assert {"BucketPolicy", "BucketPublicAccessBlock", "Topic"} <= repaired.keys()
    everything.pulumi("preview", "--expect-no-changes", check=True)
    there = moto.client("dynamodb").get_item(TableName=outputs["items"], Key={"key": {"S": "one"}})["Item"]
    assert "used" not in there
    assert moto.client("ssm").get_parameter(Name="/sluice/signing", WithDecryption=True)["Parameter"]["Value"] == (
        "s3cr3tx"
    )


def test_a_changed_key_of_an_item_deletes_the_old_item_at_once(everything: Program, moto: MotoServer) -> None:
    table = everything.outputs()["items"]
    everything.environment["KEY"] = "two"
    (step,) = everything.up()
    assert (step.op, step.changed) == ("update", ["item"])
    keys = [item["key"]["S"] for item in moto.client("dynamodb").scan(TableName=table)["Items"]]
    assert keys == ["two"]


def test_a_changed_file_changes_the_functions_zip(everything: Program, moto: MotoServer) -> None:
    (everything.root / "app.py").write_text("def handler(event, context): return 2\n")
    (step,) = everything.up()
    assert (step.name, step.op, step.changed) == ("receiver", "update", ["codeZip.sha256"])
    function = moto.client("lambda").get_function(FunctionName=everything.outputs()["function"])["Configuration"]
    digest = base64.b64decode(function["CodeSha256"]).hex()
    with zipfile.ZipFile(everything.root / "zips" / f"{digest}.zip") as zipped:
        assert zipped.namelist() == ["app.py", "lib/inner.py", "made.txt"]
        assert zipped.read("app.py").endswith(b"return 2\n")


def test_the_url_and_its_permissions_are_stored(everything: Program, moto: MotoServer) -> None:
    outputs = everything.outputs()
    there = moto.client("lambda").get_function_url_config(FunctionName=outputs["function"])
    assert outputs["url"] == there["FunctionUrl"].rstrip("/") + "/"
    policy = json.loads(moto.client("lambda").get_policy(FunctionName=outputs["function"])["Policy"])
    said = {statement["Sid"]: statement["Action"] for statement in policy["Statement"]}
    assert said.pop("FunctionURLAllowPublicAccess") == "lambda:InvokeFunctionUrl"  # the real provider's own
    assert sorted(said.values()) == ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]


def test_no_secret_is_in_the_state_or_in_what_was_printed(everything: Program) -> None:
    state = json.loads(everything.state_text())
    assert "s3cr3t" not in json.dumps(state) + "".join(everything.said)
    assert "s3cr3tx" in everything.pulumi("stack", "export", "--show-secrets", check=True).text


def test_records_reach_the_streams_file(everything: Program, moto: MotoServer) -> None:
    stream, firehose = "stitch_customerio-events", moto.client("firehose")
    moto.fail(stream, "partial", times=1)
    answer = firehose.put_record_batch(DeliveryStreamName=stream, Records=[{"Data": b"1"}, {"Data": b"2"}])
    assert (answer["FailedPutCount"], answer["RequestResponses"][1]["ErrorCode"]) == (
        1,
        "ServiceUnavailableException",
    )
    firehose.put_record(DeliveryStreamName=stream, Record={"Data": b'{"id": "3"}'})
    assert moto.records(stream) == ["1", '{"id": "3"}']


def test_destroy_leaves_nothing(everything: Program, moto: MotoServer) -> None:
    everything.destroy()
    assert moto.client("s3").list_buckets()["Buckets"] == []
    assert moto.client("glue").get_databases()["DatabaseList"] == []
    assert moto.client("firehose").list_delivery_streams()["DeliveryStreamNames"] == []
    assert moto.client("lambda").list_functions()["Functions"] == []
    assert moto.client("dynamodb").list_tables()["TableNames"] == []
    assert moto.client("iam").list_roles()["Roles"] == []
    assert moto.client("logs").describe_log_groups()["logGroups"] == []
    assert moto.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert moto.client("cloudwatch").list_dashboards()["DashboardEntries"] == []
    assert moto.client("sns").list_topics()["Topics"] == []
    assert moto.client("sns").list_subscriptions()["Subscriptions"] == []
    assert moto.client("ssm").describe_parameters()["Parameters"] == []
    assert [group["Name"] for group in moto.client("athena").list_work_groups()["WorkGroups"]] == ["primary"]


ROLE = "arn:aws:iam::123456789012:role/r"
BACKUP = {"roleArn": ROLE, "bucketArn": ROLE}
CATALOG = "arn:aws:glue:eu-central-1:123456789012:catalog"
STREAM_INPUTS = {"roleArn": ROLE, "catalogArn": CATALOG, "s3Configuration": BACKUP}
ICEBERG = {"metadataOperation": "CREATE", "icebergTableInput": {"location": "s3://b/t"}}
FIELD = {"id": 1, "name": "a", "required": True, "type": "string"}
KEY = {"name": "k", "type": "S"}
MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("s3/bucket:Bucket", {"colour": "red"}, "knows no argument colour"),
    ("iam/role:Role", {}, "assumeRolePolicy is required"),
    ("dynamodb/table:Table", {"hashKey": "k", "billingMode": "FREE", "attributes": [KEY]}, "BillingMode must be one"),
    ("dynamodb/table:Table", {"hashKey": "k", "attributes": [{**KEY, "kind": "x"}]}, "attributes[0].kind"),
    ("dynamodb/table:Table", {"hashKey": "k", "attributes": [KEY, {**KEY, "name": "m"}]}, "must be indexed"),
    ("cloudwatch/metricAlarm:MetricAlarm", {"comparisonOperator": "GreaterThanThreshold", "evaluationPeriods": 0},
     "EvaluationPeriods must be at least 1"),
    ("kinesis/firehoseDeliveryStream:FirehoseDeliveryStream", {"destination": "iceberg", "icebergConfiguration": {
        **STREAM_INPUTS, "s3Configuration": {**BACKUP, "prefixx": 1}}}, "icebergConfiguration.s3Configuration.prefixx"),
    ("kinesis/firehoseDeliveryStream:FirehoseDeliveryStream", {"destination": "iceberg", "icebergConfiguration": {
        **STREAM_INPUTS, "s3BackupMode": "FailedDocumentsOnly"}}, "S3BackupMode must be one of"),
    ("glue/catalogTable:CatalogTable", {"databaseName": "d", "openTableFormatInput": {"icebergInput": {
        **ICEBERG, "icebergTableInput": {"location": "s3://b/t", "schema": {"fields": [FIELD]}}}}},
     "fields[0].type: must be a JSON document"),
    ("glue/catalogTable:CatalogTable", {"databaseName": "d", "name": "Events"}, "uppercase"),
    ("ssm/parameter:Parameter", {"type": "SecureString", "value": "s3cr3t", "tier": "Gold"}, "Tier must be one of"),
    ("ssm/parameter:Parameter", {"type": "SecureString", "value": 3.5}, "Invalid type for parameter Value"),
    ("lambda/function:Function", {"role": ROLE, "handler": "a.b"}, "one of code, s3Bucket"),
    ("lambda/function:Function", {"role": "r", "s3Bucket": "abc", "s3Key": "k"}, "Role must match"),
    ("sns/topic:Topic", {"fifoTopic": True}, "knows no argument fifoTopic"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "inputs", "said"), MISTAKES)
def test_a_mistake_is_named(kind: str, inputs: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = " ".join(checked(kind, inputs, monkeypatch))
    assert said in reasons
    assert "s3cr3t" not in reasons


def test_what_is_not_computed_yet_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    iceberg = {**STREAM_INPUTS, "roleArn": UNKNOWN, "bufferingInterval": UNKNOWN, "s3Configuration": UNKNOWN}
    stream = {"destination": "iceberg", "icebergConfiguration": iceberg}
    assert checked("kinesis/firehoseDeliveryStream:FirehoseDeliveryStream", stream, monkeypatch) == []
    assert checked("glue/catalogTable:CatalogTable", {"databaseName": UNKNOWN, "name": UNKNOWN}, monkeypatch) == []


def checked(kind: str, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reasons for which the provider's check refuses the inputs."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    urn = f"urn:pulumi:dev::standin::aws:{kind}::logical"
    request = CheckRequest(urn, {}, {name: wire(value) for name, value in inputs.items()}, b"seed")
    return [failure.reason for failure in asyncio.run(AwsProvider().check(request)).failures or []]


def test_a_mistake_is_refused_in_the_preview(program: Program) -> None:
    program.write("""
        import pulumi_aws as aws
        aws.dynamodb.Table("t", hash_key="k", attributes=[{"name": "k", "type": "S", "kind": "x"}])
    """)
    ran = program.pulumi("preview")
    assert ran.code and "the stand-in for the AWS plugin knows no argument attributes[0].kind" in ran.text
    assert "Traceback" not in ran.text


TABLE = """
import json, os, pulumi, pulumi_aws as aws
items = aws.dynamodb.Table("items", name="fixed", hash_key="key", billing_mode="PAY_PER_REQUEST",
    attributes=[aws.dynamodb.TableAttributeArgs(name="key", type="S")], deletion_protection_enabled=PROTECTED)
item = lambda name, **more: aws.dynamodb.TableItem(name, table_name=items.name, hash_key="key",
    item=json.dumps({"key": {"S": "one"}, **more}))
item("first")
"""


def test_an_item_that_is_there_already_is_not_taken_over(program: Program) -> None:
    program.write(TABLE.replace("PROTECTED", "False"))
    program.up()
    program.write(TABLE.replace("PROTECTED", "False") + 'item("second")')
    ran = program.pulumi("up", "--yes", "--skip-preview")
    assert "creating aws:dynamodb/tableItem:TableItem second: ConditionalCheckFailedException" in ran.text
    assert "Traceback" not in ran.text


def test_a_protected_table_refuses_to_be_deleted(program: Program) -> None:
    program.write(TABLE.replace("PROTECTED", "True"))
    program.up()
    ran = program.pulumi("destroy", "--yes", "--skip-preview")
    assert ran.code and "DeletionProtectionEnabled" in ran.text
    program.write(TABLE.replace("PROTECTED", "False"))
    assert [step.changed for step in program.up() if step.op == "update"] == [["deletionProtectionEnabled"]]


def test_a_bucket_that_is_not_empty_refuses_to_be_deleted(program: Program, moto: MotoServer) -> None:
    program.write("import pulumi_aws as aws\naws.s3.Bucket('b', bucket='kept-objects')")
    program.up()
    moto.client("s3").put_object(Bucket="kept-objects", Key="k", Body=b"x")
    ran = program.pulumi("destroy", "--yes", "--skip-preview")
    assert ran.code and "BucketNotEmpty" in ran.text
    program.write("import pulumi_aws as aws\naws.s3.Bucket('b', bucket='kept-objects', force_destroy=True)")
    assert [step.changed for step in program.up()] == [["forceDestroy"]]


STREAM = """
import pulumi_aws as aws
aws.kinesis.FirehoseDeliveryStream("s", **NAME, destination="iceberg", iceberg_configuration={
    "role_arn": "arn:aws:iam::123456789012:role/r", "catalog_arn": "arn:aws:glue:eu-central-1:123456789012:catalog",
    "append_only": APPEND, "s3_configuration": {"role_arn": "arn:aws:iam::123456789012:role/r",
    "bucket_arn": "arn:aws:s3:::b"}})
"""


def test_a_replacement_of_a_fixed_name_deletes_first_and_of_an_automatic_one_last(program: Program) -> None:
    for name, order in (("{}", "create"), ("{'name': 'fixed'}", "delete")):
        text = STREAM.replace("NAME", name)
        program.write(text.replace("APPEND", "True"))
        program.up()
        program.write(text.replace("APPEND", "False"))
        steps = program.up()
        ops = [step.op for step in steps if step.op in ("create-replacement", "delete-replaced")]
        assert ops[0].startswith(order) and len(ops) == 2, ops
        assert ["icebergConfiguration.appendOnly"] in [step.changed for step in steps]


def test_database_and_view_can_be_imported_and_an_iceberg_table_with_care(program: Program, moto: MotoServer) -> None:
    """A read doesn't tell an Iceberg table's definition: an import without `ignore_changes` ends in a replacement."""
    field = {"Id": 1, "Name": "a", "Type": "string", "Required": False}
    glue, wanted = moto.client("glue"), {"Type": "struct", "Fields": [field]}
    glue.create_database(DatabaseInput={"Name": "old", "Description": "from before"})
    view = {"Name": "events", "TableType": "VIRTUAL_VIEW", "ViewOriginalText": "x", "Parameters": {"a": "b"}}
    glue.create_table(DatabaseName="old", TableInput=view)
    iceberg = {"MetadataOperation": "CREATE", "CreateIcebergTableInput": {"Location": "s3://b/t", "Schema": wanted}}
    glue.create_table(DatabaseName="old", Name="data", OpenTableFormatInput={"IcebergInput": iceberg})
    text = """
        import json, pulumi, pulumi_aws as aws
        last = lambda name, **more: pulumi.ResourceOptions(**IMPORT, **more)
        aws.glue.CatalogDatabase("d", name="old", description="from before", opts=last("123456789012:old"))
        aws.glue.CatalogTable("t", name="events", database_name="old", table_type="VIRTUAL_VIEW",
            view_original_text="x", parameters={"a": "b"}, opts=last("123456789012:old:events"))
        aws.glue.CatalogTable("i", name="data", database_name="old", open_table_format_input={"iceberg_input": {
            "metadata_operation": "CREATE", "iceberg_table_input": {"location": "s3://b/t", "schema": {"fields": [
            {"id": 1, "name": "a", "type": json.dumps("string"), "required": False}]}}}},
            opts=last("123456789012:old:data", ignore_changes=IGNORED))
    """
    program.write(text.replace("IMPORT", "{'import_': name}").replace("IGNORED", "['openTableFormatInput']"))
    assert {step.op for step in program.up()} == {"import"}
    program.pulumi("preview", "--expect-no-changes", check=True)
    program.write(text.replace("IMPORT", "{}").replace("IGNORED", "[]"))
    assert {(step.name, step.op) for step in program.preview()} >= {("i", "replace")}


def test_default_tags_are_put_on_and_changed(program: Program, moto: MotoServer) -> None:
    text = """
        import pulumi, pulumi_aws as aws
        mine = aws.Provider("mine", default_tags=aws.ProviderDefaultTagsArgs(tags={"stack": "VALUE"}))
        aws.sns.Topic("t", name="tagged", tags={"own": "1"}, opts=pulumi.ResourceOptions(provider=mine))
    """
    arn = "arn:aws:sns:eu-central-1:123456789012:tagged"
    for value in ("dev", "prod"):
        program.write(text.replace("VALUE", value))
        assert [step.name for step in program.up()] == ["t"]
        tags = moto.client("sns").list_tags_for_resource(ResourceArn=arn)["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"own": "1", "stack": value}
    program.pulumi("preview", "--expect-no-changes", check=True)
    assert program.refresh() == []


def test_the_engine_dies_where_it_was_told_to(program: Program, moto: MotoServer) -> None:
    program.write("import pulumi_aws as aws\naws.glue.CatalogDatabase('d', name='orphan')")
    program.environment["SLUICE_TEST_AWS_DIE_AFTER"] = "aws:glue/catalogDatabase:CatalogDatabase"
    assert program.pulumi("up", "--yes", "--skip-preview").code == -9
    del program.environment["SLUICE_TEST_AWS_DIE_AFTER"]
    assert moto.client("glue").get_database(Name="orphan")
    program.pulumi("cancel", "--yes", check=True)
    ran = program.pulumi("up", "--yes", "--skip-preview")
    assert "creating aws:glue/catalogDatabase:CatalogDatabase d: AlreadyExistsException" in ran.text
    program.pulumi("refresh", "--yes", "--skip-preview", "--clear-pending-creates", check=True)
    moto.client("glue").delete_database(Name="orphan")
    program.up()


def other_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        zipped.writestr("app.py", "somebody's")
    return out.getvalue()
