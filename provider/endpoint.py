"""The resource `Endpoint`: one secret URL, as an entry of the receiver's registry. It knows the token's hash alone.

Creating returns when the running receiver says that the hash is live, so that whoever depends on it may send at once.
Deleting drains: it revokes when the URL has been quiet, so that a sender that was just moved loses nothing.
"""

import asyncio
import time
from typing import Any, ClassVar

from provider import sender
from provider.resource import Context, Properties, Resource, ResourceError
from receiver import control
from receiver.registry import EndpointEntry, Registry
from receiver.token import fingerprint

LIVE_PATIENCE_S = 15.0
QUIET_S = 3.0
UNDER_WAY_S = 4.0  # how long a delivery may be under way: Customer.io's timeout
DRAIN_S = 30
LATELY_S = 7 * 24 * 3600  # Customer.io retries for so long


class Endpoint(Resource):
    """Inputs: schema, slot, version, hash, source, signed, signingKeys (secret), and for warnings alone: active (the
    sender is given this slot's URL), connected (by Sluice, not by a person). Outputs: the same, and state: "live".
    """

    token = "sluice:index:Endpoint"  # noqa: S105
    secrets: ClassVar = frozenset({"signingKeys"})
    replaces: ClassVar = frozenset({"schema", "slot", "hash"})
    outputs: ClassVar = frozenset({"state"})

    async def remark(self, context: Context, state: Properties, inputs: Properties) -> None:
        if _is_locked(inputs) and not _is_locked(state) and await _is_in_use(context, state):
            raise sender.would_be_locked_out(context, inputs)
        await sender.say_what_changes(context, state, inputs)

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        outputs = await self.update(context, {}, inputs)
        return f"{inputs['schema']}/{inputs['slot']}/{fingerprint(inputs['hash'])}", outputs

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        entry = EndpointEntry(
            hash=inputs["hash"],
            schema=inputs["schema"],
            slot=inputs["slot"],
            source=inputs["source"],
            signed=inputs.get("signed", False),
            signing_keys=tuple(inputs.get("signingKeys") or ()),
            version=int(inputs["version"]),
        )
        await asyncio.to_thread(_put, context, entry)
        await _wait_until(context, entry.hash, live=True)
        return {**inputs, "state": "live"}

    async def drift(self, context: Context, state: Properties) -> set[str]:
        entry = await asyncio.to_thread(_get, context, state["hash"])
        return set() if entry is not None and state.get("state") == "live" else {"state"}

    async def read(self, context: Context, state: Properties) -> Properties | None:
        entry = await asyncio.to_thread(_get, context, state["hash"])
        if entry is None:
            return {**state, "state": "missing"}
        return {
            **state,
            "schema": entry.schema,
            "slot": entry.slot,
            "version": entry.version,
            "source": entry.source,
            "signed": entry.signed,
            "signingKeys": list(entry.signing_keys),
            "state": "live",
        }

    async def delete(self, context: Context, state: Properties) -> None:
        # From the config, not from the inputs: those of a replaced endpoint are the last `up`'s, and who finds a token
        # leaked sets `drain: 0` and bumps its number in one go.
        drain = int(context.config.get("drain", DRAIN_S))
        # Its webhook was moved in this very `up`, or removed: what had left by then may still arrive.
        under_way = UNDER_WAY_S if state.get("connected") and state.get("active") else 0.0
        recent, quiet = await _drain(context, state["hash"], drain, under_way)
        await asyncio.to_thread(_remove, context, state["hash"])
        await _wait_until(context, state["hash"], live=False)
        if recent:
            deliveries = "delivery" if recent == 1 else "deliveries"
            await context.say(
                f"revoked {state['schema']}'s {state['slot']} URL {fingerprint(state['hash'])}, "
                f"which had {recent} {deliveries} in its last minute" + ("" if quiet else " and is still in use"),
                not quiet,
            )


def _is_locked(properties: Properties) -> bool:
    """Whether no delivery can get in: it must be signed, and no key is known."""
    return bool(properties.get("signed") and not properties.get("signingKeys"))


async def _is_in_use(context: Context, state: Properties) -> bool:
    """Whether a sender posts to it: as Sluice has told it to, or going by what came lately."""
    if state.get("connected") and state.get("active"):
        return True
    answer = await _ask(context, state["hash"])
    last_used = answer["last_used"] if answer else None
    return last_used is not None and time.time() - last_used < LATELY_S


def _put(context: Context, entry: EndpointEntry) -> None:
    with Registry(context.home / "registry.db") as registry:
        registry.put_endpoint(entry)


def _get(context: Context, token_hash: str) -> EndpointEntry | None:
    with Registry.present(context.home / "registry.db") as registry:
        return registry.get_endpoint(token_hash) if registry else None


def _remove(context: Context, token_hash: str) -> None:
    with Registry(context.home / "registry.db") as registry:
        registry.remove_endpoint(token_hash)


async def _ask(context: Context, token_hash: str) -> dict[str, Any] | None:
    try:
        return await control.ask(context.home, "endpoint", hash=token_hash)
    except control.ReceiverDown:
        return None


async def _wait_until(context: Context, token_hash: str, *, live: bool) -> None:
    """Returns when the running receiver has taken the registry's change. A receiver that is down has none to take."""
    deadline = time.monotonic() + LIVE_PATIENCE_S
    while time.monotonic() < deadline:
        try:
            await control.ask(context.home, "reload")
        except control.ReceiverDown:
            if not live:
                return
        answer = await _ask(context, token_hash)
        if answer is not None and answer["live"] == live:
            return
        await asyncio.sleep(0.1)
    raise ResourceError(
        f"the receiver didn't take the {'new' if live else 'revoked'} URL {fingerprint(token_hash)} within "
        f"{LIVE_PATIENCE_S:.0f} s: see {context.home / 'receiver.log'}, and run make up again"
    )


async def _drain(context: Context, token_hash: str, longest_s: int, shortest_s: float) -> tuple[int, bool]:
    """Waits until the URL has been quiet for QUIET_S, from `shortest_s` to `longest_s` seconds; a longest of 0 doesn't
    wait at all (a leaked token).

    It never refuses: whoever holds a leaked URL could otherwise keep it alive.
    Returns the deliveries of its last minute, and whether it was quiet.
    """
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        answer = await _ask(context, token_hash)
        if answer is None:  # the receiver is down, and so is the URL
            return 0, True
        last_used = answer["last_used"]
        quiet = last_used is None or time.time() - last_used >= QUIET_S
        if (quiet and waited >= shortest_s) or waited >= longest_s:
            return int(answer["recent"]), quiet
        await asyncio.sleep(0.2)
