"""The AWS stand-in against moto: as the real plugin wherever our program relies on it.

Its methods are called as the engine calls them (standin_calls.py), and one program with a resource of each type goes up
and away on the real engine. What else the engine shows of it is in test_standin_engine.py.
"""

import base64
import io
import json
import re
import secrets
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.rpc import UNKNOWN

from provider.resource import ResourceError
from tests.aws.moto_server import MotoServer
from tests.aws.standin.provider import RESOURCES, AwsProvider, plain
from tests.aws.standin_calls import Calls, Made
from tests.aws.standin_program import EVERYTHING, attached_program

ACCOUNT = "123456789012"
BUCKET, BUCKET_POLICY = "s3/bucket:Bucket", "s3/bucketPolicy:BucketPolicy"
BLOCK = "s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
DATABASE, TABLE = "glue/catalogDatabase:CatalogDatabase", "glue/catalogTable:CatalogTable"
STREAM = "kinesis/firehoseDeliveryStream:FirehoseDeliveryStream"
ITEMS, ITEM = "dynamodb/table:Table", "dynamodb/tableItem:TableItem"
PARAMETER, WORKGROUP = "ssm/parameter:Parameter", "athena/workgroup:Workgroup"
FUNCTION, URL, PERMISSION = "lambda/function:Function", "lambda/functionUrl:FunctionUrl", "lambda/permission:Permission"
LOGS, ALARM = "cloudwatch/logGroup:LogGroup", "cloudwatch/metricAlarm:MetricAlarm"
TOPIC, STATEMENT, IAM_ROLE = "sns/topic:Topic", "redshiftdata/statement:Statement", "iam/role:Role"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def aws(moto: MotoServer) -> Iterator[Calls]:
    """The stand-in. What the tests make has a name of its own each, and stays."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {**moto.environment, "SLUICE_TEST_ZIPS": str(moto.folder / "zips")}.items():
            patched.setenv(name, value)
        yield Calls(AwsProvider())


@pytest.fixture(scope="module")
def role(aws: Calls) -> str:
    """The ARN of one that a function may take."""
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    document = {"Version": "2012-10-17", "Statement": [trust]}
    return str(aws.create(IAM_ROLE, {"assumeRolePolicy": json.dumps(document)})["arn"])


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The files of a function."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "inner.py").write_text("INNER = 1\n")
    (tmp_path / "app.py").write_text("def handler(event, context): return 1\n")
    return tmp_path


def test_one_of_each_type_goes_up_stays_as_it_is_and_goes_away(tmp_path: Path) -> None:
    """On the real engine, in an account of its own."""
    with MotoServer(tmp_path / "moto") as moto, attached_program(tmp_path / "a project", moto) as program:
        program.write(EVERYTHING)
        program.preview()
        steps = program.up()
        assert {step.op for step in steps} == {"create"}
        assert {step.type for step in steps} == set(RESOURCES)
        program.pulumi("preview", "--expect-no-changes", check=True)
        assert "s3cr3t" not in program.state_text() + "".join(program.said)
        program.destroy()
        assert what_is_left(moto) == []


def what_is_left(moto: MotoServer) -> list[Any]:
    left = [
        moto.client("s3").list_buckets()["Buckets"],
        moto.client("glue").get_databases()["DatabaseList"],
        moto.client("firehose").list_delivery_streams()["DeliveryStreamNames"],
        moto.client("lambda").list_functions()["Functions"],
        moto.client("dynamodb").list_tables()["TableNames"],
        moto.client("iam").list_roles()["Roles"],
        moto.client("logs").describe_log_groups()["logGroups"],
        moto.client("cloudwatch").describe_alarms()["MetricAlarms"],
        moto.client("cloudwatch").list_dashboards()["DashboardEntries"],
        moto.client("sns").list_topics()["Topics"],
        moto.client("sns").list_subscriptions()["Subscriptions"],
        moto.client("ssm").describe_parameters()["Parameters"],
        [group for group in moto.client("athena").list_work_groups()["WorkGroups"] if group["Name"] != "primary"],
    ]
    return [found for kind in left for found in kind]


# What is declared


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
def test_a_mistake_is_named(aws: Calls, kind: str, inputs: dict[str, Any], said: str) -> None:
    _, reasons = aws.check(kind, inputs)
    assert said in " ".join(reasons)
    assert "s3cr3t" not in " ".join(reasons)


def test_what_is_not_computed_yet_passes(aws: Calls) -> None:
    iceberg = {**STREAM_INPUTS, "roleArn": UNKNOWN, "bufferingInterval": UNKNOWN, "s3Configuration": UNKNOWN}
    assert aws.check(STREAM, {"destination": "iceberg", "icebergConfiguration": iceberg})[1] == []
    assert aws.check(TABLE, {"databaseName": UNKNOWN, "name": UNKNOWN})[1] == []


def own(name: str = "it") -> str:
    """A name that no other test has."""
    return f"{name}-{secrets.token_hex(4)}"


# The least that one of each is declared with


def a_stream(**iceberg: Any) -> dict[str, Any]:
    backup = {"roleArn": ROLE, "bucketArn": "arn:aws:s3:::b"}
    iceberg = {**STREAM_INPUTS, "s3Configuration": backup, "appendOnly": True, **iceberg}
    return {"destination": "iceberg", "icebergConfiguration": iceberg}


def a_function(role: str, code: Path, **more: Any) -> dict[str, Any]:
    archive = pulumi.AssetArchive(
        {
            "app.py": pulumi.FileAsset(code / "app.py"),
            "lib": pulumi.FileArchive(str(code / "lib")),
            "made.txt": pulumi.StringAsset("made"),
        }
    )
    return {"role": role, "runtime": "python3.12", "handler": "app.handler", "code": PropertyValue(archive), **more}


def a_database(aws: Calls) -> str:
    return str(aws.create(DATABASE, {"name": own("d").replace("-", "_")})["name"])


def a_field(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "name": name, "type": json.dumps("string"), "required": name == "id"}


def an_iceberg_table(database: str, *fields: str, **more: Any) -> dict[str, Any]:
    schema = {"type": "struct", "schemaId": 0, "fields": [a_field(place, name) for place, name in enumerate(fields, 1)]}
    table = {"location": "s3://b/data", "properties": {"write.format.default": "parquet"}, "schema": schema}
    iceberg = {"metadataOperation": "CREATE", "version": "2", "icebergTableInput": table, **more}
    return {"name": "data", "databaseName": database, "openTableFormatInput": {"icebergInput": iceberg}}


def a_view(database: str, text: str) -> dict[str, Any]:
    return {"name": "events", "databaseName": database, "tableType": "VIRTUAL_VIEW", "viewOriginalText": text,
            "viewExpandedText": "/* Presto View */", "parameters": {"presto_view": "true"},
            "storageDescriptor": {"columns": [{"name": "id", "type": "string"}]}}  # fmt: skip


def a_table(**more: Any) -> dict[str, Any]:
    return {"hashKey": "k", "billingMode": "PAY_PER_REQUEST", "attributes": [KEY], "tags": {"a": "b"}, **more}


def an_item(table: str, key: str, **more: Any) -> dict[str, Any]:
    item = {"k": {"S": key}, "schema": {"S": "data"}, **more}
    return {"tableName": table, "hashKey": "k", "item": json.dumps(item)}


def an_alarm(threshold: int) -> dict[str, Any]:
    return {"metricName": "Errors", "namespace": "AWS/Lambda", "statistic": "Sum", "period": 60, "evaluationPeriods": 1,
            "dimensions": {"FunctionName": "f"}, "threshold": threshold,
            "comparisonOperator": "GreaterThanOrEqualToThreshold"}  # fmt: skip


def a_parameter(value: str) -> dict[str, Any]:
    return {"name": f"/sluice/{own()}", "type": "SecureString", "value": PropertyValue(value, is_secret=True)}


def a_workgroup(folder: str) -> dict[str, Any]:
    result = {"outputLocation": f"s3://b/{folder}", "encryptionConfiguration": {"encryptionOption": "SSE_S3"}}
    return {"forceDestroy": True, "configuration": {"resultConfiguration": result}}


# Changes


CHANGES: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    (LOGS, {"retentionInDays": 7}, {"retentionInDays": 14}, ["retentionInDays"]),
    (ALARM, an_alarm(1), {"threshold": 5}, ["threshold"]),
    (WORKGROUP, a_workgroup(""), a_workgroup("x"), ["configuration.resultConfiguration.outputLocation"]),
    (
        STREAM,
        a_stream(bufferingInterval=60),
        a_stream(bufferingInterval=120),
        ["icebergConfiguration.bufferingInterval"],
    ),
    (PARAMETER, a_parameter("s3cr3t"), {"value": PropertyValue("s3cr3tx", is_secret=True)}, ["value"]),
    (ITEMS, a_table(), {"ttl": {"attributeName": "until", "enabled": True}}, ["ttl.attributeName", "ttl.enabled"]),
    (TOPIC, {"tags": {"a": "b"}}, {"tags": {"a": "c", "d": "e"}}, ["tags.a", "tags.d"]),
]


@pytest.mark.parametrize(("kind", "given", "changed", "paths"), CHANGES)
def test_a_change_is_made_in_place_and_named_by_its_path(
    aws: Calls, kind: str, given: dict[str, Any], changed: dict[str, Any], paths: list[str]
) -> None:
    made = aws.create(kind, given)
    assert aws.changes(made) == []
    assert aws.changes(made, changed) == paths
    there = aws.refreshed(aws.update(made, changed))
    assert there is not None
    assert aws.changes(there) == [], "it is there as the state has it"
    aws.delete(there)
    assert aws.refreshed(there) is None
    aws.delete(there)  # what is gone already is no error


def test_a_functions_variables_are_changed_in_place(aws: Calls, role: str, code: Path) -> None:
    made = aws.create(FUNCTION, a_function(role, code, environment={"variables": {"KEY": "a"}}))
    changed = {"environment": {"variables": {"KEY": "b"}}}
    assert aws.changes(made, changed) == ["environment.variables.KEY"]
    assert aws.update(made, changed)["environment"] == {"variables": {"KEY": "b"}}


def test_a_new_column_is_sent_to_an_iceberg_table_and_no_table_is_made_anew(aws: Calls, moto: MotoServer) -> None:
    database = a_database(aws)
    made = aws.create(TABLE, an_iceberg_table(database, "id", "body"))
    changed = an_iceberg_table(database, "id", "body", "more")
    at = "openTableFormatInput.icebergInput.icebergTableInput.schema.fields[2]"
    assert aws.changes(made, changed) == [f"{at}.{name}" for name in ("id", "name", "required", "type")]
    aws.update(made, changed)
    created, updated = moto.iceberg_inputs(database, "data")
    assert created["CreateIcebergTableInput"]["Schema"]["Fields"][0] == {
        "Id": 1, "Name": "id", "Type": "string", "Required": True,
    }  # fmt: skip
    fields = updated["UpdateIcebergTableInput"]["Updates"][0]["Schema"]["Fields"]
    assert [field["Name"] for field in fields] == ["id", "body", "more"]


def test_a_views_text_is_changed_in_place(aws: Calls) -> None:
    database = a_database(aws)
    made = aws.create(TABLE, a_view(database, "/* Presto View: e30K */"))
    changed = a_view(database, "/* Presto View: e30= */")
    assert aws.changes(made, changed) == ["viewOriginalText"]
    assert aws.update(made, changed)["viewOriginalText"] == "/* Presto View: e30= */"


def test_a_changed_key_of_an_item_deletes_the_old_item_at_once(aws: Calls, moto: MotoServer) -> None:
    table = aws.create(ITEMS, a_table())["name"]
    made = aws.create(ITEM, an_item(table, "one"))
    assert aws.changes(made, an_item(table, "two")) == ["item"]
    aws.update(made, an_item(table, "two"))
    assert [item["k"]["S"] for item in moto.client("dynamodb").scan(TableName=table)["Items"]] == ["two"]


def test_a_changed_file_changes_the_functions_zip(aws: Calls, moto: MotoServer, role: str, code: Path) -> None:
    made = aws.create(FUNCTION, a_function(role, code))
    assert aws.changes(made) == []
    (code / "app.py").write_text("def handler(event, context): return 2\n")
    assert aws.changes(made) == ["codeZip.sha256"]
    aws.update(made)
    there = moto.client("lambda").get_function(FunctionName=made["name"])["Configuration"]
    digest = base64.b64decode(there["CodeSha256"]).hex()
    with zipfile.ZipFile(moto.folder / "zips" / f"{digest}.zip") as zipped:
        assert zipped.namelist() == ["app.py", "lib/inner.py", "made.txt"]
        assert zipped.read("app.py").endswith(b"return 2\n")


def test_ignored_changes_are_none(aws: Calls) -> None:
    made = aws.create(LOGS, {"retentionInDays": 7})
    assert aws.diff(made, {"retentionInDays": 14}, ignore=("retentionInDays",)).changes is False


# Drift


Spoil = Callable[[Any, Made], object]
DRIFTS: list[tuple[str, str, dict[str, Any], Spoil, list[str]]] = [
    ("ssm", PARAMETER, a_parameter("s3cr3t"),
     lambda ssm, it: ssm.put_parameter(Name=it["name"], Type="SecureString", Value="an0ther", Overwrite=True),
     ["value"]),
    ("logs", LOGS, {"retentionInDays": 7}, lambda logs, it: logs.delete_retention_policy(logGroupName=it["name"]),
     ["retentionInDays"]),
    ("dynamodb", ITEMS, a_table(),
     lambda db, it: db.tag_resource(ResourceArn=it["arn"], Tags=[{"Key": "a", "Value": "somebody's"}]), ["tags.a"]),
    ("dynamodb", ITEMS, a_table(deletionProtectionEnabled=False),
     lambda db, it: db.update_table(TableName=it["name"], DeletionProtectionEnabled=True),
     ["deletionProtectionEnabled"]),
]  # fmt: skip


@pytest.mark.parametrize(("service", "kind", "given", "spoil", "paths"), DRIFTS)
def test_drift_is_seen_by_a_refresh_and_repaired(
    aws: Calls, moto: MotoServer, service: str, kind: str, given: dict[str, Any], spoil: Spoil, paths: list[str]
) -> None:
    made = aws.create(kind, {**given, "name": f"/{own()}" if kind == PARAMETER else own()})
    spoil(moto.client(service), made)
    assert_repaired(aws, made, paths)


def assert_repaired(aws: Calls, made: Made, paths: list[str]) -> None:
    drifted = aws.refreshed(made)
    assert drifted is not None
    assert aws.changes(drifted) == paths
    repaired = aws.refreshed(aws.update(drifted))
    assert repaired is not None
    assert aws.changes(repaired) == []
    arguments = made.inputs.keys() & made.state.keys()
    assert {name: repaired[name] for name in arguments} == {name: made[name] for name in arguments}


def test_a_function_that_was_changed_is_repaired(aws: Calls, moto: MotoServer, role: str, code: Path) -> None:
    made = aws.create(FUNCTION, a_function(role, code, memorySize=256))
    client = moto.client("lambda")
    client.update_function_configuration(FunctionName=made["name"], MemorySize=1024)
    client.update_function_code(FunctionName=made["name"], ZipFile=other_zip())
    assert_repaired(aws, made, ["codeZip.sha256", "memorySize"])


def test_what_was_changed_about_a_bucket_is_repaired(aws: Calls, moto: MotoServer) -> None:
    bucket, s3 = aws.create(BUCKET, {})["bucket"], moto.client("s3")
    blocked = dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True)
    block = aws.create(BLOCK, {"bucket": bucket, **blocked})
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    document = {"Version": "2012-10-17", "Statement": [denied]}
    policy = aws.create(BUCKET_POLICY, {"bucket": bucket, "policy": json.dumps(document)})
    s3.put_bucket_policy(Bucket=bucket, Policy='{"Version": "2012-10-17", "Statement": []}')
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicAcls": False})
    assert_repaired(aws, policy, ["policy"])
    assert_repaired(aws, block, sorted(blocked))


def test_what_was_written_into_an_item_is_drift_of_it(aws: Calls, moto: MotoServer) -> None:
    table = aws.create(ITEMS, a_table())["name"]
    made = aws.create(ITEM, an_item(table, "one"))
    item = {**json.loads(made["item"]), "used": {"S": "yesterday"}}
    moto.client("dynamodb").put_item(TableName=table, Item=item)
    assert_repaired(aws, made, ["item"])
    assert "used" not in moto.client("dynamodb").get_item(TableName=table, Key={"k": {"S": "one"}})["Item"]


def test_what_was_deleted_is_gone_after_a_refresh(aws: Calls, moto: MotoServer) -> None:
    made = aws.create(TOPIC, {})
    moto.client("sns").delete_topic(TopicArn=made["arn"])
    assert aws.refreshed(made) is None


def test_an_iceberg_tables_definition_is_not_read_back(aws: Calls, moto: MotoServer) -> None:
    database = a_database(aws)
    made = aws.create(TABLE, an_iceberg_table(database, "id"))
    there = aws.refreshed(made)
    assert there is not None
    assert there["openTableFormatInput"] == made["openTableFormatInput"]
    assert aws.changes(there) == []


# Secrets


def test_what_is_secret_stays_so_in_every_answer(aws: Calls, role: str, code: Path) -> None:
    key = PropertyValue("s3cr3t", is_secret=True)
    variables = PropertyValue({"variables": PropertyValue({"KEY": key, "TABLE": PropertyValue("t")})})
    function = aws.create(FUNCTION, a_function(role, code, environment=variables))
    parameter = aws.create(PARAMETER, {"name": f"/{own()}", "type": "SecureString", "value": PropertyValue("s3cr3t")})
    assert parameter.state["value"].is_secret, "even one that nobody marked"
    changed = aws.update(parameter, {"value": PropertyValue("s3cr3tx")})
    for made in (function, parameter, changed, aws.refreshed(function), aws.refreshed(changed)):
        assert made is not None
        clear = {name: plain(value) for name, value in made.state.items() if not value.contains_secret()}
        assert "s3cr3t" not in json.dumps(clear)
    assert changed["value"] == "s3cr3tx"


# Names


def test_a_name_is_made_of_the_logical_one_and_kept(aws: Calls) -> None:
    for kind, given, pattern in (
        (BUCKET, {}, r"lake-[0-9a-f]{7}"),
        (LOGS, {}, r"Lake-[0-9a-f]{7}"),
        (DATABASE, {}, r"lake_[a-z]{8}"),
        (PERMISSION, {"function": "f", "action": "lambda:InvokeFunction", "principal": "*"}, r"Lake-[0-9a-f]{7}"),
    ):
        argument = {BUCKET: "bucket", PERMISSION: "statementId"}.get(kind, "name")
        inputs, reasons = aws.check(kind, given, "Lake")
        assert reasons == []
        assert re.fullmatch(pattern, plain(inputs[argument])), kind
        again, _ = aws.check(kind, given, "Lake", inputs)
        assert plain(again[argument]) == plain(inputs[argument])
    _, reasons = aws.check(IAM_ROLE, {"assumeRolePolicy": "{}"}, "x" * 60)
    assert "plus 7 random chars is longer than 64" in " ".join(reasons)


def test_a_replacement_of_a_fixed_name_deletes_first_and_of_an_automatic_one_last(aws: Calls) -> None:
    for name, first in (({}, False), ({"name": own()}, True)):
        made = aws.create(STREAM, {**a_stream(), **name})
        answer = aws.diff(made, a_stream(appendOnly=False))
        assert (answer.replaces, answer.delete_before_replace) == (["icebergConfiguration"], first)
        assert list(answer.detailed_diff or {}) == ["icebergConfiguration.appendOnly"]
    made = aws.create(STREAM, {**a_stream(), "name": own()})
    answer = aws.diff(made, {"name": own()})
    assert (answer.replaces, answer.delete_before_replace) == (["name"], False), "the two have room side by side"


def test_a_replacement_of_a_glue_table_never_deletes_first(aws: Calls) -> None:
    """The real plugin's Glue types lack that rule: a new table of the same name meets the old one."""
    database = a_database(aws)
    made = aws.create(TABLE, an_iceberg_table(database, "id"))
    answer = aws.diff(made, an_iceberg_table(database, "id", version="1"))
    assert (answer.replaces, answer.delete_before_replace) == (["openTableFormatInput"], False)
    with pytest.raises(ResourceError, match="AlreadyExistsException"):
        aws.create(TABLE, an_iceberg_table(database, "id", version="2"))


def test_a_changed_statement_is_another_one(aws: Calls) -> None:
    made = aws.create(STATEMENT, {"workgroupName": "warehouse", "database": "dev", "sql": "create schema x"})
    assert aws.diff(made, {"sql": "create schema y"}).replaces == ["sql"]


# What is refused


def test_an_item_that_is_there_already_is_not_taken_over(aws: Calls) -> None:
    table = aws.create(ITEMS, a_table())["name"]
    aws.create(ITEM, an_item(table, "one"), "first")
    with pytest.raises(ResourceError, match="creating aws:dynamodb/tableItem:TableItem second: Conditional"):
        aws.create(ITEM, an_item(table, "one"), "second")


def test_a_protected_table_refuses_to_be_deleted(aws: Calls) -> None:
    made = aws.create(ITEMS, a_table(deletionProtectionEnabled=True))
    with pytest.raises(ResourceError, match="DeletionProtectionEnabled"):
        aws.delete(made)
    assert aws.changes(made, {"deletionProtectionEnabled": False}) == ["deletionProtectionEnabled"]
    aws.delete(aws.update(made, {"deletionProtectionEnabled": False}))
    assert aws.refreshed(made) is None


def test_a_bucket_that_is_not_empty_refuses_to_be_deleted(aws: Calls, moto: MotoServer) -> None:
    made = aws.create(BUCKET, {})
    moto.client("s3").put_object(Bucket=made["bucket"], Key="k", Body=b"x")
    with pytest.raises(ResourceError, match="BucketNotEmpty"):
        aws.delete(made)
    assert aws.changes(made, {"forceDestroy": True}) == ["forceDestroy"]
    aws.delete(aws.update(made, {"forceDestroy": True}))
    assert aws.refreshed(made) is None


# What the real plugin does by itself


def test_a_url_for_everybody_brings_a_permission_of_its_own(
    aws: Calls, moto: MotoServer, role: str, code: Path
) -> None:
    function = aws.create(FUNCTION, a_function(role, code))["name"]
    url = aws.create(URL, {"functionName": function, "authorizationType": "NONE"})
    anyone = {"function": function, "principal": "*"}
    aws.create(PERMISSION, {**anyone, "action": "lambda:InvokeFunctionUrl", "functionUrlAuthType": "NONE"}, "url")
    aws.create(PERMISSION, {**anyone, "action": "lambda:InvokeFunction", "invokedViaFunctionUrl": True}, "invoke")
    there = moto.client("lambda").get_function_url_config(FunctionName=function)
    assert url["functionUrl"] == there["FunctionUrl"].rstrip("/") + "/"
    policy = json.loads(moto.client("lambda").get_policy(FunctionName=function)["Policy"])
    said = {statement["Sid"]: statement["Action"] for statement in policy["Statement"]}
    assert said.pop("FunctionURLAllowPublicAccess") == "lambda:InvokeFunctionUrl"
    assert sorted(said.values()) == ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]


def test_a_stream_is_told_the_defaults_of_what_is_not_given(aws: Calls, moto: MotoServer) -> None:
    made = aws.create(STREAM, a_stream())
    there = moto.client("firehose").describe_delivery_stream(DeliveryStreamName=made["name"])
    (destination,) = there["DeliveryStreamDescription"]["Destinations"]
    iceberg = destination["IcebergDestinationDescription"]
    assert iceberg["BufferingHints"] == {"IntervalInSeconds": 300, "SizeInMBs": 5}
    assert (iceberg["RetryOptions"], iceberg["S3BackupMode"]) == ({"DurationInSeconds": 300}, "FailedDataOnly")
    there = aws.refreshed(made)
    assert there is not None
    assert plain(there.state["icebergConfiguration"]) == plain(made.inputs["icebergConfiguration"])


def test_default_tags_are_put_on_and_changed(aws: Calls, moto: MotoServer) -> None:
    """A provider with other default tags is another provider, with the same state."""
    arn, made = "", None
    for value in ("dev", "prod"):
        mine = Calls(AwsProvider())
        mine.configure(defaultTags={"tags": {"stack": value}})
        if made is None:
            made = mine.create(TOPIC, {"tags": {"own": "1"}})
            arn = made["arn"]
        else:
            assert mine.changes(made) == ["tagsAll.stack"]
            made = mine.update(made)
        tags = moto.client("sns").list_tags_for_resource(ResourceArn=arn)["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"own": "1", "stack": value}
        there = mine.refreshed(made)
        assert there is not None
        assert mine.changes(there) == []
        assert there["tags"] == {"own": "1"}


def test_database_and_view_can_be_imported_and_an_iceberg_table_with_care(aws: Calls, moto: MotoServer) -> None:
    """A read doesn't tell an Iceberg table's definition: an import without `ignore_changes` ends in a replacement."""
    database, glue = own("old").replace("-", "_"), moto.client("glue")
    glue.create_database(DatabaseInput={"Name": database, "Description": "from before"})
    view = {"Name": "events", "TableType": "VIRTUAL_VIEW", "ViewOriginalText": "x", "Parameters": {"a": "b"}}
    glue.create_table(DatabaseName=database, TableInput=view)
    wanted = {"Type": "struct", "Fields": [{"Id": 1, "Name": "id", "Type": "string", "Required": True}]}
    iceberg = {"MetadataOperation": "CREATE", "CreateIcebergTableInput": {"Location": "s3://b/t", "Schema": wanted}}
    glue.create_table(DatabaseName=database, Name="data", OpenTableFormatInput={"IcebergInput": iceberg})

    at = f"{ACCOUNT}:{database}"
    declared = {"name": database, "description": "from before"}
    assert aws.changes(aws.imported(DATABASE, at, declared)) == []
    declared = {"name": "events", "databaseName": database, "tableType": "VIRTUAL_VIEW", "viewOriginalText": "x"}
    assert aws.changes(aws.imported(TABLE, f"{at}:events", {**declared, "parameters": {"a": "b"}})) == []
    table = aws.imported(TABLE, f"{at}:data", an_iceberg_table(database, "id"))
    assert aws.diff(table, ignore=("openTableFormatInput",)).changes is False
    assert aws.diff(table).replaces == ["openTableFormatInput"]


def test_what_was_made_and_can_not_be_imported_is_said(aws: Calls) -> None:
    with pytest.raises(ResourceError, match="can't import aws:dynamodb/tableItem:TableItem"):
        aws.imported(ITEM, "table|k|one", {})


# The server


def test_records_reach_the_streams_file(aws: Calls, moto: MotoServer) -> None:
    stream, firehose = aws.create(STREAM, a_stream())["name"], moto.client("firehose")
    moto.fail(stream, "partial", times=1)
    answer = firehose.put_record_batch(DeliveryStreamName=stream, Records=[{"Data": b"1"}, {"Data": b"2"}])
    assert (answer["FailedPutCount"], answer["RequestResponses"][1]["ErrorCode"]) == (1, "ServiceUnavailableException")
    firehose.put_record(DeliveryStreamName=stream, Record={"Data": b'{"id": "3"}'})
    assert moto.records(stream) == ["1", '{"id": "3"}']


def other_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        zipped.writestr("app.py", "somebody's")
    return out.getvalue()
