"""A Pulumi project of its own for the AWS stand-in: one Python file, on moto."""

import os
import runpy
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from unittest.mock import patch

from tests.aws.moto_server import MotoServer
from tests.aws.standin.provider import AwsProvider, plugin_version
from tests.support.attached import language_host, provider_server
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
    code=pulumi.AssetArchive({"app.py": pulumi.FileAsset(os.path.abspath("app.py")),
                              "lib": pulumi.FileArchive(os.path.abspath("lib")),
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
"""One resource of each type that the stand-in has. Its files are named in full: a plugin may be at home elsewhere."""


class Program(Stack):
    """The stack `dev` of the project."""

    def write(self, program: str) -> None:
        (self.root / "__main__.py").write_text(textwrap.dedent(program))

    def state_text(self) -> str:
        return (self.root / "state/.pulumi/stacks/standin/dev.json").read_text()


def new_program(root: Path, moto: MotoServer) -> Program:
    """An empty project in `root`, for which the engine starts everything, the stand-in's plugin too."""
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


@contextmanager
def attached_program(root: Path, moto: MotoServer) -> Iterator[Program]:
    """The same with program and stand-in in the test process, as tests/support/attached.py has it."""
    made = new_program(root, moto)

    def program() -> None:
        with chdir(root):
            runpy.run_path(str(root / "__main__.py"))

    with ExitStack() as served:
        served.enter_context(patch.dict(os.environ, made.environment))
        port = served.enter_context(provider_server(lambda _: AwsProvider(), plugin_version()))
        made.language_host = served.enter_context(language_host(program, root))
        made.environment = {**made.environment, "PULUMI_DEBUG_PROVIDERS": f"aws:{port}"}
        yield made
