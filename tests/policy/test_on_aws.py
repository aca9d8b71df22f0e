"""The pack on the real engine, for a stack on AWS: it lets the stack through as it is, and stops each thing it is for.

Each test goes on where the last ended; a preview that is stopped leaves nothing behind.
Proof limit: an engine built from Go modules starts the pack by `tools/engine/policy_standin`, not by a language host.
"""

import json
from pathlib import Path
from typing import Any

from policy.pack import POLICIES
from tests.aws.cloud import AwsStack
from tests.aws.moto_server import MotoServer
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


def edit(stack: AwsStack, file: str, before: str, after: str) -> None:
    path = stack.root / "components" / "aws" / file
    text = path.read_text()
    assert text.count(before) == 1, (file, before)
    path.write_text(text.replace(before, after))


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
    say(stack, maxTokenAgeDays=30)
    ran, found = planned(stack, "--expect-no-changes")
    assert (ran.code, found) == (0, set()), ran.text


def test_make_holds_every_stack_but_dev_to_the_policies(stack: AwsStack) -> None:
    file = stack.root / "Pulumi.prod.yaml"
    text = file.read_text().replace("protect: true", "protect: false")
    file.write_text(text.replace("destroyData: false", "destroyData: true"))
    ran = stack.make("preview", STACK="prod")
    assert ran.code == 0, ran.text
    assert "data-settings" in ran.text
    assert "sluice:destroyData is true" in ran.text
    assert "sluice:protect is false" in ran.text
    assert "Policies" not in stack.make("preview").text


def test_each_policy_stops_or_warns_of_what_it_is_for(stack: AwsStack) -> None:
    exported = json.loads(stack.pulumi("stack", "export", check=True).text)
    for resource in exported["deployment"]["resources"]:
        if resource["urn"].endswith(f"::{SCHEMA}-token-primary"):
            resource["created"] = "2020-01-01T00:00:00Z"
    stack.pulumi("stack", "import", stdin=json.dumps(exported), check=True)
    edit(stack, "lake.py", "block_public_policy=True", "block_public_policy=False")
    edit(stack, "lake.py", '"status": "Enabled"}', '"status": "Suspended"}')
    edit(
        stack,
        "lake.py",
        "rules=[\n                aws.s3.BucketServerSideEncryption",
        "rules=[] and [\n                aws.s3.BucketServerSideEncryption",
    )
    edit(stack, "policies.py", '"aws:SecureTransport": "false"', '"aws:SecureTransport": "true"')
    edit(stack, "policies.py", '["ssm:GetParameter"], [parameters_arn]', '["ssm:*"], ["*"]')
    edit(stack, "function.py", "retention_in_days=settings.log_retention_days", "retention_in_days=0")
    edit(stack, "schema.py", "protect=self._settings.protect", "protect=None")
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


def test_an_up_is_stopped_before_it_makes_what_a_policy_forbids(stack: AwsStack, at: MotoServer) -> None:
    refused = held(stack, "up", "--yes", "--skip-preview")
    assert refused.code != 0
    groups = at.client("logs").describe_log_groups()["logGroups"]
    assert {group.get("retentionInDays") for group in groups} == {30}
