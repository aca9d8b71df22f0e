"""The rules, as functions of what a resource is declared with: no engine here, and no file.

Each gives its faults as texts. A text names resources and properties and never a value: a policy can't tell which
values are secret, and what it says ends up in logs and comments.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

DATABASE = "aws:glue/catalogDatabase:CatalogDatabase"
TABLE = "aws:glue/catalogTable:CatalogTable"
BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")  # the second: the same under its older name
SCHEMA = "sluice:index:PostgresSchema"
PASSWORD = "random:index/randomPassword:RandomPassword"  # noqa: S105 (a type's name)

Properties = Mapping[str, Any]


@dataclass(frozen=True)
class Declared:
    """A resource as the program declares it. `of`: the URNs that each property was made from."""

    urn: str
    type: str
    properties: Properties
    of: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name(self.urn)


@dataclass(frozen=True)
class Recorded:
    """A resource as the engine's state has it. `made`: when it was created, where the state says so."""

    urn: str
    type: str
    inputs: Properties
    outputs: Properties = field(default_factory=dict, repr=False)
    made: datetime | None = None
    is_kept: bool = False
    """Whether the engine lets go of it without deleting it (`retain_on_delete`)."""

    @property
    def name(self) -> str:
        return name(self.urn)


def name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]


def holds_data(type_: str, properties: Properties) -> bool:
    """Whether rows are lost with it. A view, the other kind of table in the Glue catalog, holds none."""
    if type_ == TABLE:
        return bool(properties.get("openTableFormatInput"))
    return type_ in (DATABASE, SCHEMA, *BUCKETS)


# Buckets: each is a resource, and everything about it another one that names it.

PRIVATE = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def bucket_faults(bucket: Declared, resources: Iterable[Declared]) -> Iterator[str]:
    """What a bucket lacks of: private, encrypted, versioned, and a policy at all (`tls_faults` reads that one)."""
    of_bucket = [each for each in resources if bucket.urn in each.of.get("bucket", ())]
    about = {each.type.rsplit(":", 1)[-1].removesuffix("V2"): each.properties for each in of_bucket}
    access = about.get("BucketPublicAccessBlock", {})
    if missing := [setting for setting in PRIVATE if access.get(setting) is not True]:
        yield f"it isn't private: its BucketPublicAccessBlock doesn't set {', '.join(missing)}"
    if not any(map(_encrypts, about.get("BucketServerSideEncryptionConfiguration", {}).get("rules") or ())):
        yield "it isn't encrypted: no BucketServerSideEncryptionConfiguration names an algorithm for it"
    versioning = about.get("BucketVersioning", {}).get("versioningConfiguration") or {}
    if versioning.get("status") != "Enabled":
        yield "it isn't versioned: no BucketVersioning enables that, so that an overwritten file is gone"
    if "BucketPolicy" not in about:
        yield "it takes requests over plain HTTP: it has no BucketPolicy that denies them"


def _encrypts(rule: Properties) -> bool:
    return bool((rule.get("applyServerSideEncryptionByDefault") or {}).get("sseAlgorithm"))


def tls_faults(document: object) -> Iterator[str]:
    """What a bucket's policy lacks to turn every request away that comes over plain HTTP."""
    covered: set[bool] = set()
    for statement in statements(document) or ():
        condition = statement.get("Condition") or {}
        if (
            statement.get("Effect") == "Deny"
            and statement.get("Principal") in ("*", {"AWS": "*"})
            and {"s3:*", "*"} & set(listed(statement.get("Action")))
            and [str(value).lower() for value in listed((condition.get("Bool") or {}).get("aws:SecureTransport"))]
            == ["false"]
            and len(condition) == 1
        ):
            covered |= {resource.endswith("/*") for resource in listed(statement.get("Resource"))}
    if covered != {True, False}:
        yield "it doesn't deny everybody every request without TLS (aws:SecureTransport), to bucket and objects alike"


# Logs


def log_group_faults(properties: Properties) -> Iterator[str]:
    if not properties.get("retentionInDays"):
        yield "its retentionInDays isn't set: what is logged would stay for ever"


def function_faults(properties: Properties) -> Iterator[str]:
    if not (properties.get("loggingConfig") or {}).get("logGroup"):
        yield "it has no log group of the stack's: Lambda would make one, whose logs stay for ever"


# Access

ROLE = "aws:iam/role:Role"
DOCUMENTS = {
    "aws:iam/policy:Policy": "policy",
    "aws:iam/rolePolicy:RolePolicy": "policy",
    "aws:iam/userPolicy:UserPolicy": "policy",
    "aws:iam/groupPolicy:GroupPolicy": "policy",
    ROLE: "assumeRolePolicy",
}
"""The IAM document of each type that has one."""

ATTACHED = {
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "policyArn",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "policyArn",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment": "policyArn",
    "aws:iam/policyAttachment:PolicyAttachment": "policyArn",
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive": "policyArns",
    ROLE: "managedPolicyArns",
}
"""The policies by ARN of each type that has any: one, or a list."""

UNTYPED = {"s3", "sns", "sqs"}
"""Services whose ARNs end in a name, without a type before it."""


def access_faults(document: object) -> Iterator[str]:
    """What an IAM document allows beyond named actions on named resources; statements are counted from 1."""
    found = statements(document)
    if found is None:
        yield "its document can't be read: write it as JSON, or as an object, with its statements"
    for number, statement in enumerate(found or (), start=1):
        if statement.get("Effect") != "Allow":
            continue
        if any("*" in action or "?" in action for action in map(str, listed(statement.get("Action")))):
            yield f"statement {number} allows a wildcard action: name each one"
        if any(map(_is_anything, map(str, listed(statement.get("Resource"))))):
            yield f"statement {number} allows a wildcard resource: name it, at least up to a prefix of its name"
        if excepted := [key for key in ("NotAction", "NotResource", "NotPrincipal") if key in statement]:
            yield f"statement {number} allows all but some ({', '.join(excepted)}): name what it allows"
        principal = statement.get("Principal")
        who = principal.values() if isinstance(principal, dict) else [principal]
        if any("*" in listed(each) for each in who):
            yield f"statement {number} allows it to everybody: name who may"


def attachment_faults(arns: Iterable[str]) -> Iterator[str]:
    """What is attached without being written down here: `arns` of policies."""
    if any(re.match(r"arn:[^:]*:iam::aws:policy/", str(arn)) for arn in arns):
        yield "it attaches a policy that AWS keeps, and such ones allow wildcards: write down what it needs instead"


def _is_anything(resource: str) -> bool:
    """Whether a resource's wildcard leaves open which service, account or name it is."""
    if "*" not in resource and "?" not in resource:
        return False
    parts = resource.split(":", 5)
    if len(parts) < 6 or any("*" in part or "?" in part for part in parts[:5]):
        return True
    fixed = parts[5].replace("?", "*").split("*")[0]
    if parts[2] not in UNTYPED:  # table/name, log-group:name, parameter/name
        fixed = fixed.replace(":", "/", 1).partition("/")[2]
    return not fixed.strip("/:-_.")


def statements(document: object) -> list[Properties] | None:
    """The statements of an IAM document, as JSON or as an object; None for what is none.

    One may stand without a list around it.
    """
    try:
        found = _plain(document) if isinstance(document, Mapping) else json.loads(str(document))
        each = listed(found["Statement"])
    except (ValueError, TypeError, KeyError):
        return None
    return each if all(isinstance(statement, dict) for statement in each) else None


def _plain(value: Any) -> Any:
    """What the engine hands over as its own kinds of lists and objects; what isn't known yet raises as it is read."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value


def listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


# Data


IDENTITY = {DATABASE: ("name",), TABLE: ("databaseName", "name"), **dict.fromkeys(BUCKETS, ("bucket",))}
"""The properties by which a provider replaces a thing that holds data: under another name it is another, empty one."""


def dropped(recorded: Iterable[Recorded], declared: Mapping[str, Properties]) -> list[Recorded]:
    """What holds data and goes, with it, as it isn't declared any more, or only under another name.

    The provider deletes by what the state says, which is what the *last* up was told: a stack that sets destroyData to
    false and removes an integration in the same change would drop its schema all the same.
    """
    return [
        resource
        for resource in recorded
        if holds_data(resource.type, resource.inputs) and is_lost(resource)
        if resource.urn not in declared or _is_another(resource, declared[resource.urn])
    ]


def _is_another(resource: Recorded, declared: Properties) -> bool:
    names = [name for name in IDENTITY.get(resource.type, ()) if name in resource.inputs and name in declared]
    return any(declared[name] != resource.inputs[name] for name in names)


def is_lost(resource: Recorded) -> bool:
    """Whether the rows go with it when it is deleted."""
    if resource.type == SCHEMA:
        is_adopted = resource.inputs.get("adopt") or resource.outputs.get("adopted")
        return bool(resource.inputs.get("destroyData")) and not is_adopted
    return not resource.is_kept


# Tokens


def is_rotated(token: Recorded, declared: Properties) -> bool:
    """Whether the program declares another version of it than there is."""
    return dict(declared.get("keepers") or {}) != dict(token.inputs.get("keepers") or {})


def age_days(token: Recorded, now: datetime) -> int | None:
    """How old a token is; None where the state doesn't say when it was made."""
    return None if token.made is None else (now - token.made).days
