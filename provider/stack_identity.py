"""The resource `StackIdentity`: who a stack is, whatever others call theirs.

Two people's stacks may have one name, `dev` say, and one warehouse. What is made there carries this identity, so that
neither takes the other's for its own. It is kept in the stack's state, and on this machine beside the stack's data as
well, so that a lost state doesn't make a stack a stranger to what it has here.
"""

import asyncio
import os
import secrets
from typing import ClassVar

from provider.resource import Context, Properties, Resource

BYTES = 8


class StackIdentity(Resource):
    """Inputs: none. Outputs: identity, 16 hex digits."""

    token = "sluice:index:StackIdentity"  # noqa: S105
    outputs: ClassVar = frozenset({"identity"})

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        return "identity", {"identity": await asyncio.to_thread(_kept, context)}

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        return state

    async def read(self, context: Context, state: Properties) -> Properties | None:
        return state

    async def delete(self, context: Context, state: Properties) -> None:
        """Nothing ends: schemas that stay still are this stack's when it comes up again."""


def _kept(context: Context) -> str:
    """The identity in the stack's folder, made if there is none."""
    context.home.mkdir(mode=0o711, parents=True, exist_ok=True)  # PostgreSQL's account passes through
    file = context.home / "identity"
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        if kept := file.read_text().strip():
            return kept
        file.unlink()  # a killed run's, which hadn't written it
        return _kept(context)
    with os.fdopen(descriptor, "w") as out:
        out.write(identity := secrets.token_hex(BYTES))
    return identity
