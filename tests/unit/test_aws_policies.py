"""Who may do what on AWS: every policy that the program makes, read as IAM would read it.

The table below has each job's actions and their resources, so that a widening is a line of a diff. Proof limit: what
AWS asks of Firehose's and Glue's roles is known from its documentation; no AWS has been asked.
"""

import ast
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from receiver.aws import OVERSIZED, USED, records
from tests.unit.recording import ROOT, Engine, Made, Secret, run_on_aws

STITCH: dict[str, Any] = {"name": "Stitch Customer.io", "source": "customerio", "tokens": {"primary": 1}}
EVENTS: dict[str, Any] = {"name": "Events", "source": "customerio", "tokens": {"primary": 1, "secondary": 1}}
EVENTS_EU: dict[str, Any] = {**EVENTS, "name": "Events EU", "signed": True, "connect": True, "maxSilenceHours": 2}
LONG: dict[str, Any] = {**STITCH, "name": "x" * 49}
KEYS = {"events_eu": {"signing_key": "key", "app_api_key": "app-key"}}
REDSHIFT = {"workgroup": "analytics", "iamRole": "arn:aws:iam::123456789012:role/spectrum"}

CONFIGS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "nothing declared": ([], {}),
    "one integration": ([STITCH], {}),
    "several, of every kind": ([STITCH, EVENTS, EVENTS_EU], {"credentials": KEYS}),
    "with prefix, Redshift and mail": (
        [STITCH, LONG],
        {"schemaPrefix": "p" * 32, "redshift": REDSHIFT, "alarmEmail": "ops@example.com"},
    ),
    "to be destroyed": ([STITCH], {"protect": False, "destroyData": True}),
    "adopted": ([{**STITCH, "adopt": True}], {"publicUrl": "https://hooks.example.com", "reservedConcurrency": 9}),
}

ACCOUNT = "123456789012"
HERE = f"eu-west-1:{ACCOUNT}"
BUCKET = "arn:aws:s3:::sluice-lake-1234567"
REGISTRY = f"arn:aws:dynamodb:{HERE}:table/sluice-registry-1234567"

Document = dict[str, Any]
Policies = dict[str, Document]

RECEIVER: list[tuple[list[str], list[str], Any]] = [
    (["dynamodb:GetItem"], [REGISTRY], None),
    (
        ["dynamodb:UpdateItem"],
        [REGISTRY],
        {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["used:*"]}},
    ),
    (["firehose:PutRecordBatch"], [f"arn:aws:firehose:{HERE}:deliverystream/sluice-8b7dff-*"], None),
    (["ssm:GetParameter"], [f"arn:aws:ssm:{HERE}:parameter/sluice/8b7dff/*/signing-keys"], None),
    (["s3:PutObject"], [f"{BUCKET}/oversized/*"], None),
    (
        ["logs:CreateLogStream", "logs:PutLogEvents"],
        [f"arn:aws:logs:{HERE}:log-group:sluice-receiver-1234567:*"],
        None,
    ),
]


def of_stream(schema: str, prefix: str = "") -> list[tuple[list[str], list[str], Any]]:
    return [
        (
            ["glue:GetDatabase", "glue:GetTable", "glue:UpdateTable"],
            [
                f"arn:aws:glue:{HERE}:catalog",
                f"arn:aws:glue:{HERE}:database/{prefix}{schema}",
                f"arn:aws:glue:{HERE}:table/{prefix}{schema}/*",
            ],
            None,
        ),
        (
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            [f"{BUCKET}/tables/{prefix}{schema}/*", f"{BUCKET}/errors/{schema}/*"],
            None,
        ),
        (["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"], [BUCKET], None),
        (
            ["logs:PutLogEvents"],
            [f"arn:aws:logs:{HERE}:log-group:sluice-delivery-1234567:log-stream:{schema}"],
            None,
        ),
    ]


def of_optimizer(schema: str, prefix: str = "") -> list[tuple[list[str], list[str], Any]]:
    return [
        (
            ["glue:GetTable", "glue:UpdateTable"],
            [
                f"arn:aws:glue:{HERE}:catalog",
                f"arn:aws:glue:{HERE}:database/{prefix}{schema}",
                f"arn:aws:glue:{HERE}:table/{prefix}{schema}/*",
            ],
            None,
        ),
        (
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            [f"{BUCKET}/tables/{prefix}{schema}/*"],
            None,
        ),
        (["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"], [BUCKET], None),
        (
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
            [f"arn:aws:logs:{HERE}:log-group:/aws-glue/iceberg-*"],
            None,
        ),
    ]


def run(config: str) -> Engine:
    integrations, more = CONFIGS[config]
    return run_on_aws(*integrations, **more)


def kind(made: Made) -> str:
    return made.kind.rsplit(":", 1)[-1]


def texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Secret():
            yield from texts(value.value)
        case dict():
            for item in value.values():
                yield from texts(item)
        case list():
            for item in value:
                yield from texts(item)


def as_document(text: str) -> Document | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) and "Statement" in document else None


def policies(engine: Engine) -> Policies:
    """Every text in any resource's inputs that is a policy, by kind, argument and name."""
    return {
        f"{kind(made)}.{argument} {made.name}": document
        for made in engine.made
        for argument, value in made.inputs.items()
        for text in texts(value)
        if (document := as_document(text))
    }


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def problems(document: Document) -> list[str]:
    """What is too wide in a policy, one sentence each."""
    found = []
    for statement in listed(document["Statement"]):
        found += [f"{key} lets in what nobody thought of" for key in statement if key.startswith("Not")]
        if statement["Effect"] != "Allow":
            continue
        for action in listed(statement.get("Action", [])):
            if not re.fullmatch(r"[a-z0-9-]+:[A-Za-z]+", action):
                found.append(f"action {action} is no single one")
        for resource in listed(statement.get("Resource", [])):
            found += _problems_of(resource)
        if "Principal" in statement:
            principal = statement["Principal"]
            who = (
                [principal] if isinstance(principal, str) else [it for its in principal.values() for it in listed(its)]
            )
            found += [f"principal {name} is everybody" for name in who if "*" in name]
        elif "Resource" not in statement:
            found.append("an Allow says neither whom nor what")
    return found


def _problems_of(resource: str) -> list[str]:
    arn, _, rest = resource.partition(":")
    place, own = rest.split(":")[:4], ":".join(rest.split(":")[4:])
    if arn != "arn" or len(place) < 4 or not own:
        return [f"resource {resource} is no ARN"]
    if any(re.search(r"[*?]", part) for part in place):
        return [f"resource {resource} is in any service, region or account"]
    # Of an object in S3 the bucket is the place; elsewhere a type comes first, and then a name that must not be open.
    name = own if place[1] == "s3" else re.split("[:/]", own, maxsplit=1)[-1]
    return [f"resource {resource} is any of its type"] if re.match(r"[*?]", name) else []


def refuses_plain_http(document: Document, bucket: str) -> bool:
    """Whether every request to the bucket, and to each object in it, is denied without TLS."""
    denied = {
        resource
        for statement in listed(document["Statement"])
        if statement["Effect"] == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and "s3:*" in listed(statement.get("Action", []))
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        for resource in listed(statement["Resource"])
    }
    return {bucket, f"{bucket}/*"} <= denied


def rights(document: Document) -> list[tuple[list[str], list[str], Any]]:
    return [(its["Action"], its["Resource"], its.get("Condition")) for its in document["Statement"]]


def of_role(engine: Engine, name: str) -> Document:
    return policies(engine)[f"RolePolicy.policy {name}"]


def by_role(engine: Engine) -> dict[str, list[tuple[list[str], list[str], Any]]]:
    """What each role may do."""
    return {made.name: rights(of_role(engine, made.name)) for made in engine.created("RolePolicy")}


def allows(document: Document, action: str, resource: str) -> bool:
    """Whether the policy has an Allow for it, whatever its condition."""
    return any(
        action in actions and any(fnmatchcase(resource, pattern) for pattern in resources)
        for actions, resources, _ in rights(document)
    )


class TestEveryPolicy:
    @pytest.mark.parametrize("config", CONFIGS)
    def test_none_is_wider_than_it_can_be_said(self, config: str) -> None:
        found = {name: problems(document) for name, document in policies(run(config)).items()}
        assert found == {name: [] for name in found}

    @pytest.mark.parametrize("config", CONFIGS)
    def test_they_are_where_policies_are_looked_for(self, config: str) -> None:
        """A document in an argument that isn't known here could be one that nobody has read."""
        assert {name.split()[0] for name in policies(run(config))} == {
            "RolePolicy.policy",
            "Role.assumeRolePolicy",
            "BucketPolicy.policy",
        }

    @pytest.mark.parametrize("config", CONFIGS)
    def test_a_role_has_its_one_policy_and_no_other_rights(self, config: str) -> None:
        engine = run(config)
        attached = [made.inputs["role"] for made in engine.created("RolePolicy")]
        assert sorted(attached) == sorted(f"{made.name}-1234567" for made in engine.created("Role"))
        for made in engine.created("Role"):
            assert made.inputs.keys() == {"assumeRolePolicy", "tags"}
        kinds = {made.kind for made in engine.made if made.kind.startswith("aws:iam/")}
        assert kinds == {"aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"}

    @pytest.mark.parametrize("config", CONFIGS)
    def test_only_the_functions_url_is_open_to_everybody(self, config: str) -> None:
        engine = run(config)
        public = [made.name for made in engine.made if made.inputs.get("principal") == "*"]
        assert sorted(public) == ["sluice-receiver-invoke", "sluice-receiver-url"]
        for made in engine.created("Permission"):
            only_by_url = (made.inputs.get("functionUrlAuthType"), made.inputs.get("invokedViaFunctionUrl"))
            assert only_by_url in (("NONE", None), (None, True))
        assert {made.inputs["function"] for made in engine.created("Permission")} == {"sluice-receiver-1234567"}

    @pytest.mark.parametrize("config", CONFIGS)
    def test_a_role_is_taken_by_one_service_and_where_others_call_it_for_this_account_alone(self, config: str) -> None:
        for name, document in policies(run(config)).items():
            if name.startswith("Role.assumeRolePolicy"):
                (statement,) = document["Statement"]
                assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
                for_account = {"StringEquals": {"sts:ExternalId": ACCOUNT}}
                service, condition = {
                    "receiver": ("lambda", None),
                    "stream": ("firehose", for_account),
                    "tables": ("glue", None),
                }[name.rsplit("-", 1)[1]]
                assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
                assert statement.get("Condition") == condition

    @pytest.mark.parametrize("config", CONFIGS)
    def test_the_bucket_and_its_objects_are_refused_over_plain_http(self, config: str) -> None:
        document = policies(run(config))["BucketPolicy.policy sluice-lake"]
        assert refuses_plain_http(document, BUCKET)
        assert [statement["Effect"] for statement in document["Statement"]] == ["Deny"]

    def test_with_the_longest_names_a_roles_policy_has_room(self) -> None:
        """IAM quotas: 10,240 characters for the inline policies of a role, white space not counted."""
        for name, document in policies(run("with prefix, Redshift and mail")).items():
            longest = 2_048 if name.startswith("Role.") else 10_240
            assert len(json.dumps(document, separators=(",", ":"))) < longest / 2


class TestEachJob:
    """Job, actions, resources."""

    def test_of_a_stack_without_integrations(self) -> None:
        assert by_role(run("nothing declared")) == {"sluice-receiver": RECEIVER}

    def test_of_an_integration(self) -> None:
        assert by_role(run("one integration")) == {
            "sluice-receiver": RECEIVER,
            "stitch_customerio-stream": of_stream("stitch_customerio"),
            "stitch_customerio-tables": of_optimizer("stitch_customerio"),
        }

    def test_of_several(self) -> None:
        expected = {"sluice-receiver": RECEIVER}
        for schema in ("stitch_customerio", "events", "events_eu"):
            expected[f"{schema}-stream"] = of_stream(schema)
            expected[f"{schema}-tables"] = of_optimizer(schema)
        assert by_role(run("several, of every kind")) == expected

    def test_a_prefix_is_in_the_databases_name_and_its_folder(self) -> None:
        engine = run("with prefix, Redshift and mail")
        assert rights(of_role(engine, "stitch_customerio-stream")) == of_stream("stitch_customerio", "p" * 32)
        assert rights(of_role(engine, "stitch_customerio-tables")) == of_optimizer("stitch_customerio", "p" * 32)

    def test_the_bucket(self) -> None:
        assert policies(run("one integration"))["BucketPolicy.policy sluice-lake"]["Statement"] == [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [BUCKET, f"{BUCKET}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ]

    def test_an_integrations_roles_reach_nothing_of_one_whose_name_begins_like_its_own(self) -> None:
        engine = run("several, of every kind")
        reached = {
            f"{BUCKET}/tables/events_eu/data/x.parquet": "s3:GetObject",
            f"{BUCKET}/errors/events_eu/x": "s3:PutObject",
            f"arn:aws:glue:{HERE}:database/events_eu": "glue:GetTable",
            f"arn:aws:glue:{HERE}:table/events_eu/data": "glue:UpdateTable",
            f"arn:aws:logs:{HERE}:log-group:sluice-delivery-1234567:log-stream:events_eu": "logs:PutLogEvents",
        }
        for role in ("stream", "tables"):
            assert not [its for its in reached if allows(of_role(engine, f"events-{role}"), reached[its], its)]
        own = of_role(engine, "events_eu-stream")
        assert all(allows(own, action, resource) for resource, action in reached.items()), "control"

    def test_a_stream_may_write_where_its_tables_and_its_errors_are(self) -> None:
        engine = run("with prefix, Redshift and mail")
        for made in engine.created("FirehoseDeliveryStream"):
            document = of_role(engine, made.name)
            iceberg = made.inputs["icebergConfiguration"]
            bucket = iceberg["s3Configuration"]["bucketArn"]
            assert allows(document, "s3:PutObject", f"{bucket}/{iceberg['s3Configuration']['errorOutputPrefix']}x")
            for table in iceberg["destinationTableConfigurations"]:
                name = f"{table['databaseName']}/{table['tableName']}"
                assert allows(document, "glue:UpdateTable", f"arn:aws:glue:{HERE}:table/{name}")
                assert allows(document, "s3:PutObject", f"{bucket}/{table['s3ErrorOutputPrefix']}x")
            log = iceberg["cloudwatchLoggingOptions"]
            arn = f"arn:aws:logs:{HERE}:log-group:{log['logGroupName']}:log-stream:{log['logStreamName']}"
            assert allows(document, "logs:PutLogEvents", arn)
        for made in engine.created("CatalogTable"):
            schema, _, role = made.name.rpartition("-")[0].rpartition("-")
            if role == "table":
                table_input = made.inputs["openTableFormatInput"]["icebergInput"]["icebergTableInput"]
                file = table_input["location"].replace("s3://", "arn:aws:s3:::") + "/data/x.parquet"
                for job in ("stream", "tables"):
                    assert allows(of_role(engine, f"{schema}-{job}"), "s3:PutObject", file)


def calls_of_the_function() -> set[tuple[str, str]]:
    """The services and operations that the function asks for, as its source says."""
    found = set()
    for path in sorted((ROOT / "receiver/aws").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "ask":
                service, operation = node.args[:2]
                assert isinstance(service, ast.Constant), f"{path}: a service that can't be read off"
                assert isinstance(operation, ast.Constant), f"{path}: an operation that can't be read off"
                found.add((str(service.value), str(operation.value)))
    return found


@cache
def operations(service: str) -> list[str]:
    model = botocore.session.get_session().get_service_model(service)
    names: list[str] = model.operation_names
    return names


def action_of(service: str, method: str) -> str:
    """IAM's name of what botocore's method does."""
    (operation,) = [name for name in operations(service) if xform_name(name) == method]
    return f"{service}:{operation}"


class TestWhatTheFunctionCalls:
    """Its role has a right for each call in its code, and none for a call that isn't there."""

    OF_LAMBDA = frozenset({"logs:CreateLogStream", "logs:PutLogEvents"})  # Lambda itself writes what is printed

    def test_every_call_has_its_right_and_every_right_its_call(self) -> None:
        called = {action_of(service, method) for service, method in calls_of_the_function()}
        allowed = {
            action for actions, _, _ in rights(of_role(run("one integration"), "sluice-receiver")) for action in actions
        }
        assert allowed == called | self.OF_LAMBDA

    def test_it_reaches_aws_by_ask_alone(self) -> None:
        """Else a call could be missing above."""
        for path in sorted((ROOT / "receiver/aws").glob("*.py")):
            source = path.read_text()
            expected = 1 if path.name == "services.py" else 0
            assert len(re.findall(r"create_client\(|getattr\(", source)) == 2 * expected, path
            assert "boto3" not in source

    def test_its_rights_cover_the_streams_and_parameters_of_its_stack(self) -> None:
        engine = run("several, of every kind")
        document = of_role(engine, "sluice-receiver")
        streams = [made.inputs["name"] for made in engine.created("FirehoseDeliveryStream")]
        assert len(streams) == 3
        for stream in streams:
            arn = f"arn:aws:firehose:{HERE}:deliverystream/{stream}"
            assert allows(document, "firehose:PutRecordBatch", arn)
        (parameter,) = engine.created("Parameter")
        assert allows(document, "ssm:GetParameter", f"arn:aws:ssm:{HERE}:parameter{parameter.inputs['name']}")

    def test_and_those_of_no_other_stack(self) -> None:
        document = of_role(run("one integration"), "sluice-receiver")
        other = run_on_aws(
            {**STITCH, "signed": True}, stack="other", credentials={"stitch_customerio": {"signing_key": "k"}}
        )
        (stream,) = other.created("FirehoseDeliveryStream")
        (parameter,) = other.created("Parameter")
        arn = f"arn:aws:firehose:{HERE}:deliverystream/{stream.inputs['name']}"
        assert not allows(document, "firehose:PutRecordBatch", arn)
        assert not allows(document, "ssm:GetParameter", f"arn:aws:ssm:{HERE}:parameter{parameter.inputs['name']}")

    def test_bodies_beside_their_rows_go_where_it_may_write(self) -> None:
        key = records.body_key("stitch_customerio", records.Moment(1_700_000_000_000_000, 0, 1))
        assert key.startswith(OVERSIZED)
        document = of_role(run("one integration"), "sluice-receiver")
        assert allows(document, "s3:PutObject", f"{BUCKET}/{key}")
        for elsewhere in ("tables/stitch_customerio/data/x", "errors/stitch_customerio/x", "x"):
            assert not allows(document, "s3:PutObject", f"{BUCKET}/{elsewhere}")

    def test_in_the_registry_it_writes_items_of_use_alone(self) -> None:
        """It can't make itself an endpoint, nor change one: a hash is 64 hex digits."""
        ((_, _, condition),) = [its for its in RECEIVER if its[0] == ["dynamodb:UpdateItem"]]
        (pattern,) = condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        keys = re.findall(
            r'"update_item".*?Key=\{"hash": \{"S": f"(.*?)"', (ROOT / "receiver/aws/registry.py").read_text(), re.S
        )
        assert [fnmatchcase(key.replace("{USED}", USED), pattern) for key in keys] == [True]
        assert not fnmatchcase("0123456789abcdef" * 4, pattern)


# IAM's own names for what the API calls otherwise, and one that is no call (AWS, Service Authorization Reference).
OTHERWISE = {
    "lambda:InvokeFunction": "lambda:Invoke",
    "s3:ListBucket": "s3:ListObjectsV2",
    "s3:ListBucketMultipartUploads": "s3:ListMultipartUploads",
}
NO_CALL = {"lambda:InvokeFunctionUrl"}


class TestActionsExist:
    def test_every_action_is_an_operation_of_its_service(self) -> None:
        engine = run("several, of every kind")
        actions = {
            action
            for name, document in policies(engine).items()
            for statement in document["Statement"]
            for action in listed(statement["Action"])
            if not name.startswith("BucketPolicy")
        }
        actions |= {made.inputs["action"] for made in engine.created("Permission")}
        assert "s3:PutObject" in actions
        for action in actions - NO_CALL:
            service, operation = OTHERWISE.get(action, action).split(":")
            assert operation in operations(service), action

    def test_a_misspelt_one_would_be_noticed(self) -> None:
        """Control."""
        assert "PutRecordsBatch" not in operations("firehose")


def allowing(**more: Any) -> Document:
    statement = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{BUCKET}/a/*"], **more}
    return {"Version": "2012-10-17", "Statement": [{key: it for key, it in statement.items() if it is not None}]}


class TestTheChecks:
    """Controls: what is too wide is noticed."""

    def test_a_right_of_one_action_on_one_folder_is_fine(self) -> None:
        assert problems(allowing()) == []

    @pytest.mark.parametrize("action", ["*", "s3:*", "s3:Get*", "s3:?etObject", ["s3:GetObject", "glue:*"]])
    def test_a_wildcard_action(self, action: Any) -> None:
        assert len(problems(allowing(Action=action))) == 1

    @pytest.mark.parametrize(
        "resource",
        [
            "*",
            ["arn:aws:s3:::b/x", "*"],
            "arn:aws:s3:::*",
            "arn:aws:*:eu-west-1:123456789012:table/x",
            "arn:aws:dynamodb:*:123456789012:table/x",
            "arn:aws:dynamodb:eu-west-1:*:table/x",
            "arn:*:dynamodb:eu-west-1:123456789012:table/x",
            "arn:aws:dynamodb:eu-west-1:123456789012:*",
            "arn:aws:dynamodb:eu-west-1:123456789012:table/*",
            "arn:aws:logs:eu-west-1:123456789012:log-group:*",
            "sluice-lake",
        ],
    )
    def test_a_wildcard_resource(self, resource: Any) -> None:
        assert len(problems(allowing(Resource=resource))) == 1

    @pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": ["arn:aws:iam::123456789012:root", "*"]}])
    def test_everybody(self, principal: Any) -> None:
        assert len(problems(allowing(Principal=principal))) == 1

    @pytest.mark.parametrize("key", ["NotAction", "NotResource", "NotPrincipal"])
    def test_everything_but(self, key: str) -> None:
        assert problems(allowing(**{key: "x"})) == [f"{key} lets in what nobody thought of"]

    def test_an_allow_for_nobody_on_nothing(self) -> None:
        assert problems(allowing(Resource=None)) == ["an Allow says neither whom nor what"]

    def test_a_bucket_that_takes_plain_http(self) -> None:
        whole = policies(run("one integration"))["BucketPolicy.policy sluice-lake"]["Statement"][0]

        def of(**more: Any) -> Document:
            return {"Statement": [{**whole, **more}]}

        assert refuses_plain_http(of(), BUCKET)
        assert not refuses_plain_http({"Statement": []}, BUCKET)
        assert not refuses_plain_http(of(Resource=[BUCKET]), BUCKET)
        assert not refuses_plain_http(of(Resource=[f"{BUCKET}/*"]), BUCKET)
        assert not refuses_plain_http(of(Action=["s3:GetObject"]), BUCKET)
        assert not refuses_plain_http(of(Effect="Allow"), BUCKET)
        assert not refuses_plain_http(of(Condition={"Bool": {"aws:SecureTransport": "true"}}), BUCKET)

    def test_a_policy_is_found_wherever_it_is(self) -> None:
        engine = Engine()
        text = json.dumps(allowing(Action="*"))
        for inputs in ({"policy": text}, {"inlinePolicies": [{"policy": text}]}, {"policy": Secret(text)}):
            engine.made.append(Made("aws:x/y:Y", str(len(engine.made)), inputs, None, [], [], [], {}))
        assert [problems(it) for it in policies(engine).values()] == 3 * [["action * is no single one"]]
