"""`make review` on the real engine: what a preview, git and the running stack tell becomes the page.

What the page says of each change is shown in tests/tools/test_review.py, and `make review` as a workflow runs it in
test_team_backend.py.
"""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.customerio import CustomerIO
from tests.support.making import make
from tests.support.secrecy import places_of
from tests.support.stack import CUSTOMERIO, Stack, event, post

MARKER = "<!-- sluice-review -->"
BY_HAND = {**CUSTOMERIO, "name": "By Hand"}
CONNECTED = {**CUSTOMERIO, "connect": True}
TWICE = {"primary": 2}


class World:
    """A stack with a simulated Customer.io, every page that was asked for, and every secret that there was."""

    def __init__(self, stack: Stack, there: CustomerIO) -> None:
        self.stack = stack
        self.there = there
        key = there.key()
        self.secrets = {key, stack.environment["PULUMI_CONFIG_PASSPHRASE"]}
        self.pages: dict[str, bytes] = {}
        self.deployed: dict[str, Any] | None = None
        self.declare(CUSTOMERIO)
        path = "sluice:credentials.stitch_customerio.app_api_key"
        stack.pulumi("config", "set", "--secret", "--path", path, stdin=key, check=True)

    def declare(self, *integrations: dict[str, Any], **config: Any) -> None:
        self.stack.declare(*integrations, **{"customerioApi": self.there.api_url, **config})

    def begin(self, **config: Any) -> None:
        """Deploys the two integrations; nothing to do where they are, since no page changes anything."""
        self.declare(CONNECTED, BY_HAND, **config)
        if self.deployed == self.stack.config:
            return
        self.stack.up()
        self.deployed = self.stack.config
        outputs = self.stack.outputs()
        for made in outputs["integrations"].values():
            self.secrets |= {slot["url"].rsplit("/", 1)[-1] for slot in made["slots"].values()}
        self.secrets.add(outputs["warehouse"]["dsn"].split(":")[2].split("@")[0])

    def page(self, *, code: int = 0, **variables: str) -> str:
        made = make(self.stack, "review", **{"FORMAT": "markdown", **variables})
        self.pages[f"page {len(self.pages)}"] = made.text.encode()
        assert made.code == code, made.text
        return made.text


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    with CustomerIO() as there:
        yield World(stack, there)


def test_the_first_up_is_told_before_it_is_made(world: World) -> None:
    world.declare(CONNECTED, BY_HAND)
    page = world.page(STRICT="1")
    assert page.startswith(f"{MARKER}\n## Stack `dev` (local)\n\nThe first `up` of this stack: 2 added.\n")
    assert "**+ `Stitch Customer.io`, schema `stitch_customerio`**" in page
    assert "connected: Sluice makes the webhook at Customer.io" in page
    assert "Look at this first" not in page


def test_with_nothing_to_do_the_page_says_that_alone(world: World) -> None:
    world.begin()
    assert world.page() == f"{MARKER}\n## Stack `dev` (local)\n\nNothing changes.\n"


def test_a_rotation_is_a_danger_where_it_is_by_hand_alone(world: World) -> None:
    world.begin()
    fingerprint = world.stack.outputs()["integrations"]["by_hand"]["slots"]["primary"]["fingerprint"]
    third = {**CUSTOMERIO, "name": "Third"}
    world.declare({**CONNECTED, "tokens": TWICE}, {**BY_HAND, "tokens": TWICE}, third, destroyData=True)
    page = world.page(code=2, STRICT="1")
    assert "1 added, 2 rotated." in page
    assert "primary URL rotated: version 1 → 2" in page
    assert "connected, so Sluice moves the sender within this `up`; nothing is refused" in page
    assert f"token `{fingerprint}` ends; by hand: 401 from the end of the `up`" in page
    assert page.count("cuts a feed off") == 1
    assert "the primary URL of `By Hand` is rotated" in page
    assert "**loses data**: `destroyData` is turned on" in page


def test_with_a_base_the_page_tells_what_was_never_deployed(world: World) -> None:
    world.begin()

    def git(*arguments: str) -> None:
        own = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *own, *arguments], cwd=world.stack.root, check=True, capture_output=True)

    rotated, third = {**BY_HAND, "tokens": TWICE}, {**CUSTOMERIO, "name": "Third"}
    world.declare({**CONNECTED, "tokens": TWICE}, rotated, third)
    git("init", "-q", "-b", "main")
    git("add", "Pulumi.dev.yaml", "Pulumi.yaml", "__main__.py", "components", "provider", "receiver", "tools")
    git("commit", "-qm", "rotates and adds")
    world.declare({**CONNECTED, "tokens": TWICE, "events": ["email_*", "push_sent"]}, rotated, third)
    page = world.page(BASE="main")
    ours, waiting = page.split("### Never deployed: said at `main` already")
    assert "events removed (57): `customer_*` (3)" in ours
    assert "rotated: version" not in ours
    assert "primary URL rotated: version 1 → 2" in waiting
    assert "**+ `Third`" in waiting
    assert "*(said at `main` already)*" in ours
    assert "git knows no nothing-like-it here" in world.page(code=1, BASE="nothing-like-it")


def test_a_pinned_rename_keeps_everything_and_a_removed_integration_its_rows(world: World) -> None:
    world.begin()
    assert post(world.stack.url("by_hand"), event("one")) == 200
    world.declare({**CONNECTED, "name": "Renamed", "schema": "stitch_customerio"})
    page = world.page()
    assert "1 removed, 1 renamed." in page
    assert "renamed from `Stitch Customer.io`; its schema, rows and URLs stay" in page
    assert "`By Hand` is removed: its last delivery came less than a minute ago" in page
    assert "schema of `by_hand`: kept, with every row" in page
    assert "loses data" not in page


def test_a_refused_config_is_the_top_of_the_page(world: World) -> None:
    world.begin()
    world.declare(
        {**CONNECTED, "tokenz": 1, "events": ["emal_sent"]}, warehouseDsn="postgresql://u:a-password-in-clear@h/d"
    )
    world.secrets.add("a-password-in-clear")
    page = world.page(code=1)
    refused, tokens, events = (
        page.index(text) for text in ("### ❌ Refused", "did you mean `tokens`?", "did you mean `email_sent`?")
    )
    assert refused < tokens < events
    assert "**exposes a secret**: `sluice:warehouseDsn` holds a secret in clear" in page


def test_a_stopped_daemon_is_told_as_drift(world: World) -> None:
    world.begin()
    world.deployed = None
    make(world.stack, "stop")
    assert "`receiver` (Receiver) isn't as the last `up` left it, and is put right" in world.page()


def test_what_destroy_data_drops_is_the_top_of_the_page(world: World) -> None:
    world.begin(destroyData=True)
    world.declare(CONNECTED, destroyData=True)
    assert "**loses data**: schema of `by_hand`: **dropped with every row**" in world.page(code=2, STRICT="1")


def test_no_page_has_held_a_secret(world: World) -> None:
    assert len(world.pages) > 5
    assert not [found for secret in world.secrets for found in places_of(secret, world.pages)]


def test_control_a_secret_on_a_page_is_found(world: World) -> None:
    for secret in world.secrets:
        assert places_of(secret, {**world.pages, "control": f"a page with {secret}".encode()}) == ["control"]
