"""Two slots, several integrations, renaming, loading: what a change to one thing must leave alone."""

import threading
from typing import Any

import pytest

from provider import endpoint
from tests.support.stack import CUSTOMERIO, Stack, event, post

# Each test begins from what the one before ended with, so that nothing has to be run for it.
TWO_SLOTS: dict[str, Any] = {**CUSTOMERIO, "tokens": {"primary": 1, "secondary": 1}}
BUMPED: dict[str, Any] = {**CUSTOMERIO, "tokens": {"primary": 1, "secondary": 2}}
PINNED: dict[str, Any] = {"name": "Events (EU)", "source": "customerio", "tokens": {"primary": 7}, "schema": "eu"}
RENAMED: dict[str, Any] = {**PINNED, "name": "Europe"}
APPENDING: dict[str, Any] = {**RENAMED, "loading": "append"}


@pytest.fixture
def soon_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that is revoked is taken for unused sooner than in life."""
    monkeypatch.setattr(endpoint, "QUIET_S", 0.2)


def changed(stack: Stack) -> dict[str, str]:
    return {step.name: step.op for step in stack.up()}


def test_two_slots_give_two_live_urls(stack: Stack) -> None:
    stack.bring_up(TWO_SLOTS)
    assert post(stack.url(slot="primary"), event("one")) == 200
    assert post(stack.url(slot="secondary"), event("two")) == 200


def test_bumping_one_slot_leaves_the_other_untouched(stack: Stack, soon_quiet: None) -> None:
    stack.bring_up(TWO_SLOTS)
    primary, secondary = stack.url(slot="primary"), stack.url(slot="secondary")
    stack.declare(BUMPED)
    assert all("secondary" in name for name in changed(stack))
    assert stack.url(slot="primary") == primary
    assert post(secondary, event("three")) == 401
    assert [post(stack.url(slot=slot), event("four")) for slot in ("primary", "secondary")] == [200, 200]


def test_adding_a_second_integration_changes_nothing_of_the_first(stack: Stack) -> None:
    stack.bring_up(BUMPED)
    url = stack.url()
    stack.declare(BUMPED, PINNED)
    assert changed(stack) == {
        "eu": "create",
        "eu-schema": "create",
        "eu-token-primary": "create",
        "eu-endpoint-primary": "create",
    }
    assert stack.url() == url
    assert post(stack.url("eu"), event("one")) == 200
    assert post(url.replace("stitch_customerio", "eu"), event("one")) == 401


def test_removing_the_secondary_slot_revokes_it(stack: Stack, soon_quiet: None) -> None:
    stack.bring_up(BUMPED, PINNED)
    secondary = stack.url(slot="secondary")
    stack.declare(CUSTOMERIO, PINNED)
    assert changed(stack) == {
        "stitch_customerio-endpoint-secondary": "delete",
        "stitch_customerio-token-secondary": "delete",
    }
    assert post(secondary, event("five")) == 401


def test_renaming_a_pinned_integration_keeps_schema_token_and_url(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO, PINNED)
    url = stack.url("eu")
    stack.declare(CUSTOMERIO, RENAMED)
    assert changed(stack) == {"eu-schema": "update"}
    assert stack.url("eu") == url
    assert stack.outputs()["integrations"]["eu"]["name"] == "Europe"


def test_loading_is_changed_in_place(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO, RENAMED)
    stack.declare(CUSTOMERIO, APPENDING)
    assert changed(stack) == {"eu-schema": "update"}
    keys = "SELECT count(*) FROM pg_index WHERE indisprimary AND indrelid = 'eu.data'::regclass"
    assert stack.sql(keys) == [(0,)]


def test_a_receivers_setting_is_changed_without_touching_anything_else(stack: Stack) -> None:
    stack.bring_up(CUSTOMERIO, APPENDING)
    stack.declare(CUSTOMERIO, APPENDING, spoolMaxBytes=2**30)
    assert changed(stack) == {"receiver": "update"}


def test_a_leaked_token_is_revoked_in_the_same_up_that_says_not_to_drain(stack: Stack) -> None:
    """Whoever has it goes on using it: draining would wait for quiet, for half a minute."""
    stack.bring_up(CUSTOMERIO, APPENDING, spoolMaxBytes=2**30)
    leaked = stack.url()
    stop = threading.Event()

    def misuse() -> None:
        while not stop.is_set():
            post(leaked, event("by somebody else"))

    somebody = threading.Thread(target=misuse)
    somebody.start()
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}}, APPENDING, spoolMaxBytes=2**30, drain=0)
    try:
        changed(stack)
        assert post(leaked, event("after the rotation")) == 401
    finally:
        stop.set()
        somebody.join()
    assert "is still in use" in stack.said[-1]


def test_destroy_without_destroy_data_keeps_every_schema(stack: Stack, soon_quiet: None) -> None:
    stack.bring_up({**CUSTOMERIO, "tokens": {"primary": 2}}, APPENDING, spoolMaxBytes=2**30, drain=0)
    urls = [stack.url(), stack.url("eu")]
    assert [post(url, event("kept")) for url in urls] == [200, 200]
    stack.destroy()
    assert [post(url, event("six")) for url in urls] == [0, 0]
    assert "stay" in stack.said[-1]
    stack.bring_up(CUSTOMERIO)
    for schema in ("stitch_customerio", "eu"):
        kept = [event_id for (event_id,) in stack.sql(f"SELECT event_id FROM {schema}.data")]
        assert "kept" in kept
        assert "six" not in kept
