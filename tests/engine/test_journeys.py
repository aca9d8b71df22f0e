"""The three journeys on the real engine: declaration, event, rotation. Everything is started as a user starts it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import CUSTOMERIO, Stack, event, post
from tests.support.waiting import until

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture
def stack(real_stack: Stack) -> Stack:
    return real_stack


def event_ids(stack: Stack) -> set[str]:
    return {event_id for (event_id,) in stack.sql("SELECT event_id FROM stitch_customerio.data")}


def test_the_first_up_makes_each_part_of_the_integration_once(stack: Stack) -> None:
    stack.declare(CUSTOMERIO)
    made = {step.name: (step.op, step.type) for step in stack.up()}
    assert made == {
        "identity": ("create", "sluice:index:StackIdentity"),
        "postgres": ("create", "sluice:index:PostgresServer"),
        "receiver": ("create", "sluice:index:Receiver"),
        "stitch_customerio": ("create", "sluice:index:Integration"),
        "stitch_customerio-schema": ("create", "sluice:index:PostgresSchema"),
        "stitch_customerio-token-primary": ("create", "random:index/randomPassword:RandomPassword"),
        "stitch_customerio-endpoint-primary": ("create", "sluice:index:Endpoint"),
    }


def test_customerios_deliveries_land_as_they_were_sent_and_once(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
    bodies = [line for file in sorted(SAMPLES.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    url = stack.url()
    assert [post(url, body) for body in bodies + bodies] == [200] * 2 * len(bodies)
    sent = {json.loads(body)["event_id"]: json.loads(body) for body in bodies}
    until(lambda: event_ids(stack) >= set(sent), what="every event is loaded")
    landed = stack.sql("SELECT event_id, payload FROM stitch_customerio.data")
    assert (dict(landed), len(landed)) == (sent, len(bodies))


def test_a_second_up_with_nothing_changed_does_nothing(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
    assert stack.up("--expect-no-changes") == []


def test_the_preview_of_a_rotation_shows_replacements_and_an_unknown_fingerprint(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}})
    planned = {(step.name, step.op): step.changed for step in stack.preview()}
    assert planned[("stitch_customerio-token-primary", "replace")] == ["keepers.version"]
    assert planned[("stitch_customerio-endpoint-primary", "replace")] == ["hash", "version"]
    assert {name for name, _ in planned} == {
        "stitch_customerio-token-primary",
        "stitch_customerio-endpoint-primary",
    }
    shown = stack.said[-1]
    assert "+-" in shown
    (hash_line,) = [line.strip() for line in shown.splitlines() if line.strip(" ~").startswith("hash")]
    assert re.fullmatch(r'~ hash *: "[0-9a-f]{64}" => \[unknown]', hash_line)
    # The engine leaves an output that is unknown out of what it prints; one that it took for a secret it would print.
    assert not [line for line in shown.splitlines() if "fingerprint" in line]
    planned_slot = planned_outputs(stack)["integrations"]["stitch_customerio"]["slots"]["primary"]
    assert planned_slot["fingerprint"] == UNKNOWN
    assert planned_slot["url"]["ciphertext"] == "[secret]"


UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # what Pulumi writes for a text that isn't known yet


def planned_outputs(stack: Stack) -> dict[str, Any]:
    """The stack's outputs as the last preview foresaw them."""
    events = [json.loads(line) for line in (stack.root / "events.json").read_text().splitlines()]
    finished = [event["resOutputsEvent"]["metadata"] for event in events if "resOutputsEvent" in event]
    *_, stack_itself = [metadata for metadata in finished if metadata["type"] == "pulumi:pulumi:Stack"]
    outputs: dict[str, Any] = stack_itself["new"]["outputs"]
    return outputs


def test_a_rotation_creates_before_it_deletes_and_kills_the_old_url(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO)
    old = stack.url()
    assert post(old, event("before-the-rotation")) == 200
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}})
    steps = [(step.op, step.name.removeprefix("stitch_customerio-")) for step in stack.up()]
    order = [
        ("create-replacement", "token-primary"),
        ("create-replacement", "endpoint-primary"),
        ("delete-replaced", "endpoint-primary"),
        ("delete-replaced", "token-primary"),
    ]
    assert [step for step in steps if step in order] == order
    new = stack.url()
    assert new != old
    assert post(old, event("by-the-old-url")) == 401
    assert post(new, event("by-the-new-url")) == 200
    taken = {"before-the-rotation", "by-the-new-url"}
    until(lambda: event_ids(stack) >= taken, what="both are loaded")
    assert "by-the-old-url" not in event_ids(stack)
