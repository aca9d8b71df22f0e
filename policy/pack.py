"""The policies: which rule is asked about which resource, and whether a fault stops the update.

A preview shows every fault. An `up` stops at a resource's fault before that resource is made; the policies about the
whole stack are asked at its end, so it is the preview that stops what they are about, and `make up` always has one.
Before a stack's first `up` some properties aren't known in the preview (a bucket's ARN in a policy's text): those
policies then say that they don't apply yet, and the `up` itself asks them again.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from policy import recorded, rules
from policy.rules import Declared

MUST = EnforcementLevel.MANDATORY
SHOULD = EnforcementLevel.ADVISORY
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
DEV = "dev"  # made to be played with, and dropped

NOT_YET = "what it is about is known once the update has made what it refers to"
MAX_AGE = "maxTokenAgeDays"
KEYS = {f"policy:{MAX_AGE}"}
"""What a stack's file may say to this pack."""


def stack_of(urn: str) -> str:
    return urn.split("::", 1)[0].rsplit(":", 1)[-1]


def _each(faults: Callable[[ResourceValidationArgs], Iterator[str]]) -> Callable[..., None]:
    """A validation that reports each fault of a resource; one whose properties aren't known yet has to wait."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        try:
            for fault in faults(args):
                report(fault, None)
        except UnknownValueError:
            args.not_applicable(NOT_YET)

    return validate


def _bucket_policies(args: ResourceValidationArgs) -> Iterator[str]:
    if args.resource_type == BUCKET_POLICY:
        yield from rules.tls_faults(args.props["policy"])


def _logs(args: ResourceValidationArgs) -> Iterator[str]:
    if args.resource_type == "aws:cloudwatch/logGroup:LogGroup":
        yield from rules.log_group_faults(args.props)
    elif args.resource_type == "aws:lambda/function:Function":
        yield from rules.function_faults(args.props)


def _access(args: ResourceValidationArgs) -> Iterator[str]:
    if args.resource_type in rules.DOCUMENTS:
        yield from rules.access_faults(args.props[rules.DOCUMENTS[args.resource_type]])
    if args.resource_type == rules.ROLE:
        for inline in args.props.get("inlinePolicies") or ():
            yield from rules.access_faults(inline["policy"])
    if args.resource_type in rules.ATTACHED:
        arns = args.props.get(rules.ATTACHED[args.resource_type]) or ()
        yield from rules.attachment_faults([arns] if isinstance(arns, str) else arns)


def _protection(args: ResourceValidationArgs) -> Iterator[str]:
    stack = stack_of(args.urn)
    if (
        args.resource_type.startswith("aws:")
        and not args.opts.protect
        and recorded.is_set(stack, "protect", default=True)
        and rules.holds_data(args.resource_type, args.props)
    ):
        yield "Pulumi would delete it: it isn't protected, and the stack's file doesn't say sluice:protect: false"


def _buckets(args: StackValidationArgs, report: ReportViolation) -> None:
    resources = [_declared(resource) for resource in args.resources if resource.resource_type.startswith("aws:s3/")]
    waits = False
    for bucket in (each for each in resources if each.type in rules.BUCKETS):
        try:
            for fault in rules.bucket_faults(bucket, resources):
                report(fault, bucket.urn)
        except UnknownValueError:
            waits = True
    if waits:
        args.not_applicable(NOT_YET)


def _declared(resource: Any) -> Declared:
    of = {key: [each.urn for each in made_from] for key, made_from in resource.property_dependencies.items()}
    return Declared(resource.urn, resource.resource_type, resource.props, of)


def _drops(args: StackValidationArgs, report: ReportViolation) -> None:
    if not args.resources:
        return
    stack = stack_of(args.resources[0].urn)
    if recorded.is_set(stack, "destroyData", default=False):
        return
    try:
        state = recorded.state(stack)
    except recorded.NoState as error:
        report(str(error), None)
        return
    declared = {resource.urn: _known(resource.props) for resource in args.resources}
    for gone in rules.dropped(state, declared):
        how = "is declared under another name" if gone.urn in declared else "isn't declared any more"
        report(
            f"{gone.name} {how} and would be dropped with its data: the last up was told so, though the stack's file"
            " says otherwise now (sluice:destroyData). Declare it as it was, run up, and then remove or rename it",
            None,
        )


def _known(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Less those that aren't known yet."""
    known = {}
    for key in properties:
        with contextlib.suppress(UnknownValueError):
            known[key] = properties[key]
    return known


def _data_settings(args: StackValidationArgs, report: ReportViolation) -> None:
    stack = stack_of(args.resources[0].urn) if args.resources else DEV
    if stack == DEV:
        return
    if recorded.is_set(stack, "destroyData", default=False):
        report("sluice:destroyData is true: an integration that is removed takes its rows with it", None)
    is_aws = recorded.settings(stack).get("sluice:platform") == "aws"
    if is_aws and not recorded.is_set(stack, "protect", default=True):
        report("sluice:protect is false: nothing keeps databases, tables and the bucket from being deleted", None)


def _token_ages(args: StackValidationArgs, report: ReportViolation) -> None:
    if not args.resources:
        return
    tokens = {each.urn: each for each in args.resources if each.resource_type == rules.PASSWORD}
    stack = stack_of(args.resources[0].urn)
    settings = recorded.settings(stack)
    for key in sorted(key for key in settings if key.startswith("policy:") and key not in KEYS):
        report(f"there is no {key}; the stack's file may set {', '.join(sorted(KEYS))}", None)
    limit = settings.get(f"policy:{MAX_AGE}")
    if limit is None:
        return
    if isinstance(limit, bool) or not str(limit).isdecimal() or int(limit) < 1:
        report(f"policy:{MAX_AGE} must be a whole number of days, 1 or more", None)
        return
    try:
        state = recorded.state(stack)
    except recorded.NoState as error:
        report(str(error), None)
        return
    now = datetime.now(UTC)
    for token in state:
        if token.urn not in tokens or rules.is_rotated(token, tokens[token.urn].props):
            continue
        age = rules.age_days(token, now)
        if age is not None and age > int(limit):
            report(f"it is {age} days old, and policy:{MAX_AGE} is {limit}: rotate it (docs/rotation.md)", token.urn)


POLICIES: list[Policy] = [
    StackValidationPolicy(
        name="buckets-are-closed",
        description="A bucket is private, encrypted, versioned and has a policy.",
        enforcement_level=MUST,
        validate=_buckets,
    ),
    ResourceValidationPolicy(
        name="buckets-take-tls-only",
        description="A bucket's policy denies every request over plain HTTP.",
        enforcement_level=MUST,
        validate=_each(_bucket_policies),
    ),
    ResourceValidationPolicy(
        name="logs-end",
        description="Logs are kept for a time that the stack sets, not for ever.",
        enforcement_level=MUST,
        validate=_each(_logs),
    ),
    ResourceValidationPolicy(
        name="access-is-named",
        description="An IAM document allows named actions on named resources.",
        enforcement_level=MUST,
        validate=_each(_access),
    ),
    ResourceValidationPolicy(
        name="data-is-protected",
        description="Databases, Iceberg tables and buckets are protected unless the stack says otherwise.",
        enforcement_level=MUST,
        validate=_each(_protection),
    ),
    StackValidationPolicy(
        name="data-is-not-dropped",
        description="No schema, table or bucket goes with its data unless the stack says sluice:destroyData.",
        enforcement_level=MUST,
        validate=_drops,
    ),
    StackValidationPolicy(
        name="data-settings",
        description="A stack other than dev that may lose its data says so in each preview.",
        enforcement_level=SHOULD,
        validate=_data_settings,
    ),
    StackValidationPolicy(
        name="tokens-are-rotated",
        description="No token is older than the stack allows.",
        enforcement_level=SHOULD,
        validate=_token_ages,
    ),
]
