"""The pack on the real engine, for a stack on AWS: it lets the stack through as it is, and stops each thing it is for.

The first test finds an empty stack; a preview that is stopped leaves nothing behind.
Proof limit: an engine built from Go modules starts the pack by `tools/engine/policy_standin`, not by a language host.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pulumi_aws as aws
import pytest
from pulumi import ResourceOptions

from components.aws import policies
from components.aws.schema import GlueSchema
from policy.pack import POLICIES
from tests.aws.cloud import AwsStack
from tests.aws.moto_server import MotoServer
from tests.support.making import make
from tests.support.stack import CUSTOMERIO, Ran
from tools import policy

SCHEMA = "stitch_customerio"
BILLING: dict[str, Any] = {**CUSTOMERIO, "name": "Billing"}


def held(stack: AwsStack, command: str, *flags: str) -> Ran:
    """A command of the engine with the pack, whatever the stack's name."""
    words = policy.arguments(stack.root, "dev", stack.environment, asked=True)
    return stack.pulumi(command, *words, *flags)


def violated(ran: Ran, stack: AwsStack) -> set[tuple[str, str]]:
    """The names of the policies and of the resources, from the engine's events."""
    found = set()
    for line in (stack.root / "events.json").read_text().splitlines():
        if event := json.loads(line).get("policyEvent"):
            found.add((event["policyName"], event.get("resourceUrn", "").rsplit("::", 1)[-1]))
    return found


def planned(stack: AwsStack, *flags: str) -> tuple[Ran, set[tuple[str, str]]]:
    log = stack.root / "events.json"
    log.unlink(missing_ok=True)
    ran = held(stack, "preview", "--event-log", str(log), *flags)
    return ran, violated(ran, stack)


@pytest.fixture
def two(stack: AwsStack) -> AwsStack:
    """The stack with two integrations, and a state that says that their data may be destroyed."""
    stack.bring_to(CUSTOMERIO, BILLING)
    return stack


@pytest.fixture
def weakened(two: AwsStack, monkeypatch: pytest.MonkeyPatch) -> AwsStack:
    """`two`, and a program that breaks each of the policies about resources from here on."""

    def declare(module: ModuleType, kind: str, only: str | None = None, **arguments: Any) -> None:
        """Resources of that kind, or the one of the name `only`, are declared with other arguments."""
        real = getattr(module, kind)

        def declared(name: str, **own: Any) -> Any:
            return real(name, **{**own, **(arguments if only in (None, name) else {})})

        monkeypatch.setattr(module, kind, declared)

    declare(aws.s3, "BucketPublicAccessBlock", block_public_policy=False)
    declare(aws.s3, "BucketVersioning", versioning_configuration={"status": "Suspended"})
    declare(aws.s3, "BucketServerSideEncryptionConfiguration", rules=[])
    declare(aws.cloudwatch, "LogGroup", "sluice-receiver", retention_in_days=0)

    def over_http(bucket_arn: Any, tls_only: Any = policies.tls_only) -> Any:
        document = tls_only(bucket_arn)
        document["Statement"][0]["Condition"] = {"Bool": {"aws:SecureTransport": "true"}}
        return document

    def allow(actions: Any, resources: Any, allow: Any = policies._allow, **more: Any) -> Any:
        wide = actions == ["ssm:GetParameter"]
        return allow(["ssm:*"] if wide else actions, ["*"] if wide else resources, **more)

    def kept(self: GlueSchema, *name: str, kept: Any = GlueSchema._kept, **more: Any) -> ResourceOptions:
        options: ResourceOptions = kept(self, *name, **more)
        options.protect = None
        return options

    monkeypatch.setattr(policies, "tls_only", over_http)
    monkeypatch.setattr(policies, "_allow", allow)
    monkeypatch.setattr(GlueSchema, "_kept", kept)
    return two


def say(stack: AwsStack, **config: Any) -> None:
    """Adds to the stack's file what isn't of the program's own namespace."""
    path = Path(stack.root / "Pulumi.dev.yaml")
    lines = "".join(f"  policy:{key}: {value}\n" for key, value in config.items())
    path.write_text(path.read_text().replace("config:\n", f"config:\n{lines}", 1))


def test_the_first_preview_passes_though_it_knows_no_arn_yet(stack: AwsStack) -> None:
    stack.declare(CUSTOMERIO, BILLING, protect=True, destroyData=False)
    ran, found = planned(stack)
    assert (ran.code, found) == (0, set()), ran.text


def test_the_stack_as_it_is_goes_up_and_no_policy_has_anything_to_say(stack: AwsStack) -> None:
    stack.declare(CUSTOMERIO, BILLING)  # the data may be destroyed, so that the next test finds a state that says so
    ran = held(stack, "up", "--yes", "--skip-preview")
    assert ran.code == 0, ran.text
    stack.is_up()
    say(stack, maxTokenAgeDays=30)
    ran, found = planned(stack, "--expect-no-changes")
    assert (ran.code, found) == (0, set()), ran.text


def test_make_holds_every_stack_but_dev_to_the_policies(stack: AwsStack) -> None:
    stack.declare(CUSTOMERIO)
    file = stack.root / "Pulumi.prod.yaml"
    text = file.read_text().replace("protect: true", "protect: false")
    file.write_text(text.replace("destroyData: false", "destroyData: true"))
    try:
        ran = make(stack, "preview", STACK="prod")
    finally:
        stack.pulumi("stack", "select", "dev", check=True)
    assert ran.code == 0, ran.text
    assert "data-settings" in ran.text
    assert "sluice:destroyData is true" in ran.text
    assert "sluice:protect is false" in ran.text
    assert "Policies" not in make(stack, "preview").text


def test_each_policy_stops_or_warns_of_what_it_is_for(weakened: AwsStack) -> None:
    stack = weakened
    exported = json.loads(stack.pulumi("stack", "export", check=True).text)
    for resource in exported["deployment"]["resources"]:
        if resource["urn"].endswith(f"::{SCHEMA}-token-primary"):
            resource["created"] = "2020-01-01T00:00:00Z"
    stack.pulumi("stack", "import", stdin=json.dumps(exported), check=True)
    stack.is_up()
    stack.declare(CUSTOMERIO, protect=True, destroyData=False)
    say(stack, maxTokenAgeDays=30)

    ran, found = planned(stack)
    assert ran.code != 0
    assert found == {
        ("buckets-are-closed", "sluice-lake"),
        ("buckets-take-tls-only", "sluice-lake"),
        ("access-is-named", "sluice-receiver"),
        ("logs-end", "sluice-receiver"),
        ("data-is-protected", f"{SCHEMA}-database"),
        ("data-is-protected", f"{SCHEMA}-table-data"),
        ("data-is-protected", f"{SCHEMA}-table-sdc_rejected"),
        ("data-is-not-dropped", "sluice-dev"),
        ("tokens-are-rotated", f"{SCHEMA}-token-primary"),
    }
    assert {name for name, _ in found} == {each.name for each in POLICIES} - {"data-settings"}, "of stacks but dev"
    for fault in (
        "it isn't private: its BucketPublicAccessBlock doesn't set blockPublicPolicy",
        "it isn't encrypted",
        "it isn't versioned",
        "a wildcard action",
        "a wildcard resource",
        "billing-database isn't declared any more and would be dropped",
        "billing-table-data isn't declared any more and would be dropped",
    ):
        assert fault in ran.text
    assert "billing-view" not in "".join(line for line in ran.text.splitlines() if "declared any more" in line)


def test_an_up_is_stopped_before_it_makes_what_a_policy_forbids(weakened: AwsStack, at: MotoServer) -> None:
    weakened.declare(CUSTOMERIO, protect=True, destroyData=False)
    refused = held(weakened, "up", "--yes", "--skip-preview")
    assert refused.code != 0
    groups = at.client("logs").describe_log_groups()["logGroups"]
    assert {group.get("retentionInDays") for group in groups} == {30}
