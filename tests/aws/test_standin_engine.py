"""What of the AWS stand-in only the real engine shows: its own process, its death, and the engine's part of the rules.

The rules themselves are in test_standin.py. Every night, and after a change of tests/aws/standin.
"""

import base64
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aws.moto_server import MotoServer
from tests.aws.standin_program import EVERYTHING, Program, new_program

pytestmark = pytest.mark.nightly


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


def test_everything_is_changed_drifts_and_is_repaired(program: Program, moto: MotoServer) -> None:
    program.write(EVERYTHING)
    program.up()
    program.pulumi("preview", "--expect-no-changes", check=True)
    assert program.refresh() == []
    change(program)
    drift(program, moto)
    change_a_key(program, moto)
    change_a_file(program, moto)
    assert "s3cr3t" not in program.state_text() + "".join(program.said)
    assert "s3cr3tx" in program.pulumi("stack", "export", "--show-secrets", check=True).text


def change(program: Program) -> None:
    program.environment["CHANGE"] = "x"
    steps = program.up()
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
    program.pulumi("preview", "--expect-no-changes", check=True)


def drift(program: Program, moto: MotoServer) -> None:
    outputs = program.outputs()
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
    refreshed = {(step.type.split(":")[-1], step.op) for step in program.refresh()}
    assert refreshed >= {("Topic", "delete"), ("Function", "update"), ("Parameter", "update"), ("TableItem", "update")}
    repaired = {step.type.split(":")[-1]: step for step in program.up()}
    assert repaired["Function"].changed == ["codeZip.sha256", "memorySize"]
    assert repaired["Parameter"].changed == ["value"]
    assert repaired["TableItem"].changed == ["item"]
    assert repaired["Table"].changed == ["tags.a"]
    assert repaired["LogGroup"].changed == ["retentionInDays"]
    assert {"BucketPolicy", "BucketPublicAccessBlock", "Topic"} <= repaired.keys()
    program.pulumi("preview", "--expect-no-changes", check=True)
    there = moto.client("dynamodb").get_item(TableName=outputs["items"], Key={"key": {"S": "one"}})["Item"]
    assert "used" not in there
    assert moto.client("ssm").get_parameter(Name="/sluice/signing", WithDecryption=True)["Parameter"]["Value"] == (
        "s3cr3tx"
    )


def change_a_key(program: Program, moto: MotoServer) -> None:
    table = program.outputs()["items"]
    program.environment["KEY"] = "two"
    (step,) = program.up()
    assert (step.op, step.changed) == ("update", ["item"])
    keys = [item["key"]["S"] for item in moto.client("dynamodb").scan(TableName=table)["Items"]]
    assert keys == ["two"]


def change_a_file(program: Program, moto: MotoServer) -> None:
    (program.root / "app.py").write_text("def handler(event, context): return 2\n")
    (step,) = program.up()
    assert (step.name, step.op, step.changed) == ("receiver", "update", ["codeZip.sha256"])
    function = moto.client("lambda").get_function(FunctionName=program.outputs()["function"])["Configuration"]
    digest = base64.b64decode(function["CodeSha256"]).hex()
    with zipfile.ZipFile(program.root / "zips" / f"{digest}.zip") as zipped:
        assert zipped.namelist() == ["app.py", "lib/inner.py", "made.txt"]
        assert zipped.read("app.py").endswith(b"return 2\n")


def test_a_mistake_is_refused_in_the_preview(program: Program) -> None:
    program.write("""
        import pulumi_aws as aws
        aws.dynamodb.Table("t", hash_key="k", attributes=[{"name": "k", "type": "S", "kind": "x"}])
    """)
    ran = program.pulumi("preview")
    assert ran.code and "the stand-in for the AWS plugin knows no argument attributes[0].kind" in ran.text
    assert "Traceback" not in ran.text


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
