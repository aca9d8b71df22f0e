"""What a declaration becomes on AWS: the whole program, from a stack's config to what the engine is told.

Proof limit: neither engine nor AWS. That an item is replaced before the old one goes, and that AWS takes these
arguments, is shown in tests/aws; that real Firehose and Glue do with them what their documentation says, nowhere here.
"""

import ast
import base64
import importlib
import inspect
import json
import re
from collections import Counter
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import jq
import pulumi
import pytest

from components.aws import alarms, names, package, schema
from components.aws.views import views
from components.customerio.events import EVENTS
from components.settings import Settings
from receiver import aws as function
from receiver.token import digest, fingerprint, printed
from tests.unit.recording import (
    FUNCTION_URL,
    IDENTITY,
    ROOT,
    UNKNOWN,
    Engine,
    Made,
    Secret,
    run_on_aws,
    run_program,
    without_secrets,
)

STITCH: dict[str, Any] = {"name": "Stitch Customer.io", "source": "customerio", "tokens": {"primary": 1}}
BILLING: dict[str, Any] = {"name": "Billing", "source": "customerio", "tokens": {"primary": 1}}
TWO_SLOTS: dict[str, Any] = {**STITCH, "tokens": {"primary": 1, "secondary": 1}}
SIGNED: dict[str, Any] = {**STITCH, "signed": True}
CONNECTED: dict[str, Any] = {**STITCH, "connect": True}
KEYS = {"stitch_customerio": {"signing_key": "new-key", "previous_signing_key": "old-key"}}
APP_KEY = {"stitch_customerio": {"app_api_key": "app-key"}}
REDSHIFT = {"workgroup": "analytics", "iamRole": "arn:aws:iam::123456789012:role/spectrum"}

ID = "8b7dff"  # of project sluice, stack dev
STREAM = f"sluice-{ID}-stitch_customerio"
BUCKET = "sluice-lake-1234567"
BUCKET_ARN = f"arn:aws:s3:::{BUCKET}"
TOPIC_ARN = "arn:aws:sns:eu-west-1:123456789012:sluice-alarms-1234567"
STACK_TAGS = {"sluice:project": "sluice", "sluice:stack": "dev"}
SCHEMA_TAGS = {**STACK_TAGS, "sluice:schema": "stitch_customerio"}
OWN_TAGS = {**SCHEMA_TAGS, "sluice:identity": IDENTITY}

VIEWS = (
    "customer_events",
    "data_latest",
    "email_events",
    "in_app_events",
    "push_events",
    "slack_events",
    "sms_events",
    "webhook_events",
    "whatsapp_events",
)

OF_STACK = {
    ("StackIdentity", "identity", "sluice-dev"),
    ("Dashboard", "sluice", "sluice-dev"),
    ("LogGroup", "sluice-delivery", "sluice-dev"),
    ("Topic", "sluice-alarms", "sluice-dev"),
    ("Lake", "sluice-lake", "sluice-dev"),
    ("Bucket", "sluice-lake", "sluice-lake"),
    ("BucketLifecycleConfiguration", "sluice-lake", "sluice-lake"),
    ("BucketOwnershipControls", "sluice-lake", "sluice-lake"),
    ("BucketPolicy", "sluice-lake", "sluice-lake"),
    ("BucketPublicAccessBlock", "sluice-lake", "sluice-lake"),
    ("BucketServerSideEncryptionConfiguration", "sluice-lake", "sluice-lake"),
    ("BucketVersioning", "sluice-lake", "sluice-lake"),
    ("Workgroup", "sluice-queries", "sluice-lake"),
    ("ReceiverFunction", "sluice-receiver", "sluice-dev"),
    ("Function", "sluice-receiver", "sluice-receiver"),
    ("FunctionUrl", "sluice-receiver", "sluice-receiver"),
    ("LogGroup", "sluice-receiver", "sluice-receiver"),
    ("MetricAlarm", "sluice-receiver-errors", "sluice-receiver"),
    ("MetricAlarm", "sluice-receiver-throttles", "sluice-receiver"),
    ("MetricAlarm", "sluice-receiver-url-5xx", "sluice-receiver"),
    ("Permission", "sluice-receiver-invoke", "sluice-receiver"),
    ("Permission", "sluice-receiver-url", "sluice-receiver"),
    ("Role", "sluice-receiver", "sluice-receiver"),
    ("RolePolicy", "sluice-receiver", "sluice-receiver"),
    ("Table", "sluice-registry", "sluice-receiver"),
}
"""Names are identity: what is called otherwise is another resource, and its data or URL another one."""


def of_integration(name: str) -> set[tuple[str, str, str]]:
    return {
        ("Integration", name, "sluice-dev"),
        ("RandomPassword", f"{name}-token-primary", name),
        ("Sender", f"{name}-sender-primary", name),
        ("TableItem", f"{name}-endpoint-primary", name),
        ("GlueSchema", f"{name}-schema", name),
        ("CatalogDatabase", f"{name}-database", f"{name}-schema"),
        ("CatalogTable", f"{name}-table-data", f"{name}-schema"),
        ("CatalogTable", f"{name}-table-sdc_rejected", f"{name}-schema"),
        *(("CatalogTable", f"{name}-view-{view}", f"{name}-schema") for view in VIEWS),
        ("CatalogTableOptimizer", f"{name}-compaction", f"{name}-schema"),
        ("CatalogTableOptimizer", f"{name}-retention", f"{name}-schema"),
        ("Role", f"{name}-tables", f"{name}-schema"),
        ("RolePolicy", f"{name}-tables", f"{name}-schema"),
        ("FirehoseDeliveryStream", f"{name}-stream", f"{name}-schema"),
        ("LogStream", f"{name}-stream", f"{name}-schema"),
        ("Role", f"{name}-stream", f"{name}-schema"),
        ("RolePolicy", f"{name}-stream", f"{name}-schema"),
        ("MetricAlarm", f"{name}-late", f"{name}-schema"),
        ("MetricAlarm", f"{name}-undelivered", f"{name}-schema"),
        ("StreamDrain", f"{name}-drain", f"{name}-schema"),
    }


def token(name: str, version: int) -> str:
    """The printed token that the recorder's passwords lead to."""
    return printed(f"{name}{version}".replace("-", "").replace("_", "").ljust(43, "x"))


TOKEN = token("stitch_customerio-token-primary", 1)
HASH = digest(TOKEN)


def kind(made: Made) -> str:
    return made.kind.rsplit(":", 1)[-1]


def identity(made: Made) -> str:
    return f"{kind(made)} {made.name}"


def by_identity(engine: Engine) -> dict[str, Made]:
    found = {identity(made): made for made in engine.made}
    assert len(found) == len(engine.made)
    return found


def changed(before: Engine, after: Engine) -> set[str]:
    """What both have, with another input, dependency, or option."""
    old, new = by_identity(before), by_identity(after)
    return {name for name in old.keys() & new.keys() if old[name] != new[name]}


def added(before: Engine, after: Engine) -> set[str]:
    return by_identity(after).keys() - by_identity(before).keys()


def family(engine: Engine) -> set[tuple[str, str, str]]:
    return {(kind(made), made.name, made.parent or "") for made in engine.made}


def item(engine: Engine, name: str = "stitch_customerio-endpoint-primary") -> dict[str, Any]:
    inputs: dict[str, Any] = json.loads(engine.named(name).inputs["item"])
    return inputs


def with_stack(kind_: str, name: str, **config: Any) -> dict[str, Any]:
    return run_on_aws(STITCH, **config).named(name, kind_).inputs


def of_schema(kind_: str, role: str, integration: dict[str, Any] = STITCH, **config: Any) -> dict[str, Any]:
    return run_on_aws(integration, **config).named(f"stitch_customerio-{role}", kind_).inputs


class TestWhatIsMade:
    def test_a_stack_without_integrations_has_its_platform(self) -> None:
        engine = run_on_aws()
        assert family(engine) == OF_STACK
        assert engine.stack_outputs["integrations"] == {}

    def test_one_integration_becomes_these_resources_and_no_other(self) -> None:
        assert family(run_on_aws(STITCH)) == OF_STACK | of_integration("stitch_customerio")

    def test_so_many_of_each_type(self) -> None:
        assert Counter(made.kind for made in run_on_aws(STITCH).made) == {
            "aws:athena/workgroup:Workgroup": 1,
            "aws:cloudwatch/dashboard:Dashboard": 1,
            "aws:cloudwatch/logGroup:LogGroup": 2,
            "aws:cloudwatch/logStream:LogStream": 1,
            "aws:cloudwatch/metricAlarm:MetricAlarm": 5,
            "aws:dynamodb/table:Table": 1,
            "aws:dynamodb/tableItem:TableItem": 1,
            "aws:glue/catalogDatabase:CatalogDatabase": 1,
            "aws:glue/catalogTable:CatalogTable": 11,
            "aws:glue/catalogTableOptimizer:CatalogTableOptimizer": 2,
            "aws:iam/role:Role": 3,
            "aws:iam/rolePolicy:RolePolicy": 3,
            "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream": 1,
            "aws:lambda/function:Function": 1,
            "aws:lambda/functionUrl:FunctionUrl": 1,
            "aws:lambda/permission:Permission": 2,
            "aws:s3/bucket:Bucket": 1,
            "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": 1,
            "aws:s3/bucketOwnershipControls:BucketOwnershipControls": 1,
            "aws:s3/bucketPolicy:BucketPolicy": 1,
            "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": 1,
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": 1,
            "aws:s3/bucketVersioning:BucketVersioning": 1,
            "aws:sns/topic:Topic": 1,
            "random:index/randomPassword:RandomPassword": 1,
            "sluice:index:GlueSchema": 1,
            "sluice:index:Integration": 1,
            "sluice:index:Lake": 1,
            "sluice:index:ReceiverFunction": 1,
            "sluice:index:Sender": 1,
            "sluice:index:StackIdentity": 1,
            "sluice:index:StreamDrain": 1,
        }

    @pytest.mark.parametrize("together", [(STITCH, BILLING), (BILLING, STITCH)])
    def test_a_second_one_changes_the_dashboard_alone_wherever_it_stands(
        self, together: tuple[dict[str, Any], ...]
    ) -> None:
        alone, both = run_on_aws(STITCH), run_on_aws(*together)
        assert family(both) - family(alone) == of_integration("billing")
        assert family(alone) < family(both)
        assert changed(alone, both) == {"Dashboard sluice"}

    def test_a_second_slot_adds_its_token_and_its_item_and_changes_nothing(self) -> None:
        one, two = run_on_aws(STITCH), run_on_aws(TWO_SLOTS)
        assert added(one, two) == {
            "RandomPassword stitch_customerio-token-secondary",
            "Sender stitch_customerio-sender-secondary",
            "TableItem stitch_customerio-endpoint-secondary",
        }
        assert changed(one, two) == set()

    def test_a_renamed_integration_with_a_pinned_schema_keeps_every_name_and_its_token(self) -> None:
        before = run_on_aws(STITCH)
        after = run_on_aws({**STITCH, "name": "Customer.io (new)", "schema": "stitch_customerio"})
        assert family(after) == family(before)
        assert changed(before, after) == {"CatalogDatabase stitch_customerio-database"}

    def test_what_the_stack_shows(self) -> None:
        assert run_on_aws(STITCH).stack_outputs == {
            "integrations": {
                "stitch_customerio": {
                    "name": "Stitch Customer.io",
                    "source": "customerio",
                    "events": ["all"],
                    "schema": "stitch_customerio",
                    "active": "primary",
                    "webhook": "by hand",
                    "slots": {
                        "primary": {
                            "url": Secret(f"{FUNCTION_URL}/v1/stitch_customerio/{TOKEN}"),
                            "fingerprint": fingerprint(HASH),
                            "version": 1,
                        }
                    },
                }
            },
            "receiver": FUNCTION_URL,
            "warehouse": {
                "databases": {"stitch_customerio": "stitch_customerio"},
                "bucket": BUCKET,
                "workgroup": "sluice-queries-1234567",
                "region": "eu-west-1",
            },
        }

    def test_what_the_components_show(self) -> None:
        outputs = dict(run_on_aws(STITCH).outputs)
        del outputs["sluice-dev"]
        assert outputs == {
            "sluice-lake": {"bucket": BUCKET},
            "sluice-receiver": {"url": FUNCTION_URL},
            "stitch_customerio": {"schema": "stitch_customerio"},
            "stitch_customerio-schema": {"database": "stitch_customerio"},
        }


class TestBucket:
    """One per stack, private from the moment it is there."""

    def test_it_keeps_what_it_has_and_pulumi_names_it(self) -> None:
        assert with_stack("Bucket", "sluice-lake") == {"forceDestroy": False, "tags": STACK_TAGS}

    def test_nothing_in_it_can_be_made_public(self) -> None:
        assert with_stack("BucketPublicAccessBlock", "sluice-lake") == {
            "bucket": BUCKET,
            "blockPublicAcls": True,
            "blockPublicPolicy": True,
            "ignorePublicAcls": True,
            "restrictPublicBuckets": True,
        }
        assert with_stack("BucketOwnershipControls", "sluice-lake") == {
            "bucket": BUCKET,
            "rule": {"objectOwnership": "BucketOwnerEnforced"},
        }

    def test_it_is_encrypted_and_versioned(self) -> None:
        assert with_stack("BucketServerSideEncryptionConfiguration", "sluice-lake") == {
            "bucket": BUCKET,
            "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}],
        }
        assert with_stack("BucketVersioning", "sluice-lake") == {
            "bucket": BUCKET,
            "versioningConfiguration": {"status": "Enabled"},
        }

    def test_only_old_versions_unfinished_uploads_and_query_results_expire(self) -> None:
        assert with_stack("BucketLifecycleConfiguration", "sluice-lake") == {
            "bucket": BUCKET,
            "rules": [
                {
                    "id": "noncurrent",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"expiredObjectDeleteMarker": True},
                    "noncurrentVersionExpiration": {"noncurrentDays": 7},
                    "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
                },
                {
                    "id": "query-results",
                    "status": "Enabled",
                    "filter": {"prefix": "query-results/"},
                    "expiration": {"days": 30},
                },
            ],
        }

    def test_its_policy_is_its_own(self) -> None:
        assert with_stack("BucketPolicy", "sluice-lake")["bucket"] == BUCKET

    def test_settings_that_s3_takes_one_after_another_wait_for_each_other(self) -> None:
        engine = run_on_aws()
        after = {identity(made): made.after for made in engine.made if made.parent == "sluice-lake"}
        assert "BucketPublicAccessBlock sluice-lake" in after["BucketPolicy sluice-lake"]
        assert "BucketVersioning sluice-lake" in after["BucketLifecycleConfiguration sluice-lake"]

    def test_queries_leave_their_results_in_it_encrypted_whatever_the_client_asks(self) -> None:
        assert with_stack("Workgroup", "sluice-queries") == {
            "description": "Queries over the schemas of this stack",
            "forceDestroy": True,
            "configuration": {
                "enforceWorkgroupConfiguration": True,
                "resultConfiguration": {
                    "outputLocation": f"s3://{BUCKET}/query-results/",
                    "encryptionConfiguration": {"encryptionOption": "SSE_S3"},
                },
            },
            "tags": STACK_TAGS,
        }


class TestFunction:
    def test_the_registry_is_keyed_by_hash_encrypted_and_can_be_restored(self) -> None:
        assert with_stack("Table", "sluice-registry") == {
            "hashKey": "hash",
            "attributes": [{"name": "hash", "type": "S"}],
            "billingMode": "PAY_PER_REQUEST",
            "pointInTimeRecovery": {"enabled": True},
            "serverSideEncryption": {"enabled": True},
            "deletionProtectionEnabled": True,
            "tags": STACK_TAGS,
        }

    @pytest.mark.parametrize("name", ["sluice-receiver", "sluice-delivery"])
    def test_logs_go_after_a_while(self, name: str) -> None:
        assert with_stack("LogGroup", name) == {"retentionInDays": 30, "tags": STACK_TAGS}
        assert with_stack("LogGroup", name, logRetentionDays=365)["retentionInDays"] == 365

    def test_its_role_has_the_one_policy_and_lambda_alone_may_take_it(self) -> None:
        assert with_stack("Role", "sluice-receiver") == {
            "assumeRolePolicy": json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Action": "sts:AssumeRole",
                            "Principal": {"Service": "lambda.amazonaws.com"},
                        }
                    ],
                }
            ),
            "tags": STACK_TAGS,
        }
        assert with_stack("RolePolicy", "sluice-receiver")["role"] == "sluice-receiver-1234567"

    def test_what_lambda_is_told(self) -> None:
        inputs = dict(with_stack("Function", "sluice-receiver"))
        del inputs["code"]  # below
        assert inputs == {
            "description": "Answers senders' deliveries and hands their events to Firehose",
            "role": "arn:aws:iam::123456789012:role/sluice-receiver-1234567",
            "runtime": "python3.13",
            "architectures": ["arm64"],
            "handler": "receiver.aws.handler.handle",
            "memorySize": 512,
            "timeout": 15,
            "environment": {
                "variables": {"SLUICE_REGISTRY": "sluice-registry-1234567", "SLUICE_BUCKET": BUCKET},
            },
            "loggingConfig": {
                "logFormat": "JSON",
                "applicationLogLevel": "INFO",
                "systemLogLevel": "WARN",
                "logGroup": "sluice-receiver-1234567",
            },
            "tags": STACK_TAGS,
        }

    def test_it_may_use_all_of_the_accounts_concurrency_unless_the_stack_says_less(self) -> None:
        """At its own limit it would answer 429, and a sender waits an hour."""
        assert "reservedConcurrentExecutions" not in with_stack("Function", "sluice-receiver")
        limited = with_stack("Function", "sluice-receiver", reservedConcurrency=50)
        assert limited["reservedConcurrentExecutions"] == 50

    def test_it_comes_up_with_its_rights(self) -> None:
        assert "RolePolicy sluice-receiver" in run_on_aws().named("sluice-receiver", "Function").after

    def test_its_handler_is_a_function_of_its_own_code(self) -> None:
        module, name = with_stack("Function", "sluice-receiver")["handler"].rsplit(".", 1)
        path = f"{module.replace('.', '/')}.py"
        assert path in function.MODULES
        tree = ast.parse((ROOT / path).read_text())
        (handle,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        assert len(handle.args.args) == 2  # the request, and Lambda's context

    def test_its_environment_is_what_the_handler_reads(self) -> None:
        read = set(re.findall(r'environ\.get\("(\w+)"', (ROOT / "receiver/aws/handler.py").read_text()))
        assert with_stack("Function", "sluice-receiver")["environment"]["variables"].keys() == read

    def test_its_zip_has_these_files_and_no_other(self) -> None:
        library = f"orjson-{version('orjson')}.dist-info"
        code = with_stack("Function", "sluice-receiver")["code"]
        assert set(code) == {
            *function.MODULES,
            "orjson/__init__.py",
            "orjson/__init__.pyi",
            "orjson/py.typed",
            *(f"orjson/orjson.cpython-{minor}-aarch64-linux-gnu.so" for minor in (311, 312, 313, 314)),
            f"{library}/METADATA",
            f"{library}/licenses/LICENSE-APACHE",
            f"{library}/licenses/LICENSE-MIT",
            f"{library}/licenses/LICENSE-MPL-2.0",
            f"{library}/sboms/orjson.cyclonedx.json",
        }

    def test_its_zip_tells_nothing_of_this_machine(self) -> None:
        code = with_stack("Function", "sluice-receiver")["code"]
        paths = [PurePosixPath(path) for path in (*code, *code.values())]
        assert not [path for path in paths if path.is_absolute() or ".." in path.parts or "\\" in str(path)]
        assert all((ROOT / path).is_file() for path in code.values()), "the engine reads them from the project"

    def test_python_leaves_nothing_in_its_zip(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("orjson/__init__.py", "orjson/__pycache__/__init__.cpython-313.pyc"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        monkeypatch.setattr(package, "library_folder", lambda *_: tmp_path)
        monkeypatch.setattr(package, "ROOT", tmp_path)
        assert set(package.archive("arm64").assets) == {*function.MODULES, "orjson/__init__.py"}

    def test_its_modules_need_no_other_of_the_project(self) -> None:
        needed = set()
        for path in function.MODULES:
            for node in ast.walk(ast.parse((ROOT / path).read_text())):
                if isinstance(node, ast.ImportFrom):
                    assert node.level == 0, path
                    needed |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                elif isinstance(node, ast.Import):
                    needed |= {alias.name for alias in node.names}
        files = {f"{(name or '').replace('.', '/')}" for name in needed if (name or "").split(".")[0] == "receiver"}
        found = {f"{path}.py" for path in files if (ROOT / f"{path}.py").is_file()}
        found |= {f"{path}/__init__.py" for path in files if (ROOT / path).is_dir()}
        assert found <= set(function.MODULES)
        assert not [name for name in needed if (name or "").split(".")[0] in ("components", "provider", "tools")]

    def test_another_processor_comes_with_its_own_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ready = package.library_folder("arm64")
        asked: list[str] = []

        def folder(architecture: str) -> Path:
            asked.append(architecture)
            return ready

        monkeypatch.setattr(package, "library_folder", folder)
        engine = run_program(
            Engine(),
            platform="aws",
            aws_region="eu-west-1",
            integrations=[],
            functionRuntime="python3.12",
            functionArchitecture="x86_64",
        )
        inputs = engine.named("sluice-receiver", "Function").inputs
        assert (inputs["runtime"], inputs["architectures"]) == ("python3.12", ["x86_64"])
        assert asked == ["x86_64"]

    def test_without_its_library_the_program_says_what_fetches_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(package, "library_folder", lambda *_: Path("/nowhere"))
        with pytest.raises(pulumi.RunError, match=r"needs orjson for arm64.*run make preview"):
            run_program(Engine(), platform="aws", aws_region="eu-west-1", integrations=[])

    def test_its_url_asks_for_no_signature_of_aws_and_everybody_may_call_it(self) -> None:
        engine = run_on_aws(STITCH)
        name = "sluice-receiver-1234567"
        assert engine.named("sluice-receiver", "FunctionUrl").inputs == {
            "functionName": name,
            "authorizationType": "NONE",
        }
        assert engine.named("sluice-receiver-url").inputs == {
            "function": name,
            "action": "lambda:InvokeFunctionUrl",
            "principal": "*",
            "functionUrlAuthType": "NONE",
        }
        assert engine.named("sluice-receiver-invoke").inputs == {
            "function": name,
            "action": "lambda:InvokeFunction",
            "principal": "*",
            "invokedViaFunctionUrl": True,
        }


def iceberg(folder: str, fields: list[dict[str, Any]], partition: dict[str, Any]) -> dict[str, Any]:
    return {
        "icebergInput": {
            "metadataOperation": "CREATE",
            "version": "2",
            "icebergTableInput": {
                "location": f"s3://{BUCKET}/tables/stitch_customerio/{folder}",
                "schema": {"schemaId": 0, "type": "struct", "fields": fields},
                "partitionSpec": {"specId": 0, "fields": [{**partition, "transform": "day", "fieldId": 1000}]},
                "properties": {
                    "write.format.default": "parquet",
                    "write.parquet.compression-codec": "zstd",
                    "write.metadata.delete-after-commit.enabled": "true",
                    "write.metadata.previous-versions-max": "100",
                },
            },
        }
    }


def field(id: int, name: str, type: str, *, required: bool = False) -> dict[str, Any]:
    return {"id": id, "name": name, "type": f'"{type}"', "required": required}  # a JSON document


class TestSchema:
    """A Glue database, its Iceberg tables and views, and what keeps them small."""

    def test_the_database_bears_the_schemas_name(self) -> None:
        assert of_schema("CatalogDatabase", "database") == {
            "name": "stitch_customerio",
            "description": "Events of Stitch Customer.io, kept by Sluice",
            "tags": OWN_TAGS,
        }

    def test_data_goes_over_the_wire_as_the_provider_wants_it(self) -> None:
        assert of_schema("CatalogTable", "table-data") == {
            "name": "data",
            "databaseName": "stitch_customerio",
            "openTableFormatInput": iceberg(
                "data",
                [
                    field(1, "event_id", "string", required=True),
                    field(2, "object_type", "string"),
                    field(3, "metric", "string"),
                    field(4, "timestamp", "long"),
                    field(5, "payload", "string", required=True),
                    field(6, "_sdc_received_at", "timestamptz", required=True),
                    field(7, "_sdc_batched_at", "timestamptz", required=True),
                    field(8, "_sdc_sequence", "long", required=True),
                    field(9, "_sdc_table_version", "long"),
                    field(10, "_sdc_body_uri", "string"),
                ],
                {"name": "_sdc_received_day", "sourceId": 6},
            ),
        }

    def test_so_does_what_was_rejected(self) -> None:
        assert of_schema("CatalogTable", "table-sdc_rejected") == {
            "name": "_sdc_rejected",
            "databaseName": "stitch_customerio",
            "openTableFormatInput": iceberg(
                "sdc_rejected",
                [
                    field(1, "_sdc_rejected_at", "timestamptz", required=True),
                    field(2, "table_name", "string"),
                    field(3, "reason", "string"),
                    field(4, "record", "string"),
                    field(5, "_sdc_raw", "string"),
                    field(6, "_sdc_sequence", "long"),
                    field(7, "_sdc_replayed_at", "timestamptz"),
                    field(8, "_sdc_body_uri", "string"),
                ],
                {"name": "_sdc_rejected_day", "sourceId": 1},
            ),
        }

    def test_types_are_json_documents(self) -> None:
        """A bare word is refused by the provider (hashicorp/terraform-provider-aws, glue/catalog_table.go)."""
        table = of_schema("CatalogTable", "table-data")["openTableFormatInput"]["icebergInput"]["icebergTableInput"]
        types = {json.loads(field["type"]) for field in table["schema"]["fields"]}
        assert types == {"string", "long", "timestamptz"}

    def test_views_are_made_as_they_are_rendered(self) -> None:
        assert sorted(views("customerio", "stitch_customerio")) == sorted(VIEWS)
        for name, view in views("customerio", "stitch_customerio").items():
            assert of_schema("CatalogTable", f"view-{name}") == {
                "name": name,
                "databaseName": "stitch_customerio",
                "tableType": "VIRTUAL_VIEW",
                "parameters": view.parameters,
                "viewOriginalText": view.original_text,
                "viewExpandedText": view.expanded_text,
                "storageDescriptor": {
                    "columns": [{"name": column.name, "type": column.hive} for column in view.columns],
                    "serDeInfo": {"name": "-", "serializationLibrary": "-"},
                },
            }

    def test_views_come_after_their_tables_and_those_after_the_database(self) -> None:
        engine = run_on_aws(STITCH)
        tables = {f"CatalogTable stitch_customerio-table-{name}" for name in ("data", "sdc_rejected")}
        for made in engine.created("CatalogTable"):
            if "-view-" in made.name:
                assert tables <= {*made.after}
            else:
                assert {"CatalogDatabase stitch_customerio-database", "Bucket sluice-lake"} <= {*made.after}

    def test_files_of_data_are_merged_and_its_snapshots_forgotten(self) -> None:
        role = "arn:aws:iam::123456789012:role/stitch_customerio-tables-1234567"
        common = {"catalogId": "123456789012", "databaseName": "stitch_customerio", "tableName": "data"}
        assert of_schema("CatalogTableOptimizer", "compaction") == {
            **common,
            "type": "compaction",
            "configuration": {
                "enabled": True,
                "roleArn": role,
                "compactionConfiguration": {
                    "icebergConfiguration": {"strategy": "binpack", "minInputFiles": 100, "deleteFileThreshold": 1}
                },
            },
        }
        assert of_schema("CatalogTableOptimizer", "retention") == {
            **common,
            "type": "retention",
            "configuration": {
                "enabled": True,
                "roleArn": role,
                "retentionConfiguration": {
                    "icebergConfiguration": {
                        "snapshotRetentionPeriodInDays": 1,
                        "numberOfSnapshotsToRetain": 1,
                        "cleanExpiredFiles": True,
                    }
                },
            },
        }
        for name in ("compaction", "retention"):
            after = run_on_aws(STITCH).named(f"stitch_customerio-{name}").after
            assert "RolePolicy stitch_customerio-tables" in after

    @pytest.mark.parametrize(
        ("role", "service", "more"),
        [
            ("tables", "glue", {}),
            ("stream", "firehose", {"Condition": {"StringEquals": {"sts:ExternalId": "123456789012"}}}),
        ],
    )
    def test_a_role_is_one_services(self, role: str, service: str, more: dict[str, Any]) -> None:
        inputs = of_schema("Role", role)
        assert inputs["tags"] == SCHEMA_TAGS
        assert json.loads(inputs["assumeRolePolicy"])["Statement"] == [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": f"{service}.amazonaws.com"},
                **more,
            }
        ]
        assert of_schema("RolePolicy", role)["role"] == f"stitch_customerio-{role}-1234567"

    def test_redshift_is_told_only_where_there_is_one(self) -> None:
        without, with_ = run_on_aws(STITCH), run_on_aws(STITCH, redshift=REDSHIFT)
        assert added(without, with_) == {"Statement stitch_customerio-redshift"}
        made = with_.named("stitch_customerio-redshift")
        assert made.parent == "stitch_customerio-schema"
        assert made.after == ["CatalogDatabase stitch_customerio-database"]
        assert made.inputs == {
            "workgroupName": "analytics",
            "database": "dev",
            "sql": (
                'CREATE EXTERNAL SCHEMA IF NOT EXISTS "stitch_customerio" FROM DATA CATALOG '
                "DATABASE 'stitch_customerio' IAM_ROLE 'arn:aws:iam::123456789012:role/spectrum'"
            ),
        }


class TestStream:
    def test_all_of_it(self) -> None:
        logging = {"enabled": True, "logGroupName": "sluice-delivery-1234567", "logStreamName": "stitch_customerio"}
        role = "arn:aws:iam::123456789012:role/stitch_customerio-stream-1234567"
        errors = "errors/stitch_customerio/"
        assert of_schema("FirehoseDeliveryStream", "stream") == {
            "name": STREAM,
            "destination": "iceberg",
            "icebergConfiguration": {
                "catalogArn": "arn:aws:glue:eu-west-1:123456789012:catalog",
                "roleArn": role,
                "appendOnly": True,
                "bufferingInterval": 60,
                "bufferingSize": 64,
                "retryDuration": 60,
                "s3BackupMode": "FailedDataOnly",
                "cloudwatchLoggingOptions": logging,
                "destinationTableConfigurations": [
                    {"databaseName": "stitch_customerio", "tableName": name, "s3ErrorOutputPrefix": errors}
                    for name in ("data", "_sdc_rejected")
                ],
                "processingConfiguration": {
                    "enabled": True,
                    "processors": [
                        {
                            "type": "MetadataExtraction",
                            "parameters": [
                                {"parameterName": "JsonParsingEngine", "parameterValue": "JQ-1.6"},
                                {
                                    "parameterName": "MetadataExtractionQuery",
                                    "parameterValue": '{destinationDatabaseName:"stitch_customerio",'
                                    'destinationTableName:(if has("reason") then "_sdc_rejected" else "data" end),'
                                    'operation:"insert"}',
                                },
                            ],
                        }
                    ],
                },
                "s3Configuration": {
                    "bucketArn": BUCKET_ARN,
                    "roleArn": role,
                    "errorOutputPrefix": errors,
                    "compressionFormat": "GZIP",
                    "cloudwatchLoggingOptions": logging,
                },
            },
            "serverSideEncryption": {"enabled": True, "keyType": "AWS_OWNED_CMK"},
            "tags": OWN_TAGS,
        }

    def test_it_comes_after_its_rights_its_tables_and_its_log(self) -> None:
        assert {
            "RolePolicy stitch_customerio-stream",
            "CatalogTable stitch_customerio-table-data",
            "CatalogTable stitch_customerio-table-sdc_rejected",
            "LogStream stitch_customerio-stream",
        } <= {*run_on_aws(STITCH).named("stitch_customerio-stream", "FirehoseDeliveryStream").after}

    def test_its_log_is_a_stream_of_the_stacks_group(self) -> None:
        assert of_schema("LogStream", "stream") == {
            "name": "stitch_customerio",
            "logGroupName": "sluice-delivery-1234567",
        }

    def test_it_stays_until_it_has_delivered_what_it_took(self) -> None:
        engine = run_on_aws(STITCH)
        drain = engine.named("stitch_customerio-drain")
        assert drain.kind == "sluice:index:StreamDrain"
        assert drain.inputs == {"stream": STREAM, "seconds": 180}
        assert drain.after == ["FirehoseDeliveryStream stitch_customerio-stream"]
        assert "StreamDrain stitch_customerio-drain" in engine.named("stitch_customerio-endpoint-primary").after
        assert of_schema("StreamDrain", "drain", streamDrain=0)["seconds"] == 0

    def test_the_drain_is_longer_than_a_batch_can_take(self) -> None:
        longest = schema.BUFFER_S + schema.RETRY_S
        assert Settings.model_fields["stream_drain"].default > longest
        assert longest < alarms.FRESHNESS_S


def alarm(namespace: str, metric: str, dimension: tuple[str, str], description: str, **more: Any) -> dict[str, Any]:
    return {
        "alarmDescription": description,
        "namespace": namespace,
        "metricName": metric,
        "dimensions": dict([dimension]),
        "statistic": "Sum",
        "comparisonOperator": "GreaterThanThreshold",
        "threshold": 0,
        "period": 300,
        "evaluationPeriods": 1,
        "treatMissingData": "notBreaching",
        "alarmActions": [TOPIC_ARN],
        "okActions": [TOPIC_ARN],
        "tags": SCHEMA_TAGS if namespace == "AWS/Firehose" else STACK_TAGS,
        **more,
    }


class TestAlarms:
    @pytest.mark.parametrize(
        ("name", "metric", "description"),
        [
            ("errors", "Errors", "The function raised or ran out of time, which answers 502: see its log group"),
            ("throttles", "Throttles", "Lambda answered 429: raise the account's or the stack's concurrency"),
            (
                "url-5xx",
                "Url5xxCount",
                "Deliveries were answered 5xx; senders try again. See the function's log group",
            ),
        ],
    )
    def test_the_function_has_one_for_each_answer_that_costs_a_sender_time(
        self, name: str, metric: str, description: str
    ) -> None:
        expected = alarm("AWS/Lambda", metric, ("FunctionName", "sluice-receiver-1234567"), description)
        assert with_stack("MetricAlarm", f"sluice-receiver-{name}") == expected

    def test_a_stream_has_one_for_being_late_and_one_for_what_it_could_not_deliver(self) -> None:
        dimension = ("DeliveryStreamName", STREAM)
        assert of_schema("MetricAlarm", "late") == alarm(
            "AWS/Firehose",
            "DeliveryToIceberg.DataFreshness",
            dimension,
            "The loader lag of stitch_customerio is more than 15 minutes: its events wait in Firehose",
            statistic="Maximum",
            threshold=900,
        )
        assert of_schema("MetricAlarm", "undelivered") == alarm(
            "AWS/Firehose",
            "DeliveryToIceberg.FailedRowCount",
            dimension,
            "Events of stitch_customerio could not be written to their table; they are below "
            "errors/stitch_customerio/ in the bucket",
        )

    def test_silence_wakes_somebody_only_where_its_owner_said_how_long_it_may_last(self) -> None:
        quiet, watched = run_on_aws(STITCH), run_on_aws({**STITCH, "maxSilenceHours": 3})
        assert added(quiet, watched) == {"MetricAlarm stitch_customerio-silent"}
        assert watched.named("stitch_customerio-silent").inputs == alarm(
            "AWS/Firehose",
            "IncomingRecords",
            ("DeliveryStreamName", STREAM),
            "no event of stitch_customerio for 3 hours, and its maxSilenceHours is 3",
            comparisonOperator="LessThanThreshold",
            threshold=1,
            period=3600,
            evaluationPeriods=3,
            treatMissingData="breaching",
        )

    def test_cloudwatch_looks_back_as_far_as_each_asks(self) -> None:
        """PutMetricAlarm: at most one day, seven days where a period is an hour or more."""
        for made in run_on_aws({**STITCH, "maxSilenceHours": 168}).created("MetricAlarm"):
            most = 86_400 if made.inputs["period"] < 3600 else 604_800
            assert made.inputs["period"] * made.inputs["evaluationPeriods"] <= most

    def test_somebody_is_told_by_mail_only_where_an_address_is_given(self) -> None:
        without, with_ = run_on_aws(STITCH), run_on_aws(STITCH, alarmEmail="ops@example.com")
        assert added(without, with_) == {"TopicSubscription sluice-alarms"}
        assert with_.named("sluice-alarms", "TopicSubscription").inputs == {
            "topic": TOPIC_ARN,
            "protocol": "email",
            "endpoint": "ops@example.com",
        }
        assert without.named("sluice-alarms", "Topic").inputs == {"tags": STACK_TAGS}

    def test_the_dashboard_shows_the_function_and_every_stream(self) -> None:
        inputs = run_on_aws(STITCH, BILLING).named("sluice").inputs
        assert inputs["dashboardName"] == "sluice-receiver-1234567"
        widgets = json.loads(inputs["dashboardBody"])["widgets"]
        shown = {
            widget["properties"]["title"]: [
                (*metric[:4], metric[4]["stat"]) for metric in widget["properties"]["metrics"]
            ]
            for widget in widgets
            if widget["type"] == "metric"
        }

        def of_function(metric: str, stat: str = "Sum") -> tuple[str, ...]:
            return ("AWS/Lambda", metric, "FunctionName", "sluice-receiver-1234567", stat)

        def of_streams(metric: str, stat: str = "Sum") -> list[tuple[str, ...]]:
            streams = (STREAM, f"sluice-{ID}-billing")
            return [("AWS/Firehose", metric, "DeliveryStreamName", stream, stat) for stream in streams]

        assert shown == {
            "Deliveries, whatever the answer": [of_function("UrlRequestCount"), of_function("Invocations")],
            "Refused (4xx), not ready (5xx)": [of_function("Url4xxCount"), of_function("Url5xxCount")],
            "Function errors and throttles": [of_function("Errors"), of_function("Throttles")],
            "Milliseconds to answer, p99": [of_function("UrlRequestLatency", "p99")],
            "Accepted: deliveries answered 200": of_streams("IncomingRecords"),
            "Loaded: rows in data, and rejected ones in _sdc_rejected": of_streams(
                "DeliveryToIceberg.SuccessfulRowCount"
            ),
            "Loader lag: seconds that the oldest event has waited": of_streams(
                "DeliveryToIceberg.DataFreshness", "Maximum"
            ),
            "Undelivered: rows below errors/ in the bucket": of_streams("DeliveryToIceberg.FailedRowCount"),
        }
        assert {widget["properties"]["region"] for widget in widgets} == {"eu-west-1"}
        (table,) = [widget["properties"] for widget in widgets if widget["type"] == "log"]
        assert table["title"] == "Rejected, by reason"
        assert table["query"].startswith(
            "SOURCE 'sluice-receiver-1234567' | filter message = \"stored an unusable body\" |"
        )
        assert "stats count(*) as rejected" in table["query"]
        assert "by schema, reason" in table["query"]

    def test_its_graphs_lie_side_by_side_and_none_on_another(self) -> None:
        widgets = json.loads(run_on_aws(STITCH).named("sluice").inputs["dashboardBody"])["widgets"]
        places = [(widget["x"], widget["y"], widget["width"], widget["height"]) for widget in widgets]
        assert places == [*((x, y, 12, 6) for y in (0, 6, 12, 18) for x in (0, 12)), (0, 24, 12, 6)]

    def test_there_is_no_graph_of_nothing_which_cloudwatch_refuses(self) -> None:
        widgets = json.loads(run_on_aws().named("sluice").inputs["dashboardBody"])["widgets"]
        assert len(widgets) == 4
        assert all(widget["properties"]["metrics"] for widget in widgets)


class TestEndpoint:
    """An item of the registry, keyed by its token's hash."""

    def test_the_item_says_where_events_of_this_url_go_and_not_what_the_url_is(self) -> None:
        engine = run_on_aws(STITCH)
        made = engine.named("stitch_customerio-endpoint-primary")
        assert made.inputs.keys() == {"tableName", "hashKey", "item"}
        assert (made.inputs["tableName"], made.inputs["hashKey"]) == ("sluice-registry-1234567", "hash")
        assert item(engine) == {
            "hash": {"S": HASH},
            "schema": {"S": "stitch_customerio"},
            "slot": {"S": "primary"},
            "source": {"S": "customerio"},
            "signed": {"BOOL": False},
            "stream": {"S": STREAM},
        }

    def test_it_opens_when_everything_behind_it_is_there(self) -> None:
        engine = run_on_aws(STITCH)
        behind = {identity(made) for made in engine.made if made.parent == "stitch_customerio-schema"}
        behind |= {"Permission sluice-receiver-url", "Permission sluice-receiver-invoke", "Table sluice-registry"}
        assert behind <= {*engine.named("stitch_customerio-endpoint-primary").after}

    def test_another_hash_replaces_it_and_the_engine_may_see_that(self) -> None:
        """A secret trigger would be ignored without a word."""
        options = run_on_aws(STITCH).named("stitch_customerio-endpoint-primary").options
        assert options == {"replacementTrigger": HASH}

    def test_nothing_of_the_item_is_secret(self) -> None:
        """The engine then couldn't show what a rotation replaces."""
        made = run_on_aws(SIGNED, credentials=KEYS).named("stitch_customerio-endpoint-primary")
        assert without_secrets(made) == made

    def test_a_signed_one_names_the_parameter_that_holds_its_keys(self) -> None:
        engine = run_on_aws(SIGNED, credentials=KEYS)
        assert item(engine) == {
            **item(run_on_aws(STITCH)),
            "signed": {"BOOL": True},
            "signing_keys": {"S": f"/sluice/{ID}/stitch_customerio/signing-keys"},
        }
        for key in ("new-key", "old-key"):
            assert key not in repr(engine.named("stitch_customerio-endpoint-primary"))

    def test_the_keys_are_one_encrypted_parameter_for_both_slots(self) -> None:
        engine = run_on_aws({**TWO_SLOTS, "signed": True}, credentials=KEYS)
        (made,) = engine.created("Parameter")
        assert (made.name, made.parent) == ("stitch_customerio-signing-keys", "stitch_customerio")
        assert made.inputs == {
            "name": f"/sluice/{ID}/stitch_customerio/signing-keys",
            "type": "SecureString",
            "value": Secret('["new-key", "old-key"]'),
            "tags": OWN_TAGS,
        }
        parameter = {"S": f"/sluice/{ID}/stitch_customerio/signing-keys"}
        for slot in ("primary", "secondary"):
            name = f"stitch_customerio-endpoint-{slot}"
            assert item(engine, name)["signing_keys"] == parameter
            assert "Parameter stitch_customerio-signing-keys" in engine.named(name).after

    def test_keys_without_signed_stay_at_home(self) -> None:
        engine = run_on_aws(STITCH, credentials=KEYS)
        assert engine.created("Parameter") == []
        assert item(engine) == item(run_on_aws(STITCH))

    def test_a_changed_key_changes_the_parameter_alone(self) -> None:
        other = {"stitch_customerio": {"signing_key": "newest-key"}}
        before, after = run_on_aws(SIGNED, credentials=KEYS), run_on_aws(SIGNED, credentials=other)
        assert changed(before, after) == {"Parameter stitch_customerio-signing-keys"}
        assert after.created("Parameter")[0].inputs["value"] == Secret('["newest-key"]')


class TestRotation:
    def test_a_bumped_slot_changes_its_keeper_its_item_and_its_trigger_and_nothing_else(self) -> None:
        before = run_on_aws(TWO_SLOTS)
        after = run_on_aws({**STITCH, "tokens": {"primary": 2, "secondary": 1}})
        assert changed(before, after) == {
            "RandomPassword stitch_customerio-token-primary",
            "Sender stitch_customerio-sender-primary",
            "TableItem stitch_customerio-endpoint-primary",
        }
        hash = digest(token("stitch_customerio-token-primary", 2))
        made = after.named("stitch_customerio-endpoint-primary")
        assert made.options == {"replacementTrigger": hash}
        assert item(after) == {**item(before), "hash": {"S": hash}}
        assert after.named("stitch_customerio-token-primary").inputs == {
            "length": 43,
            "special": False,
            "keepers": {"version": "2"},
        }

    def test_in_its_preview_hash_item_and_trigger_are_unknown_and_not_secret(self) -> None:
        engine = run_program(
            Engine(unknown_passwords=True), preview=True, platform="aws", aws_region="eu-west-1", integrations=[STITCH]
        )
        made = engine.named("stitch_customerio-endpoint-primary")
        assert made.inputs["item"] == UNKNOWN
        assert made.options == {"replacementTrigger": UNKNOWN}
        slot = engine.stack_outputs["integrations"]["stitch_customerio"]["slots"]["primary"]
        assert slot == {"url": Secret(UNKNOWN), "fingerprint": UNKNOWN, "version": 1}


class TestConnected:
    """`connect: true`: Sluice tells Customer.io where to post."""

    def test_one_webhook_is_added_and_only_who_warns_knows_of_it(self) -> None:
        alone, connected = run_on_aws(STITCH), run_on_aws(CONNECTED, credentials=APP_KEY)
        assert added(alone, connected) == {"ReportingWebhook stitch_customerio-webhook"}
        assert changed(alone, connected) == {"Sender stitch_customerio-sender-primary"}
        sender = connected.named("stitch_customerio-sender-primary")
        assert sender.inputs == {
            "schema": "stitch_customerio",
            "slot": "primary",
            "hash": HASH,
            "active": True,
            "connected": True,
            "signed": False,
            "hasSigningKeys": False,
        }
        assert "Sender stitch_customerio-sender-primary" in connected.named("stitch_customerio-endpoint-primary").after

    def test_it_posts_to_the_functions_url_and_the_old_one_is_given_ten_seconds(self) -> None:
        made = run_on_aws(CONNECTED, credentials=APP_KEY).named("stitch_customerio-webhook")
        assert made.inputs == {
            "schema": "stitch_customerio",
            "name": "Stitch Customer.io",
            "endpoint": Secret(f"{FUNCTION_URL}/v1/stitch_customerio/{TOKEN}"),
            "events": list(EVENTS),
            "disabled": False,
            "fullResolution": False,
            "withContent": False,
            "region": "us",
            "signed": False,
            "appApiKey": Secret("app-key"),
            "settleSeconds": 10,
        }

    def test_the_sender_is_moved_after_every_endpoint_is_live(self) -> None:
        two = {**CONNECTED, "tokens": {"primary": 1, "secondary": 1}, "active": "secondary"}
        made = run_on_aws(two, credentials=APP_KEY).named("stitch_customerio-webhook")
        endpoints = {f"TableItem stitch_customerio-endpoint-{slot}" for slot in ("primary", "secondary")}
        assert endpoints <= {*made.after}
        assert token("stitch_customerio-token-secondary", 1) in made.inputs["endpoint"].value

    def test_signed_without_a_key_refuses_everything_and_is_disabled_until_it_has_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pulumi.log, "warn", lambda *_: None)
        engine = run_on_aws({**CONNECTED, "signed": True}, credentials=APP_KEY)
        assert engine.named("stitch_customerio-webhook").inputs["disabled"] is True
        assert engine.created("Parameter") == []
        assert item(engine) == {**item(run_on_aws(STITCH)), "signed": {"BOOL": True}}

    def test_an_address_of_ones_own_is_what_senders_get_instead(self) -> None:
        address = "https://hooks.example.com"
        engine = run_on_aws(CONNECTED, credentials=APP_KEY, publicUrl=f"{address}/")
        url = Secret(f"{address}/v1/stitch_customerio/{TOKEN}")
        assert engine.named("stitch_customerio-webhook").inputs["endpoint"] == url
        assert engine.stack_outputs["receiver"] == address
        assert engine.stack_outputs["integrations"]["stitch_customerio"]["slots"]["primary"]["url"] == url
        assert changed(run_on_aws(CONNECTED, credentials=APP_KEY), engine) == {
            "ReportingWebhook stitch_customerio-webhook"
        }


class TestSecrecy:
    def test_no_token_key_or_url_goes_out_unmarked(self) -> None:
        credentials = {"stitch_customerio": {**KEYS["stitch_customerio"], **APP_KEY["stitch_customerio"]}}
        engine = run_on_aws(
            {**CONNECTED, "signed": True, "tokens": {"primary": 1, "secondary": 1}, "maxSilenceHours": 1},
            credentials=credentials,
            redshift=REDSHIFT,
            alarmEmail="ops@example.com",
        )
        other = token("stitch_customerio-token-secondary", 1)
        secrets = [TOKEN, other, TOKEN.removeprefix("slc_"), "new-key", "old-key", "app-key"]
        secrets.append(f"{FUNCTION_URL}/v1/stitch_customerio/")
        everything = repr([engine.made, engine.outputs])
        unmarked = repr([without_secrets(engine.made), without_secrets(engine.outputs)])
        for secret in secrets:
            assert secret in everything, "control: the search would find it"
            assert secret not in unmarked

    def test_what_may_be_seen_is_there_to_be_seen(self) -> None:
        """Control: hiding everything would pass the test above."""
        engine = run_on_aws(SIGNED, credentials=KEYS)
        unmarked = repr([without_secrets(engine.made), without_secrets(engine.outputs)])
        for shown in (HASH, fingerprint(HASH), STREAM, FUNCTION_URL):
            assert shown in unmarked


DATA = {
    "Bucket sluice-lake",
    "CatalogDatabase stitch_customerio-database",
    "CatalogTable stitch_customerio-table-data",
    "CatalogTable stitch_customerio-table-sdc_rejected",
}
OF_THE_BUCKET = {
    f"{kind} sluice-lake"
    for kind in (
        "BucketLifecycleConfiguration",
        "BucketOwnershipControls",
        "BucketPolicy",
        "BucketPublicAccessBlock",
        "BucketServerSideEncryptionConfiguration",
        "BucketVersioning",
    )
}
ADOPTED = DATA - {"Bucket sluice-lake"}


def with_option(engine: Engine, option: str) -> set[str]:
    return {identity(made) for made in engine.made if option in made.options}


class TestWhatIsKept:
    """Protected: no update or destroy deletes it. Retained: no longer declared, it stays as it is."""

    def test_data_and_the_url_are_protected_and_data_and_what_makes_it_private_retained(self) -> None:
        engine = run_on_aws(STITCH)
        assert with_option(engine, "protect") == DATA | {"FunctionUrl sluice-receiver"}
        assert with_option(engine, "retainOnDelete") == DATA | OF_THE_BUCKET
        assert engine.named("sluice-registry").inputs["deletionProtectionEnabled"] is True
        assert engine.named("sluice-lake", "Bucket").inputs["forceDestroy"] is False

    def test_everything_about_the_bucket_is_retained_with_it(self) -> None:
        """A bucket that is kept without them would stand open; the workgroup holds nothing."""
        engine = run_on_aws()
        about = {identity(made) for made in engine.made if made.parent == "sluice-lake" and "bucket" in made.inputs}
        assert about == OF_THE_BUCKET

    def test_without_protection_data_is_still_retained(self) -> None:
        engine = run_on_aws(STITCH, protect=False)
        assert with_option(engine, "protect") == set()
        assert with_option(engine, "retainOnDelete") == DATA | OF_THE_BUCKET
        assert engine.named("sluice-registry").inputs["deletionProtectionEnabled"] is False
        assert engine.named("sluice-lake", "Bucket").inputs["forceDestroy"] is False

    def test_destroy_data_destroys_it(self) -> None:
        engine = run_on_aws(STITCH, protect=False, destroyData=True)
        assert with_option(engine, "protect") == with_option(engine, "retainOnDelete") == set()
        assert engine.named("sluice-lake", "Bucket").inputs["forceDestroy"] is True

    def test_both_change_options_and_these_inputs_only(self) -> None:
        before, after = run_on_aws(STITCH), run_on_aws(STITCH, protect=False, destroyData=True)
        old, new = by_identity(before), by_identity(after)
        assert {name for name in old if old[name].inputs != new[name].inputs} == {
            "Bucket sluice-lake",
            "Table sluice-registry",
        }

    def test_nothing_has_another_option(self) -> None:
        """Aliases apart, which are pulumi-aws's own."""
        given = {option for made in run_on_aws(STITCH).made for option in made.options if "alias" not in option}
        assert given == {"protect", "retainOnDelete", "replacementTrigger"}
        ours = [made for made in run_on_aws(STITCH).made if not made.kind.startswith("aws:s3/")]
        assert not [made for made in ours if "aliases" in made.options]

    @pytest.mark.parametrize("prefix", ["", "eu_"])
    def test_an_adopted_schema_is_taken_up_by_its_ids(self, prefix: str) -> None:
        config = {"schemaPrefix": prefix} if prefix else {}
        fresh = run_on_aws(STITCH, **config)
        adopted = run_on_aws({**STITCH, "adopt": True}, **config)
        imported = {identity(made): made.options["importId"] for made in adopted.made if "importId" in made.options}
        database = f"123456789012:{prefix}stitch_customerio"
        assert imported == {
            "CatalogDatabase stitch_customerio-database": database,
            "CatalogTable stitch_customerio-table-data": f"{database}:data",
            "CatalogTable stitch_customerio-table-sdc_rejected": f"{database}:_sdc_rejected",
        }
        ignored = {
            identity(made): made.options["ignoreChanges"] for made in adopted.made if "ignoreChanges" in made.options
        }
        assert ignored == {
            "CatalogTable stitch_customerio-table-data": ["openTableFormatInput"],
            "CatalogTable stitch_customerio-table-sdc_rejected": ["openTableFormatInput"],
        }
        assert changed(fresh, adopted) == ADOPTED
        old, new = by_identity(fresh), by_identity(adopted)
        assert {name for name in old if old[name].inputs != new[name].inputs} == set()

    def test_nothing_is_imported_unless_it_is_to_be_adopted(self) -> None:
        assert with_option(run_on_aws(STITCH), "importId") == set()
        both = run_on_aws({**STITCH, "adopt": True}, BILLING)
        assert with_option(both, "importId") == ADOPTED


class TestSchemaPrefix:
    def test_it_changes_these_and_nothing_else(self) -> None:
        before = run_on_aws(STITCH, redshift=REDSHIFT)
        after = run_on_aws(STITCH, redshift=REDSHIFT, schemaPrefix="eu_")
        assert family(after) == family(before)
        assert changed(before, after) == {
            "CatalogDatabase stitch_customerio-database",
            "CatalogTable stitch_customerio-table-data",
            "CatalogTable stitch_customerio-table-sdc_rejected",
            *(f"CatalogTable stitch_customerio-view-{view}" for view in VIEWS),
            "CatalogTableOptimizer stitch_customerio-compaction",
            "CatalogTableOptimizer stitch_customerio-retention",
            "FirehoseDeliveryStream stitch_customerio-stream",
            "RolePolicy stitch_customerio-stream",
            "RolePolicy stitch_customerio-tables",
            "Statement stitch_customerio-redshift",
        }

    def test_it_is_in_the_database_and_whatever_names_that(self) -> None:
        engine = run_on_aws(STITCH, redshift=REDSHIFT, schemaPrefix="eu_")
        database = "eu_stitch_customerio"
        assert engine.named("stitch_customerio-database").inputs["name"] == database
        for made in (*engine.created("CatalogTable"), *engine.created("CatalogTableOptimizer")):
            assert made.inputs["databaseName"] == database
        iceberg = engine.named("stitch_customerio-stream", "FirehoseDeliveryStream").inputs["icebergConfiguration"]
        assert {table["databaseName"] for table in iceberg["destinationTableConfigurations"]} == {database}
        (processor,) = iceberg["processingConfiguration"]["processors"]
        routed = jq.compile(processor["parameters"][1]["parameterValue"]).input_value({}).first()
        assert routed["destinationDatabaseName"] == database
        sql = engine.named("stitch_customerio-redshift").inputs["sql"]
        assert re.findall("[\"'](\\w+)[\"']", sql) == [database, database]
        assert engine.stack_outputs["warehouse"]["databases"] == {"stitch_customerio": database}

    def test_it_is_in_the_sql_of_every_view(self) -> None:
        engine = run_on_aws(STITCH, schemaPrefix="eu_")
        for view in VIEWS:
            text = engine.named(f"stitch_customerio-view-{view}").inputs["viewOriginalText"]
            definition = json.loads(base64.b64decode(text.removeprefix("/* Presto View: ").removesuffix(" */")))
            assert definition["schema"] == "eu_stitch_customerio"
            assert '"eu_stitch_customerio".' in definition["originalSql"]
            assert '"stitch_customerio".' not in definition["originalSql"]

    def test_it_is_in_the_tables_folder_and_in_no_url_stream_or_item(self) -> None:
        engine = run_on_aws(STITCH, schemaPrefix="eu_")
        plain = run_on_aws(STITCH)
        url = Secret(f"{FUNCTION_URL}/v1/stitch_customerio/{TOKEN}")
        assert engine.stack_outputs["integrations"]["stitch_customerio"]["slots"]["primary"]["url"] == url
        stream = engine.named("stitch_customerio-stream", "FirehoseDeliveryStream").inputs
        assert stream["name"] == STREAM
        assert stream["icebergConfiguration"]["s3Configuration"]["errorOutputPrefix"] == "errors/stitch_customerio/"
        table = engine.named("stitch_customerio-table-data").inputs["openTableFormatInput"]["icebergInput"]
        assert table["icebergTableInput"]["location"] == f"s3://{BUCKET}/tables/eu_stitch_customerio/data"
        assert item(engine) == item(plain)


SUFFIX = "-1a2b3c4"
"""What Pulumi adds to a logical name where it names a resource on AWS (pulumi-aws, "auto-naming")."""

PHYSICAL: dict[str, tuple[str, int, str]] = {
    # The argument that is a resource's name on AWS, its longest, and its characters; by AWS's API reference.
    "Bucket": ("bucket", 63, "[a-z0-9.-]+"),
    "CatalogDatabase": ("name", 255, "[a-z0-9_]+"),  # Athena's characters; Glue takes more
    "CatalogTable": ("name", 255, "[a-z0-9_]+"),
    "Dashboard": ("dashboardName", 255, "[A-Za-z0-9_-]+"),
    "FirehoseDeliveryStream": ("name", 64, "[a-zA-Z0-9_.-]+"),
    "Function": ("name", 64, "[a-zA-Z0-9_-]+"),
    "LogGroup": ("name", 512, "[.A-Za-z0-9_/#-]+"),
    "LogStream": ("name", 512, "[^:*]+"),
    "MetricAlarm": ("name", 255, "[ -~]+"),
    "Parameter": ("name", 1011, "[a-zA-Z0-9_./-]+"),
    "Permission": ("statementId", 100, "[a-zA-Z0-9_-]+"),
    "Role": ("name", 64, r"[\w+=,.@-]+"),
    "RolePolicy": ("name", 128, r"[\w+=,.@-]+"),
    "Statement": ("statementName", 500, ".+"),
    "Table": ("name", 255, "[a-zA-Z0-9_.-]+"),
    "Topic": ("name", 256, "[a-zA-Z0-9_-]+"),
    "Workgroup": ("name", 128, "[a-zA-Z0-9._-]+"),
}
NAMELESS = {
    "BucketLifecycleConfiguration",
    "BucketOwnershipControls",
    "BucketPolicy",
    "BucketPublicAccessBlock",
    "BucketServerSideEncryptionConfiguration",
    "BucketVersioning",
    "CatalogTableOptimizer",
    "FunctionUrl",
    "TableItem",
    "TopicSubscription",
}
"""What has no name of its own on AWS: it is a setting, or a part, of something else."""

PARTS = {"CatalogTable", "Dashboard", "LogStream", "RolePolicy"}

LONG = "x" * 49
EVERYTHING: dict[str, Any] = {
    "redshift": REDSHIFT,
    "alarmEmail": "ops@example.com",
    "credentials": {
        LONG: {"signing_key": "key", "app_api_key": "app-key"},
        "stitch_customerio": {"signing_key": "key", "app_api_key": "app-key"},
    },
}


def everything(stack: str = "dev", prefix: str = "p" * 32) -> Engine:
    """All that the program can make, with the longest names."""
    more = {"tokens": {"primary": 1, "secondary": 1}, "connect": True, "signed": True, "maxSilenceHours": 1}
    return run_on_aws(
        {**STITCH, **more}, {**STITCH, **more, "name": LONG}, stack=stack, schemaPrefix=prefix, **EVERYTHING
    )


def on_aws(engine: Engine) -> list[Made]:
    return [made for made in engine.made if made.kind.startswith("aws:")]


def by_hand(engine: Engine) -> set[tuple[str, str]]:
    """The kinds and names of what the program names itself."""
    return {
        (kind(made), made.inputs[PHYSICAL[kind(made)][0]])
        for made in on_aws(engine)
        if kind(made) in PHYSICAL and PHYSICAL[kind(made)][0] in made.inputs
    }


class TestNames:
    def test_everything_on_aws_has_a_known_rule_for_its_name(self) -> None:
        assert {kind(made) for made in on_aws(everything())} == PHYSICAL.keys() | NAMELESS
        for made in on_aws(everything()):
            if kind(made) in NAMELESS:
                assert "name" not in arguments(made)

    @pytest.mark.parametrize("stack", ["dev", "prod.eu-1_" * 10], ids=["dev", "a long one"])
    def test_every_name_is_one_that_aws_takes_however_long_the_schemas(self, stack: str) -> None:
        for made in on_aws(everything(stack)):
            if kind(made) in PHYSICAL:
                argument, longest, characters = PHYSICAL[kind(made)]
                name = made.inputs.get(argument, made.name + SUFFIX)
                assert len(name) <= longest, (identity(made), len(name))
                assert re.fullmatch(characters, name), identity(made)

    def test_the_tightest_one_has_no_character_to_spare(self) -> None:
        """Control: the test above is close enough to notice one character more."""
        assert max(len(made.name + SUFFIX) for made in everything().created("Role")) == 64

    def test_the_routing_has_room_for_the_longest_database(self) -> None:
        """Firehose API, ProcessorParameterValue: 5,120 characters."""
        (stream,) = [made for made in everything().created("FirehoseDeliveryStream") if made.name.startswith(LONG)]
        (processor,) = stream.inputs["icebergConfiguration"]["processingConfiguration"]["processors"]
        assert max(len(parameter["parameterValue"]) for parameter in processor["parameters"]) <= 5_120

    def test_these_are_named_by_hand(self) -> None:
        assert {kind for kind, _ in by_hand(everything())} == {
            "CatalogDatabase",
            "CatalogTable",
            "Dashboard",
            "FirehoseDeliveryStream",
            "LogStream",
            "Parameter",
            "RolePolicy",
        }

    def test_two_stacks_of_an_account_share_the_names_of_databases_only(self) -> None:
        """The others are parts, of a database, a group or a role that Pulumi names, or are named after its function."""
        shared = by_hand(everything("dev", "")) & by_hand(everything("other", ""))
        assert {(kind, name) for kind, name in shared if kind not in PARTS} == {
            ("CatalogDatabase", "stitch_customerio"),
            ("CatalogDatabase", LONG),
        }
        for made in (*everything().created("LogStream"), *everything().created("CatalogTable")):
            assert {"logGroupName", "databaseName"} & made.inputs.keys()

    def test_not_even_those_where_each_has_its_prefix(self) -> None:
        shared = by_hand(everything()) & by_hand(everything("other", ""))
        assert {kind for kind, _ in shared} == PARTS

    def test_a_stacks_name_is_in_names_tags_and_nothing_else(self) -> None:
        """Two stacks with one config differ in nothing that would make one of them behave otherwise."""
        id, other = names.stack_id("sluice", "dev"), names.stack_id("sluice", "other")
        mine, theirs = told(everything("dev", "")), told(everything("other", ""))
        assert mine != theirs
        rewritten = theirs.replace(other, id).replace("sluice-other", "sluice-dev")
        assert rewritten.replace('"sluice:stack": "other"', '"sluice:stack": "dev"') == mine


def told(engine: Engine) -> str:
    """Every input, as one text."""
    inputs = {name: made.inputs for name, made in by_identity(engine).items()}
    return json.dumps(inputs, indent=1, sort_keys=True, default=str)


def arguments(made: Made) -> set[str]:
    """What the SDK's class of a resource takes, in snake_case."""
    module = re.split("[:/]", made.kind)[1]
    module = "lambda_" if module == "lambda" else module  # a keyword of Python
    class_ = getattr(importlib.import_module(f"pulumi_aws.{module}"), kind(made))
    return set(inspect.signature(class_._internal_init).parameters)


class TestTags:
    def test_everything_that_can_be_tagged_says_where_it_is_declared(self) -> None:
        tagged = {kind(made) for made in on_aws(everything()) if "tags" in arguments(made)}
        assert {"Bucket", "Role", "Function", "MetricAlarm", "Parameter", "CatalogDatabase"} <= tagged
        for made in on_aws(everything()):
            if kind(made) in tagged:
                assert STACK_TAGS.items() <= made.inputs.get("tags", {}).items(), identity(made)
            else:
                assert "tags" not in made.inputs

    def test_tags_are_of_the_stack(self) -> None:
        for made in on_aws(everything("other", "")):
            if "tags" in made.inputs:
                assert made.inputs["tags"]["sluice:stack"] == "other"


class TestMistakes:
    def test_a_config_with_mistakes_ends_the_program_before_any_resource_is_registered(self) -> None:
        engine = Engine()
        with pytest.raises(pulumi.RunError) as caught:
            run_program(engine, platform="aws", integrations=[STITCH], destroyData=True)
        assert engine.made == []
        lines = str(caught.value).splitlines()
        assert [line.split(": ")[0].split(" = ")[0] for line in lines[1:]] == [
            "  - sluice:destroyData",
            "  - aws:region",
        ]
