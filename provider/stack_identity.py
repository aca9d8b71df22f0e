"""The resource `StackIdentity`: who a stack is, whatever others call theirs.

Two people's stacks may have one name, `dev` say, and one warehouse. What is made there carries this identity, so that
neither takes the other's for its own. It is kept in the stack's state, and on this machine beside the stack's data as
well: so a lost state doesn't make a stack a stranger to what it has here, and a renamed stack finds where that lies.
"""

import asyncio
import os
import secrets
from pathlib import Path
from typing import ClassVar

from provider.resource import Context, Properties, Resource, ResourceError

BYTES = 8
FILE = "identity"


class StackIdentity(Resource):
    """Inputs: keepsHere, whether the stack has its data in a folder on this machine. Outputs: identity, 16 digits."""

    token = "sluice:index:StackIdentity"  # noqa: S105
    outputs: ClassVar = frozenset({"identity"})

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        identity = secrets.token_hex(BYTES)
        if inputs["keepsHere"]:
            identity = await asyncio.to_thread(_kept, context.home, identity)
        return "identity", {**inputs, "identity": identity}

    async def drift(self, context: Context, state: Properties) -> set[str]:
        """Also says, in a preview and on the `up`, that what the state knows of isn't in the stack's folder."""
        here = await asyncio.to_thread(_read, context.home) if state["keepsHere"] else state["identity"]
        if here == state["identity"]:
            return set()
        if elsewhere := await asyncio.to_thread(_find, context.home.parent, state["identity"]):
            raise ResourceError(
                f"the data of stack {context.stack} lies in .sluice/{elsewhere.name}, as the stack was called "
                f"{elsewhere.name} before. To take it along: make stop STACK={elsewhere.name}, then"
                f"{f' move .sluice/{context.stack} away, and' if context.home.exists() else ''}"
                f" mv .sluice/{elsewhere.name} .sluice/{context.stack}. Nothing was changed"
            )
        if here:
            raise ResourceError(
                f".sluice/{context.stack} holds the data of another stack, whose identity is {here}, and not that of "
                f"{state['identity']}, which the state names: move that folder away, or rename this stack"
            )
        await context.say(
            f"the folder .sluice/{context.stack} of this stack is gone, with its spool and, where it is the embedded "
            "one, its warehouse: an empty one takes its place. If you have a copy, put it back before you run `up`",
            True,
        )
        return {"identity"}

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        if inputs["keepsHere"]:
            await asyncio.to_thread(_kept, context.home, state["identity"])
        return {**inputs, "identity": state["identity"]}

    async def read(self, context: Context, state: Properties) -> Properties | None:
        return state

    async def delete(self, context: Context, state: Properties) -> None:
        """Nothing ends: the schemas that stay are still this stack's when it comes up again."""


def _read(home: Path) -> str:
    """The identity of the stack whose folder it is; empty where none is noted."""
    try:
        return (home / FILE).read_text().strip()
    except FileNotFoundError:
        return ""


def _find(folder: Path, identity: str) -> Path | None:
    """The stack's folder in `folder` that is noted to be of `identity`."""
    return next((noted.parent for noted in folder.glob(f"*/{FILE}") if _read(noted.parent) == identity), None)


def _kept(home: Path, identity: str) -> str:
    """The identity that `home` has, which is `identity` where it had none."""
    if kept := _read(home):
        return kept
    home.mkdir(mode=0o711, parents=True, exist_ok=True)  # PostgreSQL's account, where there is one, passes through
    half = home / f"{FILE}.half"
    with os.fdopen(os.open(half, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as out:
        out.write(identity)
    half.replace(home / FILE)
    return identity
