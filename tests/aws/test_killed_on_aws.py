"""An `up` that is killed on AWS: the next `make up` finishes its work, whatever AWS has that the state doesn't know."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.cloud import STANDING, AwsStack, needs_standin, registry, token_hash
from tests.aws.moto_server import MotoServer
from tests.support.making import Made, make
from tests.support.stack import CUSTOMERIO

ITEM = "aws:dynamodb/tableItem:TableItem"
NAMED = (
    "aws:glue/catalogDatabase:CatalogDatabase",
    "aws:ssm/parameter:Parameter",
    "aws:cloudwatch/logStream:LogStream",
    "aws:glue/catalogTable:CatalogTable",
    "aws:glue/catalogTableOptimizer:CatalogTableOptimizer",
    "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream",
)
"""What has a name of its own, or a place, beside an endpoint's item: a second one is refused."""


def hashes(at: MotoServer) -> set[str]:
    return {key for key in registry(at) if not key.startswith("used:")}


@contextlib.contextmanager
def killed_after(stack: AwsStack, type_: str) -> Iterator[None]:
    """While inside, the engine is killed once AWS has made one of that type, before the state says so."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SLUICE_TEST_AWS_DIE_AFTER", type_)
        patched.setitem(stack.environment, "SLUICE_TEST_AWS_DIE_AFTER", type_)  # what `make` has
        yield


def made_up(stack: AwsStack) -> Made:
    made = make(stack, "up")
    assert made.code == 0, made.text
    stack.is_up()
    return made


@needs_standin
def test_a_first_up_killed_between_the_item_and_the_state_is_finished_by_make_up(
    stack: AwsStack, at: MotoServer
) -> None:
    stack.declare(CUSTOMERIO)
    with killed_after(stack, ITEM):
        assert stack.pulumi("up", "--yes", "--skip-preview").code < 0
    (left,) = hashes(at)
    stack.pulumi("cancel", "--yes", check=True)
    refused = stack.pulumi("up", "--yes", "--skip-preview")
    assert "TableItem stitch_customerio-endpoint-primary: Cond" in refused.text, "control: the item is in the way"
    made = made_up(stack)
    assert f"revoked {left[:12]}" in made.text
    assert hashes(at) == {token_hash(stack.url())}
    assert stack.up("--expect-no-changes") == []


@needs_standin
def test_a_rotation_killed_between_the_item_and_the_state_is_finished_by_make_up_which_shows_the_endpoint_live(
    stack: AwsStack, at: MotoServer
) -> None:
    stack.bring_to(CUSTOMERIO)
    (old,) = hashes(at)
    stack.declare(STANDING)
    with killed_after(stack, ITEM):
        assert stack.pulumi("up", "--yes", "--skip-preview").code < 0
    assert old in hashes(at), "the sender still posts there"
    made = made_up(stack)
    assert hashes(at) == {token_hash(stack.url())} != {old}
    (line,) = [line for line in made.text.splitlines() if line.startswith("Stitch Customer.io")]
    assert "lambda-url" in line
    assert " live " in line


@needs_standin
@pytest.mark.nightly
def test_an_up_killed_after_anything_that_has_a_name_of_its_own_is_finished_by_make_up(
    stack: AwsStack, at: MotoServer, kappa: dict[str, Any]
) -> None:
    stack.bring_to(STANDING)
    stack.declare(STANDING, kappa)
    for type_ in NAMED:
        with killed_after(stack, type_):
            assert make(stack, "up").code < 0, "a make up goes on where the one before was killed"
    made_up(stack)
    assert stack.up("--expect-no-changes") == []
    assert len(hashes(at)) == 2


def test_make_up_makes_again_whatever_was_just_being_made(
    stack: AwsStack, at: MotoServer, kappa: dict[str, Any]
) -> None:
    """As if an `up` had been killed after each of them, with no state to say that it is there."""
    stack.bring_to(STANDING, kappa)
    kept = stack.root / ".sluice/.pulumi/stacks/sluice/dev.json"  # an import would drop what is pending
    state = json.loads(kept.read_text())
    latest = state["checkpoint"]["latest"]
    kappas = [resource for resource in latest["resources"] if "::kappa" in resource["urn"]]
    latest["resources"] = [resource for resource in latest["resources"] if resource not in kappas]
    latest["pending_operations"] = [
        {"resource": resource, "type": "creating"} for resource in kappas if resource["type"] in (ITEM, *NAMED)
    ]
    assert {each["resource"]["type"] for each in latest["pending_operations"]} == {ITEM, *NAMED}
    kept.write_text(json.dumps(state))
    made_up(stack)
    assert len(hashes(at)) == 2
