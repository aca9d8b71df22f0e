"""What an endpoint says, or refuses, of a change that its sender at Customer.io would feel."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from provider import endpoint
from provider.endpoint import Endpoint
from provider.resource import Context, ResourceError

STATE: dict[str, Any] = {
    "schema": "stitch_customerio",
    "slot": "primary",
    "hash": "a" * 64,
    "active": True,
    "connected": False,
    "signed": False,
    "signingKeys": [],
}


def remark(state: dict[str, Any], **changes: Any) -> str:
    """All that is said of the change, warnings alone."""
    said: list[str] = []

    async def say(message: str, warning: bool) -> None:
        assert warning
        said.append(message)

    context = Context(Path("/nowhere"), "sluice", "dev", {}, say)
    asyncio.run(Endpoint().remark(context, state, {**state, **changes}))
    return " ".join(said)


@pytest.fixture(autouse=True)
def last_used(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """When the receiver last saw the URL; a test sets it."""
    when: list[float | None] = [None]

    async def ask(context: Context, token_hash: str) -> dict[str, Any]:
        return {"live": True, "last_used": when[0]}

    monkeypatch.setattr(endpoint, "_ask", ask)
    return when


def test_a_new_active_url_that_somebody_must_paste_is_warned_of_with_the_two_slot_way() -> None:
    said = remark(STATE, hash="b" * 64)
    for words in ("paste the new URL", "answers 401", "waits an hour", "secondary: 1", "make url SLOT=secondary"):
        assert words in said
    assert "(primary: 1)" in remark({**STATE, "slot": "secondary"}, hash="b" * 64)


def test_so_is_one_that_was_active_until_this_up() -> None:
    assert "paste" in remark(STATE, hash="b" * 64, active=False)


def test_an_endpoint_made_before_this_was_noted_goes_by_what_is_declared_now() -> None:
    old = {name: value for name, value in STATE.items() if name not in ("active", "connected")}
    assert "paste" in remark(old, hash="b" * 64, active=True, connected=False)
    assert remark(old, hash="b" * 64, active=False, connected=False) == ""


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        ({}, {"active": False}),
        ({}, {"connected": True}),
        ({"active": False}, {"hash": "b" * 64}),
        ({"connected": True}, {"hash": "b" * 64}),
    ],
)
def test_nothing_is_said_where_nobody_has_to_do_anything(state: dict[str, Any], changes: dict[str, Any]) -> None:
    assert remark({**STATE, **state}, **changes) == ""


def test_connecting_and_rotating_at_once_is_warned_of() -> None:
    assert "better connect first" in remark(STATE, hash="b" * 64, connected=True)


def test_what_a_sender_uses_cant_be_locked() -> None:
    for state in ({**STATE, "connected": True}, {**STATE, "connected": True, "signed": True, "signingKeys": ["k"]}):
        with pytest.raises(ResourceError, match=r"pulumi config set --stack dev .*signing_key"):
            remark(state, signed=True, signingKeys=[], connected=True)


@pytest.mark.parametrize(("days", "locks"), [(None, True), (30, True), (1, False)])
def test_without_a_connection_it_goes_by_what_came_lately(
    last_used: list[float | None], days: float | None, locks: bool
) -> None:
    last_used[0] = None if days is None else time.time() - days * 86400
    try:
        remark(STATE, signed=True, connected=True)
        assert locks
    except ResourceError:
        assert not locks


def test_what_is_locked_already_may_stay_so_through_a_rotation() -> None:
    assert remark({**STATE, "connected": True, "signed": True}, hash="b" * 64) == ""
