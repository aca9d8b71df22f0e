"""The resource `PostgresServer`: the embedded PostgreSQL of a stack, alive after every `up`."""

import asyncio
from typing import ClassVar

from pulumi.runtime.rpc import UNKNOWN

from provider import postgres
from provider.resource import Context, Properties, Resource


class PostgresServer(Resource):
    """Inputs: port (0 chooses a free one and keeps it). Outputs: dsn (secret), version, running."""

    token = "sluice:index:PostgresServer"  # noqa: S105
    secrets: ClassVar = frozenset({"dsn"})
    outputs: ClassVar = frozenset({"dsn", "version", "running"})

    async def drift(self, context: Context, state: Properties) -> set[str]:
        server = postgres.recorded(context.home)
        alive = server is not None and await asyncio.to_thread(postgres.answers, server)
        return set() if alive else {"running"}

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        return "postgres", await self.update(context, {}, inputs)

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        before = postgres.recorded(context.home)
        server = await asyncio.to_thread(postgres.ensure, context.home, inputs.get("port", 0))
        if state and before and before.password != server.password:
            await context.say(f"the data in {server.data} was gone: an empty warehouse was made in its place", True)
        return {**inputs, "dsn": server.dsn, "version": postgres.version(), "running": True}

    def foresee(self, state: Properties, inputs: Properties) -> Properties:
        kept = super().foresee(state, inputs)
        return kept if inputs.get("port") == state.get("port") else {**kept, "dsn": UNKNOWN}

    async def read(self, context: Context, state: Properties) -> Properties | None:
        server = postgres.recorded(context.home)
        if server is None:
            return None
        return {**state, "dsn": server.dsn, "running": await asyncio.to_thread(postgres.answers, server)}

    async def delete(self, context: Context, state: Properties) -> None:
        """Stops the server. Its files go only when no schema is left in them."""
        server = postgres.recorded(context.home)
        if server is None:
            return
        empty = await asyncio.to_thread(lambda: postgres.answers(server) and postgres.is_empty(server))
        await asyncio.to_thread(postgres.stop, context.home)
        if empty:
            await asyncio.to_thread(postgres.remove, context.home)
        else:
            await context.say(f"PostgreSQL is stopped; its data stays in {server.folder}", False)
