"""What is said before an endpoint on AWS changes under its sender."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.rpc import UNKNOWN

from provider.resource import Context, ResourceError
from provider.sender import Sender

BEFORE: dict[str, Any] = {
    "schema": "s",
    "slot": "primary",
    "hash": "a" * 64,
    "active": True,
    "connected": False,
    "signed": False,
    "hasSigningKeys": False,
}


def said(before: dict[str, Any], **changes: Any) -> list[tuple[str, bool]]:
    messages: list[tuple[str, bool]] = []

    async def say(message: str, warning: bool) -> None:
        messages.append((message, warning))

    context = Context(Path("/nowhere"), "sluice", "prod", {}, say)
    asyncio.run(Sender().remark(context, before, {**before, **changes}))
    return messages


@pytest.mark.parametrize("hash", ["b" * 64, UNKNOWN])
def test_a_new_url_for_the_active_slot_must_be_pasted_by_somebody(hash: str) -> None:
    ((message, is_warning),) = said(BEFORE, hash=hash)
    assert is_warning
    assert "somebody must paste the new URL at the sender of s" in message


def test_nobody_is_bothered_where_sluice_moves_the_sender_or_nobody_posts() -> None:
    assert said({**BEFORE, "connected": True}, hash="b" * 64) == []
    assert said({**BEFORE, "active": False}, hash="b" * 64) == []
    assert said(BEFORE, active=False) == []


def test_connecting_and_rotating_in_one_go_is_warned_of() -> None:
    ((message, is_warning),) = said(BEFORE, hash="b" * 64, connected=True)
    assert is_warning
    assert "better connect first" in message


def test_a_connected_sender_is_not_locked_out_by_a_key_that_nobody_knows() -> None:
    connected = {**BEFORE, "connected": True}
    with pytest.raises(ResourceError, match="its signing key is missing"):
        said(connected, signed=True)
    assert said(connected, signed=True, hasSigningKeys=True) == []
    assert said({**connected, "active": False}, signed=True) == []
