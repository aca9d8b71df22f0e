"""The rules by themselves: what each lets through, and what it finds."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from policy import recorded, rules
from policy.rules import Declared, Recorded

URN = "urn:pulumi:prod::sluice::"
BUCKET = f"{URN}aws:s3/bucket:Bucket::lake"
CLOSED: dict[str, dict[str, Any]] = {
    "BucketPublicAccessBlock": dict.fromkeys(rules.PRIVATE, True),
    "BucketServerSideEncryptionConfiguration": {
        "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]
    },
    "BucketVersioning": {"versioningConfiguration": {"status": "Enabled"}},
    "BucketPolicy": {},
}


def bucket_faults(about: dict[str, dict[str, Any]], of: str = BUCKET) -> list[str]:
    bucket = Declared(BUCKET, rules.BUCKETS[0], {})
    others = [Declared(f"{URN}{kind}::x", f"aws:s3/x:{kind}", what, {"bucket": [of]}) for kind, what in about.items()]
    return list(rules.bucket_faults(bucket, [bucket, *others]))


def test_a_closed_bucket_has_no_fault() -> None:
    assert bucket_faults(CLOSED) == []


def test_what_closes_another_bucket_does_not_close_this_one() -> None:
    assert len(bucket_faults(CLOSED, of=f"{BUCKET}-2")) == 4


@pytest.mark.parametrize("kind", CLOSED)
def test_a_bucket_lacks_each_part_by_itself(kind: str) -> None:
    (fault,) = bucket_faults({other: what for other, what in CLOSED.items() if other != kind})
    assert kind in fault


@pytest.mark.parametrize("setting", rules.PRIVATE)
@pytest.mark.parametrize("value", [False, None])
def test_a_bucket_is_private_with_all_four_settings(setting: str, value: bool | None) -> None:
    settings = {**CLOSED["BucketPublicAccessBlock"], setting: value}
    (fault,) = bucket_faults({**CLOSED, "BucketPublicAccessBlock": settings})
    assert fault.endswith(f"doesn't set {setting}")


def test_a_bucket_of_the_older_type_is_asked_for_the_same() -> None:
    of = {"bucket": [f"{BUCKET}V2"]}
    bucket = Declared(f"{BUCKET}V2", rules.BUCKETS[1], {})
    versioned = Declared(f"{URN}v", "aws:s3/bucketVersioningV2:BucketVersioningV2", CLOSED["BucketVersioning"], of)
    assert len(list(rules.bucket_faults(bucket, [bucket]))) == 4
    assert len(list(rules.bucket_faults(bucket, [bucket, versioned]))) == 3


@pytest.mark.parametrize("status", ["Suspended", "Disabled", None])
def test_suspended_versions_are_none(status: str | None) -> None:
    (fault,) = bucket_faults({**CLOSED, "BucketVersioning": {"versioningConfiguration": {"status": status}}})
    assert "versioned" in fault


DENY: dict[str, Any] = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": ["arn:aws:s3:::lake", "arn:aws:s3:::lake/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.mark.parametrize("same", [{}, {"Action": ["s3:*"]}, {"Principal": {"AWS": "*"}}])
def test_a_policy_that_denies_plain_http_has_no_fault(same: dict[str, Any]) -> None:
    assert list(rules.tls_faults(document({**DENY, **same}))) == []
    assert list(rules.tls_faults(json.dumps({"Statement": {**DENY, **same}}))) == []


@pytest.mark.parametrize(
    "weaker",
    [
        {"Effect": "Allow"},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
        {"Action": "s3:GetObject"},
        {"Resource": ["arn:aws:s3:::lake"]},
        {"Resource": ["arn:aws:s3:::lake/*"]},
        {"Condition": {}},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
        {"Condition": {**DENY["Condition"], "StringEquals": {"aws:SourceVpc": "vpc-1"}}},
    ],
)
def test_a_policy_that_denies_less_is_found(weaker: dict[str, Any]) -> None:
    assert len(list(rules.tls_faults(document({**DENY, **weaker})))) == 1


def test_logs_need_an_end() -> None:
    assert list(rules.log_group_faults({"retentionInDays": 30})) == []
    for never in ({}, {"retentionInDays": 0}, {"retentionInDays": None}):
        assert len(list(rules.log_group_faults(never))) == 1
    assert list(rules.function_faults({"loggingConfig": {"logGroup": "a"}})) == []
    for none in ({}, {"loggingConfig": {"logFormat": "JSON"}}):
        assert len(list(rules.function_faults(none))) == 1


def access(**statement: Any) -> list[str]:
    allowed = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::lake/tables/*"]}
    return list(rules.access_faults(document(DENY, {**allowed, **statement})))


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:s3:::lake",
        "arn:aws:s3:::lake/*",
        "arn:aws:s3:::lake/tables/*",
        "arn:aws:dynamodb:eu-west-1:123456789012:table/registry",
        "arn:aws:firehose:eu-west-1:123456789012:deliverystream/sluice-1a2b3c-*",
        "arn:aws:glue:eu-west-1:123456789012:table/billing/*",
        "arn:aws:logs:eu-west-1:123456789012:log-group:/aws-glue/iceberg-*",
        "arn:aws:logs:eu-west-1:123456789012:log-group:receiver:*",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/sluice/1a2b3c/*",
        "arn:aws:sqs:eu-west-1:123456789012:late-*",
    ],
)
def test_a_resource_may_end_in_a_wildcard_after_its_own_name(resource: str) -> None:
    assert access(Resource=resource) == []


@pytest.mark.parametrize(
    "resource",
    [
        "*",
        "arn:aws:s3:::*",
        "arn:aws:s3:::*/tables",
        "arn:aws:*:eu-west-1:123456789012:table/registry",
        "arn:aws:dynamodb:*:123456789012:table/registry",
        "arn:aws:dynamodb:eu-west-1:*:table/registry",
        "arn:aws:dynamodb:eu-west-1:123456789012:*",
        "arn:aws:dynamodb:eu-west-1:123456789012:table/*",
        "arn:aws:logs:eu-west-1:123456789012:log-group:*",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/*",
        "arn:aws:sqs:eu-west-1:123456789012:*",
        "arn:aws:lambda:eu-west-1:123456789012:function:????",
    ],
)
def test_a_wildcard_that_leaves_open_which_one_is_found(resource: str) -> None:
    for written in (resource, [resource], ["arn:aws:s3:::lake", resource]):
        assert access(Resource=written) == [
            "statement 2 allows a wildcard resource: name it, at least up to a prefix of its name"
        ]


@pytest.mark.parametrize("action", ["*", "s3:*", "s3:Get*", ["s3:GetObject", "s3:Put*"], "s3:Get?bject"])
def test_a_wildcard_action_is_found(action: Any) -> None:
    assert access(Action=action) == ["statement 2 allows a wildcard action: name each one"]


def proxied(document: dict[str, Any]) -> Any:
    """As the engine hands an object over."""
    return unknown_checking_proxy(document)


def test_a_document_that_is_an_object_is_read_like_one_in_json() -> None:
    wide = {"Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::lake"]}]}
    for document in (wide, proxied(wide), json.dumps(wide), {"Statement": wide["Statement"][0]}):
        assert list(rules.access_faults(document)) == ["statement 1 allows a wildcard action: name each one"]
    assert list(rules.tls_faults(proxied({"Statement": [DENY]}))) == []
    wide["Statement"][0]["Resource"] = [UNKNOWN_STRING_VALUE]
    with pytest.raises(UnknownValueError):
        list(rules.access_faults(proxied(wide)))


@pytest.mark.parametrize("document", ["", "no JSON", "[]", "{}", '{"Statement": ["s3:*"]}', None, 3])
def test_a_document_that_cannot_be_read_is_a_fault_and_no_pass(document: Any) -> None:
    (fault,) = rules.access_faults(document)
    assert "can't be read" in fault
    assert len(list(rules.tls_faults(document))) == 1


@pytest.mark.parametrize("name", ["AdministratorAccess", "service-role/AWSLambdaBasicExecutionRole"])
@pytest.mark.parametrize("partition", ["aws", "aws-cn"])
def test_a_policy_that_aws_keeps_is_a_wildcard(name: str, partition: str) -> None:
    own = "arn:aws:iam::123456789012:policy/own"
    assert len(list(rules.attachment_faults([own, f"arn:{partition}:iam::aws:policy/{name}"]))) == 1
    assert list(rules.attachment_faults([own])) == []


def test_all_but_some_and_everybody_are_found() -> None:
    assert len(access(NotAction="s3:DeleteObject")) == 1
    assert len(access(NotResource="arn:aws:s3:::other")) == 1
    assert len(access(Principal="*")) == len(access(Principal={"AWS": "*"})) == 1
    assert len(access(Principal={"Service": "a", "Federated": ["b", "*"]})) == 1
    assert access(Principal={"Service": "lambda.amazonaws.com"}) == []


def test_what_is_denied_may_be_everything() -> None:
    assert access(Effect="Deny", Action="*", Resource="*") == []


def test_no_fault_tells_a_value() -> None:
    secret = "kept-from-every-log"
    said = [
        *access(Action=f"{secret}:*", Resource=f"{secret}*", NotAction=secret, Principal=["*", secret]),
        *rules.tls_faults(document({**DENY, "Action": secret})),
        *bucket_faults({**CLOSED, "BucketVersioning": {"versioningConfiguration": {"status": secret}}}),
    ]
    assert len(said) == 6
    assert secret not in "".join(said)


ICEBERG: dict[str, Any] = {"openTableFormatInput": {"icebergInput": {}}}


def test_views_hold_no_data() -> None:
    assert rules.holds_data(rules.TABLE, ICEBERG)
    assert not rules.holds_data(rules.TABLE, {"tableType": "VIRTUAL_VIEW"})


@pytest.mark.parametrize(
    ("type_", "inputs", "is_kept", "is_lost"),
    [
        (rules.SCHEMA, {"destroyData": True}, False, True),
        (rules.SCHEMA, {"destroyData": True, "adopt": True}, False, False),
        (rules.SCHEMA, {"destroyData": False}, False, False),
        (rules.DATABASE, {}, False, True),
        (rules.DATABASE, {}, True, False),
        (rules.TABLE, ICEBERG, False, True),
        (rules.TABLE, ICEBERG, True, False),
        (rules.TABLE, {}, False, False),
        (rules.BUCKETS[0], {}, False, True),
        (rules.BUCKETS[1], {}, False, True),
        (rules.PASSWORD, {}, False, False),
    ],
)
def test_what_goes_with_its_data(type_: str, inputs: dict[str, Any], is_kept: bool, is_lost: bool) -> None:
    resource = Recorded(f"{URN}{type_}::x", type_, inputs, is_kept=is_kept)
    assert rules.dropped([resource], {}) == ([resource] if is_lost else [])
    assert rules.dropped([resource], {resource.urn: inputs}) == []


@pytest.mark.parametrize(
    ("type_", "key"), [(rules.DATABASE, "name"), (rules.TABLE, "databaseName"), (rules.BUCKETS[0], "bucket")]
)
def test_what_is_declared_under_another_name_goes_with_its_data(type_: str, key: str) -> None:
    inputs = {**ICEBERG, key: "one", "description": "old"}
    resource = Recorded(f"{URN}{type_}::x", type_, inputs)
    assert rules.dropped([resource], {resource.urn: {**inputs, key: "two"}}) == [resource]
    assert rules.dropped([resource], {resource.urn: {**inputs, "description": "new"}}) == []
    unknown = {name: value for name, value in inputs.items() if name != key}
    assert rules.dropped([resource], {resource.urn: unknown}) == [], "not known yet"


def test_a_schema_that_was_adopted_once_is_never_dropped() -> None:
    adopted = Recorded(f"{URN}x::x", rules.SCHEMA, {"destroyData": True, "adopt": False}, {"adopted": True})
    assert rules.dropped([adopted], {}) == []


def test_a_token_that_is_being_rotated_is_known_by_its_keepers() -> None:
    token = Recorded(f"{URN}{rules.PASSWORD}::x", rules.PASSWORD, {"keepers": {"version": "1"}})
    assert rules.is_rotated(token, {"keepers": {"version": "2"}})
    assert not rules.is_rotated(token, {"keepers": {"version": "1"}})


def test_a_tokens_age_is_counted_from_its_making_in_whole_days() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert rules.age_days(Recorded("x", "y", {}, made=now - timedelta(days=30, hours=23)), now) == 30
    assert rules.age_days(Recorded("x", "y", {}), now) is None


def test_the_state_is_read_without_what_only_waits_to_be_deleted() -> None:
    urn = f"{URN}{rules.PASSWORD}::x"
    old = {"urn": urn, "type": rules.PASSWORD, "delete": True, "created": "2020-01-01T00:00:00Z"}
    new = {"urn": urn, "type": rules.PASSWORD, "inputs": {"length": 43}, "created": "2026-01-02T03:04:05.123456789Z"}
    (read,) = recorded.recorded({"deployment": {"resources": [old, {**new, "retainOnDelete": True}]}})
    assert (read.inputs, read.is_kept) == ({"length": 43}, True)
    assert read.made == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    assert recorded.recorded({"deployment": {}}) == recorded.recorded({"deployment": None}) == ()
