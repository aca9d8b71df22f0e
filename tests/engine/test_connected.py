"""`connect: true` on the real engine, with the simulated Customer.io. Each test goes on where the last ended.

That a rotation loses nothing under load is shown elsewhere; here it is what each `up` does, says and leaves alone.
"""

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.customerio import CustomerIO
from tests.customerio.events import EVENTS
from tests.support.secrecy import files_below, places_of
from tests.support.stack import CUSTOMERIO, Ran, Stack, Step, event, post

WEBHOOK = "stitch_customerio-webhook"
STITCH: dict[str, Any] = {**CUSTOMERIO, "connect": True}
OTHERS_URL = "https://stitch.example.com/x"


class World:
    """A stack, a Customer.io workspace, and the credentials that the stack's config holds, encrypted."""

    def __init__(self, stack: Stack, there: CustomerIO) -> None:
        self.stack = stack
        self.there = there
        self.keys = [there.key()]
        self.credentials: dict[str, Any] = {}
        self.secrets: set[str] = set(self.keys)
        # A webhook of the same name that feeds another system: it must never be touched.
        self.others = there.ui.create("Stitch Customer.io", OTHERS_URL, ["email_sent"], disabled=True)
        self.others_at_first = there.webhooks[self.others]

    def store(self, name: str, value: str, schema: str = "stitch_customerio") -> None:
        """As the messages tell a person to."""
        self.secrets.add(value)
        path = f"sluice:credentials.{schema}.{name}"
        self.stack.pulumi("config", "set", "--secret", "--path", path, stdin=value, check=True)
        written = yaml.safe_load((self.stack.root / "Pulumi.dev.yaml").read_text())
        self.credentials = written["config"]["sluice:credentials"]

    def declare(self, *integrations: dict[str, Any], **config: Any) -> None:
        given: dict[str, Any] = {"customerioApi": self.there.api_url, "credentials": self.credentials, **config}
        self.stack.declare(*integrations, **{key: value for key, value in given.items() if value})

    @property
    def ours(self) -> Any:
        """The one webhook that isn't the other system's."""
        (webhook,) = [found for found in self.there.webhooks.values() if found.id != self.others]
        return webhook

    def fails(self, command: str = "up") -> str:
        flags = ("--yes", "--skip-preview") if command == "up" else ("--diff",)
        ran: Ran = self.stack.pulumi(command, *flags)
        assert ran.code != 0, ran.text
        assert "Traceback" not in ran.text
        assert ".py" not in ran.text, ran.text
        return ran.text


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    with CustomerIO() as there:
        made = World(stack, there)
        made.declare(CUSTOMERIO)
        made.store("app_api_key", made.keys[0])
        yield made
        assert there.webhooks[made.others] == made.others_at_first


def done(steps: list[Step]) -> list[tuple[str, str]]:
    return [(step.op, step.name.removeprefix("stitch_customerio-")) for step in steps]


def test_the_first_up_registers_the_webhook_after_its_endpoint_is_live(world: World) -> None:
    world.declare(STITCH)
    steps = done(world.stack.up())
    assert steps.index(("create", "endpoint-primary")) < steps.index(("create", "webhook"))
    ours = world.ours
    assert (ours.name, ours.endpoint) == ("Stitch Customer.io", world.stack.url())
    assert set(ours.events) == set(EVENTS)
    assert not (ours.disabled or ours.full_resolution or ours.with_content)


def test_what_happens_there_lands_here(world: World) -> None:
    world.there.sender.send(20)
    world.there.sender.drain()
    assert [attempt.status for attempt in world.there.sender.attempts if attempt.webhook_id == world.ours.id] == [
        200
    ] * 20


def test_a_second_up_does_nothing_and_asks_customerio_nothing(world: World) -> None:
    before = len(world.there.api.calls)
    assert world.stack.up("--expect-no-changes") == []
    assert len(world.there.api.calls) == before


def test_a_preview_names_the_events_that_come_and_go(world: World) -> None:
    world.declare({**STITCH, "events": [*(name for name in EVENTS if name != "sms_replied")]})
    (step,) = world.stack.preview()
    assert (step.name, step.op, step.changed) == (WEBHOOK, "update", [f"events[{EVENTS.index('sms_replied')}]"])
    assert '"sms_replied"' in world.stack.said[-1]
    assert "events to remove: sms_replied" in world.stack.said[-1]
    world.stack.up()
    assert set(world.ours.events) == {*EVENTS} - {"sms_replied"}
    world.declare({**STITCH, "events": ["email_*", "sms_replied"]})
    assert [step.name for step in world.stack.up()] == [WEBHOOK]
    assert "events to add: sms_replied; to remove: customer_subscribed" in world.stack.said[-1]
    assert set(world.ours.events) == {*(name for name in EVENTS if name.startswith("email_")), "sms_replied"}


def test_what_was_changed_in_the_ui_shows_in_refresh_and_up_repairs_it(world: World) -> None:
    before = world.ours
    changes = {"name": "mine now", "events": ["email_sent", "push_sent"], "endpoint": "https://elsewhere.example/x"}
    world.there.ui.change(before.id, **changes, disabled=True, full_resolution=True, with_content=True)
    (refreshed,) = [step for step in world.stack.refresh() if step.changed]
    assert refreshed.name == WEBHOOK
    assert {"name", "endpoint", "disabled", "fullResolution", "withContent"} <= {*refreshed.changed}
    assert "elsewhere.example" not in world.stack.said[-1]
    world.stack.preview()
    shown = world.stack.said[-1]
    assert '"push_sent"' in shown
    assert "[secret] => [secret]" in shown
    assert done(world.stack.up()) == [("update", "webhook")]
    assert set(world.ours.events) == set(before.events)
    assert world.ours == before.__class__(**{**before.__dict__, "events": world.ours.events})
    world.stack.up("--expect-no-changes")


def test_one_that_was_deleted_in_the_ui_is_made_again(world: World) -> None:
    old = world.ours.id
    world.there.ui.delete(old)
    world.stack.refresh()
    assert done(world.stack.up()) == [("create", "webhook")]
    assert world.ours.id != old


def test_one_that_was_deleted_meanwhile_is_made_again_by_the_update_that_finds_it_gone(world: World) -> None:
    old = world.ours.id
    world.there.ui.delete(old)
    world.declare(STITCH)
    assert done(world.stack.up()) == [("update", "webhook")]
    assert world.ours.id != old
    assert "it was made again" in world.stack.said[-1]
    world.stack.refresh()
    assert f'"id":"stitch_customerio/{world.ours.id}"' in world.stack.state_file().replace(" ", "")
    world.stack.up("--expect-no-changes")


def test_a_rotation_moves_the_webhook_between_the_new_endpoint_and_the_end_of_the_old(world: World) -> None:
    old, webhook_id = world.stack.url(), world.ours.id
    world.declare({**STITCH, "tokens": {"primary": 2}})
    planned = {(step.name, step.op): step.changed for step in world.stack.preview()}
    assert planned[(WEBHOOK, "update")] == ["endpoint"]
    assert "paste" not in world.stack.said[-1]
    order = [
        ("create-replacement", "token-primary"),
        ("create-replacement", "endpoint-primary"),
        ("update", "webhook"),
        ("delete-replaced", "endpoint-primary"),
        ("delete-replaced", "token-primary"),
    ]
    assert [step for step in done(world.stack.up()) if step in order] == order
    assert world.ours.id == webhook_id
    assert world.ours.endpoint == world.stack.url() != old
    assert post(old, event("by the old URL")) == 401
    world.there.sender.send(5)
    world.there.sender.drain()
    assert world.there.sender.attempts[-1].status == 200


def test_the_other_slot_takes_over_and_the_first_stays_live(world: World) -> None:
    primary = world.stack.url()
    world.declare({**STITCH, "tokens": {"primary": 2, "secondary": 1}, "active": "secondary"})
    steps = done(world.stack.up())
    assert steps.index(("create", "endpoint-secondary")) < steps.index(("update", "webhook"))
    assert world.ours.endpoint == world.stack.url(slot="secondary")
    assert post(primary, event("by the first URL")) == 200
    world.declare({**STITCH, "tokens": {"primary": 2}})
    steps = done(world.stack.up())
    assert steps.index(("update", "webhook")) < steps.index(("delete", "endpoint-secondary"))
    assert world.ours.endpoint == primary


def test_when_customerio_is_down_the_old_url_goes_on_working_and_the_next_up_finishes(world: World) -> None:
    old = world.stack.url()
    fingerprint = world.stack.outputs()["integrations"]["stitch_customerio"]["slots"]["primary"]["fingerprint"]
    world.declare({**STITCH, "tokens": {"primary": 3}})
    world.there.api.fail(status=503)
    text = world.fails()
    assert "Customer.io's API" in text
    assert "old URL" in text
    assert world.ours.endpoint == old
    assert post(old, event("while it is down")) == 200
    status = world.stack.make("status")
    assert status.code != 0
    assert f"the old primary URL of stitch_customerio, {fingerprint}, still works" in status.text
    world.there.api.heal()
    assert done(world.stack.up()) == [
        ("update", "webhook"),
        ("delete-replaced", "endpoint-primary"),
        ("delete-replaced", "token-primary"),
    ]
    assert post(old, event("afterwards")) == 401
    status = world.stack.make("status")
    assert (status.code, "connected" in status.text) == (0, True), status.text


def test_a_leaked_url_can_be_revoked_while_customerio_is_down(world: World) -> None:
    leaked = world.stack.url()
    world.declare({**STITCH, "tokens": {"primary": 4}}, drain=0)
    world.there.api.fail(status=503)
    world.stack.up(*(f"--target=**stitch_customerio-{part}-primary" for part in ("token", "endpoint")))
    assert post(leaked, event("by somebody else")) == 401
    assert world.ours.endpoint == leaked
    world.there.api.heal()
    world.declare({**STITCH, "tokens": {"primary": 4}})
    assert done(world.stack.up()) == [("update", "webhook")]
    assert world.ours.endpoint == world.stack.url()


@pytest.mark.parametrize("trouble", ["withdrawn key", "no scope", "daily quota"])
def test_what_customerio_refuses_is_told_with_what_to_do(world: World, trouble: str) -> None:
    world.declare({**STITCH, "tokens": {"primary": 4}, "withContent": True})
    if trouble == "daily quota":
        world.there.api.daily_quota = True
        says = ["daily quota"]
    else:
        key = world.there.key(scope="transactional" if trouble == "no scope" else "reporting_webhooks")
        if trouble == "withdrawn key":
            world.there.revoke(key)
        world.keys.append(key)
        world.store("app_api_key", key)
        says = ["(403)", "scope"] if trouble == "no scope" else ["(401)", "App API key", "region"]
    try:
        text = world.fails()
    finally:
        world.there.api.heal()
        world.store("app_api_key", world.keys[0])
        world.declare({**STITCH, "tokens": {"primary": 4}})
    assert all(word in text for word in says), text
    assert not world.ours.with_content
    world.stack.up()


def test_a_rate_limit_is_waited_for(world: World) -> None:
    world.there.api.fail(1, 429, retry_after=1)
    world.declare({**STITCH, "tokens": {"primary": 4}, "fullResolution": True})
    world.stack.up()
    assert world.ours.full_resolution


@pytest.mark.parametrize("command", ["preview", "up"])
def test_what_is_in_use_cant_become_signed_before_its_key_is_known(world: World, command: str) -> None:
    world.declare({**STITCH, "tokens": {"primary": 4}, "fullResolution": True, "signed": True})
    text = world.fails(command)
    assert "pulumi config set --stack dev --secret --path 'sluice:credentials.stitch_customerio.signing_key'" in text
    assert not world.ours.disabled
    world.there.sender.send(1)
    world.there.sender.drain()
    assert world.there.sender.attempts[-1].status == 200


def test_with_its_key_it_becomes_signed_and_the_key_can_change_without_a_refusal(world: World) -> None:
    first = world.there.ui.signing_key(world.ours.id)
    world.store("signing_key", first)
    signed = {**STITCH, "tokens": {"primary": 4}, "signed": True}
    world.declare(signed)
    world.stack.up()
    assert post(world.stack.url(), event("unsigned")) == 401
    second = "another-signing-key-that-nobody-may-see"
    world.store("signing_key", second)
    world.store("previous_signing_key", first)
    world.declare(signed)
    world.stack.up()
    world.there.sender.send(1)
    world.there.sender.drain()
    world.there.ui.change_signing_key(world.ours.id, second)
    world.there.sender.send(1)
    world.there.sender.drain()
    assert [attempt.status for attempt in world.there.sender.attempts[-2:]] == [200, 200]
    assert world.there.sender.refusals == []
    del (
        world.credentials["stitch_customerio"]["signing_key"],
        world.credentials["stitch_customerio"]["previous_signing_key"],
    )
    world.declare({**STITCH, "tokens": {"primary": 4}})
    world.stack.up()


SIGNED = {**STITCH, "name": "Signed", "signed": True}


def test_a_signed_webhook_without_its_key_is_made_disabled_and_enabled_once_it_is_stored(world: World) -> None:
    world.store("app_api_key", world.keys[0], "signed")
    stitch = {**STITCH, "tokens": {"primary": 4}}
    world.declare(stitch, SIGNED)
    world.stack.up()
    (made,) = [webhook for webhook in world.there.webhooks.values() if webhook.name == "Signed"]
    assert made.disabled
    command = "pulumi config set --stack dev --secret --path 'sluice:credentials.signed.signing_key'"
    assert command in world.stack.said[-1]
    assert "Reporting Webhooks" in world.stack.said[-1]
    status = world.stack.make("status")
    assert status.code != 0
    assert command in status.text
    assert post(world.stack.url("signed"), event("unsigned")) == 401
    world.store("signing_key", world.there.ui.signing_key(made.id), "signed")
    world.declare(stitch, SIGNED)
    assert {(step.name, step.op) for step in world.stack.up()} == {
        ("signed-endpoint-primary", "update"),
        ("signed-webhook", "update"),
    }
    assert command not in world.stack.said[-1]
    assert not world.there.webhooks[made.id].disabled
    world.there.sender.send(3)
    world.there.sender.drain()
    assert {a.status for a in world.there.sender.attempts if a.webhook_id == made.id} == {200}
    assert post(world.stack.url("signed"), event("still unsigned")) == 401
    assert world.stack.make("status").code == 0


def test_the_webhook_goes_with_its_integration(world: World) -> None:
    del world.credentials["signed"]
    world.declare({**STITCH, "tokens": {"primary": 4}})
    steps = [step.name for step in world.stack.up()]
    assert steps.index("signed-webhook") < steps.index("signed-endpoint-primary")
    assert world.ours.name == "Stitch Customer.io"


def test_connect_false_takes_the_webhook_away_and_bumping_then_warns_in_the_preview(world: World) -> None:
    world.declare({**CUSTOMERIO, "tokens": {"primary": 4}})
    world.stack.up()
    assert list(world.there.webhooks) == [world.others]
    world.declare({**CUSTOMERIO, "tokens": {"primary": 5}})
    world.stack.preview()
    shown = world.stack.said[-1]
    for word in ("warning", "paste the new URL", "waits an hour", "held back", "secondary: 1", "connect: true"):
        assert word in shown, word
    world.declare({**CUSTOMERIO, "tokens": {"primary": 4, "secondary": 1}})
    world.stack.up()
    world.declare({**CUSTOMERIO, "tokens": {"primary": 4, "secondary": 2}})
    world.stack.preview()
    assert "paste" not in world.stack.said[-1], "the sender doesn't post to that slot"


def test_a_webhook_that_was_made_by_hand_is_taken_over_by_its_url(world: World) -> None:
    by_hand = world.there.ui.create("by hand", world.stack.url(), ["email_sent"])
    world.declare({**STITCH, "tokens": {"primary": 4, "secondary": 1}})
    world.stack.up()
    assert world.ours.id == by_hand
    assert set(world.ours.events) == set(EVENTS)
    assert f"took over webhook {by_hand}" in world.stack.said[-1]


def test_connecting_and_rotating_at_once_is_warned_of(world: World) -> None:
    world.declare({**CUSTOMERIO, "tokens": {"primary": 4, "secondary": 1}})
    world.stack.up()
    world.declare({**STITCH, "tokens": {"primary": 5, "secondary": 1}})
    world.stack.preview()
    assert "better connect first" in world.stack.said[-1]


def test_an_existing_webhook_is_imported_and_moved_here(world: World) -> None:
    theirs = world.there.ui.create("feeds Stitch", "https://stitch.example.com/y", ["email_sent"])
    world.declare({**CUSTOMERIO, "tokens": {"primary": 4, "secondary": 1}})
    imported = world.stack.pulumi(
        "import", "sluice:index:ReportingWebhook", WEBHOOK, f"stitch_customerio/{theirs}", "--yes",
        "--generate-code=false",
    )  # fmt: skip
    assert imported.code == 0, imported.text
    world.declare({**STITCH, "tokens": {"primary": 4, "secondary": 1}})
    planned = {(step.name, step.op) for step in world.stack.preview()}
    assert planned == {(WEBHOOK, "update"), ("stitch_customerio-endpoint-primary", "update"),
                       ("stitch_customerio-endpoint-secondary", "update")}  # fmt: skip
    world.stack.up()
    assert (world.ours.id, world.ours.endpoint) == (theirs, world.stack.url())
    world.stack.up("--expect-no-changes")
    missing = world.stack.pulumi("import", "sluice:index:ReportingWebhook", "x", "stitch_customerio/1", "--yes")
    assert missing.code != 0
    assert "no webhook 1" in missing.text


BOTH = {**STITCH, "tokens": {"primary": 4, "secondary": 1}}


def test_a_rotation_that_its_key_no_longer_allows_is_finished_with_another(world: World) -> None:
    old = world.stack.url()
    world.there.revoke(world.keys[0])
    world.declare({**BOTH, "tokens": {"primary": 5, "secondary": 1}})
    assert "(401)" in world.fails()
    assert post(old, event("while the key is withdrawn")) == 200
    assert "still works" in world.stack.make("status").text
    world.keys.append(world.there.key())
    world.store("app_api_key", world.keys[-1])
    world.declare({**BOTH, "tokens": {"primary": 5, "secondary": 1}})
    world.stack.up()
    assert world.ours.endpoint == world.stack.url() != old
    assert post(old, event("afterwards")) == 401


def test_a_rotation_that_is_killed_while_customerio_is_asked_is_finished_by_the_next_up(world: World) -> None:
    old, before = world.stack.url(), len(world.there.api.calls)
    world.declare({**BOTH, "tokens": {"primary": 6, "secondary": 1}})
    world.there.api.delay_s = 15
    running = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
        cwd=world.stack.root, env=world.stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(world.there.api.calls) == before:
        assert running.poll() is None, "it ended before Customer.io was asked"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    running.wait()
    world.there.api.heal()
    assert post(old, event("after the kill")) == 200
    status = world.stack.make("status")
    assert status.code != 0
    assert f"updating {WEBHOOK}: run make up" in status.text
    made = world.stack.make("up")
    assert made.code == 0, made.text
    assert world.ours.endpoint == world.stack.url() != old
    assert post(old, event("afterwards")) == 401
    assert world.stack.make("status").code == 0


def test_a_switch_of_slots_that_failed_is_named_by_status_and_finished_by_the_next_up(world: World) -> None:
    both = {**BOTH, "tokens": {"primary": 6, "secondary": 1}}
    world.declare({**both, "active": "secondary"})
    world.there.api.fail(status=503)
    assert "Customer.io's API" in world.fails()
    world.there.api.heal()
    status = world.stack.make("status")
    assert status.code != 0
    assert "the last update failed" in status.text
    world.stack.up()
    assert world.ours.endpoint == world.stack.url(slot="secondary")
    assert world.stack.make("status").code == 0


def test_a_preview_of_another_public_address_shows_that_the_webhook_moves(world: World) -> None:
    both = {**BOTH, "tokens": {"primary": 6, "secondary": 1}, "active": "secondary"}
    world.declare(both, publicUrl="https://hooks.example.com")
    assert {step.name for step in world.stack.preview()} == {"receiver", WEBHOOK}
    world.declare(both)


def test_destroy_takes_our_webhook_and_no_other(world: World) -> None:
    world.stack.destroy()
    assert list(world.there.webhooks) == [world.others]


def everything(world: World) -> dict[str, bytes]:
    """What the commands printed, and the files that the stack made, but those that hold the daemons' own secrets."""
    said = {f"output {number}": text.encode() for number, text in enumerate(world.stack.said)}
    files = files_below(world.stack.root / ".sluice", but=("postgres", "postgres.json"))
    return {**said, **{name: text for name, text in files.items() if "registry.db" not in name}}


def test_no_key_and_no_endpoint_was_shown_or_is_in_a_file(world: World) -> None:
    texts = everything(world)
    assert any("reportingwebhook" in text.decode(errors="replace").casefold() for text in texts.values())
    for secret in world.secrets:
        assert places_of(secret, texts) == []
    for start in (b"slc_", b"elsewhere.example", b"stitch.example.com/y"):
        assert [name for name, text in texts.items() if start in text] == []


def test_control_a_planted_key_is_found(world: World) -> None:
    world.stack.said.append(f"it is {world.keys[0]}")
    place = f"output {len(world.stack.said) - 1}"
    assert places_of(world.keys[0], everything(world)) == [place]
    world.stack.said.pop()
