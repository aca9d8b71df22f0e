"""URLs that are live and that the stack's state doesn't know: named until the next `make up`, which ends them.

And an `up` that runs, which no second `make` takes for one that was killed.
"""

import html
import json
import subprocess
import threading
import urllib.request
from typing import Any

import pytest

from provider import endpoint as endpoints
from receiver.registry import Registry
from tests.support.making import make
from tests.support.postgres import free_port
from tests.support.stack import CUSTOMERIO, Stack, event, post
from tests.support.waiting import until

BRIEF: dict[str, Any] = {**CUSTOMERIO, "name": "Brief"}


@pytest.fixture
def declared(stack: Stack) -> Stack:
    """The stack with one integration and its status page, whatever was done to it before."""
    stack.declare(CUSTOMERIO, adminPort=ADMIN_PORT)
    made = make(stack, "up")
    assert made.code == 0, made.text
    return stack


ADMIN_PORT = free_port()


def status_page() -> str:
    return html.unescape(urllib.request.urlopen(f"http://127.0.0.1:{ADMIN_PORT}/", timeout=10).read().decode())


def live(stack: Stack) -> set[str]:
    with Registry(stack.home / "registry.db") as registry:
        return {endpoint.hash for endpoint in registry.endpoints()}


def forget_its_urls(stack: Stack) -> None:
    """Takes token and endpoint out of the state, as a person does who means to start afresh."""
    exported = json.loads(stack.pulumi("stack", "export", check=True).text)
    urns = [resource["urn"] for resource in exported["deployment"]["resources"]]
    for kind in ("sluice:index:Endpoint", "random:index/randomPassword:RandomPassword"):
        (urn,) = [urn for urn in urns if urn.split("::")[-2].endswith(kind)]
        stack.pulumi("state", "delete", urn, "--yes", check=True)


def remove_the_stack(stack: Stack) -> None:
    stack.pulumi("stack", "rm", "dev", "--force", "--yes", "--preserve-config", check=True)
    stack.pulumi("stack", "init", "dev", check=True)


@pytest.mark.parametrize("lose", [forget_its_urls, remove_the_stack])
def test_a_url_that_the_state_lost_is_named_and_then_revoked_by_up(declared: Stack, lose: Any) -> None:
    stack, old = declared, declared.url()
    before = live(stack)
    lose(stack)
    previewed = make(stack, "preview")
    assert "is live, and the stack's state doesn't know it" in previewed.text
    until(lambda: "the stack's state doesn't know it" in status_page(), what="the status page names it")
    assert post(old, event("still taken")) == 200, "nothing is refused before there is another URL"
    made = make(stack, "up")
    assert (made.code, "revoked the primary URL of stitch_customerio" in made.text) == (0, True), made.text
    assert post(old, event("too late")) == 401
    assert live(stack).isdisjoint(before)
    assert post(stack.url(), event("the new one")) == 200
    status = make(stack, "status")
    assert "doesn't know it" not in status.text


def test_an_older_state_brings_its_url_back_and_ends_the_newer_one(declared: Stack) -> None:
    stack = declared
    exported = stack.pulumi("stack", "export", check=True).text
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}}, adminPort=ADMIN_PORT)
    stack.up()
    newer = stack.url()
    stack.pulumi("stack", "import", stdin=exported, check=True)
    status = make(stack, "status")
    assert (status.code != 0, "doesn't know it" in status.text) == (True, True), status.text
    stack.declare(CUSTOMERIO, adminPort=ADMIN_PORT)
    assert make(stack, "up").code == 0
    assert post(newer, event("of the newer state")) == 401
    assert post(stack.url(), event("of the older state")) == 200


def test_while_an_up_runs_no_other_make_touches_what_it_makes(declared: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = declared
    may_go_on = threading.Event()
    put = endpoints._put

    def slow(*arguments: Any) -> Any:
        done = put(*arguments)
        may_go_on.wait(60)
        return done

    monkeypatch.setattr(endpoints, "_put", slow)
    before = live(stack)
    stack.declare(CUSTOMERIO, BRIEF, adminPort=ADMIN_PORT)
    running = subprocess.Popen(
        stack.command("up", "--yes", "--skip-preview"), cwd=stack.root, env=stack.environment, stdout=subprocess.DEVNULL
    )
    try:
        until(lambda: live(stack) - before, 60, "the new URL is made")
        made = live(stack)
        for target in ("preview", "refresh", "down", "up"):
            refused = make(stack, target)
            assert refused.code != 0
            assert f"another pulumi is at work on stack dev (pid {running.pid})" in refused.text
            assert live(stack) == made
        status = make(stack, "status")
        assert f"another pulumi is at work on this stack right now: pid {running.pid}" in status.text
        assert "run make up" not in status.text
    finally:
        may_go_on.set()
        code = running.wait(60)
    assert code == 0
    stack.declare(CUSTOMERIO, BRIEF, adminPort=ADMIN_PORT)
    assert post(stack.url("brief"), event("by the URL that was being made")) == 200
