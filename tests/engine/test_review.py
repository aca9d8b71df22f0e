"""`make review` on the real engine: the page says what an `up` would do. Each test goes on where the last ended."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.customerio import CustomerIO
from tests.support.secrecy import places_of
from tests.support.stack import CUSTOMERIO, Stack, event, post

MARKER = "<!-- sluice-review -->"
BY_HAND = {**CUSTOMERIO, "name": "By Hand"}
CONNECTED = {**CUSTOMERIO, "connect": True}


class World:
    """A stack with a simulated Customer.io, every page that was asked for, and every secret that there was."""

    def __init__(self, stack: Stack, there: CustomerIO) -> None:
        self.stack = stack
        self.there = there
        self.key = there.key()
        self.secrets = {self.key, stack.environment["PULUMI_CONFIG_PASSPHRASE"]}
        self.pages: dict[str, bytes] = {}
        self.credentials: Any = None

    def declare(self, *integrations: dict[str, Any], **config: Any) -> None:
        given = {"customerioApi": self.there.api_url, "adminPort": 0, **config}
        if self.credentials:
            given["credentials"] = self.credentials
        self.stack.declare(*integrations, **given)
        if not self.credentials:
            path = "sluice:credentials.stitch_customerio.app_api_key"
            self.stack.pulumi("config", "set", "--secret", "--path", path, stdin=self.key, check=True)
            written = yaml.safe_load((self.stack.root / "Pulumi.dev.yaml").read_text())
            self.credentials = written["config"]["sluice:credentials"]

    def up(self) -> None:
        self.stack.up()
        outputs = self.stack.outputs()
        for made in outputs["integrations"].values():
            self.secrets |= {slot["url"].rsplit("/", 1)[-1] for slot in made["slots"].values()}
        self.secrets.add(outputs["warehouse"]["dsn"].split(":")[2].split("@")[0])

    def page(self, *, code: int = 0, **variables: str) -> str:
        ran = self.stack.make("review", **{"FORMAT": "markdown", **variables})
        self.pages[f"page {len(self.pages)}"] = ran.text.encode()
        assert ran.code == code, ran.text
        assert "Traceback" not in ran.text
        return ran.text


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
    world.up()


def test_with_nothing_to_do_the_page_says_that_alone(world: World) -> None:
    assert world.page() == f"{MARKER}\n## Stack `dev` (local)\n\nNothing changes.\n"
    assert world.page(FORMAT="") == "stack dev (local): Nothing changes.\n"


def test_a_rotation_is_a_danger_where_it_is_by_hand_alone(world: World) -> None:
    fingerprint = world.stack.outputs()["integrations"]["by_hand"]["slots"]["primary"]["fingerprint"]
    twice = {"primary": 2}
    world.declare({**CONNECTED, "tokens": twice}, {**BY_HAND, "tokens": twice}, {**CUSTOMERIO, "name": "Third"})
    page = world.page()
    assert "1 added, 2 rotated." in page
    assert "primary URL rotated: version 1 → 2" in page
    assert "connected, so Sluice moves the sender within this `up`; nothing is refused" in page
    assert f"token `{fingerprint}` ends; by hand: 401 from the end of the `up`" in page
    assert page.count("cuts a feed off") == 1
    assert "the primary URL of `By Hand` is rotated" in page
    assert world.page(code=2, STRICT="1").count("cuts a feed off") == 1


def test_with_a_base_the_page_tells_what_was_never_deployed(world: World) -> None:
    root = world.stack.root

    def git(*arguments: str) -> None:
        own = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *own, *arguments], cwd=root, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", "Pulumi.dev.yaml", "Pulumi.yaml", "__main__.py", "components", "provider", "receiver", "tools")
    git("commit", "-qm", "rotates and adds")
    twice = {"primary": 2}
    fewer = {**CONNECTED, "tokens": twice, "events": ["email_*", "push_sent"]}
    world.declare(fewer, {**BY_HAND, "tokens": twice}, {**CUSTOMERIO, "name": "Third"})
    page = world.page(BASE="main")
    ours, waiting = page.split("### Never deployed: said at `main` already")
    assert "events removed (57): `customer_*` (3)" in ours
    assert "rotated: version" not in ours
    assert "primary URL rotated: version 1 → 2" in waiting
    assert "**+ `Third`" in waiting
    assert "*(said at `main` already)*" in ours
    assert "git knows no nothing-like-it here" in world.page(code=2, BASE="nothing-like-it")


def test_a_removed_integration_keeps_its_rows_unless_the_stack_destroys_data(world: World) -> None:
    world.declare(CONNECTED, BY_HAND)
    assert post(world.stack.url("by_hand"), event("one")) == 200
    world.declare(CONNECTED)
    page = world.page()
    assert "`By Hand` is removed: its last delivery came less than a minute ago" in page
    assert "schema of `by_hand`: kept, with every row" in page
    assert "loses data" not in page
    world.declare(CONNECTED, BY_HAND, destroyData=True)
    assert "**loses data**: `destroyData` is turned on" in world.page()
    world.up()
    world.declare(CONNECTED, destroyData=True)
    assert "**loses data**: schema of `by_hand`: **dropped with every row**" in world.page(code=2, STRICT="1")


def test_a_pinned_rename_keeps_everything(world: World) -> None:
    world.declare({**CONNECTED, "name": "Renamed", "schema": "stitch_customerio"}, BY_HAND, destroyData=True)
    page = world.page()
    assert "renamed from `Stitch Customer.io`; its schema, rows and URLs stay" in page
    assert "1 renamed." in page
    assert "Look at this first" not in page


def test_a_refused_config_is_the_top_of_the_page(world: World) -> None:
    world.declare(
        {**CONNECTED, "tokenz": 1, "events": ["emal_sent"]}, warehouseDsn="postgresql://u:a-password-in-clear@h/d"
    )
    world.secrets.add("a-password-in-clear")
    page = world.page(code=2)
    assert (
        page.index("### ❌ Refused") < page.index("did you mean `tokens`?") < page.index("did you mean `email_sent`?")
    )
    assert "**exposes a secret**: `sluice:warehouseDsn` holds a secret in clear" in page


def test_a_stopped_daemon_is_told_as_drift(world: World) -> None:
    world.declare(CONNECTED, BY_HAND, destroyData=True)
    world.stack.make("stop")
    assert "`receiver` (Receiver) isn't as the last `up` left it, and is put right" in world.page()
    world.up()


def test_no_page_has_held_a_secret(world: World) -> None:
    assert len(world.pages) > 10
    assert not [found for secret in world.secrets for found in places_of(secret, world.pages)]
    url = world.stack.url("by_hand")
    control = {"page": f"a page with {url}".encode()}
    assert places_of(url.rsplit("/", 1)[-1], control) == ["page"]
    world.stack.destroy()
