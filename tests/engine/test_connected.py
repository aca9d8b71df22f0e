"""`connect: true` on the real engine, with the simulated Customer.io: what an `up` does, in which order.

What the webhook's resource does, says and refuses by itself is shown in tests/provider (test_reporting_webhook,
test_customerio, test_customerio_remarks), what a declaration asks of it in tests/unit/test_program.py, and that a
rotation loses nothing under load in test_rotation_under_load.py.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from provider import customerio, endpoint
from tests.customerio import CustomerIO
from tests.customerio.events import EVENTS
from tests.customerio.workspace import Webhook
from tests.support.making import make
from tests.support.secrecy import files_below, places_of
from tests.support.stack import CUSTOMERIO, Stack, event, post
from tests.support.waiting import until

WEBHOOK = "stitch_customerio-webhook"
STITCH: dict[str, Any] = {**CUSTOMERIO, "connect": True}
SIGNED: dict[str, Any] = {**STITCH, "name": "Signed", "signed": True}
HOW_TO_STORE_ITS_KEY = "pulumi config set --stack dev --secret --path 'sluice:credentials.{}.signing_key'"
ANOTHER_SYSTEM = "https://stitch.example.com"
Done = list[tuple[str, str]]
"""What an `up` did, in order: (op, name), where the names of Stitch Customer.io's are without their schema."""


class World:
    """A stack, a Customer.io workspace, and what is declared: two connected integrations, one of them signed.

    `version`: of Stitch Customer.io's primary token, which most tests leave as another than they found it.
    """

    def __init__(self, stack: Stack, there: CustomerIO) -> None:
        self.stack = stack
        self.there = there
        self.version = 1
        self.secrets: set[str] = set()
        self._is_at: dict[str, Any] | None = None
        # A webhook of the same name that feeds another system: it must never be touched.
        self.others = there.ui.create("Stitch Customer.io", f"{ANOTHER_SYSTEM}/x", ["email_sent"], disabled=True)
        self.others_at_first = there.webhooks[self.others]
        self.declare(CUSTOMERIO)
        key = there.key()
        for schema in ("stitch_customerio", "signed"):
            self.store("app_api_key", key, schema)

    def store(self, name: str, value: str, schema: str) -> None:
        """As the messages tell a person to."""
        self.secrets.add(value)
        path = f"sluice:credentials.{schema}.{name}"
        self.stack.pulumi("config", "set", "--secret", "--path", path, stdin=value, check=True)

    def declare(self, stitch: dict[str, Any] = STITCH, *, secondary: int = 0, **config: Any) -> None:
        """Stitch Customer.io as given, with the token's version; `secondary`: that of the other slot, if there is."""
        self._is_at = None
        tokens = {"primary": self.version, **({"secondary": secondary} if secondary else {})}
        self.stack.declare({**stitch, "tokens": tokens}, SIGNED, customerioApi=self.there.api_url, **config)

    def up(self, stitch: dict[str, Any] = STITCH, *, secondary: int = 0) -> Done:
        self.declare(stitch, secondary=secondary)
        steps = self.stack.up()
        self._is_at = self.stack.config
        return [(step.op, step.name.removeprefix("stitch_customerio-")) for step in steps]

    def begin(self, stitch: dict[str, Any] = STITCH) -> None:
        """Brings the stack to what is declared; nothing to do where the test before has left it so."""
        self.there.api.heal()
        before = self._is_at
        self.declare(stitch)
        if before == self.stack.config:
            self._is_at = before
        else:
            self.up(stitch)

    def rotate(self, **config: Any) -> None:
        """Declares the next version of the primary token."""
        self.version += 1
        self.declare(**config)

    def fails(self) -> str:
        """What an `up` said that failed, as it must, with a sentence for a person."""
        ran = self.stack.pulumi("up", "--yes", "--skip-preview")
        assert ran.code != 0, ran.text
        assert "Traceback" not in ran.text
        assert ".py" not in ran.text, ran.text
        return ran.text

    @property
    def ours(self) -> Webhook:
        """The webhook of Stitch Customer.io."""
        (webhook,) = [its for its in self.there.webhooks.values() if its.id != self.others and its.name != "Signed"]
        return webhook

    @property
    def signed(self) -> Webhook:
        (webhook,) = [its for its in self.there.webhooks.values() if its.name == "Signed"]
        return webhook

    def statuses(self, webhook: Webhook, count: int) -> list[int | None]:
        """What `count` events that happen now are answered when the webhook sends them."""
        before = len(self.there.sender.attempts)
        self.there.sender.send(count)
        self.there.sender.drain()
        return [its.status for its in self.there.sender.attempts[before:] if its.webhook_id == webhook.id]


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    with CustomerIO() as there:
        made = World(stack, there)
        yield made
        assert there.webhooks[made.others] == made.others_at_first


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One test waits as long as the product does, and tests/provider/test_customerio.py has the real back-off."""
    monkeypatch.setattr(customerio, "BACKOFF_S", 0.001)
    monkeypatch.setattr(endpoint, "UNDER_WAY_S", 0.2)
    monkeypatch.setattr(endpoint, "QUIET_S", 0.2)


def test_the_first_up_registers_the_webhook_after_its_endpoint_is_live(world: World) -> None:
    steps = world.up()
    assert steps.index(("create", "endpoint-primary")) < steps.index(("create", "webhook"))
    ours = world.ours
    assert (ours.name, ours.endpoint) == ("Stitch Customer.io", world.stack.url())
    assert set(ours.events) == set(EVENTS)
    assert not (ours.disabled or ours.full_resolution or ours.with_content)


def test_what_happens_there_lands_here(world: World) -> None:
    world.begin()
    assert world.statuses(world.ours, 20) == [200] * 20


def test_a_signed_webhook_without_its_key_is_made_disabled_and_enabled_once_it_is_stored(world: World) -> None:
    world.begin()
    assert world.signed.disabled
    command = HOW_TO_STORE_ITS_KEY.format("signed")
    status = make(world.stack, "status")
    assert status.code == 1
    assert command in status.text
    assert post(world.stack.url("signed"), event("unsigned")) == 401
    world.store("signing_key", world.there.ui.signing_key(world.signed.id), "signed")
    assert set(world.up()) == {("update", "signed-endpoint-primary"), ("update", "signed-webhook")}
    assert command not in world.stack.said[-1]
    assert not world.signed.disabled
    assert world.statuses(world.signed, 3) == [200] * 3
    assert post(world.stack.url("signed"), event("still unsigned")) == 401
    assert make(world.stack, "status").code == 0


def test_what_was_changed_in_the_ui_shows_in_refresh_and_up_repairs_it(world: World) -> None:
    world.begin()
    before = world.ours
    changes = {"name": "mine now", "events": ["email_sent", "push_sent"], "endpoint": "https://elsewhere.example/x"}
    world.there.ui.change(before.id, **changes, disabled=True, full_resolution=True, with_content=True)
    (refreshed,) = [step for step in world.stack.refresh() if step.changed]
    assert refreshed.name == WEBHOOK
    assert {"name", "endpoint", "disabled", "fullResolution", "withContent"} <= {*refreshed.changed}
    assert "elsewhere.example" not in world.stack.said[-1]
    world.declare({**STITCH, "events": [name for name in EVENTS if name != "push_sent"]})
    world.stack.preview()
    shown = world.stack.said[-1]
    assert '"push_sent"' in shown, "an event that goes is named by its place in the list of before"
    assert "to remove: push_sent" in shown
    assert "[secret] => [secret]" in shown
    assert world.up() == [("update", "webhook")]
    assert set(world.ours.events) == set(before.events)
    assert replace(world.ours, events=before.events) == before


def test_a_second_up_does_nothing_and_asks_customerio_nothing(world: World) -> None:
    world.begin()
    before = len(world.there.api.calls)
    assert world.stack.up("--expect-no-changes") == []
    assert len(world.there.api.calls) == before


def test_a_rotation_moves_the_webhook_between_the_new_endpoint_and_the_end_of_the_old(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # once with the waits of the product
    world.begin()
    old, webhook_id = world.stack.url(), world.ours.id
    world.rotate()
    order = [
        ("create-replacement", "token-primary"),
        ("create-replacement", "endpoint-primary"),
        ("update", "webhook"),
        ("delete-replaced", "endpoint-primary"),
        ("delete-replaced", "token-primary"),
    ]
    assert [step for step in world.up() if step in order] == order
    assert "paste" not in world.stack.said[-1]
    assert world.ours.id == webhook_id
    assert world.ours.endpoint == world.stack.url() != old
    assert post(old, event("by the old URL")) == 401
    assert world.statuses(world.ours, 5) == [200] * 5


def test_the_other_slot_takes_over_and_the_first_stays_live(world: World) -> None:
    world.begin()
    primary = world.stack.url()
    steps = world.up({**STITCH, "active": "secondary"}, secondary=1)
    assert steps.index(("create", "endpoint-secondary")) < steps.index(("update", "webhook"))
    assert world.ours.endpoint == world.stack.url(slot="secondary")
    assert post(primary, event("by the first URL")) == 200
    steps = world.up()
    assert steps.index(("update", "webhook")) < steps.index(("delete", "endpoint-secondary"))
    assert world.ours.endpoint == primary


def test_when_customerio_is_down_the_old_url_goes_on_working_and_the_next_up_finishes(world: World) -> None:
    world.begin()
    old = world.stack.url()
    fingerprint = world.stack.outputs()["integrations"]["stitch_customerio"]["slots"]["primary"]["fingerprint"]
    world.rotate()
    world.there.api.fail(status=503)
    text = world.fails()
    assert "Customer.io's API" in text
    assert "old URL" in text
    assert world.ours.endpoint == old
    assert post(old, event("while it is down")) == 200
    status = make(world.stack, "status")
    assert status.code == 1
    assert f"the old primary URL of stitch_customerio, {fingerprint}, still works" in status.text
    world.there.api.heal()
    assert world.up() == [
        ("update", "webhook"),
        ("delete-replaced", "endpoint-primary"),
        ("delete-replaced", "token-primary"),
    ]
    assert world.ours.endpoint == world.stack.url() != old
    assert post(old, event("afterwards")) == 401
    status = make(world.stack, "status")
    assert (status.code, "connected" in status.text) == (0, True), status.text


def test_a_leaked_url_can_be_revoked_while_customerio_is_down(world: World) -> None:
    world.begin()
    leaked = world.stack.url()
    world.rotate(drain=0)
    world.there.api.fail(status=503)
    world.stack.up(*(f"--target=**stitch_customerio-{part}-primary" for part in ("token", "endpoint")))
    assert post(leaked, event("by somebody else")) == 401
    assert world.ours.endpoint == leaked
    world.there.api.heal()
    assert world.up() == [("update", "webhook")]
    assert world.ours.endpoint == world.stack.url()


def test_a_rotation_that_is_killed_while_customerio_is_asked_is_finished_by_the_next_up(world: World) -> None:
    world.begin()
    old, before = world.stack.url(), len(world.there.api.calls)
    world.rotate()
    world.there.api.delay_s = 15
    running = subprocess.Popen(
        world.stack.command("up", "--yes", "--skip-preview"), cwd=world.stack.root, env=world.stack.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: len(world.there.api.calls) > before or running.poll() is not None, 60, what="it asks Customer.io")
        assert running.poll() is None, "it ended before Customer.io was asked"
    finally:
        running.kill()
        running.wait()
    world.there.api.heal()
    assert post(old, event("after the kill")) == 200
    status = make(world.stack, "status")
    assert status.code == 1
    assert f"updating {WEBHOOK}: run make up" in status.text
    made = make(world.stack, "up")
    assert made.code == 0, made.text
    assert world.ours.endpoint == world.stack.url() != old
    assert post(old, event("afterwards")) == 401
    assert make(world.stack, "status").code == 0


def test_what_is_in_use_cant_become_signed_before_its_key_is_known(world: World) -> None:
    world.begin()
    world.declare({**STITCH, "fullResolution": True, "signed": True})
    assert HOW_TO_STORE_ITS_KEY.format("stitch_customerio") in world.fails()
    assert not world.ours.disabled
    assert not world.ours.full_resolution
    assert world.statuses(world.ours, 1) == [200]
    status = make(world.stack, "status")
    assert status.code == 1
    assert "the last update failed" in status.text


def test_connect_false_takes_the_webhook_away_and_an_existing_one_is_imported_and_moved_here(world: World) -> None:
    world.begin(CUSTOMERIO)
    assert sorted(world.there.webhooks) == sorted([world.others, world.signed.id])
    theirs = world.there.ui.create("feeds Stitch", f"{ANOTHER_SYSTEM}/y", ["email_sent"], disabled=True)
    imported = world.stack.pulumi(
        "import", "sluice:index:ReportingWebhook", WEBHOOK, f"stitch_customerio/{theirs}", "--yes",
        "--generate-code=false",
    )  # fmt: skip
    assert imported.code == 0, imported.text
    assert set(world.up()) == {("update", "webhook"), ("update", "endpoint-primary")}
    assert (world.ours.id, world.ours.endpoint) == (theirs, world.stack.url())


def test_destroy_takes_our_webhooks_before_their_endpoints_and_no_other(world: World) -> None:
    world.begin()
    steps = [step.name for step in world.stack.destroy()]
    for schema in ("stitch_customerio", "signed"):
        assert steps.index(f"{schema}-webhook") < steps.index(f"{schema}-endpoint-primary")
    assert list(world.there.webhooks) == [world.others]


def everything(world: World) -> dict[str, bytes]:
    """What the commands printed, and the files that the stack made, but those that hold the daemons' own secrets."""
    said = {f"output {number}": text.encode() for number, text in enumerate(world.stack.said)}
    files = files_below(world.stack.root / ".sluice", but=("postgres", "postgres.json"))
    return {**said, **{name: text for name, text in files.items() if "registry.db" not in name}}


def test_no_key_and_no_endpoint_was_shown_or_is_in_a_file(world: World) -> None:
    texts = everything(world)
    assert any("reportingwebhook" in text.decode(errors="replace").casefold() for text in texts.values())
    assert len(world.secrets) > 1
    for secret in world.secrets:
        assert places_of(secret, texts) == []
    for start in (b"slc_", b"elsewhere.example", b"stitch.example.com/y"):
        assert [name for name, text in texts.items() if start in text] == []


def test_control_a_planted_key_is_found(world: World) -> None:
    key = next(iter(world.secrets))
    world.stack.said.append(f"it is {key}")
    place = f"output {len(world.stack.said) - 1}"
    assert places_of(key, everything(world)) == [place]
    world.stack.said.pop()
